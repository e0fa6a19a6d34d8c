"""Records to Arrow by way of `records.py`: for layouts that Arrow's own reader would not read exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from handlers.csv_to_iceberg.csv.blocks import Blocks
from handlers.csv_to_iceberg.csv.errors import CsvError
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import KIB, MIB, Options
from handlers.csv_to_iceberg.csv.records import COMMENT, Feed, fed_records, lines_of
from handlers.csv_to_iceberg.csv.repeats import headers_among
from handlers.csv_to_iceberg.csv.results import MAX_REJECT_BYTES, MAX_REJECTS
from handlers.csv_to_iceberg.csv.simple import split_simply
from handlers.csv_to_iceberg.csv.tables import marked, unrepeated
from handlers.csv_to_iceberg.csv.tokenise import SENTINEL, Ragged

_TOGETHER: Final = 128 * KIB
"""Characters that are split at once."""


class _Piece(NamedTuple):
    characters: int
    """Of the text."""
    rows: list[list[str]]
    columns: list[pa.Array]
    """In place of rows."""


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
        yield _batch([_columns([(SENTINEL.decode(), *[""] * (self._layout.width - 1))])])

    def accounted(self) -> bool:
        """Say yes: `_Splitter` has raised otherwise."""
        return True

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
        self._given = 0
        """Characters of all lines, weighed one by one."""
        self._delivered = 0
        """Those of all records."""
        self._number = 0
        """Of the last record."""
        self._in_comments = False
        """The last record was a comment, and the one below it is on its way."""

    def batches(self, lines: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """
        Yield the rows in batches of about a MiB.

        Raises:
            CsvError: Some of the text is in no record. It would be a fault of ours.
        """
        layout = self._layout
        feed = Feed(self._weighed(lines), layout.dialect)
        singly = self._one_by_one(feed)
        found: list[list[pa.Array]] = []
        rows: list[list[str]] = []
        size = 0
        for piece in singly if layout.several else self._together(feed, singly):
            size += piece.characters
            rows += piece.rows
            if rows and (piece.columns or size >= MIB):
                found.append(_columns(rows))
                rows = []
            if piece.columns:
                found.append(piece.columns)
            if size >= MIB and found:
                yield _batch(found)
                found, size = [], 0
        if rows:
            found.append(_columns(rows))
        if found:
            yield _batch(found)
        if self._given != self._delivered:
            raise CsvError(
                f"{self._given:,} characters were read, and the records hold {self._delivered:,}: lakedrop would lose "
                "some. Please report it with the file; saved anew, with quotes around all cells, it can be read."
            )

    def _together(self, feed: Feed, singly: Iterator[_Piece]) -> Iterator[_Piece]:
        """Yield the columns of many lines together, and the rows of those that need care one by one."""
        while lines := feed.take(_TOGETHER):
            simple = split_simply(lines, self._layout)
            if simple is not None and not len(headers_among(simple.columns, self._layout)):
                feed.put_back(lines[simple.lines :])
                del lines[simple.lines :]
                self._number += len(simple.columns[0])
                self._delivered += sum(map(_weight, lines))
                yield _Piece(sum(map(len, lines)), [], simple.columns)
                continue
            feed.put_back(lines)
            end = feed.line + len(lines)
            for rows in singly:
                yield rows
                if feed.line >= end and not self._in_comments:
                    break

    def _one_by_one(self, feed: Feed) -> Iterator[_Piece]:
        layout = self._layout
        records = fed_records(feed, layout.dialect, layout.width)
        for record in marked(records, layout) if layout.several else unrepeated(records, layout):
            self._number += 1
            cells, text = record.cells, record.text
            self.repaired += record.repaired
            self._in_comments = record.reason == COMMENT
            lone = record.end - record.begin == 1
            self._delivered += _weight(text) if lone else sum(map(_weight, lines_of(text)))
            if record.reason or len(cells) != layout.width:
                line = layout.head_lines + record.begin + 1
                text = text.rstrip("\r\n")[:MAX_REJECT_BYTES]
                self._reject(Ragged(self._number, len(cells), text, line, record.reason))
                yield _Piece(0, [], [])
            else:
                yield _Piece(len(text), [cells], [])

    def _weighed(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self._given += _weight(line)
            yield line


def _weight(line: str) -> int:
    """Count the characters of a line; a blank one, which belongs to no record, has none."""
    return len(line.strip(" \t\r\n"))


def _columns(rows: Sequence[Sequence[str]]) -> list[pa.Array]:
    return [pa.array([cell or None for cell in column], pa.string()) for column in zip(*rows, strict=True)]


def _batch(found: Sequence[Sequence[pa.Array]]) -> pa.RecordBatch:
    columns = [pa.concat_arrays(pieces) for pieces in zip(*found, strict=True)]
    return pa.RecordBatch.from_arrays(columns, [str(i) for i in range(len(columns))])
