"""Decimal commas: where the delimiter is no comma, and the values prove it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import SmallFile, Source
from tests.unit.csv.reading import Reading

Read = Callable[..., Reading]


def file(*cells: str, delimiter: str = ";") -> bytes:
    """Write a file of a number and an amount."""
    lines = [f"n{delimiter}amount", *(f"{number}{delimiter}{cell}" for number, cell in enumerate(cells, 1))]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_commas_and_thousands_become_numbers(read: Read, delimiter: str) -> None:
    reading = read(file("1.234,56", "12,5", "-7", "", "-1.234.567,8", "1,5E+03", delimiter=delimiter))

    assert reading.types["amount"] == "DOUBLE"
    assert [row[1] for row in reading.rows] == [1234.56, 12.5, -7.0, None, -1234567.8, 1500.0]
    assert reading.report.columns[1].reason == "5 of 5 values, decimal comma"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["1,234", "5,678"], "record 1, '1,234': thousands or a decimal comma"),
        (["12,5", "1.5", "0,5"], "record 2, '1.5': no number with a decimal comma"),
        (["12,5", "1.234", "0,5"], "record 2, '1.234': no number with a decimal comma"),
        (["12,5", "12.34,5", "0,5"], "record 2, '12.34,5': no number with a decimal comma"),
        (["12,5", "007,5", "0,5"], "record 2, '007,5': no number with a decimal comma"),
        (["12,5%", "7,5%"], "text"),
        (["12,50 €", "7,50 €"], "text"),
        (["1,234,567", "5,6"], "record 1, '1,234,567': no number with a decimal comma"),
    ],
)
def test_what_is_not_beyond_doubt_stays_text(read: Read, cells: list[str], why: str) -> None:
    reading = read(file(*cells))

    assert reading.types["amount"] == "VARCHAR"
    assert [row[1] for row in reading.rows] == cells
    assert reading.report.columns[1].reason.startswith(why)


def test_in_a_file_of_commas_as_delimiters_they_stay_text(read: Read) -> None:
    reading = read(b'n,amount\n1,"12,5"\n2,"7,25"\n')

    assert reading.types["amount"] == "VARCHAR"
    assert "only where the delimiter is no comma" in reading.report.columns[1].reason


def test_one_column_proves_the_mark_for_those_that_leave_it_open(read: Read) -> None:
    reading = read(b"proof;open;points\n12,5;1,234;1.234\n7;5,678;2.500\n")

    assert reading.types == {"proof": "DOUBLE", "open": "DOUBLE", "points": "VARCHAR"}
    assert reading.rows == [(12.5, 1.234, "1.234"), (7.0, 5.678, "2.500")]
    assert "thousands, or a decimal point" in reading.report.columns[2].reason


def test_points_that_prove_themselves_stay_points(read: Read) -> None:
    assert read(b"comma;point\n12,5;12.5\n7,25;1.234\n").rows == [(12.5, 12.5), (7.25, 1.234)]


def test_a_hint_settles_what_values_leave_open(read: Read) -> None:
    assert read(file("1,234", "5"), columns={"amount": "double"}).rows == [(1, 1.234), (2, 5.0)]


def test_later_files_are_read_by_their_own_proof(read: Read) -> None:
    pins = {"n": ColumnType.INTEGER, "amount": ColumnType.DOUBLE}

    assert [row[1] for row in read(file("12,5", "1.234,5"), pins).rows] == [12.5, 1234.5]
    assert [row[1] for row in read(file("12.5", "1234.5"), pins).rows] == [12.5, 1234.5]
    reading = read(file("12,5", "7,5", "1.5"), pins)
    assert [row[1] for row in reading.rows] == [12.5, 7.5, None]
    assert reading.rescued[2] == '{"amount": "1.5"}'
    assert [row[1] for row in read(file("1,234"), pins).rows] == [None]


def test_files_of_one_batch_have_each_their_own_mark() -> None:
    pins = {"n": ColumnType.INTEGER, "amount": ColumnType.DOUBLE}
    contents = [file("12,5"), file("12.5"), file("1,234"), file("1.234,5", "7"), file("8")]
    files = [SmallFile(Source(f"{number}", "e"), content) for number, content in enumerate(contents)]

    cooked = cook(files, pins, Memory(), Options())

    assert [part.table["amount"].to_pylist() for part in cooked.parts] == [[12.5], [12.5], [None], [1234.5, 7.0], [8.0]]


def test_seed_types_know_no_decimal_commas(read: Read) -> None:
    assert read(file("12,5", "7,5"), types="seed").types["amount"] == "VARCHAR"
