"""Whatever the cells hold: Python's csv module is the judge of what a file says."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import accumulate, pairwise

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv.casts import Caster, Notation
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.encoding import Encoding, transcoded
from handlers.csv_to_iceberg.csv.joining import join
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Cooked, SmallFile, Source
from tests.unit.csv.reading import cooked, streamed

DELIMITERS = st.sampled_from(",;\t|")
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
NASTY = st.text(st.sampled_from("ab \"',;\t|\\\n\r\0#é€😀\ufeff=-+0123456789.eNA"), max_size=8)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CELLS = st.one_of(NASTY, ANY_TEXT)


def written(rows: Sequence[Sequence[str]], delimiter: str, line_end: str, quoting: int) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue().encode()


def nulls_for_empty(rows: Sequence[Sequence[str]]) -> list[tuple[str | None, ...]]:
    return [tuple(cell or None for cell in row) for row in rows]


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[str]) -> list[list[str]]:
    width = draw(st.integers(1, 4))
    # A record of one empty cell is a blank line, which is no record.
    fill = st.lists(cells, min_size=width, max_size=width).filter(lambda row: row != [""])
    return draw(st.lists(fill, max_size=8))


@settings(max_examples=300, deadline=None)
@given(tables(CELLS), DELIMITERS, LINE_ENDS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_every_cell_of_a_well_formed_file_is_delivered(
    rows: list[list[str]], delimiter: str, line_end: str, quoting: int
) -> None:
    width = len(rows[0]) if rows else 1
    layout = Layout(Dialect(delimiter), tuple(f"c{i}" for i in range(width)), 1, 1)

    text = written(rows, delimiter, line_end, quoting)
    # Python 3.11 does not quote a lone carriage return.
    assume(list(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)) == rows)

    joined = join([text], layout)

    assert joined is not None
    assert list(zip(*(column.to_pylist() for column in joined.cells), strict=True)) == nulls_for_empty(rows)
    assert joined.ragged == [[]]


WORDS = st.text(st.characters(categories=["L", "N", "Zs"], include_characters='"\n,;.-'), max_size=10)


@pytest.mark.parametrize("read", [cooked, streamed])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_of_words_comes_back_as_it_is(read: object, data: st.DataObject) -> None:
    assert callable(read)
    rows = data.draw(tables(WORDS))
    width = len(rows[0]) if rows else 1
    names = [f"name {i}" for i in range(width)]
    delimiter, line_end = data.draw(DELIMITERS), data.draw(LINE_ENDS)
    content = f"sep={delimiter}{line_end}".encode() + written([names, *rows], delimiter, line_end, csv.QUOTE_ALL)

    reading = read(content, types="varchar")

    # A last column without any name or value would be taken for trailing delimiters, but it has a name.
    assert reading.rows == nulls_for_empty(rows)


GARBAGE = st.text(st.sampled_from('ab1,,,\n\n\r"" \\\'x'), max_size=60).map(str.encode)
HEAD = b"id,name,amount\n"
FIRST = HEAD + b"1,a,1.5\n2,b,2.5\n"


def outcome(result: Cooked, key: str) -> object:
    if key in result.failures:
        return type(result.failures[key]), result.failures[key].message
    part = next(part for part in result.parts if part.source.key == key)
    report = part.report
    assert report.records == report.rows + report.rejected
    return part.table.to_pylist(), report.rejected, report.rejects, report.rescued, report.warnings, report.quote


@settings(max_examples=40, deadline=None)
@given(st.lists(GARBAGE, max_size=6))
def test_a_batch_gives_what_its_files_give_one_by_one(bodies: list[bytes]) -> None:
    files = [SmallFile(Source(f"t/{i}.csv", "e"), HEAD + body) for i, body in enumerate(bodies)]
    memory = Memory()
    pins = cook([SmallFile(Source("t/first.csv", "e"), FIRST)], {}, memory, Options()).pins
    assert pins["amount"] is ColumnType.DOUBLE

    together = cook(files, pins, memory, Options())
    alone = [cook([file], pins, Memory(), Options()) for file in files]

    assert len(together.parts) + len(together.failures) == len(files)
    for file, single in zip(files, alone, strict=True):
        if single.pins == pins:
            assert outcome(together, file.source.key) == outcome(single, file.source.key)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab1,\n\r x'"), max_size=80))
def test_every_record_is_a_row_or_rejected(body: str) -> None:
    records = [record for record in csv.reader(io.StringIO(body, newline="")) if record]
    layout = Layout(Dialect(), ("a", "b"), 1, 1)

    joined = join([body.encode()], layout)

    assert joined is not None
    assert joined.spans[0].rows == sum(len(record) == 2 for record in records)
    assert [ragged.number for ragged in joined.ragged[0]] == [
        number for number, record in enumerate(records, 1) if len(record) != 2
    ]


WORDS_OF_ALL_TYPES = """
0 -0 00 007 0x1A -5 +5 1.5 2147483647 2147483648 9223372036854775807 9223372036854775808 99999999999999999999 1e3 1_0 NA
nan inf 1e400 .5 5. -.5 00.5 -00.5 0.30000000000000004 3.14159265358979323846 12.50000000000000000000 12345678901234567
true FALSE t Yes n 1 2024-01-15 2024-1-5 2024-02-30 2024-02-29 2023-02-29 0000-01-01 15/01/2024 01/15/2024 3/4/2024
15.01.2024 2024/1/5 2024-01-15T10:30 2024-01-15T10:30:00Z 2024-01-15T10:30:00+02:00 2024-01-15T25:00:00 2024-01-15T9:05
2024-01-15T10:30:00.1234567 2024-01-15T10:30:00.123456 abc 1,5 \u0661\u0662
"""
VALUES = st.sampled_from([*WORDS_OF_ALL_TYPES.split(), " 7 ", "  ", "2024-01-15 10:30:00"])


@pytest.mark.parametrize("to", [to for to in ColumnType if to is not ColumnType.VARCHAR])
@pytest.mark.parametrize("types", ["lossless", "seed"])
@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES | st.none(), min_size=1, max_size=5))
def test_a_cell_is_cast_the_same_whatever_its_neighbours_are(
    types: str, to: ColumnType, texts: list[str | None]
) -> None:
    caster = Caster(Options.model_validate({"types": types}))

    def misfits(values: list[str | None]) -> tuple[list[object], list[bool]]:
        cast = caster.cast(pa.array(values, pa.string()), to, Notation(("dmy",)))
        return cast.values.to_pylist(), [False] * len(values) if cast.misfits is None else cast.misfits.to_pylist()

    singles = [misfits([text]) for text in texts]

    assert misfits(texts) == ([value for (value,), _ in singles], [misfit for _, (misfit,) in singles])


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**70), 2**70))
def test_whole_numbers_are_kept_exactly_or_not_at_all(number: int) -> None:
    caster = Caster(Options())
    for to in (ColumnType.INTEGER, ColumnType.BIGINT, ColumnType.DOUBLE):
        cast = caster.cast(pa.array([str(number)]), to)
        assert cast.values[0].as_py() in {number, None}
        assert (cast.misfits is None) == (cast.values[0].as_py() is not None)


@settings(max_examples=200, deadline=None)
@given(st.text("aé€😀\n", max_size=12).map(str.encode), st.lists(st.integers(1, 4)))
def test_text_cut_within_characters_comes_through_whole(text: bytes, cuts: list[int]) -> None:
    ends = [*accumulate(cuts), len(text)]
    chunks = [text[begin:end] for begin, end in pairwise([0, *ends]) if text[begin:end]]

    whole = [chunk.decode() for chunk in transcoded(iter(chunks), Encoding("utf-8"))]

    assert "".join(whole).encode() == text


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back_from_its_shortest_text(number: float) -> None:
    cast = Caster(Options()).cast(pa.array([repr(number)]), ColumnType.DOUBLE)

    assert cast.values[0].as_py() == number
