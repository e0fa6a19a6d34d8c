"""
Foresight: what ingesting objects would do to their tables, told by the code that ingests them. Writes nothing.

Types of a new table come from whichever of its files is read first, so forecasts hold for objects that are ingested in
the order in which they are planned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from handlers.contract import (
    HandlerContext,
    HandlerError,
    ObjectChanged,
    ObjectRef,
    PermanentError,
    Skip,
    StoredObject,
    Unit,
)
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.reading import Reading, on_its_lane
from handlers.csv_to_iceberg.csv.results import Part, SmallFile, Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StartAgain, StreamedCsv
from handlers.csv_to_iceberg.lake.commit_port import Entry, Landed, Shown, Unpacked
from handlers.csv_to_iceberg.lake.cooking import BATCH_BYTES, BATCH_FILES, cook_entries
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings, has_catalog
from handlers.csv_to_iceberg.lake.planned_table import PlannedTable
from handlers.csv_to_iceberg.lake.shape import Shape
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded
from handlers.csv_to_iceberg.lake.target import table_of
from handlers.csv_to_iceberg.notices import remedies, size_warnings
from handlers.csv_to_iceberg.receipts import receipt_of_absence, receipt_of_rows
from handlers.planner import Forecast


@dataclass(frozen=True, slots=True)
class _Object:
    """An object to be planned."""

    unit: Unit
    found: StoredObject
    holds: Mapping[str, int]
    """What the table has of it now."""

    def cannot(self, error: HandlerError) -> Forecast:
        """Forecast that it would not get in."""
        return Forecast(error, self.holds, target=_target_of(self.unit))


class CsvPlanner:
    """The handler's foresight. Any number of units, in constant memory but for the columns of their tables."""

    def __init__(self, settings: LakeSettings, context: HandlerContext) -> None:
        self._settings = settings
        self._context = context
        self._lake = Lake(settings, read_only=True) if has_catalog(settings) else None
        self._tables: dict[tuple[str, str], PlannedTable] = {}

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        """Every object is a unit."""
        del options
        return ref.key

    async def plan(self, units: Sequence[tuple[Unit, Sequence[StoredObject]]]) -> AsyncIterator[Forecast]:
        """Yield a forecast for each unit, in their order."""
        for group in _groups(units, self._settings.small_file_bytes):
            unit, objects = group[0]
            try:
                table = await self._table(unit)
            except HandlerError as error:  # all of one table
                for _ in group:
                    yield Forecast(error, target=_target_of(unit))
                continue
            shown = await self._shown(table, [unit.name for unit, _ in group])
            if not objects:
                yield await self._removed(table, unit, shown)
                continue
            some = [_Object(unit, found, _holds(shown, unit)) for unit, (found,) in group]
            if objects[0].size > self._settings.small_file_bytes:
                yield await self._streamed(table, some[0])
            else:
                async for forecast in self._cooked(table, some):
                    yield forecast

    async def aclose(self) -> None:
        """Let go of the catalog."""
        if self._lake is not None:
            await self._context.run("commit", self._lake.close)

    async def _table(self, unit: Unit) -> PlannedTable:
        name = table_of(unit)
        table = self._tables.get((name, unit.bucket))
        if table is None:
            table = await self._context.run("commit", self._load, name, unit)
            self._tables[name, unit.bucket] = table
        if table.refusal is not None:
            raise table.refusal
        return table

    def _load(self, name: str, unit: Unit) -> PlannedTable:
        if self._lake is None:
            return PlannedTable(None, name, None, {}, exists=False)
        context = self._context
        table = IcebergTable(self._lake, name, unit.bucket, unit.prefix, clock=context.clock, new_id=context.new_id)
        try:
            found = self._lake.owned(name, unit.bucket)
        except PermanentError as error:
            return PlannedTable(table, name, None, {}, exists=True, refusal=error)
        if found is None:
            return PlannedTable(table, name, None, {}, exists=False)
        shape = Shape.of(found.metadata)
        return PlannedTable(table, name, Loaded(found, shape), dict(shape.pins), exists=True)

    async def _shown(self, table: PlannedTable, keys: Sequence[str]) -> Mapping[str, Shown]:
        if table.table is None or table.loaded is None:
            return {}
        return await self._context.run("commit", table.table.shown, table.loaded, keys)

    async def _removed(self, table: PlannedTable, unit: Unit, shown: Mapping[str, Shown]) -> Forecast:
        options: Options = unit.options
        commits = table.commits(0, self._settings.max_files_per_commit) if table.exists else 0
        kept = shown.get(unit.name, Shown({})) if options.on_delete == "keep" else None
        receipt = receipt_of_absence(table.name, Landed(None, shown=kept))
        return Forecast(receipt, _holds(shown, unit), commits=commits, target=table.name)

    async def _cooked(self, table: PlannedTable, some: Sequence[_Object]) -> AsyncIterator[Forecast]:
        """Plan small objects of one table, together as the committer cooks them."""
        read = [await _read(one) for one in some]
        entries = [entry for entry in read if isinstance(entry, Entry)]
        cooked, parts = await cook_entries(entries, table.pins, table.cook, self._context)
        if len(entries) > 1 and any(table.widened(part.columns) for part in parts):
            # Files of one batch get one type per column; alone each shows whether it is the one that needs it.
            for one in some:
                async for forecast in self._cooked(table, [one]):
                    yield forecast
            return
        done = dict(zip(cooked, parts, strict=True))
        for one, entry in zip(some, read, strict=True):
            if isinstance(entry, HandlerError):
                yield one.cannot(entry)
            elif part := done.get(entry):
                yield self._written(table, one, part, entry.size)
            elif isinstance(error := entry.outcome.exception(), Unpacked):
                yield await self._streamed(table, one)
            else:
                assert isinstance(error, HandlerError)  # noqa: S101  # see `cook_entries`
                yield one.cannot(error)

    async def _streamed(self, table: PlannedTable, one: _Object) -> Forecast:
        """Plan an object of any size, read as `AloneStager.large` does."""
        options: Options = one.unit.options
        pins, lessons = dict(table.pins), Lessons()
        source = Source(one.found.key, one.found.etag)
        while True:
            try:
                reading = Reading(await one.found.open())
                opening = partial(reading.open, source, pins, table.memory(options), options, lessons)
                rows = await on_its_lane(self._context, reading, _drain, reading, opening)
                return self._written(table, one, rows, 0)
            except StartAgain as again:
                pins, lessons = again.pins, again.lessons
            except PermanentError as error:
                return one.cannot(await _or_changed(one.found, error))
            except HandlerError as error:
                return one.cannot(error)

    def _written(self, table: PlannedTable, one: _Object, rows: Part | StreamedCsv, size: int) -> Forecast:
        """Forecast that an object with `size` bytes in memory would get in."""
        if refusal := table.refused(rows.columns):
            return one.cannot(refusal)
        rows.report.warnings += size_warnings(one.found.size, self._settings.large_file_warning)
        rows.report.warnings += remedies(table.name, rows.report)
        receipt = receipt_of_rows(one.found.etag, table.name, Landed(None, rows.report))
        commits = table.commits(size, self._settings.max_files_per_commit)
        return Forecast(receipt, one.holds, table.grow(rows.columns), commits, table.name)


def _groups(
    units: Sequence[tuple[Unit, Sequence[StoredObject]]], small_bytes: int
) -> Iterator[list[tuple[Unit, Sequence[StoredObject]]]]:
    """Cut units into runs that are planned at once: small objects of one folder as many as a batch takes, else one."""
    group: list[tuple[Unit, Sequence[StoredObject]]] = []
    size = 0
    kind: object = None
    for unit, objects in units:
        small = bool(objects) and objects[0].size <= small_bytes
        folder = unit.name.removeprefix(unit.prefix).partition("/")[:2]
        this = (unit.bucket, unit.route, folder) if small else None
        bytes_ = objects[0].size if objects else 0
        if group and (this is None or this != kind or len(group) == BATCH_FILES or size + bytes_ > BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append((unit, objects))
        size += bytes_
        kind = this
    if group:
        yield group


async def _read(one: _Object) -> Entry[Staged] | HandlerError:
    try:
        data = await one.found.read()
    except HandlerError as error:
        return error
    file = SmallFile(Source(one.found.key, one.found.etag), data)
    return Entry(one.found.key, "", "replace", asyncio.get_running_loop().create_future(), file, one.unit.options)


async def _or_changed(found: StoredObject, error: PermanentError) -> HandlerError:
    """Half of one version and half of another look damaged, and the stream only tells at its end."""
    try:
        (await found.open()).close()
    except ObjectChanged as changed:
        return changed
    return error


def _drain(reading: Reading, opening: Callable[[], StreamedCsv]) -> StreamedCsv:
    """Read an object to its end."""
    with reading:
        rows = opening()
        for _ in reading.batches():
            pass
    return rows


def _target_of(unit: Unit) -> str | None:
    try:
        return table_of(unit)
    except Skip:
        return None


def _holds(shown: Mapping[str, Shown], unit: Unit) -> dict[str, int]:
    return {"rows": sum(shown[unit.name].rows.values()) if unit.name in shown else 0}
