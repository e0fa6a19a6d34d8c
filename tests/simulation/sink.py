"""The sink: tables with compare-and-swap in memory, under the real handler and the real committer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa

from consumer.ledger import Ledger
from handlers.contract import PermanentError, Skip, Unit
from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.names import table_name
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import KEPT, Cooked, Part, Report, SmallFile
from handlers.csv_to_iceberg.handler import CsvToIceberg
from handlers.csv_to_iceberg.lake.budget import ByteBudget
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Plan, Shown
from handlers.csv_to_iceberg.lake.committer import TableCommitter, WindowLimits
from handlers.csv_to_iceberg.lake.lake import LakeSettings
from handlers.csv_to_iceberg.lake.rejects_keeper import RejectsKeeper
from handlers.csv_to_iceberg.lake.shape import Shape
from tests.simulation.outside import SimStore
from tests.simulation.rejects import SimRejects, has_rejects
from tests.simulation.world import World
from tests.virtual_loop import PROCESS

T = TypeVar("T")

COLUMNS: Mapping[str, ColumnType] = {"n": ColumnType.INTEGER}
SHAPE = Shape.new(COLUMNS)
WIDE = SHAPE.grown({"more": ColumnType.VARCHAR})


@dataclass(frozen=True, slots=True)
class SimRow:
    """The rows of one version of an object: its label, and the content they came from."""

    etag: str
    text: str


@dataclass(frozen=True, slots=True)
class SimState:
    """A table at one moment."""

    version: int
    shape: Shape
    rows: Mapping[str, tuple[SimRow, ...]]


@dataclass(frozen=True, slots=True)
class SimStaged:
    """Rows that no snapshot names yet."""

    shape: Shape
    rows: tuple[tuple[str, SimRow], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What stands in for a part's Arrow table."""

    text: str
    num_rows: int = 1


@dataclass
class SimTable:
    """A table all processes share. Methods run on a lane; `commit` is where a catalog's answers get lost."""

    name: str
    world: World
    state: SimState | None = None
    rejects: SimRejects = field(init=False)

    def __post_init__(self) -> None:
        self.rejects = SimRejects(self.name, self.world)

    def load(self) -> SimState | None:
        return self.state

    def create(self, columns: Mapping[str, ColumnType]) -> SimState:
        del columns
        self.state = self.state or SimState(0, SHAPE, {})
        return self.state

    def stage(self, loaded: SimState, shape: Shape, parts: Sequence[Part], at: int) -> SimStaged:
        del loaded, at
        rows = [(part.source.key, SimRow(part.source.etag, cast(Content, part.table).text)) for part in parts]
        return SimStaged(shape, tuple(rows))

    def fits(self, loaded: SimState, staged: SimStaged, *beside: object) -> bool:
        del beside
        return loaded.shape is staged.shape

    def again(self, loaded: SimState, staged: SimStaged) -> SimStaged:
        del loaded
        return staged

    def commit(self, loaded: SimState, plan: Plan[SimStaged]) -> int:
        kind = self.world.strike("swap")
        if kind == "conflict":
            self.foreign()
        elif kind == "unknown never":
            raise ConnectionError("no answer; it never arrived")
        elif kind == "unknown late":
            self.world.late += 1
            self.world.later(self.world.chance.uniform(0.1, 60), lambda: self._land_late(loaded, plan))
            raise ConnectionError("no answer; it is still on its way")
        version = self._swap(loaded, plan)
        if kind == "unknown landed":
            raise ConnectionError("no answer; it arrived")
        return version

    def shown(self, loaded: SimState, keys: Collection[str]) -> Mapping[str, Shown]:
        return {key: Shown({row.etag: 1 for row in loaded.rows.get(key, ())}) for key in keys}

    def foreign(self) -> None:
        """Let somebody else commit: a compaction, or a new column."""
        if self.state is not None:
            shape = WIDE if self.world.chance.random() < 0.3 else self.state.shape
            self.state = SimState(self.state.version + 1, shape, self.state.rows)

    def _land_late(self, loaded: SimState, plan: Plan[SimStaged]) -> None:
        self.world.late -= 1
        try:
            self._swap(loaded, plan)
        except CommitConflict:
            self.world.note("late commit fails")
        else:
            self.world.note("late commit lands")

    def _swap(self, loaded: SimState, plan: Plan[SimStaged]) -> int:
        if loaded is not self.state:
            raise CommitConflict("the table moved on")
        rows = {key: old for key, old in loaded.rows.items() if key not in plan.clear}
        for staged, lost in plan.add:
            for number, (key, row) in enumerate(staged.rows):
                if number not in lost:
                    rows[key] = (*rows.get(key, ()), row)
        self.state = SimState(loaded.version + 1, loaded.shape, rows)
        self.rejects.shown = {key: [row.text for row in held] for key, held in rows.items()}
        self.rejects.check()
        self.world.note("commit", self.name, {key: [row.text for row in held] for key, held in rows.items()})
        for key, held in rows.items():
            if len(held) > 1:
                self.world.fail(f"a snapshot of {self.name} shows {key} {len(held)} times")
            for row in held:
                if row.etag != row.text:
                    self.world.fail(f"{key} is labelled {row.etag} and holds {row.text}")
        return self.state.version


class SimContext:
    """What a process offers its handler."""

    home = ""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self._world = world
        self.clock = ledger.clock
        self.new_id = world.ids
        self.alive = ledger.alive

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        if lane != "commit":
            return self._world.cross("lane", lambda: function(*args))
        return self._world.cross("commit", lambda: self._on_servers(function, *args))

    def _on_servers(self, function: Callable[..., T], *args: Any) -> T:
        """What the lane of commits does needs the servers of the sink."""
        self._world.ask_sink()
        return function(*args)


def cook(files: Sequence[SmallFile], pins: Pins, options: Options) -> Cooked:
    """Cook texts: `p…` is a permanent error, everything else one row."""
    del options
    failures = {
        file.source.key: PermanentError("this content cannot be ingested")
        for file in files
        if file.data.startswith(b"p")
    }
    parts = [
        Part(file.source, cast(pa.Table, Content(file.data.decode())), _report(file.data.decode()), dict(COLUMNS))
        for file in files
        if file.source.key not in failures
    ]
    return Cooked(parts, dict(failures), [], {**pins, **COLUMNS})


def _report(text: str) -> Report:
    report = Report(records=1, rows=1)
    if has_rejects(text):
        report.records, report.rejected = 2, 1
        report.kept = pa.RecordBatch.from_pylist([{"record": 2, "line": 3, "text": "", "reason": ""}], KEPT)
    return report


@dataclass
class SimTarget:
    """A table's committer in one process."""

    table: SimTable
    world: World
    context: SimContext
    committer: TableCommitter[SimState, SimStaged] = field(init=False)

    def __post_init__(self) -> None:
        keeper = RejectsKeeper(cast(Any, self.table.rejects), self.context, 1.0)
        limits = WindowLimits(1.0, 50, 1 << 20)
        self.committer = TableCommitter(self.table, self._cook, self.context, limits, keeper.of(self.table.name, "b"))

    def stager(self, options: Options) -> SimTarget:
        del options
        return self

    async def small(self, file: SmallFile, read: Callable[[], None]) -> tuple[SimStaged, Report]:
        """Stage one file by itself, as `AloneStager` does."""
        loaded = await self.context.run("commit", self.table.load)
        cooked = await self.context.run("cpu", self._cook, [file], {}, Options())
        read()
        for failure in cooked.failures.values():
            raise failure
        if loaded is None:
            loaded = await self.context.run("commit", self.table.create, COLUMNS)
        staged = await self.context.run("commit", self.table.stage, loaded, loaded.shape, cooked.parts, 0)
        return staged, cooked.parts[0].report

    def _cook(self, files: Sequence[SmallFile], pins: Pins, options: Options) -> Cooked:
        killers = [file.source for file in files if file.data.startswith(b"k")]
        if killers:
            process = PROCESS.get()
            assert process is not None
            process.dead = True
            self.world.happened("killer")
            self.world.note("KILLED by", killers[0].key)
            self.world.killed[killers[0].key, killers[0].etag] += 1
        return cook(files, pins, options)


class SimHandler(CsvToIceberg):
    """The CSV handler on tables in memory."""

    def __init__(self, world: World, store: SimStore, tables: dict[str, SimTable], context: SimContext) -> None:
        self.store = store
        self._world = world
        self._tables = tables
        self._settings = LakeSettings(home=Path())
        self._context = cast(Any, context)
        self._sim_context = context
        self._targets = {}
        self._budget = ByteBudget(1 << 20)
        self._superset = None

    async def ping(self) -> None:
        await self._sim_context.run("ping", self._world.ask_sink)

    def _target(self, unit: Unit) -> Any:
        name = table_name(unit.name)
        if name is None:
            raise Skip(f"{unit.name} lies in no folder")
        target = cast(dict[Any, Any], self._targets).get((name, unit.bucket))
        if target is None:
            table = self._tables.setdefault(name, SimTable(name, self._world))
            target = cast(Any, SimTarget(table, self._world, self._sim_context))
            self._targets[name, unit.bucket] = target
        return target
