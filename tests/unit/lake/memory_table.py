"""A compare-and-swap table in memory and lanes without threads, to drive a committer in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Cooked, Part, SmallFile, Source
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Entry, Plan, Shown
from handlers.csv_to_iceberg.lake.shape import Shape, merged
from tests.unit.lake.bench import part
from tests.virtual_loop import VirtualLoop

T = TypeVar("T")


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


@dataclass
class InlineContext:
    """Runs blocking code at once; counts calls per lane."""

    home: str = ""
    dead: set[str] = field(default_factory=set)
    runs: list[tuple[str, str]] = field(default_factory=list)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def clock(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    def new_id(self) -> str:
        return f"{next(self.ids):04x}"

    async def alive(self, tokens: Collection[str]) -> set[str]:
        return set(tokens) - self.dead

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        async def call() -> T:
            self.runs.append((lane, function.__name__))
            await asyncio.sleep(0)
            return function(*args)

        return call()


@dataclass(frozen=True)
class MemoryState:
    version: int
    shape: Shape
    rows: Mapping[str, tuple[str, int]]
    """ETag and rows by key."""


@dataclass(frozen=True)
class MemoryStaged:
    shape: Shape
    sources: Sequence[tuple[str, str, int]]


@dataclass
class MemoryTable:
    """The port with nothing behind it; remembers when each commit was."""

    name: str = "lakehouse.t"
    state: MemoryState | None = None
    commits: list[tuple[float, int]] = field(default_factory=list)
    """Time and number of claims."""
    conflicts: int = 0
    """Commits to refuse from now on."""

    def load(self) -> MemoryState | None:
        return self.state

    def create(self, columns: Mapping[str, ColumnType]) -> MemoryState:
        self.state = self.state or MemoryState(0, Shape.new(columns), {})
        return self.state

    def stage(self, loaded: MemoryState, shape: Shape, parts: Sequence[Part], at: int) -> MemoryStaged:
        del loaded, at
        sources = [(one.source.key, one.source.etag, one.table.num_rows) for one in parts]
        return MemoryStaged(shape.grown(merged(one.columns for one in parts)), sources)

    def fits(self, loaded: MemoryState, staged: MemoryStaged, beside: Sequence[MemoryStaged]) -> bool:
        del beside
        return loaded.shape.pins.keys() <= staged.shape.pins.keys()

    def again(self, loaded: MemoryState, staged: MemoryStaged) -> MemoryStaged:
        del loaded
        return staged

    def commit(self, loaded: MemoryState, plan: Plan[MemoryStaged]) -> int:
        if loaded is not self.state or self.conflicts:
            self.conflicts = max(0, self.conflicts - 1)
            raise CommitConflict
        rows = {key: value for key, value in loaded.rows.items() if key not in plan.clear}
        shape = loaded.shape
        for staged, lost in plan.add:
            shape = staged.shape
            rows |= {key: (etag, n) for i, (key, etag, n) in enumerate(staged.sources) if i not in lost}
        self.state = MemoryState(loaded.version + 1, shape, rows)
        self.commits.append((asyncio.get_running_loop().time(), plan.sources))
        return self.state.version

    def shown(self, loaded: MemoryState, keys: Collection[str]) -> Mapping[str, Shown]:
        return {key: Shown(dict([loaded.rows[key]] if key in loaded.rows else [])) for key in keys}


def one_row(files: Sequence[SmallFile], pins: Pins, options: Options) -> Cooked:
    """Cook every file to one row with one column."""
    del options
    parts = [part(file.source.key, {"n": [1]}, etag=file.source.etag) for file in files]
    return Cooked(parts, {}, [], {**pins, "n": ColumnType.INTEGER})


def memory_entry(key: str, *, claim: str = "t", size: int = 1) -> Entry[MemoryStaged]:
    file = SmallFile(Source(key, "e"), bytes(size))
    return Entry(key, claim, "replace", asyncio.get_running_loop().create_future(), file)
