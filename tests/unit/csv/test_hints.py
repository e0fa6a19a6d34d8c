"""`columns = { zip = "varchar" }`: types that a route gives to columns by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.options import Options
from tests.unit.csv.reading import Reading

Read = Callable[..., Reading]


def test_hints_take_the_place_of_inference(read: Read) -> None:
    data = b"Zip Code,Amount,Day,Flag\n12345,5,2024-01-15,1\n"

    reading = read(data, columns={"zip_code": "varchar", "amount": "DOUBLE", "day": "timestamp"})

    assert reading.types == {"zip_code": "VARCHAR", "amount": "DOUBLE", "day": "TIMESTAMP", "flag": "INTEGER"}
    assert reading.report.columns[0].reason == "as `columns` says"


@pytest.mark.parametrize("name", [to.value.lower() for to in ColumnType])
def test_every_type_can_be_hinted(read: Read, name: str) -> None:
    assert read(b"a,b\n,x\n", columns={"a": name}).types["a"] == name.upper()


def test_hints_hold_where_all_columns_are_text(read: Read) -> None:
    assert read(b"a,b\n5,6\n", types="varchar", columns={"a": "integer"}).rows == [(5, "6")]


def test_hinted_integers_that_overflow_become_bigint(read: Read) -> None:
    assert read(b"a,b\n1,x\n3000000000,y\n", columns={"a": "integer"}).types["a"] == "BIGINT"


def test_cells_that_do_not_fit_a_hint_are_rescued(read: Read) -> None:
    reading = read(b"a,b\nx,1\n2,1\n", columns={"a": "integer"})

    assert reading.rows == [(None, 1), (2, 1)]
    assert reading.rescued == ['{"a": "x"}', None]


def test_the_table_wins_over_a_hint_and_the_report_says_so(read: Read) -> None:
    reading = read(
        b"zip,b\n12345,1\n", {"zip": ColumnType.INTEGER, "b": ColumnType.INTEGER}, columns={"zip": "varchar"}
    )

    assert reading.rows == [(12345, 1)]
    assert reading.report.columns[0].wished is ColumnType.VARCHAR
    assert "column zip is INTEGER in the table, `columns` says VARCHAR" in reading.report.warnings[0]


def test_a_column_that_was_widened_is_no_conflict(read: Read) -> None:
    pins = {"a": ColumnType.BIGINT, "b": ColumnType.INTEGER}

    assert read(b"a,b\n1,1\n", pins, columns={"a": "integer"}).report.warnings == []


def test_options_with_hints_are_keys_like_all_others() -> None:
    one, other = Options(columns={"a": "date"}), Options(columns={"a": "date"})

    assert {one: 1}[other] == 1
    assert one != Options(columns={"a": "double"})


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"Zip Code": "varchar"}, "'Zip Code' is not the name of a table column: write 'zip_code'"),
        ({"zip": "text"}, "Input should be 'boolean', 'integer', 'bigint', 'double', 'date', 'timestamp'"),
        ("zip=varchar", "should be a valid dictionary"),
    ],
)
def test_wrong_hints_are_refused_with_what_would_be_right(columns: Any, fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Options(columns=columns)

    assert fault in caught.value.errors()[0]["msg"]
