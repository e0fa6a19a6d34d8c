"""
One committer per table: collects what claims want, and commits it in groups.

A window closes when its time is over, when it is full, or when nothing more is on its way to it. Its small files are
cooked and written once, while the window before it is being committed. A commit then follows the worker protocol
(docs/protocol.md, step 5) to the letter: freeze the group, load the metadata, check the claims, plan from that
metadata, compare-and-swap against exactly it; after a conflict or an unknown outcome again from the freeze, because
only a commit of one's own proves anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic

import structlog

from handlers.contract import ClaimLost, HandlerContext, HandlerError, OutcomeUnknown, PermanentError, TransientError
from handlers.csv_to_iceberg.commit_port import CommitConflict, Entry, L, Landed, Plan, S, Shown, TablePort
from handlers.csv_to_iceberg.cooking import Cook, cook_entries
from handlers.csv_to_iceberg.refusals import UnsupportedColumn
from handlers.csv_to_iceberg.results import Part, Report
from handlers.csv_to_iceberg.shape import Shape, ShapeChanged, merged

log = structlog.get_logger(__name__)

MAX_TRIES: Final = 20
"""With the delays below about half a minute; then the claims are given back and tried again later."""

FIRST_DELAY: Final = 0.02
LONGEST_DELAY: Final = 2.0


@dataclass
class Window(Generic[S]):
    """A group of entries on its way to one commit."""

    entries: list[Entry[S]]
    cooked: list[Entry[S]] = field(default_factory=list)
    """Those whose files are in `staged`, in its order."""
    staged: S | None = None
    reports: dict[Entry[S], Report] = field(default_factory=dict)
    used: bool = False
    """A commit that named the staged files may have landed."""

    def waiting(self) -> list[Entry[S]]:
        """Return the entries whose outcome somebody waits for."""
        return [entry for entry in self.entries if entry.waiting]


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """When a window closes."""

    seconds: float
    """After its first entry; also the shortest time between two windows, unless they are full."""
    files: int
    bytes: int


class TableCommitter(Generic[L, S]):
    """Group commit for one table."""

    def __init__(self, table: TablePort[L, S], cook: Cook, context: HandlerContext, limits: WindowLimits) -> None:
        self._table = table
        self._cook = cook
        self._context = context
        self._limits = limits
        self._pending: dict[Entry[S], None] = {}
        self._bytes = 0
        """Of the files in `_pending`."""
        self._opened = 0.0
        self._closed = float("-inf")
        self._expected = 0
        self._changed = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._loaded: L | None = None
        self._shape: Shape | None = None
        """What the table will look like after all windows staged so far; None: ask the table."""

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Announce an entry that will be submitted right after this block: a window is kept open for it."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            self._changed.set()

    async def submit(self, entry: Entry[S]) -> Landed:
        """
        Put an entry into the open window and wait for its outcome.

        Raises:
            Exception: See `Entry`.
        """
        if not self._pending:
            self._opened = asyncio.get_running_loop().time()
        self._pending[entry] = None
        self._bytes += entry.size
        self._changed.set()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name=f"committer {self._table.name}")
        try:
            return await entry.outcome
        finally:
            if entry in self._pending:
                del self._pending[entry]
                self._bytes -= entry.size
                self._changed.set()

    async def aclose(self) -> None:
        """Fail what has not begun and wait for what has."""
        for entry in self._pending:
            entry.fail(TransientError("the service is stopping; the object will be looked at again"))
        self._changed.set()
        for task in (self._runner, self._committing):
            if task is not None:
                await task

    async def _run(self) -> None:
        try:
            while self._pending:
                await self._window_due()
                window = Window[S]([entry for entry in self._pending if entry.waiting])
                self._pending.clear()
                self._bytes = 0
                self._closed = asyncio.get_running_loop().time()
                if not await self._try(window, self._prepare(window)):
                    continue
                if self._committing is not None:
                    await self._committing
                self._committing = asyncio.create_task(self._commit(window), name=f"commit {self._table.name}")
        finally:
            self._runner = None

    async def _window_due(self) -> None:
        while self._pending and (delay := self._delay()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), delay)

    def _delay(self) -> float:
        """Return the seconds until the open window closes."""
        if len(self._pending) >= self._limits.files or self._bytes >= self._limits.bytes:
            return 0.0
        due = self._closed + self._limits.seconds
        if self._expected:
            due = max(due, self._opened + self._limits.seconds)
        return due - asyncio.get_running_loop().time()

    async def _prepare(self, window: Window[S]) -> None:
        """Leave one entry per source, and stage the small files."""
        await self._drop_doubles(window)
        await self._stage(window)

    async def _drop_doubles(self, window: Window[S]) -> None:
        """
        Leave one entry per source: the one whose claim holds.

        Two claims of one unit never hold at once, so of two entries at most one survives the check; were it otherwise,
        the later one wins.
        """
        seen: dict[str, list[Entry[S]]] = {}
        for entry in window.waiting():
            seen.setdefault(entry.key, []).append(entry)
        doubles = [entries for entries in seen.values() if len(entries) > 1]
        if not doubles:
            return
        alive = await self._context.alive({entry.token for entries in doubles for entry in entries})
        for entries in doubles:
            holders = [entry for entry in entries if entry.token in alive]
            for entry in entries:
                if entry not in holders[-1:]:
                    entry.fail(ClaimLost())

    async def _stage(self, window: Window[S]) -> None:
        """Cook and write the small files of a window, for the shape the table is going to have."""
        small = [entry for entry in window.waiting() if entry.file]
        window.cooked, window.reports, window.staged = [], {}, None
        for _ in range(MAX_TRIES):
            if not small:
                return
            if self._shape is None:
                self._loaded = await self._context.run("commit", self._table.load)
                self._shape = self._loaded.shape if self._loaded else None
            shape = self._shape
            cooked, parts = await cook_entries(small, shape.pins if shape else {}, self._cook, self._context)
            cooked, parts = self._without_unsupported(cooked, parts, shape)
            if not parts:
                return
            try:
                columns = merged(part.columns for part in parts)
                if self._loaded is None:
                    self._loaded = await self._context.run("commit", self._table.create, columns)
                staged = await self._context.run(
                    "commit", self._table.stage, self._loaded, shape or self._loaded.shape, parts, self._context.clock()
                )
            except ShapeChanged as change:
                log.info("csv.cooked_again", table=self._table.name, reason=str(change))
                self._shape = None
                small = [entry for entry in cooked if entry.waiting]
                continue
            window.cooked, window.staged = cooked, staged
            window.reports = {entry: part.report for entry, part in zip(cooked, parts, strict=True)}
            self._shape = staged.shape
            return
        _fail(small, TransientError(f"table {self._table.name} kept changing; the object will be read again later"))

    def _without_unsupported(
        self, cooked: list[Entry[S]], parts: list[Part], shape: Shape | None
    ) -> tuple[list[Entry[S]], list[Part]]:
        if shape is None:
            return cooked, parts
        kept: list[tuple[Entry[S], Part]] = []
        for entry, part in zip(cooked, parts, strict=True):
            field = shape.unsupported(part.columns)
            if field is None:
                kept.append((entry, part))
            else:
                entry.fail(UnsupportedColumn(self._table.name, field.name, str(field.field_type)))
        return [entry for entry, _ in kept], [part for _, part in kept]

    async def _try(self, window: Window[S], preparing: Coroutine[Any, Any, None]) -> bool:
        """Run the part before the commit; when it fails, all entries fail with it."""
        try:
            await preparing
        except PermanentError as error:
            _fail(window.waiting(), error)
        except Exception as error:
            log.warning("window.not_staged", table=self._table.name, sources=len(window.entries), exc_info=True)
            _fail(window.waiting(), TransientError(f"table {self._table.name}: rows could not be staged: {error!r}"))
        return bool(window.waiting())

    async def _commit(self, window: Window[S]) -> None:
        unknown = False
        for attempt in range(MAX_TRIES):
            try:
                if await self._attempt(window):
                    return
                continue
            except CommitConflict as conflict:
                log.info("commit.conflict", table=self._table.name, sources=len(window.entries), reason=str(conflict))
            except PermanentError as error:
                _fail(window.waiting(), error)
                return
            except Exception as error:  # noqa: BLE001  # whatever it was, only a commit of ours ends this
                unknown = unknown or window.used
                log.warning("commit.failed", table=self._table.name, unknown=window.used, error=repr(error))
            await asyncio.sleep(backoff(attempt, self._context.new_id()))
        message = f"table {self._table.name}: no commit succeeded in {MAX_TRIES} tries; it will be tried again"
        _fail(window.waiting(), OutcomeUnknown(message) if unknown else TransientError(message))

    async def _attempt(self, window: Window[S]) -> bool:
        """Make one try at the commit; True when nothing is left to do, False to begin again at once."""
        group = window.waiting()
        if not group:
            return True
        loaded = await self._context.run("commit", self._table.load)
        if loaded is None:
            return await self._without_table(window, group)
        self._loaded = loaded
        if not await self._fresh(window, group, loaded):
            return False
        alive = await self._context.alive({entry.token for entry in group})
        for entry in group:
            if entry.token not in alive:
                entry.fail(ClaimLost())
        holders = [entry for entry in group if entry.waiting]
        if not holders:
            return True
        kept = [entry.key for entry in holders if entry.mode == "keep"]
        shown = await self._context.run("commit", self._table.shown, loaded, kept) if kept else {}
        window.used = True
        try:
            snapshot = await self._context.run("commit", self._table.commit, loaded, _plan(window, holders))
        except CommitConflict:
            window.used = False
            raise
        for entry in holders:
            entry.land(Landed(snapshot, window.reports.get(entry, entry.report), shown.get(entry.key)))
        return True

    async def _without_table(self, window: Window[S], group: Sequence[Entry[S]]) -> bool:
        """
        Go on when there is no table: make it for the rows to come.

        With no rows to come nothing needs fencing off: whoever still holds staged rows makes the table first, loads it
        afterwards, and finds its claim gone.
        """
        self._loaded = self._shape = None
        if all(entry.mode != "replace" for entry in group):
            for entry in group:
                entry.land(Landed(None, shown=Shown({})))
            return True
        _fail([entry for entry in group if entry.own is not None], ShapeChanged("the table was dropped"))
        await self._stage(window)
        return False

    async def _fresh(self, window: Window[S], group: Sequence[Entry[S]], loaded: L) -> bool:
        """Tell whether all staged rows can be committed to the table as loaded; stage again those that cannot."""
        if window.used:
            await self._rename(window, group, loaded)
        fitting: list[S] = []
        if window.staged is not None:
            if not self._table.fits(loaded, window.staged, fitting):
                log.info("csv.staged_again", table=self._table.name, sources=len(window.cooked))
                self._shape = loaded.shape
                await self._stage(window)
                return False
            fitting.append(window.staged)
        for entry in group:
            if entry.own is not None:
                if self._table.fits(loaded, entry.own, fitting):
                    fitting.append(entry.own)
                else:
                    entry.fail(ShapeChanged(f"table {self._table.name} changed while the object was being read"))
        return True

    async def _rename(self, window: Window[S], group: Sequence[Entry[S]], loaded: L) -> None:
        """Copy staged files: the last try may have landed, and a file must not enter the table twice."""
        for entry in group:
            if entry.own is not None:
                try:
                    entry.own = await self._context.run("commit", self._table.again, loaded, entry.own)
                except FileNotFoundError:
                    entry.fail(ShapeChanged("the staged file is gone: it landed, was compacted away and removed"))
        if window.staged is not None:
            try:
                window.staged = await self._context.run("commit", self._table.again, loaded, window.staged)
            except FileNotFoundError:
                await self._stage(window)
        window.used = False


def backoff(attempt: int, seed: str) -> float:
    """
    Return seconds that double with each try from 0, spread by half so that two committers do not stay in step.

    `seed` begins with four random hexadecimal digits.
    """
    spread = 0.5 + int(seed[:4], 16) / 0xFFFF
    return min(FIRST_DELAY * 2.0**attempt, LONGEST_DELAY) * spread


def _plan(window: Window[S], holders: Sequence[Entry[S]]) -> Plan[S]:
    held = set(holders)
    add: list[tuple[S, Sequence[int]]] = []
    if window.staged is not None:
        lost = [number for number, entry in enumerate(window.cooked) if entry not in held]
        if len(lost) < len(window.cooked):
            add.append((window.staged, lost))
    add += [(entry.own, ()) for entry in holders if entry.own is not None]
    clear = frozenset(entry.key for entry in holders if entry.mode != "keep")
    return Plan(clear, add, len(holders))


def _fail(entries: Sequence[Entry[S]], error: HandlerError | ShapeChanged) -> None:
    for entry in entries:
        entry.fail(error)
