"""`types = "seed"`: the section "Type Inference" of the CSV specification, a test for each of its lines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import pytest
from pyiceberg.types import BooleanType, DateType, DoubleType, IntegerType, LongType, StringType, TimestampType

from handlers.csv_to_iceberg.lake.shape import Shape
from tests.unit.csv.reading import Reading, cooked

Read = Callable[..., Reading]


def seed(cells: Sequence[str], read: Read = cooked, **options: object) -> Reading:
    """Read a column `x` under the specification's types."""
    body = "".join(f"{cell},text\n" for cell in cells)
    return read(f"x,other\n{body}".encode(), types="seed", **options)


def type_of(*cells: str) -> str:
    return seed(cells).types["x"]


# The specification: Read the first 1000 non-empty values (skip blanks/nulls).


def test_the_first_1000_values_decide(read: Read) -> None:
    numbers = [str(number) for number in range(2, 1002)]

    assert seed([*numbers, *["text"] * 5000], read).types["x"] == "INTEGER"
    assert seed([*numbers[:-200], *["text"] * 5000], read).types["x"] == "VARCHAR"


def test_blanks_and_nulls_are_no_values(read: Read) -> None:
    skipped = ["", "  ", "NULL", "N/A"] * 1000

    reading = seed([*skipped, *[str(number) for number in range(2, 1002)]], read)

    assert reading.types["x"] == "INTEGER"
    assert reading.report.columns[0].values == 1000


# The specification: Attempt to parse each value through the type hierarchy (most specific first).


@pytest.mark.parametrize(
    ("cells", "to"),
    [
        (["1", "0", "1"], "BOOLEAN"),  # INTEGER parses them too
        (["12", "7"], "INTEGER"),  # BIGINT and DOUBLE parse them too
        (["12", "9999999999"], "BIGINT"),  # DOUBLE parses them too
        (["2024-01-15"], "DATE"),  # TIMESTAMP parses it too
    ],
)
def test_the_most_specific_type_is_taken(cells: list[str], to: str) -> None:
    assert type_of(*cells) == to


# The specification: BOOLEAN: values in {true, false, yes, no, 1, 0} (case-insensitive)


@pytest.mark.parametrize("word", ["true", "false", "yes", "no", "1", "0", "True", "FALSE", "Yes", "nO"])
def test_boolean_words(word: str) -> None:
    reading = seed([word])

    assert reading.types["x"] == "BOOLEAN"
    assert reading.rows[0][0] is (word.lower() in {"true", "yes", "1"})


@pytest.mark.parametrize("word", ["t", "f", "y", "n", "on", "off", "wahr", "2"])
def test_other_words_are_no_boolean(word: str) -> None:
    assert type_of(word) != "BOOLEAN"


# The specification: INTEGER: matches regex ^-?\d+$ and fits in 32-bit range


@pytest.mark.parametrize("text", ["42", "-7", "007", "-00042", "2147483647", "-2147483648"])
def test_integer_pattern(text: str) -> None:
    reading = seed([text])

    assert reading.types["x"] == "INTEGER"
    assert reading.rows[0][0] == int(text)


@pytest.mark.parametrize("text", ["+5", "1_000", "0x1A", "1,000", "--5", "5-"])
def test_what_the_integer_pattern_does_not_match(text: str) -> None:
    assert type_of(f'"{text}"') == "VARCHAR"


# The specification: BIGINT: matches regex ^-?\d+$ and exceeds 32-bit range


@pytest.mark.parametrize("text", ["2147483648", "-2147483649", "9999999999", "9223372036854775807", "00009999999999"])
def test_bigint_is_what_exceeds_32_bits(text: str) -> None:
    reading = seed([text])

    assert reading.types["x"] == "BIGINT"
    assert reading.rows[0][0] == int(text)


def test_integers_beyond_64_bits_match_only_the_pattern_of_doubles() -> None:
    reading = seed(["9223372036854775808"])

    assert reading.types["x"] == "DOUBLE"
    assert reading.rows[0][0] == 2.0**63


# The specification: DOUBLE: matches regex ^-?\d+\.?\d*([eE][+-]?\d+)?$


@pytest.mark.parametrize("text", ["3.14", "-0.5", "1.2e10", "1.2E+10", "5.", "007.5", "1e-3", "-12E5"])
def test_double_pattern(text: str) -> None:
    reading = seed([text])

    assert reading.types["x"] == "DOUBLE"
    assert reading.rows[0][0] == float(text)


@pytest.mark.parametrize("text", [".5", "-.5", "+1.5", "1.5.2", "e5", "1e", "inf", "12.5%", "$3"])
def test_what_the_double_pattern_does_not_match(text: str) -> None:
    assert type_of(text) == "VARCHAR"


# The specification: DATE: parseable by datetime.strptime with common formats (YYYY-MM-DD, DD/MM/YYYY, MM/DD/YYYY)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-01-15", (2024, 1, 15)),
        ("2024-1-5", (2024, 1, 5)),  # strptime takes it
        ("15/01/2024", (2024, 1, 15)),
        ("01/15/2024", (2024, 1, 15)),
        ("03/04/2024", (2024, 4, 3)),  # the formats in their order
        ("29/02/2024", (2024, 2, 29)),
    ],
)
def test_date_formats(text: str, day: tuple[int, int, int]) -> None:
    reading = seed([text])

    assert reading.types["x"] == "DATE"
    assert reading.rows[0][0] == dt.date(*day)


def test_both_orders_in_one_column_are_dates_each_by_the_first_format_that_parses_it() -> None:
    reading = seed(["15/01/2024", "01/15/2024"])

    assert [row[0] for row in reading.rows] == [dt.date(2024, 1, 15)] * 2


@pytest.mark.parametrize("text", ["15.01.2024", "15-01-2024", "2024/01/15", "15/01/24", "29/02/2023", "2024-13-01"])
def test_other_dates_are_text(text: str) -> None:
    assert type_of(text) == "VARCHAR"


# The specification: TIMESTAMP: parseable as ISO 8601 datetime


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-15T10:30:00Z", (2024, 1, 15, 10, 30)),
        ("2024-01-15 10:30:00", (2024, 1, 15, 10, 30)),
        ("2024-01-15T10:30", (2024, 1, 15, 10, 30)),
        ("2024-01-15T10:30:00.123456", (2024, 1, 15, 10, 30, 0, 123456)),
        ("2024-01-15T10:30:00.123456789Z", (2024, 1, 15, 10, 30, 0, 123456)),
        ("2024-01-15T10:30:00+02:00", (2024, 1, 15, 8, 30)),
        ("20240115T103000Z", (2024, 1, 15, 10, 30)),
    ],
)
def test_timestamp_is_iso_8601(text: str, moment: tuple[int, int, int, int, int]) -> None:
    reading = seed([text])

    assert reading.types["x"] == "TIMESTAMP"
    assert reading.rows[0][0] == dt.datetime(*moment)  # noqa: DTZ001


@pytest.mark.parametrize(
    "text", ["15/01/2024 10:30", "2024-01-15 10:30 PM", "2024/01/15 10:30", "10:30:00", "2024-01-15T25:00"]
)
def test_other_times_are_text(text: str) -> None:
    assert type_of(text) == "VARCHAR"


# The specification: If >= 90% of non-empty values parse as a given type, assign that type.


@pytest.mark.parametrize(
    ("value", "to"),
    [
        ("yes", "BOOLEAN"),
        ("42", "INTEGER"),
        ("9999999999", "BIGINT"),
        ("3.14", "DOUBLE"),
        ("2024-01-15", "DATE"),
        ("2024-01-15T10:30:00Z", "TIMESTAMP"),
    ],
)
def test_ninety_percent_are_enough_and_less_are_not(read: Read, value: str, to: str) -> None:
    assert seed([value] * 900 + ["no such thing"] * 100, read).types["x"] == to
    assert seed([value] * 899 + ["no such thing"] * 101, read).types["x"] == "VARCHAR"


def test_values_that_do_not_parse_are_rescued() -> None:
    reading = seed(["42"] * 9 + ["many"])

    assert reading.rows[-1][0] is None
    assert reading.rescued[-1] == '{"x": "many"}'


# The specification: If no type reaches the 90% threshold, fall back to VARCHAR.


def test_half_numbers_half_dates_are_text() -> None:
    assert type_of("42", "2024-01-15") == "VARCHAR"


# The specification: Type Mapping


def test_types_in_iceberg() -> None:
    data = b"a,b,c,d,e,f,g\nyes,42,9999999999,3.14,2024-01-15,2024-01-15T10:30:00Z,anything else\n"

    shape = Shape.new(cooked(data, types="seed").pins)

    assert [type(shape.fields[name].field_type) for name in "abcdefg"] == [
        BooleanType,
        IntegerType,
        LongType,
        DoubleType,
        DateType,
        TimestampType,
        StringType,
    ]
