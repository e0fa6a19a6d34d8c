"""One process of the service: everything real but store, broker, tables, threads and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from consumer.gate import Gate
from consumer.hints import Hints
from consumer.ingress import Ingress
from consumer.ledger import Ledger
from consumer.ledger_again import LedgerUnavailable, Trouble, again_until_done
from consumer.ledger_leases import Leases
from consumer.ledger_sqlite import SqliteEngine
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_views import Units
from consumer.local_broker import LocalBroker
from consumer.look import Looker
from consumer.retry import RetryPolicy
from consumer.router import Route, Router
from consumer.schedule import Schedule
from consumer.sink import Sink
from consumer.sweep import Sweeper
from consumer.waker import Waker
from consumer.worker import Worker
from tests.simulation.outside import SimBroker, SimStore
from tests.simulation.sink import SimContext, SimHandler, SimTable
from tests.simulation.world import HEARTBEAT, LEASE_MS, World
from tests.virtual_loop import Process

T = TypeVar("T")

DELAYS = (4.0, 15.0)
MAX_ATTEMPTS = len(DELAYS) + 1


class Persistent(SqliteEngine):
    """A ledger whose transactions are run again when their answer is lost, as those on PostgreSQL are."""

    async def transact(self, function: Callable[[sa.Connection], T], *, writes: bool) -> T:
        return await again_until_done(lambda: super(Persistent, self).transact(function, writes=writes), _lost)


def _lost(error: BaseException) -> Trouble | None:
    return Trouble.UNREACHABLE if isinstance(error, sa.exc.OperationalError) else None


def engine_for(database: sa.Engine, world: World) -> SqliteEngine:
    """Return a ledger's engine; in every second schedule its callers learn of no lost answer."""
    return (Persistent if world.seed % 2 else SqliteEngine)(database, world.ledger_run())


class Replica(Process):
    """
    A process and its parts.

    `run` starts it; it ends by being killed (`dead`) or by `shut_down`.
    """

    def __init__(
        self,
        name: str,
        world: World,
        *,
        engine: sa.Engine,
        store: SimStore,
        server: LocalBroker,
        tables: dict[str, SimTable],
        routes: Sequence[Route],
    ) -> None:
        super().__init__(name)
        self.world = world
        world.processes.append(self)
        clock, ids = world.loop.clock, world.ids
        self.ledger = Ledger(engine_for(engine, world), clock=clock, new_id=ids, lease_ms=LEASE_MS)
        self.broker = SimBroker(world, server)
        self.handler = SimHandler(world, store, tables, SimContext(world, self.ledger))
        handlers = {self.handler.name: self.handler}
        looker = Looker(store, Router(routes), handlers)
        self.hints = Hints(self.broker, clock=clock, new_id=ids)
        self.sink = Sink(self.handler.name, self.handler.ping, clock=clock)
        self.worker = Worker(
            self.handler,
            ledger=self.ledger,
            looker=looker,
            broker=self.broker,
            policy=RetryPolicy(DELAYS),
            gate=Gate(),
            sink=self.sink,
            heartbeat_seconds=HEARTBEAT,
        )
        self.waker = Waker(self.ledger, self.hints, handlers=frozenset(handlers), seconds=10.0, sinks=[self.sink])
        self.ingress = Ingress(self.broker, looker, self.hints)
        schedule = Schedule(Leases(self.ledger), clock=clock, new_id=ids, heartbeat_seconds=HEARTBEAT)
        self.sweeper = Sweeper(
            store=store,
            looker=looker,
            routes=routes,
            units=Units(self.ledger),
            sweeps=Sweeps(self.ledger),
            hints=self.hints,
            schedule=schedule,
            clock=clock,
            new_id=ids,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start everything."""
        parts: list[Coroutine[Any, Any, None]] = [self.worker.run(), self.waker.run(), self.ingress.run()]
        self._tasks = [self.world.loop.start(self, part) for part in parts]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A process ends with any of its parts, and is started again."""
        if not task.cancelled() and task.exception() is not None:
            self.world.note("ends with", repr(task.exception()))
            self.world.happened("part failed")
            self.dead = True

    def sweep(self) -> asyncio.Task[None]:
        """Sweep, as part of this process."""
        return self.world.loop.start(self, self._sweep())

    async def _sweep(self) -> None:
        try:
            await self.sweeper.sweep(accept_vanished=True)
        except (sa.exc.OperationalError, LedgerUnavailable, ConnectionError) as error:
            self.world.note("sweep fails", type(error).__name__)

    async def shut_down(self) -> None:
        """Stop cleanly, as a first signal does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.worker.stop(self.world.chance.choice([0.0, 0.5, 20.0]))
        await self.sink.aclose()
        await self.handler.aclose()
