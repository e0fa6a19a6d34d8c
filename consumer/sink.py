"""
Whether the sink of a handler answers.

One that is away is nobody's fault but its servers': units that met it are released without an attempt, and a service
takes nothing more for the handler until it answers again (docs/decisions.md, 42).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

import structlog

from consumer import retry
from handlers.contract import SinkAway, SinkRefuses

log = structlog.get_logger("lakedrop.sink")

PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between two questions to a sink that is away; the last is repeated."""

PATIENCE: Final = 15.0
"""Seconds a sink may take to answer. Claims are held so long at most while it is asked about them."""

FRESH: Final = 5.0
"""Seconds an answer is good for who only wants to tell, as `/readyz` does."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a sink cannot be used."""

    reason: str
    refuses: bool
    """It answers, and does not let us in: waiting mends that only if somebody corrects it on its side."""

    def error(self) -> SinkAway:
        """Return what a unit gets that met it."""
        return SinkRefuses(self.reason) if self.refuses else SinkAway(self.reason)


@dataclass(frozen=True, slots=True)
class Away:
    """A sink that work met and that has not answered since."""

    fault: Fault
    since: int
    """Epoch milliseconds."""


class Sink:
    """
    The sink of one handler, asked when a unit failed, and then until it is back.

    Args:
        name: Of the handler.
        ping: `Handler.ping`, or what says why there is no handler yet.
        clock: Epoch milliseconds.
    """

    def __init__(self, name: str, ping: Callable[[], Awaitable[None]], *, clock: Callable[[], int]) -> None:
        self.name = name
        self.away: Away | None = None
        """None while nothing is known against it."""
        self._ping = ping
        self._clock = clock
        self._there = asyncio.Event()
        self._there.set()
        self._asking: asyncio.Task[Fault | None] | None = None
        self._answer: Fault | None = None
        self._answered = float("-inf")
        """When it last answered, in the event loop's seconds; as the following one."""
        self._last: Fault | None = None
        self._last_at = float("-inf")
        self._watching: asyncio.Task[None] | None = None

    async def blamed(self, began: float) -> SinkAway | None:
        """
        Say whether a failure is the sink's: it does not answer, or did not since the work began.

        All who ask at once get the same answer. From the first bad one on the sink is asked until it is back.

        Args:
            began: When the work did, in the event loop's seconds.
        """
        if self.away is None:
            # An answer that was under way may be older than the failure.
            late = self._asking is not None and not self._asking.done()
            fault = await self._fault()
            if fault is None and late:
                fault = await self._fault()
            if fault is not None and self.away is None:
                self._leave(fault)
        if self.away is not None:
            return self.away.fault.error()
        return self._last.error() if self._last is not None and self._last_at >= began else None

    async def told(self) -> str | None:
        """Return why it cannot be used, None when it can: for who asks often, so the answer may be a little old."""
        if asyncio.get_running_loop().time() - self._answered < FRESH:
            fault = self._answer
        else:
            fault = await self._fault()
        return None if fault is None else fault.reason

    async def back(self) -> None:
        """Wait until nothing is known against it."""
        await self._there.wait()

    async def aclose(self) -> None:
        """Ask no more."""
        tasks = [task for task in (self._watching, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, fault: Fault) -> None:
        self.away = Away(fault, self._clock())
        self._there.clear()
        self._tell(fault, PAUSES[0])
        self._watching = asyncio.create_task(self._watch(), name=f"sink of {self.name}")

    async def _watch(self) -> None:
        """Ask with growing pauses until it answers, whoever hears it."""
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        pause = next(pauses)
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._there.wait()
            except TimeoutError:
                fault = await self._fault()
            else:
                return
            if fault is None or self.away is None:
                return
            self.away = Away(fault, self.away.since)
            pause = next(pauses)
            self._tell(fault, pause)

    def _tell(self, fault: Fault, pause: float) -> None:
        repair = "see `lakedrop check`; attempts are not counted meanwhile"
        tell = log.error if fault.refuses else log.warning
        tell("sink.away", handler=self.name, reason=fault.reason, next_try_in=pause, repair=repair)

    async def _fault(self) -> Fault | None:
        if self._asking is None or self._asking.done():  # one without an answer holds a thread: one is enough
            self._asking = asyncio.create_task(self._ask(), name=f"ping {self.name}")
        asking = self._asking
        done, _ = await asyncio.wait([asking], timeout=PATIENCE)
        return asking.result() if done else self._note(Fault(f"no answer in {PATIENCE:g} s", refuses=False))

    async def _ask(self) -> Fault | None:
        try:
            await self._ping()
        except Exception as error:  # noqa: BLE001 (whatever it is, the sink cannot be used)
            return self._note(Fault(retry.message(error), isinstance(error, SinkRefuses)))
        return self._note(None)

    def _note(self, fault: Fault | None) -> Fault | None:
        self._answer, self._answered = fault, asyncio.get_running_loop().time()
        if fault is not None:
            self._last, self._last_at = fault, self._answered
        elif self.away is not None:
            seconds = (self._clock() - self.away.since) / 1000
            self.away = None
            self._there.set()
            log.info("sink.back", handler=self.name, seconds=seconds)
        return fault
