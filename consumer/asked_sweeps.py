"""Sweeps that a bridge or a starting service asks for, by way of the ledger: done by whichever service looks first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

import structlog

from consumer.ledger_checkpoints import Wanted, WantedSweeps
from consumer.schedule import Schedule
from consumer.sweep_report import Report
from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.sweep")

LOOK_SECONDS: Final = 2.0
"""How often the demands are read: one small query, against minutes until the next scheduled sweep."""

AGAIN_SECONDS: Final = 30.0
"""Before a bucket that could not be swept is tried again; doubled each time."""

LEASE: Final = "asked sweeps"


@dataclass(frozen=True, slots=True)
class Failed:
    """A demand that could not be met."""

    asked_at: int
    delay: float
    again_at: float
    """By the clock of the loop."""


class AskedSweeps:
    """
    Meets demands for sweeps.

    A bucket that is missing, or partly denied, stays wanted. It alone is tried again, less and less often, up to as
    seldom as everything is swept; at once when somebody asks anew.

    Args:
        schedule: Lets one process at a time meet them.
        sweep: Sweeps the named buckets, after waiting for a sweep under way.
        longest_seconds: Between two tries at one bucket.
    """

    def __init__(
        self,
        wanted: WantedSweeps,
        schedule: Schedule,
        sweep: Callable[[Collection[str]], Awaitable[Report]],
        *,
        longest_seconds: float,
        look_seconds: float = LOOK_SECONDS,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._wanted = wanted
        self._schedule = schedule
        self._sweep = sweep
        self._longest_seconds = longest_seconds
        self._look_seconds = look_seconds
        self._again_seconds = again_seconds
        self._failed: dict[str, Failed] = {}

    async def run(self) -> None:
        """Look for demands until cancelled; failures are logged, and the demand stands."""
        seconds = self._look_seconds
        while True:
            await asyncio.sleep(seconds)
            seconds = self._again_seconds
            try:
                await self.look()
                seconds = self._look_seconds
            except TransientError as error:
                log.warning("sweep.failed", reason=error.message, next_try_in=seconds)
            except Exception:
                log.exception("sweep.failed", next_try_in=seconds)

    async def look(self) -> None:
        """Meet the demands whose time has come."""
        if not await self._due():
            return
        async with self._schedule.turn(LEASE):
            due = await self._due()  # another process may have met them meanwhile
            if not due:
                return
            for wanted in due:
                log.info("sweep.wanted", bucket=wanted.bucket, reason=wanted.reason)
            report = await self._sweep([wanted.bucket for wanted in due])
            for wanted in due:
                if wanted.bucket in report.unswept:
                    self._put_off(wanted)
                else:
                    self._failed.pop(wanted.bucket, None)
                    await self._wanted.met(wanted)

    async def _due(self) -> list[Wanted]:
        now = asyncio.get_running_loop().time()
        return [
            wanted
            for wanted in await self._wanted.pending()
            if (failed := self._failed.get(wanted.bucket)) is None
            or failed.asked_at != wanted.asked_at
            or failed.again_at <= now
        ]

    def _put_off(self, wanted: Wanted) -> None:
        before = self._failed.get(wanted.bucket)
        delay = min(self._again_seconds if before is None else 2 * before.delay, self._longest_seconds)
        again_at = asyncio.get_running_loop().time() + delay
        self._failed[wanted.bucket] = Failed(wanted.asked_at, delay, again_at)
        log.warning("sweep.put_off", bucket=wanted.bucket, next_try_in=delay)
