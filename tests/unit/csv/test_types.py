"""Which type a column gets, and what becomes of cells that do not fit."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.results import CounterExample
from tests.unit.csv.reading import Reading, cooked, varchar

Read = Callable[..., Reading]


def column(*cells: str, head: str = "x") -> bytes:
    """Write a file of two columns; the second keeps blank cells from being blank lines."""
    return f"{head},other\n".encode() + "".join(f"{cell},text\n" for cell in cells).encode()


@pytest.mark.parametrize(
    ("cells", "to"),
    [
        (["0", "1"], "INTEGER"),
        (["1", "2147483648"], "BIGINT"),
        (["1", "2.5"], "DOUBLE"),
        (["1", "9223372036854775808"], "VARCHAR"),
        (["1", "007"], "VARCHAR"),
        (["+4915112345678"], "VARCHAR"),
        (["1e3"], "DOUBLE"),
        (["3.14159265358979323846"], "VARCHAR"),
        (["12.50000000000000000000"], "DOUBLE"),
        (["1_000"], "VARCHAR"),
        (["0x1A"], "VARCHAR"),
        (["true", "FALSE"], "BOOLEAN"),
        (["yes", "No"], "BOOLEAN"),
        (["NO", "NO"], "VARCHAR"),
        (["2024-01-15", "2024-02-29"], "DATE"),
        (["2024-02-30"], "VARCHAR"),
        (["15/01/2024", "03/04/2024"], "DATE"),
        (["01/15/2024", "03/04/2024"], "DATE"),
        (["03/04/2024"], "VARCHAR"),
        (["03.04.2024"], "DATE"),
        (["2024-01-15 10:30", "2024-01-16"], "TIMESTAMP"),
        (["2024-01-15T10:30:00+02:00"], "TIMESTAMP"),
        (["2024-01-15T10:30:00.1234567"], "VARCHAR"),
        (["", ""], "VARCHAR"),
        (["NA", "NULL"], "VARCHAR"),
        (["5", "", "NA"], "INTEGER"),
        (["nan"] * 3 + ["1.5"], "DOUBLE"),
        (["inf", "1.5"], "VARCHAR"),
        ([*map(str, range(9)), "x"], "INTEGER"),
        ([*map(str, range(8)), "x"], "VARCHAR"),
        ([*map(str, range(19)), "1.5"], "DOUBLE"),
        ([" 5 ", "6"], "INTEGER"),
        (["1e-400", "1.5"], "VARCHAR"),
        (["0e-400", "0.0", "1.5"], "DOUBLE"),
        (["5e-324", "1.5"], "DOUBLE"),
        (["12345678901234567.5", "1.5"], "VARCHAR"),
        (["9007199254740992.0", "1.5"], "DOUBLE"),
        (["9007199254740993", "1.5"], "VARCHAR"),
        (["12%", "7%"], "VARCHAR"),
        (["$5", "$7.50"], "VARCHAR"),
        (['"1,234"'], "VARCHAR"),
        (["3/4-2024", "15/1-2024"], "VARCHAR"),
        (["15-01-2024", "3-4-2024"], "DATE"),
        (["2024/1/5", "2024.12.31"], "DATE"),
        (["15/01/24"], "VARCHAR"),
        (["20240115"], "INTEGER"),
        (["20240115T103000Z"], "TIMESTAMP"),
        (['"2024-01-15 10:30:00,250"'], "TIMESTAMP"),
        (["2024-01-15T10:30:00.123456000"], "TIMESTAMP"),
        (["1/15/2024 3:04 PM", "3/4/2024 12:00 am"], "TIMESTAMP"),
        (["1/15/2024 13:04 PM"], "VARCHAR"),
        (["2024-01-15 24:00"], "VARCHAR"),
        (["10:30:00"], "VARCHAR"),
    ],
)
def test_lossless_types(read: Read, cells: list[str], to: str) -> None:
    assert read(column(*cells)).types["x"] == to


@pytest.mark.parametrize(
    ("cells", "to"),
    [
        (["0", "1"], "BOOLEAN"),
        (["yes", "TRUE"], "BOOLEAN"),
        (["007", "5"], "INTEGER"),
        (["1", "2147483648"], "BIGINT"),
        (["1.5", "2", "-3e5"], "DOUBLE"),
        (["03/04/2024"], "DATE"),
        (["15/01/2024", "01/15/2024"], "DATE"),
        (["2024-01-15T10:30:00Z"], "TIMESTAMP"),
        ([*map(str, range(2, 20)), "x"], "INTEGER"),
        ([".5"], "VARCHAR"),
        (["hello"], "VARCHAR"),
    ],
)
def test_seed_types(read: Read, cells: list[str], to: str) -> None:
    assert read(column(*cells), types="seed").types["x"] == to


def test_varchar_types_keep_every_text(read: Read) -> None:
    reading = read(column("007", "NULL", " 1 ", ""), types="varchar")

    assert [row[0] for row in reading.rows] == ["007", "NULL", " 1 ", None]


def test_offsets_are_converted_to_utc(read: Read) -> None:
    data = column("2024-01-15T10:30:00+02:00", "2024-01-15 10:30:00")

    plain, zoned = read(data), read(data, timestamptz=True)

    assert [row[0] for row in plain.rows] == [dt.datetime(2024, 1, 15, 8, 30), dt.datetime(2024, 1, 15, 10, 30)]  # noqa: DTZ001
    assert zoned.types["x"] == "TIMESTAMPTZ"
    assert zoned.rows[0][0] == dt.datetime(2024, 1, 15, 8, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(("order", "day"), [("dmy", dt.date(2024, 4, 3)), ("mdy", dt.date(2024, 3, 4))])
def test_date_order_settles_ambiguous_dates(read: Read, order: str, day: dt.date) -> None:
    assert read(column("03/04/2024"), date_order=order).rows[0][0] == day


def test_ymd_leaves_other_dates_text(read: Read) -> None:
    assert read(column("15/01/2024"), date_order="ymd").types["x"] == "VARCHAR"


def test_cells_that_do_not_fit_are_rescued_as_json(read: Read) -> None:
    data = column(*map(str, range(20)), "x", "1e400", "é", head="Amount €")

    reading = read(data, {"amount": ColumnType.INTEGER, "other": ColumnType.VARCHAR})

    assert reading.types["amount"] == "INTEGER"
    assert [row[0] for row in reading.rows] == [*range(20), None, None, None]
    assert [json.loads(text) for text in reading.rescued if text] == [
        {"amount": "x"},
        {"amount": "1e400"},
        {"amount": "é"},
    ]
    assert reading.report.rescued == 3
    assert "amount: 3 of 23" in reading.report.warnings[0]


def test_null_tokens_are_null_in_typed_columns_and_text_in_others(read: Read) -> None:
    reading = read(b"n,t\n1,NA\nNA,x\n-999,y\n", null_tokens=["NA", "-999"])

    assert reading.rows == [(1, "NA"), (None, "x"), (None, "y")]
    assert reading.report.rescued == 0


def test_pinned_types_are_kept_and_conflicting_cells_rescued(read: Read) -> None:
    reading = read(b"a,b\nx,1\n2,y\n", {"a": ColumnType.INTEGER, "b": ColumnType.VARCHAR})

    assert reading.rows == [(None, "1"), (2, "y")]
    assert reading.rescued == ['{"a": "x"}', None]


def test_integer_widens_to_bigint_and_nothing_else_changes(read: Read) -> None:
    reading = read(b"a,b\n3000000000,1\n5,2.5\n", {"a": ColumnType.INTEGER, "b": ColumnType.INTEGER})

    assert reading.pins == {"a": ColumnType.BIGINT, "b": ColumnType.INTEGER}
    assert reading.rows == [(3000000000, 1), (5, None)]


def test_new_columns_are_inferred_beside_pinned_ones(read: Read) -> None:
    reading = read(b"a,new\n1,2024-01-15\n", varchar("a", "gone"))

    assert reading.table.column_names == ["a", "new", "_rescued"]
    assert reading.pins == {**varchar("a", "gone"), "new": ColumnType.DATE}


def test_dates_of_a_pinned_column_that_prove_no_order_are_rescued(read: Read) -> None:
    reading = read(column("03/04/2024"), {"x": ColumnType.DATE, "other": ColumnType.VARCHAR})

    assert reading.rows == [(None, "text")]
    assert reading.rescued == ['{"x": "03/04/2024"}']


def test_the_order_of_dates_is_told_for_each_file_of_a_batch() -> None:
    european, american = column("15/01/2024", "03/04/2024"), column("01/15/2024", "03/04/2024")

    for data, day in ((european, dt.date(2024, 4, 3)), (american, dt.date(2024, 3, 4))):
        assert cooked(data, {"x": ColumnType.DATE, "other": ColumnType.VARCHAR}).rows[1][0] == day


def test_reasons_name_the_record_that_forced_the_type(read: Read) -> None:
    report = read(column("1", "2", "007")).report

    assert report.columns[0].reason == "record 3, '007': a leading zero"


def test_reports_count_what_fits_and_show_the_first_value_that_does_not(read: Read) -> None:
    column_of = {column.name: column for column in read(column(*map(str, range(18)), "n/k", "?")).report.columns}

    found = column_of["x"]
    assert (found.type, found.values, found.fits, found.rescued) == (ColumnType.INTEGER, 20, 18, 2)
    assert found.against == CounterExample(19, "n/k")
    assert (column_of["other"].values, column_of["other"].against) == (20, CounterExample(1, "text"))


def test_little_that_is_rescued_is_no_warning_and_much_is(read: Read) -> None:
    pins = {"x": ColumnType.INTEGER, "other": ColumnType.VARCHAR}

    assert read(column(*["1"] * 9, "?"), pins).report.warnings == []
    (warning,) = read(column(*["1"] * 8, "?", "?", "", "", "", ""), pins).report.warnings
    assert "column x: 2 of 10 values did not fit INTEGER" in warning


def test_rescued_dates_name_the_setting_that_would_tell_their_order(read: Read) -> None:
    (warning,) = read(column("03/04/2024"), {"x": ColumnType.DATE, "other": ColumnType.VARCHAR}).report.warnings

    assert "set date_order" in warning


def test_a_file_of_which_most_is_rejected_warns(read: Read) -> None:
    reading = read(b"a,b\n1,2\n3,4\n" + b"5,6,7,8\n" * 3, varchar("a", "b"))

    assert reading.report.rejected == 3
    assert any("most records were rejected (3 of 5)" in warning for warning in reading.report.warnings)


TIMES = [(0, 0, 0), (9, 30, 15), (12, 0, 0), (23, 59, 0)]


def test_times_of_twelve_hours_are_told_by_am_and_pm(read: Read) -> None:
    reading = read(column("1/15/2024 12:00 AM", "1/15/2024 9:30:15 am", "1/15/2024 12:00PM", "1/15/2024 11:59 pm"))

    midnight = dt.datetime(2024, 1, 15)  # noqa: DTZ001
    times = [dt.timedelta(hours=hour, minutes=minute, seconds=second) for hour, minute, second in TIMES]
    assert [row[0] for row in reading.rows] == [midnight + time for time in times]


def test_null_tokens_among_dates_and_numbers_are_null(read: Read) -> None:
    reading = read(b"d,n,b\n15/01/2024,1.5,yes\nN/A,NULL,NA\n03/04/2024, 2.5 ,no\n")

    assert reading.rows[1] == (None, None, None)
    assert reading.rows[2] == (dt.date(2024, 4, 3), 2.5, False)
    assert reading.report.rescued == 0
