# ruff: noqa: RUF001 - letters that look like others are the point
"""Tables in random dialects, encodings and compressions come back equal, as small files and as large ones."""

from __future__ import annotations

from datetime import date, datetime
from functools import partial

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv.encoding import recognise
from handlers.csv_to_iceberg.csv.errors import EncodingUnknown
from handlers.csv_to_iceberg.csv.names import column_names
from tests.unit.csv.reading import cooked, streamed
from tests.unit.csv.scripts import HALF_WIDTH, MEASURES, SCRIPTS, Script
from tests.unit.csv.styles import LINE_ENDS, NAMES, USUAL, WORDS, File, files, headed_files
from tests.unit.csv.writing import PACKERS, Style, encoded

UNICODE = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-le marked", "utf-16-be marked", "utf-32",
)  # fmt: skip


def check(file: File, data: bytes, block: int | None) -> None:
    expected = [tuple(cell or None for cell in row) for row in file.rows]
    columns = column_names(file.names)
    for reading in (cooked(data, types="varchar"), streamed(data, types="varchar", block=block)):
        assert reading.rows == expected, reading.report
        assert reading.table.column_names[: len(columns)] == columns
        assert reading.report.delimiter == file.style.mark
        assert [reject.reason for reject in reading.report.rejects] == ["a comment"] * len(file.style.comments)


@settings(max_examples=200, deadline=None)
@given(
    file=files(),
    encoding=st.sampled_from(UNICODE),
    packer=st.sampled_from(sorted(PACKERS)),
    block=st.sampled_from((None, 7, 100)),
)
def test_a_table_comes_back_whatever_the_dialect_encoding_and_compression(
    file: File, encoding: str, packer: str, block: int | None
) -> None:
    check(file, PACKERS[packer](encoded(file.text, encoding)), block)


@settings(max_examples=50, deadline=None)
@given(
    file=headed_files(),
    encoding=st.sampled_from(UNICODE),
    packer=st.sampled_from(sorted(PACKERS)),
    block=st.sampled_from((None, 7, 100)),
)
def test_a_header_of_two_lines_comes_back_as_one_name_each(
    file: File, encoding: str, packer: str, block: int | None
) -> None:
    check(file, PACKERS[packer](encoded(file.text, encoding)), block)


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
    "big5": ("台北市", "高雄市中心", "有限公司", "我們的產品"),
    "euc_jp": ("東京", "名古屋です", "さくら商店", "テスト株式会社"),
    "cp949": ("서울특별시", "부산광역시", "이영희", "김철수"),
    "iso8859_1": ("Müller", "Café", "Señor Núñez", "Größe", "São Paulo", "Århus", "naïve"),
    "iso8859_15": ("Müller", "Bœuf", "Cœur", "Größe", "12 €", "Hélène", "naïve"),
    "iso8859_5": ("Москва", "Пётр", "Санкт-Петербург", "Ольга"),
    "iso8859_6": ("محمد", "القاهرة", "فاطمة", "الرياض"),
    "iso8859_7": ("Αθήνα", "Γιώργος", "Θεσσαλονίκη"),
    "iso8859_8": ("דוד", "ירושלים", "שרה", "תל אביב"),
    "iso8859_9": ("İstanbul", "Yılmaz", "Eskişehir", "Doğan"),
    "iso8859_13": ("Žydrūnas", "Šiauliai", "Panevėžys", "Klaipėda"),
    "cp1257": ("Žydrūnas", "Šiauliai", "Panevėžys", "Klaipėda"),
    "cp1255": ("דוד", "ירושלים", "שרה", "תל אביב"),
    "cp1256": ("محمد", "القاهرة", "فاطمة", "الرياض"),
    "cp874": ("สมชาย", "กรุงเทพมหานคร", "เชียงใหม่", "ประเทศไทย"),
    "cp850": ("Müller", "Düsseldorf", "Schröder", "Größe", "Jäger"),
    "cp852": ("Łódź", "Świętosława", "Dvořák", "Plzeň", "České Budějovice"),
    "cp866": ("Москва", "Пётр", "Санкт-Петербург", "Ольга"),
    "mac_cyrillic": ("Москва", "Пётр", "Санкт-Петербург", "Ольга"),
}
"""Words from which a reader of the language can tell the encoding."""
ENOUGH = 12
"""Different words from which it is always told."""


def words_of(page: str) -> list[str]:
    """Return words that a code page has, of all languages that are written in it, with signs and units for Western."""
    found = [word for script in SCRIPTS.values() if page in script.encodings for word in script.words]
    signs = MEASURES if page in {"cp1252", "iso8859_1"} else HALF_WIDTH.words if page == "cp932" else ()
    return sorted({word for word in (*CODE_PAGES[page], *found, *signs) if not word.isascii() and fits(word, page)})


def fits(word: str, page: str) -> bool:
    """Tell whether a page has all letters of a word."""
    return word.encode(page, "ignore").decode(page) == word


@settings(max_examples=50, deadline=None)
@given(
    page=st.sampled_from(sorted(CODE_PAGES)),
    style=st.builds(
        Style,
        delimiter=st.sampled_from((*USUAL, ", ", " | ", "||")),
        quoting=st.sampled_from(("needed", "all", "text")),
        escape=st.sampled_from(("double", "backslash")),
        line_end=st.sampled_from(LINE_ENDS),
        last_end=st.integers(0, 2),
        trailing=st.booleans(),
        preamble=st.sampled_from(((), (), ("# exported",), ("Report of the year", ""))),
    ),
    packer=st.sampled_from(sorted(PACKERS)),
    data=st.data(),
)
def test_a_table_in_a_code_page_comes_back(page: str, style: Style, packer: str, data: st.DataObject) -> None:
    telling = data.draw(st.lists(st.sampled_from(words_of(page)), min_size=1, max_size=40, unique=True))
    number = st.one_of(st.just(""), st.just(""), st.integers(0, 99).map(str))
    words = st.builds("{}{}".format, st.sampled_from(telling), number)
    plain = st.sampled_from(("Anna", "Main Street", "yes", "n/a", "2024-01-05", "12.5"))
    cell = st.one_of(words, words.map(lambda word: f'{word}, "{word}";\n'), plain, st.just(""), number)
    rows = [(word + data.draw(number), *data.draw(st.tuples(cell, cell))) for word in telling]
    # What backslashes escape is told by a quote.
    assume(style.escape == "double" or any('"' in text for row in rows for text in row))
    content = PACKERS[packer](style.text([["name", "note", "kind"], *map(list, rows)]).encode(page))
    expected = [tuple(cell or None for cell in row) for row in rows]

    for read in (cooked, partial(streamed, block=50)):
        try:
            reading = read(content, types="varchar")
        except EncodingUnknown:
            assert len(telling) < ENOUGH
            continue
        assert reading.rows == expected or any("encoding" in warning for warning in reading.report.warnings)


SAMPLE = 65_536


@settings(max_examples=200, deadline=None)
@given(
    script=st.sampled_from([*SCRIPTS.values(), HALF_WIDTH]),
    size=st.sampled_from((6, 12, 100)),
    data=st.data(),
)
def test_text_of_any_script_is_read_right_or_not_at_all(script: Script, size: int, data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(script.encodings))
    telling = [word for word in script.words if not word.isascii()]
    words = data.draw(st.permutations(telling))[:size]
    number = st.one_of(st.just(""), st.integers(0, 9999).map(str))
    more = st.builds("{} {}{}".format, st.sampled_from(script.words), st.sampled_from(words), number)
    rows = [(word + data.draw(number), data.draw(more), data.draw(number)) for word in words]
    text = "id,name,n\n" + "".join(f"{','.join(row)}\n" for row in rows * data.draw(st.sampled_from((1, 1, 300))))

    content = text.encode(encoding)
    sample = content[:SAMPLE]
    try:
        told = recognise(sample, complete=sample == content).name
    except EncodingUnknown:
        told = None
    assert told is not None or len(words) < len(telling)
    assert told is None or content.decode(told) == text


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
        delimiter=st.sampled_from(USUAL),
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
    data = PACKERS[packer](encoded(style.text([list(NAMES[: len(types)]), *text]), encoding))

    for reading in (cooked(data), streamed(data)):
        assert reading.rows == rows
        assert list(reading.types.values()) == types
        assert reading.report.rescued == 0


def _written(value: object, *, commas: bool) -> str:
    if isinstance(value, float) and commas:
        return str(value).replace(".", ",")
    return "" if value is None else str(value)
