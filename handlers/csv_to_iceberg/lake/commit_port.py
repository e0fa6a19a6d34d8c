"""What the committer needs of a table and what it is asked to do, without PyIceberg: a simulation puts in its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Part, Report, SmallFile
from handlers.csv_to_iceberg.lake.shape import Shape


class LoadedTable(Protocol):
    """A table at one moment."""

    @property
    def shape(self) -> Shape:
        """Its columns at that moment."""
        ...


class StagedRows(Protocol):
    """Rows of one or more sources that lie ready but belong to no table yet."""

    @property
    def shape(self) -> Shape:
        """The table's columns once the rows are committed."""
        ...


L = TypeVar("L", bound=LoadedTable)
S = TypeVar("S", bound=StagedRows)


class CommitConflict(Exception):
    """The table was changed since it was loaded; nothing of ours was committed."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a table shows of one source."""

    rows: dict[str | None, int]
    """Rows by ETag; None where the rows carry none."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[S]):
    """One commit. Without anything to clear or add it is still a snapshot: it fences off commits loaded before it."""

    clear: frozenset[str] = frozenset()
    """Sources whose rows leave the table."""
    add: Sequence[tuple[S, Sequence[int]]] = ()
    """Staged rows that come in, each without the numbered sources in it: their claims ended after they were staged."""
    sources: int = 0
    """Claims served."""


class TablePort(Protocol[L, S]):
    """A table with compare-and-swap. Methods block and run on the `commit` lane."""

    @property
    def name(self) -> str:
        """`namespace.table`."""
        ...

    def load(self) -> L | None:
        """Return the table as it is now, None when there is none. `PermanentError`: it must not be written."""
        ...

    def create(self, columns: Mapping[str, ColumnType]) -> L:
        """Create the table without rows unless it exists; return it as it is."""
        ...

    def stage(self, loaded: L, shape: Shape, parts: Sequence[Part], at: int) -> S:
        """
        Write parts (in the order of their keys) for a table that will have `shape`; `at` is in epoch milliseconds.

        Raises `ShapeChanged` when the parts do not fit.
        """
        ...

    def fits(self, loaded: L, staged: S, beside: Sequence[S]) -> bool:
        """Tell whether staged rows can be committed to the table as it was loaded, after those `beside` them."""
        ...

    def again(self, loaded: L, staged: S) -> S:
        """Return the same rows under names that no commit has used."""
        ...

    def commit(self, loaded: L, plan: Plan[S]) -> int:
        """
        Find the rows to clear in `loaded`, then swap exactly that state for the next; return the snapshot's id.

        `CommitConflict`: nothing was committed. Any other exception: the outcome is unknown.
        """
        ...

    def shown(self, loaded: L, keys: Collection[str]) -> Mapping[str, Shown]:
        """Count the rows of some sources."""
        ...


@dataclass(frozen=True, slots=True)
class Landed:
    """What a commit did for one claim."""

    snapshot: int | None
    """None when there was no table, so that nothing could be done or fenced off."""
    report: Report | None = None
    """What was found in the object; None without one."""
    shown: Shown | None = None
    """For `keep`: what the table goes on showing."""


class Unpacked(Exception):
    """A compressed object is too large to be cooked in memory: stream it."""


@dataclass(eq=False)
class Entry(Generic[S]):
    """
    What one claim wants of a table.

    `outcome` ends with `Landed`, or with `ClaimLost`, a `HandlerError`, `ShapeChanged` (`own` must be staged again) or
    `Unpacked`. Cancelling it takes the entry out, unless its commit has begun.
    """

    key: str
    token: str
    mode: Literal["replace", "remove", "keep"]
    outcome: asyncio.Future[Landed]
    file: SmallFile | None = None
    """To be cooked together with others."""
    options: Options = field(default_factory=Options)
    own: S | None = None
    """Rows staged for this claim alone."""
    report: Report | None = None
    etag: str = ""
    """The version `report` is of; empty when nothing is put in."""
    staged: Callable[[], None] = lambda: None
    """Called when the object has been read."""

    @property
    def size(self) -> int:
        """Bytes held in memory."""
        return 0 if self.file is None else len(self.file.data)

    @property
    def waiting(self) -> bool:
        """Whether somebody still waits for the outcome."""
        return not self.outcome.done()

    def fail(self, error: Exception) -> None:
        """End the entry, unless it ended already."""
        if self.waiting:
            self.outcome.set_exception(error)

    def land(self, landed: Landed) -> None:
        """End the entry well, unless it ended already."""
        if self.waiting:
            self.outcome.set_result(landed)
