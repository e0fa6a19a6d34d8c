# ruff: noqa: RUF001 - letters that look like others are the point
"""Tables in random dialects, encodings and compressions come back equal, as small files and as large ones."""

from __future__ import annotations

from datetime import date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.csv.reading import cooked, streamed
from tests.unit.csv.writing import PACKERS, Style

NAMES = (
    "id",
    "name",
    "city",
    "amount",
    "note",
    "country",
    "first name",
    "kind",
    "unit price",
    "remark",
    "größe",
    "Straße",
)
WORDS = (
    "Anna",
    "Bob",
    "red",
    "Main Street",
    "São Paulo",
    "naïve",
    "x",
    "O'Brien",
    "C:\\temp",
    "a-b",
    "R&D",
    "日本",
    "😀",
)
PIECES = (
    *WORDS, ",", ";", "\t", "|", ":", " ", "||", ", ", '"', '""', "'", "\\", '\\"', "\n", "\r\n", "\n\n", "#", "0",
    "1.5", "é", "\u00a0", "\u2028", "\ufeff", "=", "-",
)  # fmt: skip
"""What a cell is put together of: anything that means something to some dialect."""

DELIMITERS = (",", ";", "\t", "|")
LINE_ENDS = ("\n", "\r\n", "\r")
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


nasty = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
long = st.sampled_from(("y" * 2000, "long, " * 2000, 'say "so" ' * 2000, "line\n" * 200))
KINDS = st.sampled_from(("words", "nasty", "numbers", "empty"))
CELLS = {
    "words": st.sampled_from(WORDS),
    "nasty": st.one_of(nasty, nasty, nasty, st.text(max_size=10), long),
    "numbers": st.integers(0, 5000).map(str),
    "empty": st.just(""),
}


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """
    Header and rows.

    A first column of words or numbers, as real tables have: of nasty cells alone no human could tell the dialect.
    """
    kinds = [draw(st.sampled_from(("words", "numbers"))), *draw(st.lists(KINDS, min_size=1, max_size=5))]
    names = draw(st.permutations(NAMES))[: len(kinds)]
    rows = draw(st.lists(st.tuples(*(CELLS[kind] for kind in kinds)), min_size=3, max_size=10))
    return [list(names), *map(list, rows)]


@st.composite
def files(draw: st.DrawFn) -> tuple[list[list[str]], Style]:
    """
    A table and any way to write it that leaves enough evidence in the file.

    Apostrophes are quotes if they enclose most text: a few may as well be part of it. Backslashes escape if they do so
    before a quote: two of them may as well be the beginning of a path.
    """
    table = draw(tables())
    quote = draw(st.sampled_from(('"', '"', '"', "'")))
    escaping = any(quote in cell for row in table for cell in row)
    return table, Style(
        delimiter=draw(st.sampled_from(DELIMITERS)),
        quote=quote,
        quoting=draw(st.sampled_from(("all", "text") if quote == "'" else ("needed", "all", "text"))),
        escape=draw(st.sampled_from(("double", "backslash") if escaping else ("double",))),
        line_end=draw(st.sampled_from(LINE_ENDS)),
        last_end=draw(st.integers(0, 2)),
        declared=draw(st.sampled_from((False, False, False, True))),
        trailing=draw(st.sampled_from((False, False, False, True))),
        preamble=draw(st.sampled_from(((), (), (), ("Report of the year", "")))),
    )


@settings(max_examples=150, deadline=None)
@given(
    file=files(),
    encoding=st.sampled_from(UNICODE),
    packer=st.sampled_from(sorted(PACKERS)),
    block=st.sampled_from((None, 7, 100)),
)
def test_a_table_comes_back_whatever_the_dialect_encoding_and_compression(
    file: tuple[list[list[str]], Style], encoding: str, packer: str, block: int | None
) -> None:
    table, style = file
    data = PACKERS[packer](style.text(table).encode(encoding))
    expected = [tuple(cell or None for cell in row) for row in table[1:]]

    for reading in (cooked(data, types="varchar"), streamed(data, types="varchar", block=block)):
        assert reading.rows == expected, reading.report
        assert reading.report.rejected == 0
        assert reading.report.records == len(expected)


CODE_PAGES = {
    "cp1252": ("Müller", "Café", "Señor Núñez", "Größe", "São Paulo", "Århus", "naïve"),
    "mac_roman": ("Müller", "Café", "Größe", "Hélène", "François"),
    "cp1250": ("Łódź", "Świętosława", "Dvořák", "Plzeň", "České Budějovice"),
    "iso8859_2": ("Łódź", "Świętosława", "Wąchock", "Poznań"),
    "cp1251": ("Москва", "Пётр", "Санкт-Петербург", "Ольга"),
    "koi8_r": ("Москва", "Пётр", "Санкт-Петербург", "Ольга"),
    "cp1253": ("Αθήνα", "Γιώργος", "Θεσσαλονίκη"),
    "cp1254": ("İstanbul", "Yılmaz", "Eskişehir", "Doğan"),
    "cp932": ("東京", "名古屋です", "さくら商店", "テスト株式会社"),
    "gb18030": ("北京", "上海市中心", "有限公司", "我们的产品"),
}
"""Words from which a reader of the language can tell the encoding."""


@settings(max_examples=40, deadline=None)
@given(
    page=st.sampled_from(sorted(CODE_PAGES)),
    style=st.builds(
        Style,
        delimiter=st.sampled_from(DELIMITERS),
        quoting=st.sampled_from(("needed", "all", "text")),
        line_end=st.sampled_from(LINE_ENDS),
        last_end=st.integers(0, 2),
    ),
    packer=st.sampled_from(sorted(PACKERS)),
    data=st.data(),
)
def test_a_table_in_a_code_page_comes_back(page: str, style: Style, packer: str, data: st.DataObject) -> None:
    words = st.sampled_from(CODE_PAGES[page])
    cell = st.one_of(words, words.map(lambda word: f'{word}, "{word}";\n'), st.just(""), st.integers(0, 99).map(str))
    # Every word once, beside others: fewer tell nobody the encoding.
    rows = [(word, *data.draw(st.tuples(cell, cell))) for word in CODE_PAGES[page]]
    content = PACKERS[packer](style.text([["name", "note", "kind"], *map(list, rows)]).encode(page))
    expected = [tuple(cell or None for cell in row) for row in rows]

    for reading in (cooked(content, types="varchar"), streamed(content, types="varchar", block=50)):
        assert reading.rows == expected, reading.report


VALUES: dict[str, st.SearchStrategy[object]] = {
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(2**31, 2**63 - 1),
    "DOUBLE": st.floats(allow_nan=False, allow_infinity=False),
    "BOOLEAN": st.booleans(),
    "DATE": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "TIMESTAMP": st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001 - the type has no zone
    "VARCHAR": st.sampled_from(WORDS),
}


@st.composite
def typed_columns(draw: st.DrawFn) -> tuple[list[str], list[tuple[object, ...]]]:
    """
    Types of columns, and rows of values of them, some missing.

    Each column has a value in the first row, and truths both: a column of one word is a word, not a truth.
    """
    types = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=2, max_size=6))
    first = tuple(draw(VALUES[to]) for to in types)
    second = tuple(not value if isinstance(value, bool) else value for value in first)
    rest = draw(st.lists(st.tuples(*(VALUES[to] | st.none() for to in types)), min_size=2, max_size=10))
    return types, [first, second, *rest]


@settings(max_examples=150, deadline=None)
@given(
    table=typed_columns(),
    style=st.builds(
        Style,
        delimiter=st.sampled_from(DELIMITERS),
        quoting=st.sampled_from(("needed", "all", "text")),
        line_end=st.sampled_from(LINE_ENDS),
        trailing=st.booleans(),
        declared=st.booleans(),
    ),
    encoding=st.sampled_from(UNICODE),
    packer=st.sampled_from(sorted(PACKERS)),
    decimal_comma=st.booleans(),
)
def test_typed_values_come_back_as_they_were(
    table: tuple[list[str], list[tuple[object, ...]]], style: Style, encoding: str, packer: str, *, decimal_comma: bool
) -> None:
    types, rows = table
    commas = decimal_comma and style.delimiter == ";"
    text = [[_written(value, commas=commas) for value in row] for row in rows]
    data = PACKERS[packer](style.text([list(NAMES[: len(types)]), *text]).encode(encoding))

    for reading in (cooked(data), streamed(data)):
        assert reading.rows == rows
        assert list(reading.types.values()) == types
        assert reading.report.rescued == 0


def _written(value: object, *, commas: bool) -> str:
    if isinstance(value, float) and commas:
        return str(value).replace(".", ",")
    return "" if value is None else str(value)
