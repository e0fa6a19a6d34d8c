"""Periodic work under a lease: of all processes on one ledger, one at a time does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from consumer.ledger_leases import Leases
from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.schedule")

WAIT_SECONDS = 0.5
"""How often a lease that somebody else has is asked for again."""


LOOK_SECONDS = 10.0
"""How often, at least, it is looked whether something is due."""


class Schedule:
    """Named leases with heartbeats, and loops that run something when it is due."""

    def __init__(
        self, leases: Leases, *, clock: Callable[[], int], new_id: Callable[[], str], heartbeat_seconds: float
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._new_id = new_id
        self._heartbeat_seconds = heartbeat_seconds

    @asynccontextmanager
    async def turn(self, name: str, *, next_in: float | None = None, wait: bool = True) -> AsyncIterator[bool]:
        """
        Hold the lease `name`; the next turn that `every` starts is `next_in` seconds after this.

        Args:
            name: Of the lease.
            next_in: None changes nothing.
            wait: For whoever has it; else the block runs with False, without the lease.
        """
        token = self._new_id()
        while not await self._leases.take(name, token, due=False):
            if not wait:
                yield False
                return
            await asyncio.sleep(WAIT_SECONDS)
        async with self._held(name, token, next_in):
            yield True

    async def every(self, name: str, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        """Run `action` every `seconds` in whichever process gets the lease, until cancelled; failures are logged."""
        while True:
            await asyncio.sleep(min(seconds / 10, LOOK_SECONDS))
            token = self._new_id()
            try:
                if not await self._leases.take(name, token):
                    continue
                async with self._held(name, token, seconds):
                    await action()
            except TransientError as error:
                log.warning("schedule.failed", name=name, reason=error.message, next_try_in=seconds)
            except Exception:
                log.exception("schedule.failed", name=name, next_try_in=seconds)

    @asynccontextmanager
    async def _held(self, name: str, token: str, seconds: float | None) -> AsyncIterator[None]:
        beat = asyncio.create_task(self._beat(name, token), name=f"lease {name}")
        try:
            yield
        finally:
            beat.cancel()
            next_at = None if seconds is None else self._clock() + round(seconds * 1000)
            await self._leases.release(name, token, next_at)

    async def _beat(self, name: str, token: str) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                holds = await self._leases.extend(name, token)
            except TransientError as error:
                log.warning("lease.not_extended", name=name, reason=error.message, next_try_in=self._heartbeat_seconds)
                continue
            except Exception:
                log.exception("lease.not_extended", name=name, next_try_in=self._heartbeat_seconds)
                continue
            if not holds:
                log.warning("lease.lost", name=name)
                return
