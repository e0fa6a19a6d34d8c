"""
Group commit for the rejected records of one namespace.

Records are written ahead of the rows of their version, and what they supersede is taken out behind them. Two tables
cannot be swapped in one commit, but every record names its version: whichever version the data table shows, at any
moment and after any crash, its records are there. docs/guarantees.md has the argument, step by step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from handlers.contract import HandlerContext, PermanentError, TransientError
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.committer import MAX_TRIES, backoff
from handlers.csv_to_iceberg.lake.rejects_port import Rejected, Superseded
from handlers.csv_to_iceberg.lake.rejects_table import Opened, Placed, RejectsTable

log = structlog.get_logger(__name__)

PATIENCE: Final = 2
"""Commit intervals that removals wait for additions to share a commit with."""


@dataclass(eq=False)
class _Asked:
    keys: frozenset[str]
    placed: list[Placed]
    outcome: asyncio.Future[Superseded] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class RejectsKeeper:
    """Collects what the tables of a namespace reject, and commits it at most once in `seconds`."""

    def __init__(self, table: RejectsTable, context: HandlerContext, seconds: float) -> None:
        self._table = table
        self._context = context
        self._seconds = seconds
        self._asked: list[_Asked] = []
        self._clear: dict[str, frozenset[str]] = {}
        self._committed = float("-inf")
        """When the last commit began."""
        self._changed = asyncio.Event()
        self._closing = False
        self._runner: asyncio.Task[None] | None = None

    def of(self, table: str, bucket: str) -> RejectsOfTable:
        """Return the port for the committer of one table, named `namespace.table`."""
        return RejectsOfTable(self, table.rpartition(".")[2], bucket)

    async def add(self, keys: Collection[str], placed: list[Placed]) -> Superseded:
        """Write records, or only look what is there of the keys; see `RejectsPort.ahead`."""
        if not placed:
            return await self._context.run("commit", self._look, keys)
        asked = _Asked(frozenset(keys), placed)
        self._asked.append(asked)
        self._wake()
        return await asked.outcome

    def clear(self, superseded: Superseded) -> None:
        """Take records out with one of the next commits; see `RejectsPort.behind`."""
        for path, keys in superseded.items():
            self._clear[path] = self._clear.get(path, frozenset()) | keys
        if superseded:
            self._wake()

    async def aclose(self) -> None:
        """Commit what is left."""
        self._closing = True
        self._changed.set()
        if self._runner is not None:
            await self._runner

    def _wake(self) -> None:
        self._changed.set()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name=f"rejects {self._table.name}")

    def _look(self, keys: Collection[str]) -> Superseded:
        opened = self._table.open(create=False)
        return {} if opened is None else self._table.held(opened, keys)

    async def _run(self) -> None:
        try:
            while self._asked or self._clear:
                await self._due()
                asked = [one for one in self._asked if not one.outcome.done()]
                clear, self._asked, self._clear = self._clear, [], {}
                self._committed = asyncio.get_running_loop().time()
                await self._commit(asked, clear)
        finally:
            self._runner = None

    async def _due(self) -> None:
        while (delay := self._delay()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()

    def _delay(self) -> float:
        if self._closing:
            return 0.0
        seconds = self._seconds if self._asked else PATIENCE * self._seconds
        return self._committed + seconds - asyncio.get_running_loop().time()

    async def _commit(self, asked: Sequence[_Asked], clear: Superseded) -> None:
        attempt = _Attempt(self._table, self._context, asked, clear)
        for number in range(MAX_TRIES):
            try:
                superseded = await attempt.make()
            except CommitConflict as conflict:
                log.info("rejects.conflict", table=self._table.name, reason=str(conflict))
            except PermanentError as error:
                _fail(asked, error)
                return
            except Exception as error:  # noqa: BLE001  # whatever it was, it is tried again
                log.warning("rejects.failed", table=self._table.name, error=repr(error))
            else:
                for one, old in zip(asked, superseded, strict=True):
                    if not one.outcome.done():
                        one.outcome.set_result(old)
                return
            await asyncio.sleep(backoff(number, self._context.new_id()))
        if clear:
            # They are found again when their keys are next written.
            log.warning("rejects.left", table=self._table.name, files=len(clear))
        _fail(asked, TransientError(f"table {self._table.name}: no commit succeeded in {MAX_TRIES} tries"))


@dataclass
class _Attempt:
    """One group on its way into the table, try after try."""

    table: RejectsTable
    context: HandlerContext
    asked: Sequence[_Asked]
    clear: Superseded
    tried: set[str] = field(default_factory=set)
    """By what the commits of earlier tries are told apart; one that landed is done."""
    superseded: list[Superseded] | None = None
    """Of each asker, as the first try found it: before any record of theirs."""

    async def make(self) -> list[Superseded]:
        """Try once. Raises as `RejectsTable.commit`."""
        opened = await self.context.run("commit", self._open)
        if opened is None or self.superseded is None:
            return []
        if self.tried & opened.landed:
            return self.superseded
        placed = [one for asked in self.asked for one in asked.placed if not asked.outcome.done()]
        alive = await self.context.alive({one.rejected.token for one in placed}) if placed else set()
        holding = [one for one in placed if one.rejected.token in alive]
        if holding or self.clear.keys() & opened.paths:
            path = self.table.new_path(opened)
            self.tried.add(path)
            await self.context.run("commit", self.table.commit, opened, holding, path, self.clear)
        return self.superseded

    def _open(self) -> Opened | None:
        opened = self.table.open(create=bool(self.asked))
        if opened is not None and self.superseded is None:
            self.superseded = [self.table.held(opened, asked.keys) for asked in self.asked]
        return opened


class RejectsOfTable:
    """The port for one table's committer."""

    def __init__(self, keeper: RejectsKeeper, table: str, bucket: str) -> None:
        self._keeper = keeper
        self._table = table
        self._bucket = bucket

    async def ahead(self, keys: Collection[str], rejected: Sequence[Rejected]) -> Superseded:
        """See `RejectsPort`."""
        return await self._keeper.add(keys, [Placed(self._table, self._bucket, one) for one in rejected])

    def behind(self, superseded: Superseded) -> None:
        """See `RejectsPort`."""
        self._keeper.clear(superseded)


def _fail(asked: Sequence[_Asked], error: Exception) -> None:
    for one in asked:
        if not one.outcome.done():
            one.outcome.set_exception(error)
