"""
The recorder: outcomes of the ledger's history reach the sinks' own records (a registry, an ingest log).

At least once, and idempotent at the sink: a crash between the sink's commit and the note in the history repeats it. Of
several replicas one at a time writes a handler's outcomes, whoever settled them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import count

import structlog

from consumer.held import Settled
from consumer.ledger_history import History
from consumer.schedule import Schedule
from handlers.contract import Handler, TransientError

log = structlog.get_logger("lakedrop.recorder")

MOST = 2000
"""Outcomes written together."""


class Recorder:
    """
    Writes outcomes of units as they settle, one group every `seconds`: a sink's records get no more commits than that.

    Every `patience` seconds it also looks for those that a process left behind when it died. A handler that refuses its
    outcomes is left alone for that long; the others' go on.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        history: History,
        schedule: Schedule,
        *,
        seconds: float = 1.0,
        patience: float = 30.0,
    ) -> None:
        self._handlers = handlers
        self._history = history
        self._schedule = schedule
        self._seconds = seconds
        self._patience = patience
        self._waiting = asyncio.Event()
        self._rests: dict[str, float] = {}
        """Until when handlers that refused are left alone, in the event loop's seconds."""

    def notice(self, settled: Settled) -> None:
        """Take note that an outcome was settled."""
        if settled.record:
            self._waiting.set()

    async def run(self) -> None:
        """Run until cancelled; a sink that does not take its records is tried again."""
        while True:
            self._waiting.clear()
            now = asyncio.get_running_loop().time()
            names = [name for name in self._handlers if self._rests.get(name, now) <= now]
            total, refused = await self._write(names, wait=False, groups=1)
            if total:
                self._waiting.set()  # there may be more
            self._rests |= dict.fromkeys(refused, now + self._patience)
            await asyncio.sleep(self._seconds)
            try:
                async with asyncio.timeout(self._patience):
                    await self._waiting.wait()
            except TimeoutError:
                continue

    async def flush(self, *, wait: bool = True) -> int:
        """
        Write everything there is, of every handler; returns how many outcomes.

        Args:
            wait: Until no other process writes a handler's outcomes; else they are left to it, this process's too.

        Raises:
            Exception: What a handler that refused said; the others' outcomes are written.
        """
        total, refused = await self._write(self._handlers, wait=wait)
        for error in refused.values():
            raise error
        return total

    async def _write(
        self, names: Iterable[str], *, wait: bool, groups: int | None = None
    ) -> tuple[int, dict[str, Exception]]:
        """
        Write the outcomes of some handlers, all or so many groups of each.

        Returns how many, and which handlers refused theirs and why.
        """
        total = 0
        refused: dict[str, Exception] = {}
        for name in names:
            try:
                if not await self._history.unrecorded(name, 1):
                    continue
                async with self._schedule.turn(f"record {name}", wait=wait) as mine:
                    if not mine:
                        self._waiting.set()  # whoever has it may die
                        continue
                    for _ in count() if groups is None else range(groups):
                        found = await self._history.unrecorded(name, MOST)
                        if not found:
                            break
                        await self._handlers[name].record([outcome for _, outcome in found])
                        await self._history.recorded(identity for identity, _ in found)
                        total += len(found)
            except Exception as error:
                reason = error.message if isinstance(error, TransientError) else None
                log.warning(
                    "record.failed", handler=name, reason=reason, next_try_in=self._patience, exc_info=reason is None
                )
                refused[name] = error
        return total, refused
