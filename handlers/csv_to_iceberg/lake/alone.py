"""Staging one object by itself: because it is large, or because an earlier holder died over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from handlers.contract import HandlerContext, ObjectChanged, StoredObject
from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.reading import Reading
from handlers.csv_to_iceberg.csv.results import Report, SmallFile, Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StartAgain
from handlers.csv_to_iceberg.lake.commit_port import Unpacked
from handlers.csv_to_iceberg.lake.refusals import UnsupportedColumn
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.streaming import Stamp, stage_stream
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded


class AloneStager:
    """
    Stages single objects for one table.

    Raises `ShapeChanged` when the table changed meanwhile: begin again.
    """

    def __init__(self, table: IcebergTable, memory: Memory, options: Options, context: HandlerContext) -> None:
        self._table = table
        self._memory = memory
        self._options = options
        self._context = context

    async def small(self, file: SmallFile, read: Callable[[], None]) -> tuple[Staged, Report]:
        """
        Cook one small file with nothing else in the process; `read` is called when that is done.

        Raises:
            Unpacked: It is too large for that once unpacked.
            PermanentError: It cannot be ingested.
        """
        loaded, pins = await self._load()
        cooked = await self._context.run("cpu", cook, [file], pins, self._memory, self._options)
        read()
        if cooked.too_large:
            raise Unpacked(file.source.key)
        for failure in cooked.failures.values():
            raise failure
        (part,) = cooked.parts
        loaded = await self._with(loaded, part.columns)
        now = self._context.clock()
        staged = await self._context.run("commit", self._table.stage, loaded, loaded.shape, [part], now)
        return staged, part.report

    async def large(self, found: StoredObject, read: Callable[[], None]) -> tuple[Staged, Report]:
        """Stream one object of any size; `read` is called at its end. Raises as opening and reading it does."""
        source = Source(found.key, found.etag)
        loaded, pins = await self._load()
        lessons = Lessons()
        while True:
            reading = Reading(await found.open())
            try:
                staged = await self._stream(loaded, reading, source, pins, lessons)
            except StartAgain as again:
                pins, lessons = again.pins, again.lessons
            except ObjectChanged:
                raise
            except Exception:
                # Half of one version and half of another look damaged, and the stream only tells at its end.
                (await found.open()).close()
                raise
            else:
                read()
                return staged, reading.rows.report

    async def _stream(
        self, loaded: Loaded | None, reading: Reading, source: Source, pins: Pins, lessons: Lessons
    ) -> Staged:
        """Make one pass; `reading` is closed at its end, whatever that is."""
        run = self._context.run
        try:
            rows = await run("stream", reading.open, source, pins, self._memory, self._options, lessons)
            loaded = await self._with(loaded, rows.columns)
            shape = loaded.shape.grown(rows.columns)
            stamp = Stamp(source, self._context.clock())
            return await run("stream", stage_stream, self._table, loaded, shape, reading, stamp)
        except BaseException:
            reading.call_off()
            if not reading.closed:
                # What was under way on the lane ends first; what had not begun never will, and so closes nothing.
                await asyncio.shield(asyncio.ensure_future(run("stream", reading.close)))
            raise

    async def _load(self) -> tuple[Loaded | None, Pins]:
        loaded = await self._context.run("commit", self._table.load)
        return loaded, {} if loaded is None else dict(loaded.shape.pins)

    async def _with(self, loaded: Loaded | None, columns: dict[str, ColumnType]) -> Loaded:
        """Make the table for these columns if there is none; refuse columns that cannot be written."""
        if loaded is None:
            loaded = await self._context.run("commit", self._table.create, columns)
        field = loaded.shape.unsupported(columns)
        if field is not None:
            raise UnsupportedColumn(self._table.name, field.name, str(field.field_type))
        return loaded
