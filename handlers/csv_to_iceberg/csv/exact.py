"""Records to Arrow by way of `records.py`: for layouts that Arrow's own reader would not read exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from handlers.csv_to_iceberg.csv.blocks import Blocks
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import MIB, Options
from handlers.csv_to_iceberg.csv.records import exact_records, lines_of
from handlers.csv_to_iceberg.csv.results import MAX_REJECT_BYTES, MAX_REJECTS
from handlers.csv_to_iceberg.csv.tables import marked
from handlers.csv_to_iceberg.csv.tokenise import SENTINEL, Ragged


class Split(NamedTuple):
    """A text split exactly."""

    columns: list[pa.Array]
    """Text; empty cells are NULL."""
    ragged: list[Ragged]
    """What is no row."""
    repaired: int
    """Records with damaged quotes."""


def split_exactly(text: bytes, layout: Layout) -> Split:
    """Split a whole UTF-8 text."""
    ragged: list[Ragged] = []
    splitter = _Splitter(layout, ragged.append)
    nothing = pa.array([], pa.string())
    batches = list(splitter.batches(lines_of(text.decode())))
    columns = [pa.concat_arrays([nothing, *(batch.column(i) for batch in batches)]) for i in range(layout.width)]
    return Split(columns, ragged, splitter.repaired)


class ExactTokeniser:
    """Does what `Tokeniser` does, in the thread that iterates."""

    def __init__(self, blocks: Blocks, layout: Layout, options: Options) -> None:
        self.rejected = 0
        self.last_rejected = 0
        """Number of the last rejected record."""
        self.ragged: list[Ragged] = []
        """The first that are kept."""
        self._most_ragged = max(options.max_rejects, MAX_REJECTS)
        self._blocks = blocks
        self._layout = layout
        self._splitter = _Splitter(layout, self._reject)

    @property
    def repaired(self) -> int:
        """Records with damaged quotes so far."""
        return self._splitter.repaired

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """
        Yield the batches, none of them empty; the very last row is the sentinel.

        Raises:
            Exception: Whatever reading the blocks raised.
        """
        yield from self._splitter.batches(_lines(self._blocks))
        yield _batch([(SENTINEL.decode(), *[""] * (self._layout.width - 1))])

    def close(self) -> None:
        """Read no more."""
        self._blocks.stop()

    def _reject(self, record: Ragged) -> None:
        self.rejected += 1
        self.last_rejected = record.number
        if len(self.ragged) < self._most_ragged:
            self.ragged.append(record)


def _lines(blocks: Blocks) -> Iterator[str]:
    held = ""
    while block := blocks.read_as_is():
        lines = lines_of(held + block.decode())
        held = lines.pop()
        yield from lines
    if held:
        yield held


class _Splitter:
    def __init__(self, layout: Layout, reject: Callable[[Ragged], None]) -> None:
        self.repaired = 0
        self._layout = layout
        self._reject = reject

    def batches(self, lines: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of about a MiB."""
        layout = self._layout
        records = exact_records(lines, layout.dialect, layout.width)
        rows: list[Sequence[str]] = []
        size = 0
        for number, record in enumerate(marked(records, layout) if layout.several else records, 1):
            cells = record.cells
            self.repaired += record.repaired
            if record.reason or len(cells) != layout.width:
                line = layout.head_lines + record.begin + 1
                text = record.text.rstrip("\r\n")[:MAX_REJECT_BYTES]
                self._reject(Ragged(number, len(cells), text, line, record.reason))
                continue
            rows.append(cells)
            size += len(record.text)
            if size >= MIB:
                yield _batch(rows)
                rows, size = [], 0
        if rows:
            yield _batch(rows)


def _batch(rows: Sequence[Sequence[str]]) -> pa.RecordBatch:
    columns = [pa.array([cell or None for cell in column], pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, [str(i) for i in range(len(columns))])
