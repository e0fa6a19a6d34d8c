"""
One committer per table: collects what claims want, and commits it in groups.

A window closes when its time is over, when it is full, or when nothing more is on its way to it. Its small files are
cooked and written once, while the window before it is being committed. A commit takes all windows that are staged, up
to the files it may have, and two commits are at least a window's time apart, however fast windows fill. It follows the
worker protocol (docs/protocol.md, step 5) to the letter: freeze the group, load the metadata, check the claims, plan
from that metadata, compare-and-swap against exactly it; after a conflict or an unknown outcome again from the freeze,
because only a commit of one's own proves anything.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Final, Generic

import structlog

from handlers.contract import ClaimLost, HandlerContext, OutcomeUnknown, PermanentError, TransientError
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Entry, L, Landed, S, Shown, TablePort
from handlers.csv_to_iceberg.lake.cooking import Cook
from handlers.csv_to_iceberg.lake.rejects_port import NOWHERE, RejectsPort
from handlers.csv_to_iceberg.lake.shape import ShapeChanged
from handlers.csv_to_iceberg.lake.stager import WindowStager
from handlers.csv_to_iceberg.lake.window import Group, Window, fail_all

log = structlog.get_logger(__name__)

MAX_TRIES: Final = 20
"""With the delays below about half a minute; then the claims are given back and tried again later."""

FIRST_DELAY: Final = 0.02
LONGEST_DELAY: Final = 2.0


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """When a window closes."""

    seconds: float
    """After its first entry; also the shortest time between two commits of a table."""
    files: int
    """Also the most that one commit takes."""
    bytes: int


class TableCommitter(Generic[L, S]):
    """Group commit for one table."""

    def __init__(
        self,
        table: TablePort[L, S],
        cook: Cook,
        context: HandlerContext,
        limits: WindowLimits,
        rejects: RejectsPort = NOWHERE,
    ) -> None:
        self._table = table
        self._rejects = rejects
        self._context = context
        self._limits = limits
        self._pending: dict[Entry[S], None] = {}
        self._bytes = 0
        """Of the files in `_pending`."""
        self._opened = 0.0
        self._closed = float("-inf")
        self._committed = float("-inf")
        """When the last commit began."""
        self._stopping = asyncio.Event()
        self._expected = 0
        self._changed = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._staged: list[Window[S]] = []
        """Windows that wait for the next commit."""
        self._committing: asyncio.Task[None] | None = None
        self._stager = WindowStager(table, cook, context)

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
        self._stopping.set()
        if self._runner is not None:
            await self._runner
        if self._committing is not None:
            await self._committing

    async def _run(self) -> None:
        try:
            while self._pending:
                await self._window_due()
                window = Window[S](self._take())
                if not window.entries:
                    continue
                now = asyncio.get_running_loop().time()
                if now >= self._closed + self._limits.seconds:  # a full one, closed early, does not delay the next
                    self._closed = now
                await self._stage(window)
                self._staged.append(window)
                if self._committing is None:
                    self._committing = asyncio.create_task(self._commit_all(), name=f"commit {self._table.name}")
        finally:
            self._runner = None

    def _take(self) -> list[Entry[S]]:
        """Take the entries of a window, the oldest, as many as one commit may have."""
        taken = list(islice(self._pending, self._limits.files))
        for entry in taken:
            del self._pending[entry]
            self._bytes -= entry.size
        return [entry for entry in taken if entry.waiting]

    async def _window_due(self) -> None:
        while self._pending and (delay := self._delay()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()

    def _delay(self) -> float:
        """Return the seconds until the open window closes."""
        if len(self._pending) >= self._limits.files or self._bytes >= self._limits.bytes:
            return 0.0
        due = self._closed + self._limits.seconds
        if self._expected:
            due = max(due, self._opened + self._limits.seconds)
        return due - asyncio.get_running_loop().time()

    async def _stage(self, window: Window[S]) -> None:
        """Do what comes before the commit; when it fails, all entries fail with it."""
        try:
            await self._stager.drop_doubles(window)
            await self._stager.stage(window)
        except PermanentError as error:
            window.fail(error)
        except Exception as error:
            log.warning("window.not_staged", table=self._table.name, sources=len(window.entries), exc_info=True)
            window.fail(TransientError(f"table {self._table.name}: rows could not be staged: {error!r}"))

    async def _commit_all(self) -> None:
        """Commit what is staged, as much at once as one commit may have, until nothing is left."""
        try:
            while self._staged:
                pause = self._committed + self._limits.seconds - asyncio.get_running_loop().time()
                if pause > 0:  # full windows close earlier than their table may have another snapshot
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._stopping.wait()
                self._committed = asyncio.get_running_loop().time()
                await self._commit(self._next_group())
        finally:
            self._committing = None

    def _next_group(self) -> Group[S]:
        files = list(accumulate(len(window.waiting()) for window in self._staged))
        number = max(1, bisect_right(files, self._limits.files))
        group, self._staged = Group(self._staged[:number]), self._staged[number:]
        return group

    async def _commit(self, group: Group[S]) -> None:
        await self._write_rejects(group)
        unknown = False
        for attempt in range(MAX_TRIES):
            try:
                if await self._attempt(group):
                    return
                continue
            except CommitConflict as conflict:
                sources = len(group.waiting())
                log.info("commit.conflict", table=self._table.name, sources=sources, reason=str(conflict))
            except PermanentError as error:
                group.fail(error)
                return
            except Exception as error:  # noqa: BLE001  # whatever it was, only a commit of ours ends this
                unknown = unknown or group.used
                log.warning("commit.failed", table=self._table.name, unknown=group.used, error=repr(error))
            await asyncio.sleep(backoff(attempt, self._context.new_id()))
        message = f"table {self._table.name}: no commit succeeded in {MAX_TRIES} tries; it will be tried again"
        group.fail(OutcomeUnknown(message) if unknown else TransientError(message))

    async def _write_rejects(self, group: Group[S]) -> None:
        """Write rejected records ahead of the rows; files whose records cannot be written wait, if that may pass."""
        keys = [entry.key for entry in group.waiting() if entry.mode != "keep"]
        found = group.rejected()
        try:
            group.superseded = await self._rejects.ahead(keys, list(found.values())) if keys else {}
        except PermanentError as error:
            log.warning("rejects.refused", table=self._table.name, sources=len(found), error=error.message)
            for entry in found:
                if entry.report is not None:
                    entry.report.warnings.append(f"rejected records are not kept: {error.message}")
        except Exception as error:
            log.warning("rejects.not_written", table=self._table.name, sources=len(found), exc_info=True)
            fail_all(found, TransientError(f"table {self._table.name}: rejected records could not be kept: {error!r}"))

    async def _attempt(self, group: Group[S]) -> bool:
        """Make one try at the commit; True when nothing is left to do, False to begin again at once."""
        entries = group.waiting()  # frozen: what is submitted from now on goes into another group
        if not entries:
            return True
        loaded = await self._context.run("commit", self._table.load)
        if loaded is None:
            return await self._without_table(group, entries)
        if not await self._stager.fresh(group, loaded):
            return False
        alive = await self._context.alive({entry.token for entry in entries})
        newest = {entry.key: entry for entry in entries if entry.waiting and entry.token in alive}
        for entry in entries:
            if entry is not newest.get(entry.key):
                entry.fail(ClaimLost())
        holders = [entry for entry in entries if entry.waiting]
        if not holders:
            return True
        kept = [entry.key for entry in holders if entry.mode == "keep"]
        shown = await self._context.run("commit", self._table.shown, loaded, kept) if kept else {}
        group.used = True
        try:
            snapshot = await self._context.run("commit", self._table.commit, loaded, group.plan(holders))
        except CommitConflict:
            group.used = False
            raise
        self._rejects.behind(group.superseded_by(holders))
        for entry in holders:
            entry.land(Landed(snapshot, entry.report, shown.get(entry.key)))
        return True

    async def _without_table(self, group: Group[S], entries: Sequence[Entry[S]]) -> bool:
        """
        Go on when there is no table: make it for the rows to come.

        With no rows to come nothing needs fencing off: whoever still holds staged rows makes the table first, loads it
        afterwards, and finds its claim gone.
        """
        self._stager.forget()
        if all(entry.mode != "replace" for entry in entries):
            for entry in entries:
                entry.land(Landed(None, shown=Shown({})))
            return True
        fail_all([entry for entry in entries if entry.own is not None], ShapeChanged("the table was dropped"))
        for window in group.windows:
            await self._stager.stage(window)
        return False


def backoff(attempt: int, seed: str) -> float:
    """
    Return seconds that double with each try from 0, spread by half so that two committers do not stay in step.

    `seed` begins with four random hexadecimal digits.
    """
    spread = 0.5 + int(seed[:4], 16) / 0xFFFF
    return min(FIRST_DELAY * 2.0**attempt, LONGEST_DELAY) * spread
