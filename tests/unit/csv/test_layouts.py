"""Dialects, headers, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.errors import EmptyFile, HeaderMismatch, HeaderMissing, RecordTooLarge, TooManyColumns
from tests.unit.csv.reading import Reading, streamed

Read = Callable[..., Reading]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(read: Read, delimiter: str, line_end: str) -> None:
    lines = ["id,name,amount", "1,Ann,2.5", "2,Bob,3.5", "3,,4"]

    reading = read("".join(line.replace(",", delimiter) + line_end for line in lines).encode())

    assert reading.rows == [(1, "Ann", 2.5), (2, "Bob", 3.5), (3, None, 4.0)]
    assert reading.report.delimiter == delimiter


def test_mixed_line_ends(read: Read) -> None:
    assert read(b"a,b\r\n1,2\n3,4\r5,6").rows == [(1, 2), (3, 4), (5, 6)]


def test_decimal_commas_do_not_make_the_comma_the_delimiter(read: Read) -> None:
    reading = read(b"price;weight\n1,5;2,5\n3,25;4,75\n")

    assert reading.rows == [(1.5, 2.5), (3.25, 4.75)]


def test_commas_in_sentences_of_a_semicolon_file(read: Read) -> None:
    reading = read(b"id;text\n1;Well, yes, no\n2;a, b\n3;plain\n")

    assert reading.rows == [(1, "Well, yes, no"), (2, "a, b"), (3, "plain")]


def test_one_column_of_sentences_is_one_column(read: Read) -> None:
    reading = read(b"comment\nhello\nwell, yes\none, two, three\nbye\nthe end\n")

    assert [row[0] for row in reading.rows] == ["hello", "well, yes", "one, two, three", "bye", "the end"]


def test_quoted_line_breaks_and_doubled_quotes(read: Read) -> None:
    assert read(b'a,b\n1,"x\ny"\n2,"say ""hi"", now"\n3,5" pipe\n').rows == [
        (1, "x\ny"),
        (2, 'say "hi", now'),
        (3, '5" pipe'),
    ]


def test_backslash_escapes_need_evidence(read: Read) -> None:
    escaped, path = read(b'a,b\n"say \\"hi\\", now",1\nx,2\n'), read(b'a,b\nC:\\new\\,1\n"C:\\",2\n')

    assert escaped.rows[0] == ('say "hi", now', 1)
    assert [row[0] for row in path.rows] == ["C:\\new\\", "C:\\"]


def test_apostrophes_in_names_are_no_quotes(read: Read) -> None:
    reading = read(b"name,n\nO'Brien,1\n's-Hertogenbosch,2\nD'Arcy,3\n")

    assert [row[0] for row in reading.rows] == ["O'Brien", "'s-Hertogenbosch", "D'Arcy"]


def test_apostrophes_around_cells_are_quotes(read: Read) -> None:
    assert read(b"name,n\n'O''Brien',1\n'a, b',2\n").rows == [("O'Brien", 1), ("a, b", 2)]


def test_separator_line_of_excel_is_obeyed_and_skipped(read: Read) -> None:
    reading = read(b"sep=;\r\na;b\r\n1;2\r\n1;2;3\r\n")

    assert reading.rows == [(1, 2)]
    assert reading.report.header_line == 2
    assert reading.report.rejects[0].line == 4


def test_preamble_and_comments_before_the_header_are_skipped(read: Read) -> None:
    reading = read(b"# made by hand\nQuarterly report\n\nid,name,amount\n1,Ann,2\n2,Bob,3\n")

    assert reading.table.column_names[:3] == ["id", "name", "amount"]
    assert reading.report.records == 2
    assert reading.report.header_line == 4


@pytest.mark.parametrize(
    "titles",
    [
        "Quarterly report;;\n",
        "Quarterly report;;\nBerlin office;;\n;;\n",
        "Quarterly report\nBerlin office;;\n\n",
        "sep=;\n;;\nQuarterly report; ;\n",
    ],
)
def test_titles_padded_to_the_width_of_the_table_are_skipped(read: Read, titles: str) -> None:
    reading = read(f"{titles}id;name;city\n1;Ann;Rome\n2;;\n".encode())

    assert reading.table.column_names[:3] == ["id", "name", "city"]
    assert reading.rows == [(1, "Ann", "Rome"), (2, None, None)]
    assert reading.report.header_line == titles.count("\n") + 1


def test_padded_title_above_two_columns_is_skipped_when_values_stand_below_names(read: Read) -> None:
    assert read(b"Report;\nid;name\n1;Ann\n2;Bob\n").rows == [(1, "Ann"), (2, "Bob")]


@pytest.mark.parametrize("data", [b"name;\nAnn;x\nBob;y\n", b"name;\n" + b"Ann;\n" * 20 + b"Bob;x\nCid;5\n"])
def test_name_beside_an_unnamed_column_is_no_title(read: Read, data: bytes) -> None:
    reading = read(data)

    assert reading.table.column_names[0] == "name"
    assert reading.report.records == data.count(b"\n") - 1


@pytest.mark.parametrize("data", [b"7;;\nid;name;city\n1;Ann;Rome\n", b"a;;\n" * 20 + b"id;name;city\n1;Ann;Rome\n"])
def test_rows_that_are_nearly_empty_are_no_titles(read: Read, data: bytes) -> None:
    with pytest.raises(HeaderMissing):
        read(data)


def test_header_that_begins_with_a_hash_is_a_header(read: Read) -> None:
    assert read(b"#id,name\n1,Ann\n").table.column_names[:2] == ["id", "name"]


@pytest.mark.parametrize(
    "data",
    [b"a,b,\n1,2,\n3,4,\n", b"a,b\n1,2,\n3,4,\n", b"a,b\nx,y,\nz,w,\n", b"a,b,\n1,2\n3,4\n"],
)
def test_trailing_delimiters_make_no_column(read: Read, data: bytes) -> None:
    reading = read(data)

    assert [column.name for column in reading.report.columns] == ["a", "b"]
    assert reading.report.rejected == 0
    assert len(reading.rows) == data.count(b"\n") - 1


def test_value_behind_a_trailing_delimiter_is_rescued_when_it_comes_late(read: Read) -> None:
    reading = read(b"a,b,\n" + b"1,2,\n" * 2000 + b"3,4,late\n")

    assert reading.report.rejected == 0
    assert reading.rows[-1] == (3, 4)
    assert reading.rescued[-1] == '{"column_3": "late"}'


def test_duplicated_and_empty_headers(read: Read) -> None:
    assert read(b"a,A,,a\n1,2,3,4\n").table.column_names[:4] == ["a", "a_2", "column_3", "a_3"]


def test_years_are_names_of_columns(read: Read) -> None:
    assert read(b"country,2021,2022\nDE,1,2\n").table.column_names[:3] == ["country", "col_2021", "col_2022"]


@pytest.mark.parametrize("data", [b"1,Ann\n2,Bob\n", b"2024-01-15,x\n2024-01-16,y\n", b"123", b"true,x\nfalse,y\n"])
def test_files_without_header_fail_unless_names_are_generated(read: Read, data: bytes) -> None:
    with pytest.raises(HeaderMissing, match='header = "generate"'):
        read(data)

    reading = read(data, header="generate")
    assert reading.table.column_names[0] == "column_1"
    assert reading.report.header_line == 0
    assert len(reading.rows) == reading.report.records == len(data.splitlines())


def test_generated_names_are_for_files_without_header_only(read: Read) -> None:
    assert read(b"id,name\n1,Ann\n", header="generate").table.column_names[:2] == ["id", "name"]


@pytest.mark.parametrize("data", [b"", b"\n\r\n\n", b"\xef\xbb\xbf", b",,\n,,\n", b"   \n"])
def test_files_without_any_record_are_empty(read: Read, data: bytes) -> None:
    with pytest.raises(EmptyFile):
        read(data)


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n\r\n", b"a,b,\n"])
def test_header_only_has_no_rows(read: Read, data: bytes) -> None:
    reading = read(data)

    assert reading.rows == []
    assert reading.report.records == 0


def test_header_only_file_pins_nothing() -> None:
    from tests.unit.csv.reading import cooked  # noqa: PLC0415

    assert cooked(b"a,b\n").pins == {}


def test_one_column_and_one_row(read: Read) -> None:
    assert read(b"id\n1\n\n2\n").rows == [(1,), (2,)]
    assert read(b"a,b\n1,x").rows == [(1, "x")]


def test_too_many_columns_fail_by_the_name_of_the_setting(read: Read) -> None:
    line = b",".join(b"c%d" % number for number in range(300_000))

    with pytest.raises(TooManyColumns, match=r"300,000 columns, max_columns is 10,000"):
        read(line + b"\n")


def test_rows_of_another_width_are_rejected_with_number_line_and_text(read: Read) -> None:
    reading = read(b'a,b\n1,"x\ny"\n\n3,4,5\n6\n7,8\n' + b"z" * 5000)

    assert reading.rows == [(1, "x\ny"), (7, "8")]
    assert reading.report.records == 5
    assert [(reject.record, reject.text[:5], reject.reason) for reject in reading.report.rejects] == [
        (2, "3,4,5", "3 cells, the file has 2 columns"),
        (3, "6", "1 cell, the file has 2 columns"),
        (5, "zzzzz", "1 cell, the file has 2 columns"),
    ]
    assert len(reading.report.rejects[2].text) == 1000
    assert [reject.line for reject in reading.report.rejects] in ([5, 6, 8], [None] * 3)


def test_only_the_first_rejects_are_kept_but_all_are_counted(read: Read) -> None:
    reading = read(b"a,b\n" + b"1,2\n" * 500 + b"1\n" * 300)

    assert reading.report.rejected == 300
    assert [reject.line for reject in reading.report.rejects] == [*range(502, 522)]


def test_rows_that_do_not_follow_the_header_are_rejected(read: Read) -> None:
    reading = read(b"id,name,amount\nGenerated by x\nTotal none\n")

    assert [(reject.line, reject.reason) for reject in reading.report.rejects] == [
        (2, "1 cell, the file has 3 columns"),
        (3, "1 cell, the file has 3 columns"),
    ]


def test_nul_characters_are_kept(read: Read) -> None:
    assert read(b"a,b\n1,x\0y\n2,z\n3,some more text\n").rows[0] == (1, "x\0y")


def test_first_cell_that_begins_like_a_byte_order_mark_is_kept(read: Read) -> None:
    reading = read("a,b\n\ufeffx,1\n3\n".encode())

    assert reading.rows == [("\ufeffx", 1)]
    assert reading.report.rejects[0].line == 3


def test_quote_that_is_never_closed_swallows_nothing(read: Read) -> None:
    reading = read(b'a,b\n1,"open\n2,x\n3,y\n')

    assert reading.rows == [(1, '"open'), (2, "x"), (3, "y")]
    assert "do not enclose whole cells" in reading.report.warnings[0]
    assert reading.report.quote == ""


def test_duplicate_records_are_all_kept(read: Read) -> None:
    assert read(b"a,b\n1,2\n1,2\n1,2\n").rows == [(1, 2)] * 3


def test_apostrophes_enclose_cells_that_escape_them_too(read: Read) -> None:
    reading = read(b"'note','id'\n'O\\'Brien','1'\n'O\\'Neil','2'\n")

    assert reading.rows == [("O'Brien", 1), ("O'Neil", 2)]


def test_apostrophes_that_close_a_cell_behind_a_delimiter_open_none(read: Read) -> None:
    reading = read(b"'id','note'\n'Anna',''\n'Bob',''\n'Cy','x, y, '\n")

    assert reading.rows == [("Anna", None), ("Bob", None), ("Cy", "x, y, ")]


@pytest.mark.parametrize("rows", ["1,2\n3,4\n5,6\n", "1,2\n" * 5_000])
def test_a_header_with_more_cells_than_any_record_fails_the_file(read: Read, rows: str) -> None:
    with pytest.raises(HeaderMismatch, match=r"line 2 has 3 cells.* the longest has 2"):
        read(("sep=,\na,b,c\n" + rows).encode())


def test_some_records_shorter_than_the_header_are_rejected(read: Read) -> None:
    reading = read(b"a,b,c\n1,2\n3,4\n5,6,7\n")

    assert reading.rows == [(5, 6, 7)]
    assert reading.report.rejected == 2


@pytest.mark.parametrize(
    "text",
    [
        "x,nan\n1,2\n2,3\n",
        "gene,true,false\na,1,2\nb,2,3\n",
        "zip,big,sci,nan,neg,und\n12,1,1e5,NaN,-0,a_b\n13,2,1e6,3,-0,\n",
    ],
)
def test_words_that_are_values_elsewhere_may_name_columns(read: Read, text: str) -> None:
    reading = read(text.encode())

    assert reading.table.column_names[:-1] == text.split("\n", maxsplit=1)[0].split(",")
    assert len(reading.rows) == 2


@pytest.mark.parametrize(
    "text",
    [
        "ann,true\nbob,false\ncid,true\n",
        "ann,nan\nbob,3\ncid,4\n",
        "ann,true,x\nbob,yes,3\ncid,no,4\n",
        "ann,nan,1\nbob,3,2\ncid,4,3\n",
        "ann,true\nbob,1\n",
    ],
)
def test_first_rows_with_such_words_are_no_header(read: Read, text: str) -> None:
    with pytest.raises(HeaderMissing):
        read(text.encode())


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_any_number_of_blank_lines_may_stand_above_a_table(read: Read, line_end: str) -> None:
    reading = read((line_end * 2_000_000 + line_end.join(["sep=;", "a;b", "1;2", "3"])).encode())

    assert reading.rows == [(1, 2)]
    assert reading.report.header_line == 2_000_002
    assert reading.report.rejects[0].line == 2_000_004


def test_more_blank_lines_than_a_record_may_be_long_are_not_kept_in_memory() -> None:
    with pytest.raises(RecordTooLarge, match="blank lines"):
        streamed(b"\n" * 5_000_000 + b"a,b\n1,2\n", max_record_bytes=1 << 20)


def test_the_line_of_a_missing_header_counts_blank_lines(read: Read) -> None:
    with pytest.raises(HeaderMissing, match="Line 3 looks like data"):
        read(b"\n\n1,2\n3,4\n")
