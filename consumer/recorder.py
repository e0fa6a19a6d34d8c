"""
The recorder: outcomes of the ledger's history reach the sinks' own records (a registry, an ingest log).

At least once, and idempotent at the sink: a crash between the sink's commit and the note in the history repeats it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from consumer.held import Settled
from consumer.ledger_views import History
from handlers.contract import Handler

log = structlog.get_logger("lakedrop.recorder")

MOST = 2000
"""Outcomes written together."""


class Recorder:
    """
    Writes outcomes of units as they settle, at most every `seconds`.

    Every `patience` seconds it also looks for those that a process left behind when it died.
    """

    def __init__(
        self, handlers: Mapping[str, Handler], history: History, *, seconds: float = 1.0, patience: float = 30.0
    ) -> None:
        self._handlers = handlers
        self._history = history
        self._seconds = seconds
        self._patience = patience
        self._waiting = asyncio.Event()

    def notice(self, settled: Settled) -> None:
        """Take note that an outcome was settled."""
        if settled.record:
            self._waiting.set()

    async def run(self) -> None:
        """Run until cancelled; a sink that does not take its records is tried again."""
        while True:
            self._waiting.clear()
            try:
                await self.flush()
            except Exception:
                log.exception("record.failed", next_try_in=self._patience)
            await asyncio.sleep(self._seconds)
            try:
                await asyncio.wait_for(self._waiting.wait(), self._patience)
            except TimeoutError:
                continue

    async def flush(self) -> int:
        """Write everything there is; returns how many outcomes."""
        total = 0
        for name, handler in self._handlers.items():
            while found := await self._history.unrecorded(name, MOST):
                await handler.record([outcome for _, outcome in found])
                await self._history.recorded(identity for identity, _ in found)
                total += len(found)
        return total
