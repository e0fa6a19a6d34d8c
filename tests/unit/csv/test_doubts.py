"""What is done in doubt is said: encodings, lines above a header, one column of prose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import SmallFile, Source
from tests.unit.csv.reading import Reading, streamed

Read = Callable[..., Reading]

TABLE = "item,qty,price\na,1,2\nb,3,4\nc,4,5\n"


@pytest.mark.parametrize(
    ("word", "encoding", "other"),
    [
        ("Teplice-Řetenice", "cp1250", "Ųetenice"),
        ("Marijampolė", "cp1257", "Marijampolė"),
        ("Brăila", "cp1250", "Brăila"),
    ],
)
def test_a_word_that_two_pages_make_sense_of_is_read_with_a_warning(
    read: Read, word: str, encoding: str, other: str
) -> None:
    reading = read(f"id,name\n1,{word}\n".encode(encoding))

    assert reading.report.encoding == "cp1252"
    (warning,) = reading.report.warnings
    assert warning.startswith("the encoding is not certain: read as CP1252, may be CP12")
    assert other in warning
    assert warning.endswith("save the file as UTF-8")


@pytest.mark.parametrize("text", ["Müller,Café\n", "temp °C,µg/m³\n", "São Paulo,Århus\nHélène,Größe\n"])
def test_what_is_certainly_windows_1252_has_no_warning(read: Read, text: str) -> None:
    assert read(f"name,city\n{text}".encode("cp1252")).report.warnings == []


def test_a_doubtful_encoding_that_shows_late_in_a_large_file_is_warned_of() -> None:
    reading = streamed(b"id,name\n" + b"1,abcdefgh\n" * 200_000 + "2,Brăila\n".encode("cp1250"))

    assert reading.passes == 2
    assert "the encoding is not certain" in reading.report.warnings[0]


@pytest.mark.parametrize(
    ("above", "lines"),
    [
        ("Orders of January\n\n", [1]),
        ("# made by hand\n# twice\n", [1, 2]),
        ("\nOwner,Ann\nAccount,1234\n\n", [2, 3]),
        ("Orders,,\n,,\n", [1]),
        ("sep=,\n", []),
        ("\n\n", []),
        ("invoice,date,customer\n123,2024-01-01,Acme\n\n", []),
    ],
)
def test_lines_above_a_header_are_records_or_told_as_skipped(read: Read, above: str, lines: list[int]) -> None:
    report = read((above + TABLE).encode()).report

    assert [skipped.line for skipped in report.skipped] == lines
    texts = above.splitlines()
    assert [skipped.text for skipped in report.skipped] == [texts[line - 1] for line in lines]


def test_skipped_lines_are_told_of_every_file_of_a_known_head() -> None:
    data = ("Orders of January\n\n" + TABLE).encode()
    files = [SmallFile(Source(f"t/{number}.csv", "e"), data) for number in range(3)]

    parts = cook(files, {}, Memory(), Options()).parts

    assert [len(part.report.skipped) for part in parts] == [1, 1, 1]


def test_skipped_lines_that_may_be_a_table_are_warned_of(read: Read) -> None:
    report = read(f"name,city\nann,rome\nbob,paris\n\n{TABLE}".encode()).report

    assert [skipped.line for skipped in report.skipped] == [1, 2, 3]
    (warning,) = report.warnings
    assert warning.startswith("lines 1 to 3, above the header, were skipped as remarks about the table. If they are")


def test_pairs_about_a_longer_table_are_rejected_not_read_in_its_place(read: Read) -> None:
    rows = "".join(f"{day},{day}.5,paid\n" for day in range(1, 9))

    reading = read(f"Owner,Ann\nAccount,1234\nBranch,17\nYear,2024\n\nday,amount,state\n{rows}".encode())

    assert len(reading.rows) == 8
    assert [reject.line for reject in reading.report.rejects] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "text", ["Dear all, please find\nthe report attached.\n\nBest, Bob\n", "This is a note to all\nof you\n"]
)
def test_one_column_below_a_sentence_is_warned_of(read: Read, text: str) -> None:
    (warning,) = read(text.encode()).report.warnings

    assert "is no table" in warning


@pytest.mark.parametrize("text", ["name\nAnn\nBob\n", "first name\nAnn\n", "e-mail\na@b.org\nc@d.org\n"])
def test_one_column_has_no_delimiter_and_no_warning(read: Read, text: str) -> None:
    report = read(text.encode()).report

    assert (report.delimiter, report.warnings) == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "| id | name |\n|----|------|\n| 1 | a |\n| 2 | b |\n",
        "|id|name|\n|:--|--:|\n|1|a|\n|2|b|\n",
        "id,name\n--,----\n1,a\n2,b\n",
    ],
)
def test_a_line_drawn_below_the_names_is_no_record(read: Read, text: str) -> None:
    reading = read(text.encode())

    assert reading.table.column_names[:2] == ["id", "name"]
    assert reading.rows == [(1, "a"), (2, "b")]
    assert [skipped.line for skipped in reading.report.skipped] == [2]
    assert reading.report.rejected == 0


def test_a_line_drawn_below_a_known_header_is_no_record() -> None:
    files = [
        SmallFile(Source(f"t/{number}.csv", "e"), text)
        for number, text in enumerate((b"id,name\n1,a\n", b"id,name\n---,---\n2,b\n", b"id,name\n-3,c\n"))
    ]

    parts = cook(files, {}, Memory(), Options()).parts

    assert [part.table["id"].to_pylist() for part in parts] == [[1], [2], [-3]]


@pytest.mark.parametrize("end", ["\x1a", "\x1a\r\n", "\f\n", "\x1a" * 128, "\n\x1a"])
@pytest.mark.parametrize("head", ["id\n1\n2\n", "id,name\n1,a\n2,b\n"])
def test_an_end_mark_is_no_record(read: Read, head: str, end: str) -> None:
    reading = read((head + end).encode())

    assert [row[0] for row in reading.rows] == [1, 2]
    assert reading.report.rejected == 0


@pytest.mark.parametrize("text", ["id,name\n1,a\x1a", "id,name\n1,a\f\n", "id,name\n1,x\fy\n"])
def test_a_character_that_ends_a_cell_is_no_end_mark(read: Read, text: str) -> None:
    assert read(text.encode()).rows == [(1, text.rstrip("\n").rpartition(",")[2])]


def test_an_end_mark_in_a_file_of_a_known_head_is_no_record() -> None:
    files = [SmallFile(Source(f"t/{number}.csv", "e"), b"id\n1\n" + end) for number, end in enumerate((b"", b"\x1a"))]

    assert [part.report.records for part in cook(files, {}, Memory(), Options()).parts] == [1, 1]


def test_a_very_wide_file_is_left_to_a_lane_of_its_own_until_its_types_are_known() -> None:
    data = (",".join(f"c{number}" for number in range(500)) + "\n" + ",".join("1" * 500) + "\n").encode()
    file = SmallFile(Source("w/w.csv", "e"), data)

    first = cook([file], {}, Memory(), Options())
    again = cook([file], streamed(data).pins, Memory(), Options())

    assert (first.too_large, first.parts) == (["w/w.csv"], [])
    assert (again.too_large, len(again.parts)) == ([], 1)


def test_rejects_of_a_file_with_trailing_delimiters_count_its_columns(read: Read) -> None:
    (reject,) = read(b"a,b,c,\n1,2,3,\n4,5,6,\n7,8\n").report.rejects

    assert reject.reason == "2 cells, the file has 3 columns and 1 without a name"


def test_letters_among_which_is_a_y_are_text(read: Read) -> None:
    (_, column) = read(b"id,axis\n1,x\n2,y\n").report.columns

    assert column.reason == "text"


@pytest.mark.parametrize("feedback", ["(2 rows)\n", "\n2 rows selected.\n"])
def test_what_a_database_says_below_its_rows_is_rejected_but_below_one_column_a_row(read: Read, feedback: str) -> None:
    reading = read(f"id,name\n1,Ann\n2,Bob\n{feedback}".encode())

    assert reading.rows == [(1, "Ann"), (2, "Bob")]
    assert [reject.text for reject in reading.report.rejects] == [feedback.strip()]
    assert read(f"name\nAnn\nBob\n{feedback}".encode()).rows[-1] == (feedback.strip(),)


@pytest.mark.parametrize(
    ("lines", "rescued"),
    [("TS,Volts\n,Min\n", 2), ("20d,14n\n", 1)],
)
def test_second_and_third_lines_below_names_are_records_that_values_of_a_long_file_rescue(
    read: Read, lines: str, rescued: int
) -> None:
    rows = "".join(f"2024-01-{day:02},{day}.5\n" for day in range(1, 29))

    reading = read(f"day,battery\n{lines}{rows}".encode())

    assert reading.types == {"day": "DATE", "battery": "DOUBLE"}
    assert len(reading.rows) == 28 + lines.count("\n")
    assert reading.report.rescued == rescued
