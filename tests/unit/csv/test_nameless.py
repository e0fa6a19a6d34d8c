"""Headers with one name fewer than the records have cells: whichever way they are read is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import SmallFile, Source
from tests.unit.csv.reading import Reading

Read = Callable[..., Reading]


def columns_of(reading: Reading) -> list[str]:
    return [column.name for column in reading.report.columns]


def test_names_of_rows_are_the_first_column_and_that_is_told(read: Read) -> None:
    reading = read(b"mpg,cyl\nMazda RX4,21,6\nDatsun 710,22.8,4\n")

    assert columns_of(reading) == ["column_1", "mpg", "cyl"]
    (warning,) = reading.report.warnings
    assert warning == (
        "the header has one name fewer than the records have cells; it was taken that the first column has no name, as "
        "names of rows have none. Line 2 reads 'column_1': 'Mazda RX4', 'mpg': '21', 'cyl': '6'. If a name stands "
        "above the wrong cell, add the missing name to the header"
    )


def test_a_first_column_that_repeats_has_a_name_and_that_is_told(read: Read) -> None:
    reading = read(b"\n\nlevel,source\ninfo,a,7036\ninfo,b,7040\n")

    assert columns_of(reading) == ["level", "source", "column_3"]
    (warning,) = reading.report.warnings
    assert "the last column has no name. Line 4 reads 'level': 'info', 'source': 'a', 'column_3': '7036'." in warning


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("id,name", "{n},Ann,2.5", ["id", "name", "column_3"]),
        ("id,name", "{n},7,Ann", ["column_1", "id", "name"]),
        ("order_date,amount", "2024-01-{n:02},2.5,Ann", ["order_date", "amount", "column_3"]),
        ("order_date,amount", "Ann,2024-01-15,2.5", ["column_1", "order_date", "amount"]),
        ("e-mail,age", "u{n}@b.org,31,7", ["e_mail", "age", "column_3"]),
        ("created_at,city", "x,2024-01-15 10:00:00,Rome", ["column_1", "created_at", "city"]),
    ],
)
def test_names_are_put_above_values_that_suit_them(read: Read, header: str, row: str, expected: list[str]) -> None:
    reading = read("\n".join([header, *(row.format(n=n) for n in range(1, 9))]).encode())

    assert columns_of(reading) == expected
    assert len(reading.rows) == 8
    assert len(reading.report.warnings) == 1


@pytest.mark.parametrize(
    ("header", "row"),
    [("id,v", "{n},A{n},3"), ("id,v", "{n},DEU,3"), ("mpg,cyl", "{n},21.5,6"), ("id,date", "{n},5,n/a")],
)
def test_numbers_of_rows_are_no_ids_unless_the_values_say_so(read: Read, header: str, row: str) -> None:
    reading = read("\n".join([header, *(row.format(n=n) for n in range(1, 9))]).encode())

    assert columns_of(reading) == ["column_1", *header.split(",")]


def test_a_delimiter_before_every_row_makes_no_name_slip(read: Read) -> None:
    reading = read(b"a,b\n,1,2\n,3,4\n")

    assert columns_of(reading) == ["column_1", "a", "b"]
    assert reading.rows == [(None, 1, 2), (None, 3, 4)]


def test_each_file_of_a_folder_is_warned_of() -> None:
    files = [SmallFile(Source(f"t/{number}.csv", "e"), b"v,w\nx,1,2\ny,3,4\n") for number in range(3)]

    parts = cook(files, {}, Memory(), Options()).parts

    assert [len(part.report.warnings) for part in parts] == [1, 1, 1]


def test_a_wide_record_is_shown_by_its_first_cells_and_its_last(read: Read) -> None:
    names, cells = ",".join(f"n{n}" for n in range(19)), ",".join(str(n) for n in range(20))

    (warning,) = read(f"{names}\n{cells}\n".encode()).report.warnings

    assert "'n0': '1', 'n1': '2', 'n2': '3', 'n3': '4', ..., 'n18': '19'." in warning


def test_names_taken_for_a_remark_as_one_is_missing_are_warned_of(read: Read) -> None:
    reading = read(b"\nname,city\nAnn,Rome,x\nBob,Paris,y\nCid,Oslo,z\n")

    (warning,) = reading.report.warnings
    assert warning.startswith(
        "line 2 was skipped as a remark, and the line below it taken for the names. If line 2 has"
    )
    assert [skipped.text for skipped in reading.report.skipped] == ["name,city"]


@pytest.mark.parametrize(
    "text",
    [
        "orders,january\nid,name,city\n1,Ann,Rome\n2,Bob,Paris\n",
        "Report\nname,city\nAnn,Rome\nBob,Paris\n",
        "orders,january\n\nname,city,state\nAnn,Rome,x\nBob,Paris,y\n",
        "a,b\n1,2,\n3,4,\n",
    ],
)
def test_what_cannot_be_names_that_lack_one_has_no_warning(read: Read, text: str) -> None:
    assert read(text.encode()).report.warnings == []
