"""The text of a large file in blocks for the tokeniser, and the thread that tokenises them."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import pyarrow as pa

from handlers.csv_to_iceberg.csv.account import breaks_within, line_ends
from handlers.csv_to_iceberg.csv.errors import RecordTooLarge
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import MIB, Options
from handlers.csv_to_iceberg.csv.repeats import headers_among, kept, rejected_headers
from handlers.csv_to_iceberg.csv.results import MAX_REJECTS
from handlers.csv_to_iceberg.csv.tokenise import (
    SENTINEL,
    Nuls,
    Ragged,
    ends_line,
    guarded,
    open_tokeniser,
    sentinel_row,
)

_BATCHES_AHEAD: Final = 4
_BYTES_AHEAD: Final = 16 * MIB
"""Tokenised batches that may wait, and blocks of so many bytes: what is done with them goes by fits and starts."""


class Blocks(io.RawIOBase):
    """
    Text as a readable file whose every `read` is one block, ended by a sentinel row.

    A block is made longer until it holds a line end, because a record may not span more than two blocks.
    """

    def __init__(self, chunks: Iterator[bytes], layout: Layout, block_bytes: int, options: Options) -> None:
        self.line_feeds = 0
        self.carriage_returns = 0
        self.breaks = 0
        """Runs of line ends, but for one before the first record."""
        self.quoted = False
        """Quotes may enclose cells."""
        self.largest = 0
        """Bytes of the largest block so far: no record is larger than two of it."""
        self.unended = False
        """The last line had no end."""
        self._chunks = _between_line_ends(chunks)
        self.nuls = Nuls()
        self._layout = layout
        self._quote = layout.dialect.quote.encode()
        self.block_bytes = block_bytes
        self._max_record_bytes = options.max_record_bytes
        self._at_line_start = True
        self._ended = False
        self._reading = threading.Lock()

    def readable(self) -> bool:
        """Say yes, as Arrow asks."""
        return True

    def read(self, _: int = -1) -> bytes:
        """Return the next block; the size asked for does not matter."""
        with self._reading:
            return b"" if self._ended else self._read()

    def stop(self) -> None:
        """Give no more blocks; wait for the one being read. Arrow reads ahead in a thread that nobody else can stop."""
        with self._reading:
            self._ended = True

    def read_as_is(self) -> bytes:
        """Return the next block without anything for Arrow in it; empty at the end."""
        with self._reading:
            return b"" if self._ended else self._counted()

    def _read(self) -> bytes:
        first = not self.largest
        block = self._counted()
        if not block:
            return b"\n" * self.unended + sentinel_row(SENTINEL, self._layout)
        return self.nuls.hide(guarded(block) if first else block)

    def _counted(self) -> bytes:
        block = self._next()
        if not block:
            self._ended = True
            self.unended = not self._at_line_start
            return b""
        self.largest = max(self.largest, len(block))
        ends = line_ends(block)
        self.breaks += ends.runs - (self._at_line_start and block.startswith((b"\n", b"\r")))
        self.quoted = self.quoted or (bool(self._quote) and self._quote in block)
        self._at_line_start = ends_line(block)
        self.line_feeds += ends.feeds
        self.carriage_returns += ends.returns
        return block

    def _next(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        ends_a_line = False
        for chunk in self._chunks:
            pieces.append(chunk)
            size += len(chunk)
            ends_a_line = ends_a_line or b"\n" in chunk or b"\r" in chunk
            if size >= self.block_bytes and ends_a_line:
                break
            if size > self._max_record_bytes + self.block_bytes:
                raise RecordTooLarge(
                    f"A record is longer than max_record_bytes = {self._max_record_bytes:,}. Raise it on the route, or "
                    "check that the file has line breaks."
                )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _between_line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Move a CR that ends a chunk to the next one: Arrow drops the LF that may come after it."""
    held = b""
    for chunk in chunks:
        text = held + chunk if held else chunk
        held = b""
        if text.endswith(b"\r"):
            text, held = text[:-1], text[-1:]
        if text:
            yield text
    if held:
        yield held


class Straddling(Exception):
    """A record spans more than two blocks: they must be larger."""


class Tokeniser:
    """Tokenises blocks in a thread of its own. Iterate for the batches; their very last row is the sentinel."""

    def __init__(self, blocks: Blocks, layout: Layout, options: Options) -> None:
        self._most_ragged = max(options.max_rejects, MAX_REJECTS)
        self.rejected = 0
        self.repaired = 0
        """Always: Arrow repairs nothing."""
        self.last_rejected = 0
        """Number of the last rejected record."""
        self._ragged: list[Ragged] = []
        self._repeated: list[int] = []
        """Rows equal to the header, from 0; of both the first that are kept."""
        self._rows = 0
        self._layout = layout
        self._ready: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(
            max(_BATCHES_AHEAD, _BYTES_AHEAD // blocks.block_bytes)
        )
        self._blocks = blocks
        self._delivered = 0
        """Rows, the sentinel among them, and rejected records, and runs of line ends within both."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(layout,), name="tokeniser", daemon=True)
        self._thread.start()

    @property
    def ragged(self) -> list[Ragged]:
        """The first rejected records, after the last batch."""
        again = rejected_headers(self._repeated, self._ragged, self._layout)
        return sorted([*self._ragged, *again], key=lambda record: record.number)[: self._most_ragged]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """
        Yield the batches, none of them empty.

        Raises:
            Straddling: See there.
            Exception: Whatever reading the blocks raised.
        """
        while (ready := self._ready.get()) is not None:
            if isinstance(ready, BaseException):
                raise ready
            yield ready
        self._thread.join()

    def accounted(self) -> bool:
        """Tell, after the last batch, whether every record of the text became a row or was rejected."""
        return self._delivered == self._blocks.breaks + self._blocks.unended + 1

    def close(self) -> None:
        """Stop, and wait until the thread has let go of its input."""
        self._stop.set()
        self._blocks.stop()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self, layout: Layout) -> None:
        try:
            reader = open_tokeniser(cast("BinaryIO", self._blocks), layout, self._reject)
            for batch in reader:
                if self._stop.is_set():
                    return
                if batch.num_rows:
                    self._delivered += batch.num_rows
                    self._delivered += breaks_within(batch.columns) if self._blocks.quoted else 0
                    cells = [self._blocks.nuls.restore(column) for column in batch.columns]
                    rows = self._without_headers(pa.RecordBatch.from_arrays(cells, batch.schema.names))
                    if rows.num_rows:
                        self._ready.put(rows)
        except pa.ArrowInvalid:
            # The text is UTF-8, ragged records are skipped, columns are text: nothing else is left to complain about.
            self._ready.put(Straddling())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that iterates
            self._ready.put(error)
        else:
            self._ready.put(None)

    def _without_headers(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        headers = headers_among(batch.columns, self._layout)
        before, self._rows = self._rows, self._rows + batch.num_rows
        if not len(headers):
            return batch
        self.rejected += len(headers)
        room = max(0, self._most_ragged - len(self._repeated))
        self._repeated += (headers[:room] + before).tolist()
        return batch.filter(kept(batch.num_rows, headers))

    def _reject(self, record: Ragged) -> None:
        self.rejected += 1
        self.last_rejected = record.number
        self._delivered += 1 + record.breaks
        if len(self._ragged) < self._most_ragged:
            self._ragged.append(record._replace(text=self._blocks.nuls.restore_text(record.text)))
