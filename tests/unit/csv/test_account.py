"""Every record is accounted for: what a tokeniser loses is noticed, and read by another."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import BinaryIO, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv import blocks, exact, joining, tokenise
from handlers.csv_to_iceberg.csv.account import breaks_within, line_breaks, line_ends
from handlers.csv_to_iceberg.csv.errors import CsvError
from handlers.csv_to_iceberg.csv.records import fed_records
from tests.unit.csv.reading import Reading, cooked, streamed

Read = Callable[..., Reading]

TEXT = b'id,name\n1,"a\nb"\n\n2,c\n3,d,e\n4,"f\r\n\r\ng"\n'
ROWS = [(1, "a\nb"), (2, "c"), (4, "f\r\n\r\ng")]


@given(st.text(st.sampled_from("ab\n\r"), max_size=40).map(str.encode))
def test_runs_of_line_ends_are_counted(text: bytes) -> None:
    assert line_breaks(text) == len(re.findall(rb"[\r\n]+", text))
    assert line_ends(text) == (text.count(b"\n"), text.count(b"\r"), line_breaks(text))


@pytest.mark.parametrize("gap", [65_535, 65_536, 65_537])
def test_runs_across_what_is_looked_at_at_once_are_one(gap: int) -> None:
    assert line_breaks(b"x" * (gap - 1) + b"\n\n\r\nx\n") == 2


def test_line_ends_of_neighbouring_cells_are_two_runs() -> None:
    assert breaks_within([pa.array(["a\n", "\nb", None, "c"]), pa.array(["x", "y\r\n\r\nz", "", None])]) == 3


def test_line_ends_within_cells_and_between_records_are_told_apart(read: Read) -> None:
    reading = read(TEXT)

    assert reading.rows == ROWS
    assert (reading.report.records, reading.report.rejected) == (4, 1)


class Losing(io.RawIOBase):
    """Blocks of which the tokeniser never sees the record `2,c`."""

    def __init__(self, whole: blocks.Blocks) -> None:
        self._whole = whole

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._whole.read(size).replace(b"2,c\n", b"")


def test_a_record_that_arrow_loses_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, opened = tokenise.tokenise, tokenise.open_tokeniser
    monkeypatch.setattr(joining, "tokenise", lambda text, layout: whole(text.replace(b"2,c\n", b""), layout))
    monkeypatch.setattr(blocks, "open_tokeniser", lambda stream, *rest: opened(cast("BinaryIO", Losing(stream)), *rest))
    plain = TEXT.replace(b"\n\n", b"\n")

    small, large = cooked(plain), streamed(plain)

    assert small.rows == large.rows == ROWS
    assert large.passes == 2
    assert small.report.records == large.report.records == 4


@pytest.mark.parametrize("read", [cooked, streamed])
def test_a_record_that_the_exact_reader_loses_fails_the_file(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        exact, "fed_records", lambda *given: (one for one in fed_records(*given) if not one.text.startswith("2"))
    )

    with pytest.raises(CsvError, match="lakedrop would lose some"):
        read(b'id, name\n1, a\n2, "b"\n3, "c" d\n4, "e"\n')
