"""One file of any size, block by block, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

import pyarrow as pa

from handlers.csv_to_iceberg.columns import ColumnType, Pins
from handlers.csv_to_iceberg.memory import Memory
from handlers.csv_to_iceberg.options import MIB, Options
from handlers.csv_to_iceberg.results import Report, Source


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a pass over the object taught too late, for the next one. Opaque to the caller."""

    encoding: str | None = None
    block_bytes: int = MIB
    quoting: bool = True


class StartAgain(Exception):
    """
    The object must be opened and streamed again, from its first byte, with what was learned.

    An INTEGER column overflowed and is BIGINT in `pins`, the text is not UTF-8 after all, a record is longer than a
    block, or a quote is never closed. Batches already taken from this pass are void. Happens at most a few times.
    """

    def __init__(self, pins: Pins, lessons: Lessons) -> None:
        super().__init__("the object must be streamed again")
        self.pins = pins
        self.lessons = lessons


class StreamedCsv:
    """
    The rows of one object. Iterate once, to the end, then read `report` and `pins`.

        pins, lessons = table_pins, Lessons()
        while True:
            with StreamedCsv(open(), source, pins, memory, options, lessons=lessons) as rows:
                try: write(rows.schema, rows)
                except StartAgain as again: pins, lessons = again.pins, again.lessons; continue
                break
    """

    schema: pa.Schema
    """This file's columns in its own order, then `_rescued`."""
    columns: dict[str, ColumnType]
    """This file's columns and the types they have in the batches."""
    report: Report
    """Complete after the last batch."""
    pins: Pins
    """The pins handed in, with this file's new columns and widened ones."""

    def __init__(
        self,
        raw: BinaryIO,
        source: Source,
        pins: Pins,
        memory: Memory,
        options: Options,
        *,
        lessons: Lessons = Lessons(),
    ) -> None:
        """
        Read the head of the object: compression, encoding, dialect, header and types are known afterwards.

        Raises:
            PermanentError: The object cannot be ingested.
            StartAgain: See there.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """
        Yield the rows in file order.

        Raises:
            PermanentError: The object cannot be ingested.
            StartAgain: See there.
            Exception: Whatever `raw.read` raised.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, wait for the tokeniser's thread. Does not close `raw`."""
        raise NotImplementedError
