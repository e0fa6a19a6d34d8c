"""Rejected records in memory, beside the simulated tables; which version has any follows from its text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.rejects_port import Superseded
from handlers.csv_to_iceberg.lake.rejects_table import Placed
from tests.simulation.world import World

Held = tuple[str, str]
"""Key and version."""


def has_rejects(text: str) -> bool:
    """Tell whether the content has a rejected record: `a` and `b` have, `c` has none."""
    return crc32(text.encode()) % 2 == 1


@dataclass(frozen=True)
class SimOpened:
    """The place at one moment."""

    files: Mapping[str, frozenset[Held]]
    landed: frozenset[str]

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self.files)


@dataclass
class SimRejects:
    """What `RejectsTable` offers to its keeper, with compare-and-swap in memory."""

    name: str
    world: World
    shown: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By key the versions that the data table shows."""
    state: SimOpened = field(default_factory=lambda: SimOpened({}, frozenset()))

    def open(self, *, create: bool) -> SimOpened | None:
        return self.state if create or self.state.landed else None

    def held(self, opened: SimOpened, keys: Collection[str]) -> Superseded:
        found = {path for path, held in opened.files.items() if any(key in keys for key, _ in held)}
        return dict.fromkeys(found, frozenset(keys))

    def new_path(self, opened: SimOpened) -> str:
        del opened
        return self.world.ids()

    def commit(self, opened: SimOpened, placed: Sequence[Placed], path: str, clear: Superseded) -> None:
        kind = self.world.strike("swap")
        if kind == "conflict":
            self.state = SimOpened(self.state.files, self.state.landed | {"somebody"})
        elif kind == "unknown never":
            raise ConnectionError("no answer; it never arrived")
        elif kind == "unknown late":
            self.world.late += 1
            self.world.later(self.world.chance.uniform(0.1, 60), lambda: self._land_late(opened, placed, path, clear))
            raise ConnectionError("no answer; it is still on its way")
        self._swap(opened, placed, path, clear)
        if kind == "unknown landed":
            raise ConnectionError("no answer; it arrived")

    def check(self) -> None:
        """Whatever the data table shows of a key: if that version has rejected records, they are here."""
        there = {held for some in self.state.files.values() for held in some}
        for key, versions in self.shown.items():
            for version in versions:
                if has_rejects(version) and (key, version) not in there:
                    self.world.fail(f"{self.name} shows {key} as {version}, whose rejected records are gone")

    def _land_late(self, opened: SimOpened, placed: Sequence[Placed], path: str, clear: Superseded) -> None:
        self.world.late -= 1
        try:
            self._swap(opened, placed, path, clear)
        except CommitConflict:
            self.world.note("late rejects fail")
        else:
            self.world.note("late rejects land")

    def _swap(self, opened: SimOpened, placed: Sequence[Placed], path: str, clear: Superseded) -> None:
        if opened is not self.state:
            raise CommitConflict("the rejects moved on")
        files = {
            name: frozenset(one for one in held if one[0] not in clear.get(name, ()))
            for name, held in opened.files.items()
        }
        if placed:
            files[path] = frozenset((one.rejected.key, one.rejected.etag) for one in placed)
        self.state = SimOpened({name: held for name, held in files.items() if held}, opened.landed | {path})
        self.world.note("rejects", self.name, {name: sorted(held) for name, held in self.state.files.items()})
        self.check()
