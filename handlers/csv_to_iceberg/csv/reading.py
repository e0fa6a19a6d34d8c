"""One pass over a large object, which somebody may call off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Self, TypeVar

import pyarrow as pa

from handlers.contract import HandlerContext
from handlers.csv_to_iceberg.csv.columns import Pins
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StreamedCsv

T = TypeVar("T")


class CalledOff(Exception):
    """Nobody waits for the rows any more."""


class Reading:
    """
    A stream and its rows, closed together.

    Methods block and belong on the `stream` lane, but for `call_off`: work on a lane cannot be cancelled from outside.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self.rows: StreamedCsv
        """Once opened."""
        self._raw = raw
        self._called_off = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether everything is let go of."""
        return self._raw.closed

    def open(self, source: Source, pins: Pins, memory: Memory, options: Options, lessons: Lessons) -> StreamedCsv:
        """Read the head of the object. Raises as `StreamedCsv` does; everything is closed then."""
        try:
            self.rows = StreamedCsv(self._raw, source, pins, memory, options, lessons=lessons)
        except BaseException:
            self._raw.close()
            raise
        return self.rows

    def call_off(self) -> None:
        """Have `batches` end with the batch under way; to be called from any thread."""
        self._called_off.set()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """
        Yield the rows in file order.

        Raises:
            CalledOff: See there.
            Exception: See `StreamedCsv`.
        """
        for batch in self.rows:
            if self._called_off.is_set():
                raise CalledOff
            yield batch

    def close(self) -> None:
        """Stop reading and close the stream."""
        if "rows" in self.__dict__:
            self.rows.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def on_its_lane(context: HandlerContext, reading: Reading, work: Callable[..., T], *args: Any) -> T:
    """
    Run what works on a reading; whoever cancels it calls the reading off.

    Whatever ends it, the reading is closed on the lane that reads: closed elsewhere, its stream would wait for the
    read under way, and that one perhaps for the event loop.
    """
    try:
        return await context.run("stream", work, *args)
    except BaseException:
        reading.call_off()
        if not reading.closed:
            # What was under way on the lane ends first; what had not begun never will, and so closes nothing.
            await asyncio.shield(asyncio.ensure_future(context.run("stream", reading.close)))
        raise
