"""Messy files as people upload them: delimiter, quote and escape are told, and every record is what a person reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv.dialect import detect_dialect
from handlers.csv_to_iceberg.csv.exact import split_exactly
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.quotes import checked, well_formed
from handlers.csv_to_iceberg.csv.records import exact_records, lines_of
from handlers.csv_to_iceberg.csv.tokenise import tokenise
from tests.unit.csv.nasty import MAKERS, corpus
from tests.unit.csv.nasty.case import Case
from tests.unit.csv.nasty.damage import COLUMNS, damaged
from tests.unit.csv.reading import Reading, cooked

Read = Callable[..., Reading]

CORPUS = corpus(2)
MOST_MISTAKES = 0.03
"""Share of the files."""


def nulls(rows: object) -> list[tuple[str | None, ...]]:
    assert isinstance(rows, list)
    return [tuple(cell or None for cell in row) for row in rows]


def mistake(case: Case, reading: Reading) -> str:
    """Say what is wrong with a reading of a case; nothing if it is right."""
    report = reading.report
    one_column = not case.delimiter and len(reading.table.column_names) <= 2
    if not one_column and report.delimiter != case.delimiter:
        return f"delimiter {report.delimiter!r}: {report.dialect_reason}"
    if (case.quote and report.quote != case.quote) or report.escape != case.escape:
        return f"quote {report.quote!r}, escape {report.escape!r}: {report.dialect_reason}"
    rows = nulls(case.rows)
    width = len(reading.table.column_names) - 1
    if case.names is not None and case.rows and reading.table.column_names[:-1] != column_names(case.names)[:width]:
        return f"columns {reading.table.column_names}"
    if reading.rows != [row[: width or None] for row in rows]:
        return f"rows, {report.rejected} rejected"
    return "" if case.rejected in {None, report.rejected} else f"{report.rejected} rejected"


@pytest.mark.parametrize("kind", MAKERS)
def test_messy_files_are_read_as_a_person_reads_them(read: Read, kind: str) -> None:
    for variant in range(2):
        case = CORPUS[f"{kind}-{variant}"]

        assert mistake(case, read(case.text.encode(), types="varchar", header="generate")) == "", case.text[:500]


def test_delimiter_quote_and_escape_are_right_on_nearly_all_of_a_large_corpus() -> None:
    cases = corpus(5)

    wrong = []
    for name, case in cases.items():
        text = case.text.partition("\n")[2] if case.text.startswith("sep=") else case.text
        dialect = detect_dialect(text).dialect
        right = (not case.delimiter or dialect.delimiter == case.delimiter) and dialect.escape == case.escape
        if not right or (case.quote and dialect.quote != case.quote):
            wrong.append(name)

    assert len(wrong) <= MOST_MISTAKES * len(cases), wrong


def test_a_damaged_cell_costs_its_own_record_at_most() -> None:
    for always in (False, True):
        for one in damaged(always=always, step=67):
            reading = cooked(one.text.encode(), types="varchar")

            others = [row for number, row in enumerate(nulls(one.rows)) if number != one.row]
            found = set(reading.rows)
            assert reading.table.column_names[:-1] == [*COLUMNS], one.kind
            assert all(row in found for row in others), (one.kind, one.row, one.column)
            assert len(reading.rows) <= len(others) + 1, (one.kind, one.row, one.column)


def test_backslashes_that_escape_nothing_are_kept(read: Read) -> None:
    reading = read(b'id,remark,path\n1,"say \\"hi\\", now","C:\\dir"\n2,"x","D:\\new"\n')

    assert reading.rows == [(1, 'say "hi", now', "C:\\dir"), (2, "x", "D:\\new")]
    assert reading.report.escape == "\\"


def test_doubled_quotes_behind_backslashes_are_no_escapes(read: Read) -> None:
    assert read(b'a,b\n"Z\\"",\nmore",1\n"y",2\n').rows == [('Z\\",\nmore', 1), ("y", 2)]


def test_stray_quote_does_not_reach_the_next_quoted_cell(read: Read) -> None:
    reading = read(b'id,title,n\n1,"open,5\n2,b,6\n3,"c, d",7\n')

    assert reading.rows == [(1, '"open', 5), (2, "b", 6), (3, "c, d", 7)]
    assert "in 1 record" in reading.report.warnings[0]


@pytest.mark.parametrize("next_cell", ['"c, d"', '"c\nd, e"'])
def test_quote_that_is_never_closed_does_not_take_the_next_record_for_its_cell(read: Read, next_cell: str) -> None:
    reading = read(f'id,title,n\n1,"a, b",5\n2,"open, cell,6\n3,{next_cell},7\n4,x,8\n'.encode())

    assert reading.rows == [(1, "a, b", 5), (3, next_cell.strip('"'), 7), (4, "x", 8)]
    assert [(reject.line, reject.text) for reject in reading.report.rejects] == [(3, '2,"open, cell,6')]


def test_damaged_cell_goes_on_over_lines_that_are_no_records(read: Read) -> None:
    reading = read(b'id,title,n\n1,"b\nc, d, e\nsay "a" end",5\n2,"x, y",6\n')

    assert reading.rows == [(1, 'b\nc, d, e\nsay "a" end', 5), (2, "x, y", 6)]


def test_apostrophes_that_close_in_another_record_are_no_quotes(read: Read) -> None:
    reading = read(b"n,word,m\n1,'tis,1\n2,dogs',2\n3,'cause',3\n4,'90s,4\n5,boys',5\n6,'round',6\n")

    assert reading.rows[:3] == [(1, "'tis", 1), (2, "dogs'", 2), (3, "'cause'", 3)]
    assert len(reading.rows) == 6


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("'a','b'\n'1','x\ny'\n'2','z'\n'3','p\nq, r'\n", [(1, "x\ny"), (2, "z"), (3, "p\nq, r")]),
        (
            "'name','address'\n'Ann','Main St 1\nRome, Italy'\n'Bob','High St 2\nOslo, Norway'\n",
            [("Ann", "Main St 1\nRome, Italy"), ("Bob", "High St 2\nOslo, Norway")],
        ),
        (
            "id,note\n0,'first line\nsecond, line'\n1,'third line\nfourth, line'\n",
            [(0, "first line\nsecond, line"), (1, "third line\nfourth, line")],
        ),
    ],
)
def test_apostrophes_enclose_cells_of_several_lines(read: Read, text: str, rows: list[tuple[object, ...]]) -> None:
    assert read(text.encode()).rows == rows


def test_blanks_part_cells_that_are_all_quoted(read: Read) -> None:
    assert read(b'"name" "city"\n"Ann" "New York"\n"Bob" "Oslo"\n').rows == [("Ann", "New York"), ("Bob", "Oslo")]


@pytest.mark.parametrize("head", [",count", ",0"])
def test_an_index_without_a_name_is_no_part_of_a_decimal_comma(read: Read, head: str) -> None:
    reading = read(f"{head}\n0,5\n1,7\n2,9\n".encode())

    assert reading.rows == [(0, 5), (1, 7), (2, 9)]


def test_a_record_of_tabs_is_a_row_also_where_blanks_belong_to_no_cell(read: Read) -> None:
    rows = "".join(f"{n}\t x\n" for n in range(8))
    reading = read(f"a\t b\n{rows}\t\n{rows}".encode())

    assert (len(reading.rows), reading.rows[8]) == (17, (None, None))


def test_single_blanks_enclose_empty_cells_if_that_makes_all_records_alike(read: Read) -> None:
    table = "".join(f'{n} {"" if n % 3 else "x"} "a b" {n * 2}\n' for n in range(1, 13))
    reading = read(f"id note name n\n{table}".encode())
    aligned = read(b"id  note  n\n10  x  20\n11  y  22\n12  z  24\n")

    assert reading.rows[:3] == [(1, None, "a b", 2), (2, None, "a b", 4), (3, "x", "a b", 6)]
    assert (len(reading.rows), reading.report.rejected) == (12, 0)
    assert aligned.rows == [(10, "x", 20), (11, "y", 22), (12, "z", 24)]


def test_names_may_stand_on_two_lines(read: Read) -> None:
    units = read(b"time,temp,wind\n(UTC),(degC),(m/s)\n2024-01-01,1.5,2.5\n2024-01-02,1.0,2.0\n")
    groups = read(b",2020,,2021,\nregion,m,f,m,f\nRome,1,2,3,4\nOslo,5,6,7,8\n")

    assert units.table.column_names[:3] == ["time_utc", "temp_degc", "wind_m_s"]
    assert groups.table.column_names[:5] == ["region", "col_2020_m", "col_2020_f", "col_2021_m", "col_2021_f"]
    assert (len(units.rows), len(groups.rows)) == (2, 2)


def test_units_without_brackets_are_no_row(read: Read) -> None:
    reading = read(b"site,temp,wind\n,degC,m/s\nA,1.5,2.5\nB,1.0,2.0\nC,1.25,2.5\n")

    assert reading.table.column_names[:3] == ["site", "temp_degc", "wind_m_s"]
    assert len(reading.rows) == 3


@pytest.mark.parametrize("units", [",,degC,m/s", "-,-,degC,m/s", ",,[degC],[m/s]", "-,[date],[degC],-"])
def test_some_columns_of_values_have_no_unit(read: Read, units: str) -> None:
    rows = "A,2024-01-01,1.5,2.5\nB,2024-01-02,1.0,2.0\nC,2024-01-03,1.25,2.5\n"
    reading = read(f"site,day,temp,wind\n{units}\n{rows}".encode())

    assert reading.table.column_names[2] == "temp_degc"
    assert len(reading.rows) == 3


@pytest.mark.parametrize(
    "body",
    [
        "a,,c\n1,,1\n",
        "a,,c\n1,,1\n2,,2\n3,,3\n",
        "odd,x,odd\n1,a,1\n2,b,2\n3,c,3\n4,d,4\n",
        "m,x,s\n1,a,1\n",
        "[n/a],x,[NA]\n1,a,1\n2,b,2\n",
        "[m],x,\n1,a,1\n2,b,2\n",
        "\0,,\ufdd0\n1,,2\n",
        ";,,;\n0,,0\n0,,0\n0,,0\n",
    ],
)
def test_words_above_values_are_a_row_unless_they_are_units(read: Read, body: str) -> None:
    reading = read(f"id,name,amount\n{body}".encode(), types="varchar")

    assert reading.table.column_names[:3] == ["id", "name", "amount"]
    assert len(reading.rows) == body.count("\n")


def test_record_of_delimiters_is_no_header(read: Read) -> None:
    reading = read(b'sep=,\n"",";","",";"\n"","0","","0"\n', types="varchar", header="generate")

    assert reading.rows == [(None, ";", None, ";"), (None, "0", None, "0")]


def test_header_without_a_name_for_the_names_of_rows(read: Read) -> None:
    reading = read(b'"mpg" "cyl"\n"Mazda RX4" 21 6\n"Datsun 710" 22.8 4\n')

    assert reading.table.column_names[:3] == ["column_1", "mpg", "cyl"]
    assert reading.rows == [("Mazda RX4", 21.0, 6), ("Datsun 710", 22.8, 4)]


@pytest.mark.parametrize("other", ["name,price,city\nAnn,2.5,Rome\n", "key,total\nx,1\ny,2\n"])
def test_records_of_another_table_are_rejected_with_that_reason(read: Read, other: str) -> None:
    reading = read(f"id,amount,day\n1,2.5,2024-01-01\n2,3.5,2024-01-02\n3,4.5,2024-01-03\n\n{other}".encode())

    assert len(reading.rows) == 3
    assert reading.report.rejected == other.count("\n")
    assert {reject.reason for reject in reading.report.rejects} == {"part of another table, which begins on line 6"}
    assert [reject.line for reject in reading.report.rejects][:2] == [6, 7]


@pytest.mark.parametrize(
    "other", ["product,price,stock\nbolt,0.5,10\nnut,0.2,20\n", "product,price\nbolt,0.5\nnut,0.2\n"]
)
def test_small_first_table_is_no_preamble_of_the_next(read: Read, other: str) -> None:
    reading = read(f"id,name\n1,Ada\n2,Bob\n\n{other}".encode())

    assert reading.rows == [(1, "Ada"), (2, "Bob")]
    assert reading.report.rejected == 3
    assert {reject.reason for reject in reading.report.rejects} == {"part of another table, which begins on line 5"}


@pytest.mark.parametrize("remarks", ["Owner;Ann\nAccount;1234\nBranch;17\n", "Account: ;1234\nOwner: ;Ann\n"])
def test_names_beside_their_remarks_are_no_table(read: Read, remarks: str) -> None:
    reading = read(f"{remarks}\nid;amount;day\n1;2;2024-01-01\n2;3;2024-01-02\n3;4;2024-01-03\n".encode())

    assert reading.table.column_names[:3] == ["id", "amount", "day"]
    assert (len(reading.rows), reading.report.rejected) == (3, 0)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("value", ["0", "x"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_title_above_a_blank_line_decides_nothing(read: Read, delimiter: str, value: str, rows: int) -> None:
    text = f"Report of the year\n\nid{delimiter}name\n" + f"{value}{delimiter}\n" * rows

    reading = read(text.encode(), types="varchar")

    assert reading.table.column_names[:2] == ["id", "name"]
    assert reading.rows == [(value, None)] * rows
    assert reading.report.delimiter == delimiter


def test_paragraphs_of_one_column_stay_one_column(read: Read) -> None:
    reading = read(b"comment\nhello there\n\nfirst,second\nthird\nthe end\n")

    assert [row[0] for row in reading.rows] == ["hello there", "first,second", "third", "the end"]


def test_names_and_the_line_below_may_be_of_different_widths(read: Read) -> None:
    reading = read(b"t;\nd;t;\n?\n2;5;", types="varchar")

    assert reading.rows == [("d", "t"), ("2", "5")]
    (reject,) = reading.report.rejects
    assert reject.reason == "1 cell, the file has 2 columns and 1 without a name"


@pytest.mark.parametrize("trailing", [1, 2, 4])
def test_trailing_delimiters_make_no_columns_however_many(read: Read, trailing: int) -> None:
    end = ";" * trailing + "\n"

    reading = read(f"id;name{end}1;Ada{end}2;Bob{end}".encode())

    assert reading.table.column_names[:-1] == ["id", "name"]
    assert reading.rows == [(1, "Ada"), (2, "Bob")]


def test_comments_and_repeated_headers_between_records_are_rejected_with_that_reason(read: Read) -> None:
    comments = read(b"t,v\n1,2\n# paused, again\n3,4\n# see log\n5,6\n")
    pages = read(b"t,v\n1,2\n\nt,v\n3,4\n")

    assert [reject.reason for reject in comments.report.rejects] == ["a comment"] * 2
    assert [reject.reason for reject in pages.report.rejects] == ["the header again"]
    assert (len(comments.rows), len(pages.rows)) == (3, 2)


def test_reason_of_a_dialect_is_told(read: Read) -> None:
    reason = read(b"price;weight\n1,5;2,5\n3,25;4,75\n").report.dialect_reason

    assert "delimiter ';': 3 of 3 records have 2 cells" in reason
    assert "',' gives 3 cells in 2 of 3" in reason


@pytest.mark.parametrize(
    "text", ['"' * 65_536, ',"' * 32_768, '"\n' * 32_768, "a,b\n" + '1,"x\n' * 15_000, '\\"' * 32_768]
)
def test_no_text_of_quotes_takes_long(text: str) -> None:
    """Patterns that go back would take hours: the test suite itself would not end."""
    assert detect_dialect(text).reason


@pytest.mark.parametrize("repeats", [80, 20_000])
def test_damaged_quotes_on_every_line_take_time_in_proportion(repeats: int) -> None:
    """Each opens a cell to the end of the file: with tries from there on, the test would not end."""
    text = b'"id","name","amount","' + b'\r1","2","32.5","\r3","c","x","' * repeats

    split = split_exactly(text, Layout(Dialect(damaged=True), ("id", "name", "amount"), 1, 1))

    assert len(split.columns[0]) + len(split.ragged) == 2 * repeats + 1


NASTY = st.text(st.sampled_from('ab",;\n\r '), max_size=40)


@settings(max_examples=300, deadline=None)
@given(NASTY)
def test_the_exact_tokeniser_reads_well_formed_text_as_arrow_does(text: str) -> None:
    layout = Layout(Dialect(), ("a", "b"), 1, 1)
    if not well_formed(text, layout.dialect) or not text.strip("\r\n"):
        return

    exact, arrow = split_exactly(text.encode(), layout), tokenise(text.encode(), layout)

    assert [column.to_pylist() for column in exact.columns] == [column.to_pylist() for column in arrow.cells.columns]
    assert [record.number for record in exact.ragged] == [record.number for record in arrow.ragged]


SPACED = [Dialect(delimiter, blanks=blanks) for delimiter in ",\t" for blanks in ("after", "around")]
SEVERAL = st.lists(st.text(st.sampled_from('aab,,;|\t  "\\#\0'), max_size=8), max_size=8)


@settings(max_examples=1000, deadline=None)
@given(
    SEVERAL,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(
        [*SPACED, Dialect(" ", blanks="runs"), Dialect("||"), Dialect(",", escape="\\", escaped='",'), Dialect(",", "")]
    ),
)
def test_lines_split_together_are_what_they_are_one_by_one(lines: list[str], end: str, dialect: Dialect) -> None:
    text = end.join(lines)
    records = list(exact_records(lines_of(text), dialect, 2))

    split = split_exactly(text.encode(), Layout(dialect, ("a", "b"), 1, 1))

    rows = [record.cells for record in records if len(record.cells) == 2]
    assert list(zip(*(column.to_pylist() for column in split.columns), strict=True)) == nulls(rows)
    assert [record.number for record in split.ragged] == [
        number for number, record in enumerate(records, 1) if len(record.cells) != 2
    ]


@settings(max_examples=500, deadline=None)
@given(NASTY)
def test_quotes_are_told_alike_in_text_and_in_bytes(text: str) -> None:
    layout = Layout(Dialect(), ("a", "b"), 1, 1)

    assert checked(text.encode(), layout).dialect.damaged == (not well_formed(text, layout.dialect))
