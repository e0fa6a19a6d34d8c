"""The real core of one process, wired to fakes: ledger in memory, local broker, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from consumer.gate import Gate
from consumer.held import Settled
from consumer.hints import Hints
from consumer.ledger import Ledger
from consumer.ledger_history import History
from consumer.ledger_leases import Leases
from consumer.ledger_schema import units
from consumer.ledger_sqlite import sqlite_engine
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_views import Units
from consumer.local_broker import LocalBroker
from consumer.look import Looker
from consumer.protocol import Row
from consumer.retry import RetryPolicy
from consumer.router import Route, Router
from consumer.schedule import Schedule
from consumer.sink import Sink
from consumer.sweep import Sweeper
from consumer.waker import Waker
from consumer.worker import Worker
from consumer.workitem import UnitKey
from tests.fakes import CountingIds, FakeHandler, MemoryStore, RouteOptions, inline

BUCKET = "drop"

LEASE = 30.0
"""Seconds."""


class Rig:
    """
    One worker, waker and sweeper on one ledger. Nothing runs by itself: tests start what they need.

    Every SETTLE is kept in `settled`; `until` waits for the next ones.
    """

    def __init__(
        self,
        handler: FakeHandler | None = None,
        *,
        options: RouteOptions | None = None,
        routes: Sequence[Route] | None = None,
        delays: tuple[float, ...] = (5.0, 30.0),
        ledger: Ledger | None = None,
        max_vanish: int = 100,
        sweep_rate: float | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock: Callable[[], int] = loop.clock  # type: ignore[attr-defined]  # a VirtualLoop
        self.ids = CountingIds()
        self.store = MemoryStore(BUCKET, clock=self.clock)
        self.handler = handler or FakeHandler()
        self.ledger = ledger or make_ledger(self.clock, self.ids)
        options = options or RouteOptions()
        self.routes = routes or [Route("all", BUCKET, "", (), self.handler.name, options)]
        self.router = Router(self.routes)
        self.looker = Looker(self.store, self.router, {self.handler.name: self.handler})
        self.broker = LocalBroker()
        self.hints = Hints(self.broker, clock=self.clock, new_id=self.ids)
        self.gate = Gate()
        self.sink = Sink(self.handler.name, self.handler.ping, clock=self.clock)
        self.settled: list[Settled] = []
        self.worker = self.new_worker(delays=delays)
        self.waker = Waker(
            self.ledger, self.hints, handlers=frozenset({self.handler.name}), seconds=2.0, sinks=[self.sink]
        )
        self.units = Units(self.ledger)
        self.history = History(self.ledger)
        self.schedule = Schedule(Leases(self.ledger), clock=self.clock, new_id=self.ids, heartbeat_seconds=10.0)
        self.sweeper = Sweeper(
            store=self.store,
            looker=self.looker,
            routes=self.routes,
            units=self.units,
            sweeps=Sweeps(self.ledger),
            hints=self.hints,
            schedule=self.schedule,
            clock=self.clock,
            new_id=self.ids,
            max_vanish=max_vanish,
            rate=sweep_rate,
        )
        self._bell = asyncio.Event()

    def new_worker(self, *, delays: tuple[float, ...] = (5.0, 30.0), broker: Any = None, waits: bool = True) -> Worker:
        """Make another worker of the same process."""
        return Worker(
            self.handler,
            ledger=self.ledger,
            looker=self.looker,
            broker=broker or self.broker,
            policy=RetryPolicy(delays),
            gate=self.gate,
            sink=self.sink,
            waits=waits,
            on_settled=self._on_settled,
        )

    def key(self, unit: str) -> UnitKey:
        return UnitKey(self.handler.name, BUCKET, unit)

    async def row(self, unit: str) -> Row:
        """Return a unit's row as it is now."""
        (row,) = await self.units.find(BUCKET, unit)
        return row

    async def change(self, unit: str, **columns: Any) -> None:
        """Set columns of a row behind the protocol's back."""
        statement = sa.update(units).where(units.c.unit == unit).values(**columns)
        await self.ledger.write(lambda connection: connection.execute(statement))

    async def events(self, unit: str) -> list[str]:
        """Return the names on a unit's timeline."""
        return [entry.event for entry in await self.history.timeline(self.key(unit))]

    async def hint(self, *names: str) -> None:
        """Hint units as an event does."""
        for name in names:
            await self.hints.live(self.key(name), "event")

    async def until(self, count: int) -> Settled:
        """Wait for `count` SETTLEs since the start; return the last of them."""
        async with asyncio.timeout(100_000):
            while len(self.settled) < count:
                self._bell.clear()
                await self._bell.wait()
        return self.settled[count - 1]

    @asynccontextmanager
    async def running(self, *, waker: bool = False) -> AsyncIterator[None]:
        """Run the worker, and the waker with it; both are stopped at the end."""
        tasks = [asyncio.create_task(self.worker.run())]
        if waker:
            tasks.append(asyncio.create_task(self.waker.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.worker.stop(0)
            await self.sink.aclose()

    def _on_settled(self, settled: Settled) -> None:
        self.settled.append(settled)
        self._bell.set()


async def when(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; no time passes that the condition does not need."""
    while not condition():  # noqa: ASYNC110  # virtual time: other tasks run, nothing is waited for
        await asyncio.sleep(0)


def make_ledger(clock: Callable[[], int], ids: CountingIds) -> Ledger:
    """Make a ledger in memory; `open` it."""
    return Ledger(sqlite_engine(None, inline), clock=clock, new_id=ids, lease_ms=int(LEASE * 1000))


@asynccontextmanager
async def rig(**arguments: Any) -> AsyncIterator[Rig]:
    """Open a rig and its ledger; `running()` starts it."""
    made = Rig(**arguments)
    await made.ledger.open()
    try:
        yield made
    finally:
        await made.broker.aclose()
        await made.ledger.aclose()
