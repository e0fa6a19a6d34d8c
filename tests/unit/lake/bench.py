"""A lake in a folder of its own, a context with threads for lanes, and parts made by hand."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
from pyiceberg.table import Table

from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Cooked, Part, Report, SmallFile, Source
from handlers.csv_to_iceberg.lake.commit_port import Entry, Landed
from handlers.csv_to_iceberg.lake.committer import TableCommitter, WindowLimits
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded

T = TypeVar("T")


@dataclass
class Context:
    """A `HandlerContext` whose claims hold until a test ends them."""

    home: str
    dead: set[str] = field(default_factory=set)
    checks: list[set[str]] = field(default_factory=list)
    on_check: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._lanes = {lane: ThreadPoolExecutor(1, lane) for lane in ("cpu", "stream", "commit", "maintain", "ping")}

    def clock(self) -> int:
        """The machine's: a table that is made gets its time, and commits to it come later."""
        return time.time_ns() // 1_000_000

    def new_id(self) -> str:
        return f"{next(self._ids) * 7919 % 65536:04x}-{next(self._ids)}-{id(self)}"

    async def alive(self, tokens: Collection[str]) -> set[str]:
        self.checks.append(set(tokens))
        self.on_check()
        return set(tokens) - self.dead

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._lanes[lane], function, *args)

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.shutdown()


Rows = Mapping[str, Sequence[Any]]


def part(key: str, rows: Rows, *, etag: str = "e1", types: Mapping[str, ColumnType] | None = None) -> Part:
    """Make the part that reading a file would give."""
    kinds = {name: (types or {}).get(name) or _kind(values) for name, values in rows.items()}
    arrays = {name: pa.array(values, kinds[name].arrow) for name, values in rows.items()}
    count = len(next(iter(arrays.values())))
    table = pa.table({**arrays, "_rescued": pa.nulls(count, pa.string())})
    return Part(Source(key, etag), table, Report(records=count, rows=count), kinds)


def _kind(values: Sequence[Any]) -> ColumnType:
    if any(isinstance(value, int) and abs(value) >= 2**31 for value in values):
        return ColumnType.BIGINT
    kinds = {int: ColumnType.INTEGER, float: ColumnType.DOUBLE, bool: ColumnType.BOOLEAN}
    return kinds.get(type(values[0]), ColumnType.VARCHAR) if values else ColumnType.VARCHAR


@dataclass
class Kitchen:
    """Cooks files whose content names a part that a test prepared; widens as the real one does."""

    parts: dict[bytes, Part | Exception] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)

    def cook(self, files: Sequence[SmallFile], pins: Pins, options: Options) -> Cooked:
        del options
        self.batches.append([file.source.key for file in files])
        made: list[Part] = []
        failures: dict[str, Any] = {}
        large: list[str] = []
        pins = dict(pins)
        for file in files:
            result = self.parts[file.data]
            if isinstance(result, NotImplementedError):
                large.append(file.source.key)
            elif isinstance(result, Exception):
                failures[file.source.key] = result
            else:
                made.append(self._fitted(result, pins))
                pins |= made[-1].columns
        return Cooked(made, failures, large, pins)

    @staticmethod
    def _fitted(result: Part, pins: Pins) -> Part:
        kinds = {}
        table = result.table
        for name, kind in result.columns.items():
            pinned = pins.get(name, kind)
            if {pinned, kind} == {ColumnType.INTEGER, ColumnType.BIGINT}:
                pinned = ColumnType.BIGINT
            column = table.column(name)
            if pinned not in {kind, ColumnType.BIGINT}:
                column = column.cast(pa.string()).cast(pinned.arrow) if pinned == ColumnType.VARCHAR else None
                column = pa.nulls(table.num_rows, pinned.arrow) if column is None else column
            table = table.set_column(table.schema.get_field_index(name), name, column.cast(pinned.arrow))
            kinds[name] = pinned
        return Part(result.source, table, result.report, kinds)


@dataclass
class Bench:
    """One process' view of a lake: its own catalog connection, lanes and committers."""

    lake: Lake
    context: Context
    kitchen: Kitchen
    limits: WindowLimits

    def table(self, name: str = "lakehouse.t", bucket: str = "b") -> IcebergTable:
        return IcebergTable(self.lake, name, bucket, "", clock=self.context.clock, new_id=self.context.new_id)

    def committer(self, table: IcebergTable | None = None) -> TableCommitter[Loaded, Staged]:
        return TableCommitter(table or self.table(), self.kitchen.cook, self.context, self.limits)

    def entry(
        self,
        key: str,
        rows: Rows | Exception | None = None,
        *,
        etag: str = "e1",
        claim: str = "",
        mode: Any = "replace",
    ) -> Entry[Staged]:
        """Make what a claim wants: rows for a key, or without rows its removal."""
        entry: Entry[Staged] = Entry(
            key, claim or self.context.new_id(), mode, asyncio.get_running_loop().create_future()
        )
        if rows is not None:
            data = self.context.new_id().encode()
            self.kitchen.parts[data] = rows if isinstance(rows, Exception) else part(key, rows, etag=etag)
            entry.file = SmallFile(Source(key, etag), data)
        return entry

    async def put(
        self, files: Mapping[str, Rows], *, committer: TableCommitter[Loaded, Staged] | None = None, etag: str = "e1"
    ) -> None:
        """Replace some sources in one window."""
        await self.submit([self.entry(key, rows, etag=etag) for key, rows in files.items()], committer=committer)

    async def submit(
        self, entries: Sequence[Entry[Staged]], *, committer: TableCommitter[Loaded, Staged] | None = None
    ) -> list[Landed]:
        """Submit entries to one window; raise the first failure."""
        committer = committer or self.committer()
        return list(await asyncio.gather(*(committer.submit(entry) for entry in entries)))

    async def remove(self, *keys: str, mode: str = "remove") -> list[Landed]:
        """Take sources out in one window, or look at them with `keep`."""
        return await self.submit([self.entry(key, mode=mode) for key in keys])

    def loaded(self, name: str = "lakehouse.t") -> Table:
        """Load a table that is there."""
        table = self.lake.load(name)
        assert table is not None
        return table

    def summary(self, name: str = "lakehouse.t") -> Mapping[str, str]:
        """Return the summary of the newest snapshot."""
        snapshot = self.loaded(name).current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        return snapshot.summary.additional_properties

    def rows(self, name: str = "lakehouse.t", *columns: str) -> list[tuple[Any, ...]]:
        """Read a table with PyIceberg: `_source_file` and the columns named, sorted."""
        found = self.loaded(name).scan(selected_fields=("_source_file", *columns)).to_arrow()
        return sorted(tuple(row.values()) for row in found.select(["_source_file", *columns]).to_pylist())
