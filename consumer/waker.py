"""
The waker: hints every row whose deadline has passed (R8).

Retries, put-backs and the rows of dead processes all come back this way. Any number of wakers may run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from consumer.hints import Hints
from consumer.ledger import Ledger
from consumer.sink import Sink
from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.waker")

MOST = 1000
"""Hints a pass; what is left is older at the next one."""


class Waker:
    """
    Hints due rows every `seconds`.

    Args:
        handlers: Whose rows are hinted.
        sinks: Of handlers; while one is away its rows wait, or hints that nobody takes would pile up.
    """

    def __init__(
        self,
        ledger: Ledger,
        hints: Hints,
        *,
        handlers: frozenset[str],
        seconds: float,
        sinks: Iterable[Sink] = (),
    ) -> None:
        self._ledger = ledger
        self._hints = hints
        self._handlers = handlers
        self._seconds = seconds
        self._sinks = tuple(sinks)

    async def run(self) -> None:
        """Run until cancelled; a ledger that does not answer is tried again at the next pass."""
        while True:
            try:
                await self.wake()
            except TransientError as error:
                log.warning("waker.failed", reason=error.message, next_try_in=self._seconds)
            except Exception:
                log.exception("waker.failed", next_try_in=self._seconds)
            await asyncio.sleep(self._seconds)

    async def wake(self) -> int:
        """Hint what is due now, what a person forced as bulk; returns how many."""
        due = await self._ledger.wake(MOST, without=[sink.name for sink in self._sinks if sink.away])
        for key, forced in due:
            if key.handler not in self._handlers:
                continue
            if forced:
                await self._hints.bulk(key, "wake")
            else:
                await self._hints.live(key, "wake")
        return len(due)
