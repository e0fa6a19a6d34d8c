"""What is rewritten for Arrow comes out as if the exact reader had split it, record by record."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv import exact
from handlers.csv_to_iceberg.csv.exact import split_exactly
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.simple import split_simply

MARKS = "ab1 \"',;|¦\\\n\r\t\x1d\x1e\x1f#é"
cells = st.text(st.sampled_from(MARKS), max_size=8) | st.sampled_from(("x", "a, b", "long " * 9, "é" * 5))


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    delimiter = draw(st.sampled_from((",", ";", "|", "||", "¦", "\x1f")))
    quote = draw(st.sampled_from(('"', '"', "'", "")))
    escape = draw(st.sampled_from(("", "\\")))
    # Which quotes mean nothing is told after what is escaped.
    own = (quote or '"') + (delimiter if len(delimiter) == 1 else "")
    return Dialect(
        delimiter,
        quote,
        escape,
        draw(st.sampled_from((own, own + "\\", own[0] + "\\"))) if escape else "",
        draw(st.sampled_from(("", "after", "around"))),
        draw(st.sampled_from(("", "", "#"))),
        damaged=True,
    )


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, Layout]:
    """Records of a dialect, some of them damaged: most are written as they should be."""
    dialect = draw(dialects())
    width = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=8))
    blanks = st.sampled_from(("", "", " ", "  ")) if dialect.blanks else st.just("")
    end = draw(st.sampled_from(("\n", "\r\n", "\r")))
    lines = []
    for row in rows:
        written = [
            draw(blanks)
            + _written(cell, dialect, draw(st.integers(0, 9)))
            + (draw(blanks) if dialect.blanks == "around" else "")
            for cell in row
        ]
        lines.append(dialect.delimiter.join(written) + end)
    names = tuple(f"c{i}" for i in range(width))
    return "".join(lines) + draw(st.sampled_from(("", "x", 'a"b'))), Layout(dialect, names, 1, 1)


def _written(cell: str, dialect: Dialect, chance: int) -> str:
    quote = dialect.quote
    if chance == 0 or not quote:
        return cell
    plain = not any(mark in cell for mark in (quote, dialect.delimiter, "\n", "\r", "\\")) and cell.strip() == cell
    if plain and chance % 2:
        return cell
    for mark in dialect.escaped if chance > 3 else "":
        if mark == "\\":
            cell = cell.replace("\\", "\\\\")
    doubled = "\\" + quote if quote in dialect.escaped and chance > 3 else quote * 2
    return quote + cell.replace(quote, doubled) + quote


@settings(max_examples=400, deadline=None)
@given(text=texts(), together=st.sampled_from((1, 30, 1000)))
def test_rewritten_lines_come_out_as_the_exact_reader_splits_them(text: tuple[str, Layout], together: int) -> None:
    content, layout = text[0].encode(), text[1]
    with patch.object(exact, "split_simply", lambda *_: None):
        expected = split_exactly(content, layout)

    with patch.object(exact, "_TOGETHER", together):
        found = split_exactly(content, layout)

    assert [column.to_pylist() for column in found.columns] == [column.to_pylist() for column in expected.columns]
    assert found.ragged == expected.ragged
    assert found.repaired == expected.repaired


def test_quotes_escapes_and_blanks_without_damage_are_rewritten() -> None:
    for dialect, lines in (
        (Dialect(",", blanks="after"), ['"a", "b, c"\n', '"d ""e""",  "f\n', ' g"\n']),
        (Dialect(",", '"', "\\", '",\\'), ['"say \\"x\\"",1\n', '"C:\\\\",2\n']),
        (Dialect("||"), ['"a||b"||"c"\n', "d||e\n"]),
        (Dialect("|", blanks="around"), ['"a " | b \n', "  c   |d\n"]),
    ):
        assert split_simply(lines, Layout(dialect, ("a", "b"), 1, 1)) is not None


def test_a_blank_behind_a_mark_that_ends_no_delimiter_is_kept() -> None:
    layout = Layout(Dialect("||", blanks="after"), ("a", "b"), 1, 1)

    found = split_simply(["||\n", "||| \n", "a|| b|\n"], layout)

    assert found is not None
    assert [column.to_pylist() for column in found.columns] == [[None, None, "a"], [None, "| ", "b|"]]


def test_a_record_that_goes_on_behind_the_lines_is_left_for_later() -> None:
    found = split_simply(
        ["a, b\n", '"c, \n', 'd", e\n', 'f, "g\n'], Layout(Dialect(",", blanks="after"), ("a", "b"), 1, 1)
    )

    assert found is not None
    assert found.lines == 3
    assert [column.to_pylist() for column in found.columns] == [["a", "c, \nd"], ["b", "e"]]


def test_a_backslash_before_a_blank_before_a_delimiter_escapes_nothing() -> None:
    dialect = Dialect(",", escape="\\", escaped='",', blanks="around")

    found = split_exactly(b",\\ ,\n" + b",,\n" * 9, Layout(dialect, ("a", "b", "c"), 1, 1))

    assert [column.to_pylist()[0] for column in found.columns] == [None, "\\", None]
