"""
The composition root: everything is made, wired, started and stopped here.

Order of a stop: no new notifications, no new hints, no new deliveries; work under way gets its time, the rest is put
back; outcomes reach the sinks' records; handlers, broker, ledger and threads are let go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from consumer.events import ObjectEvent
from consumer.events import encode as encode_event
from consumer.exits import CommandError
from consumer.folder_events import FolderEvents
from consumer.folder_store import FolderStore
from consumer.gate import Gate
from consumer.held import Settled
from consumer.hints import Hints
from consumer.ids import RandomIds
from consumer.ingress import Ingress
from consumer.kinds import builtin_kinds
from consumer.lanes import Lanes
from consumer.ledger import Ledger, sqlite_engine
from consumer.ledger_etags import FolderEtags
from consumer.ledger_leases import Leases
from consumer.ledger_views import History, Sweeps, Units
from consumer.local_broker import LocalBroker
from consumer.look import Looker
from consumer.recorder import Recorder
from consumer.replay import Replay
from consumer.retry import RetryPolicy
from consumer.router import Route
from consumer.routes import HandlerKind, build_router
from consumer.schedule import Schedule
from consumer.settings import Settings
from consumer.sweep import LEASE, Sweeper
from consumer.terminal import command
from consumer.upkeep import maintained
from consumer.waker import Waker
from consumer.worker import Worker
from consumer.workitem import INGRESS, Message, bulk_queue, work_queue
from handlers.contract import Handler

log = structlog.get_logger("lakedrop.app")

PRUNE_SECONDS = 3600.0
"""How often history past its time is deleted."""

FOLDER_EVENTS = "folder events"
RECORDER = "recorder"

QUIET_CHECK = 0.2
"""Seconds between looks whether work is finished, when nothing settles meanwhile."""


class Context:
    """What handlers are offered."""

    def __init__(self, home: Path, lanes: Lanes, ledger: Ledger) -> None:
        self.home = str(home)
        self.run = lanes.run
        self.alive: Callable[[Collection[str]], Coroutine[Any, Any, set[str]]] = ledger.alive
        self.clock = ledger.clock
        self.new_id = ledger.new_id


class App:
    """
    One process of lakedrop on a home. Made by `open_app`.

    Attributes are the parts that commands use.
    """

    def __init__(
        self,
        settings: Settings,
        kinds: Mapping[str, HandlerKind],
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        on_settled: Callable[[Settled], None],
    ) -> None:
        self.settings = settings
        self.router = build_router(settings, kinds)
        self.clock = clock
        self.lanes = Lanes()
        self.ledger = Ledger(
            sqlite_engine(settings.home / "ledger.db"),
            run=self.lanes.on("ledger"),
            clock=clock,
            new_id=new_id,
            lease_ms=round(settings.lease_seconds * 1000),
            grace_ms=round(settings.grace_seconds * 1000),
        )
        self.units = Units(self.ledger)
        self.history = History(self.ledger)
        self.sweeps = Sweeps(self.ledger)
        self.unlisted: dict[tuple[str, str], str] = {}
        """Files in bucket folders that cannot be objects, with the reason."""
        self.store = FolderStore(
            settings.buckets, FolderEtags(self.ledger), clock=clock, run=self.lanes.on("store"), report=self._unlisted
        )
        self.broker = LocalBroker()
        self._context = Context(settings.home, self.lanes, self.ledger)
        self._kinds = kinds
        self._new_id = new_id
        self._on_settled = on_settled
        self._progress = asyncio.Event()
        self._sweep_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[Worker] = []
        self._stop_watching = asyncio.Event()

    async def open(self) -> None:
        """Make the home, open the ledger, make the handlers."""
        for bucket in {route.bucket for route in self.router.routes}:
            (self.settings.buckets / bucket).mkdir(parents=True, exist_ok=True)
        await self._open_ledger()
        names = sorted({route.handler for route in self.router.routes})
        self.handlers: dict[str, Handler] = {}
        for name in names:
            routes = [route for route in self.router.routes if route.handler == name]
            self.handlers[name] = await self._made(name, routes)
        self.looker = Looker(self.store, self.router, self.handlers)
        self.hints = Hints(self.broker, clock=self.clock, new_id=self._new_id)
        schedule = Schedule(
            Leases(self.ledger),
            clock=self.clock,
            new_id=self._new_id,
            heartbeat_seconds=self.settings.heartbeat_seconds,
        )
        self.schedule = schedule
        self.sweeper = Sweeper(
            store=self.store,
            looker=self.looker,
            routes=self.router.routes,
            units=self.units,
            sweeps=self.sweeps,
            hints=self.hints,
            schedule=schedule,
            clock=self.clock,
            new_id=self._new_id,
            max_vanish=self.settings.max_vanish_units,
            max_vanish_share=self.settings.max_vanish_share,
        )
        self.replay = Replay(
            store=self.store,
            looker=self.looker,
            routes=self.router.routes,
            units=self.units,
            hints=self.hints,
            versions={name: handler.version for name, handler in self.handlers.items()},
        )
        self.waker = Waker(
            self.ledger, self.hints, handlers=frozenset(self.handlers), seconds=self.settings.waker_seconds
        )
        self.recorder = Recorder(self.handlers, self.history)

    async def _made(self, name: str, routes: Sequence[Route]) -> Handler:
        try:
            return await self.lanes.run("commit", self._kinds[name].create, self.settings, routes, self._context)
        except Exception as error:
            raise CommandError(f"handler {name} cannot begin: {type(error).__name__}: {error}") from error

    async def _open_ledger(self) -> None:
        try:
            await self.ledger.open()
        except Exception as error:
            path = self.settings.home / "ledger.db"
            reason = getattr(error, "orig", error)  # SQLAlchemy's own text repeats the statement
            raise CommandError(
                f"{path}: {reason}\nIf it is damaged: move it and the {path.name}-* files aside, then run "
                f"{command(self.settings, 'ledger', 'rebuild')}"
            ) from error

    def _unlisted(self, bucket: str, path: str, reason: str) -> None:
        self.unlisted[bucket, path] = reason
        log.warning("file.unlisted", bucket=bucket, path=path, reason=reason)

    def _settled(self, settled: Settled) -> None:
        self.recorder.notice(settled)
        self._progress.set()
        self._on_settled(settled)

    # Work

    def start_workers(self) -> None:
        """Start what works off hints: workers, waker and recorder."""
        gate = Gate()
        policy = RetryPolicy(self.settings.retry_delays)
        for handler in self.handlers.values():
            worker = Worker(
                handler,
                ledger=self.ledger,
                looker=self.looker,
                broker=self.broker,
                policy=policy,
                gate=gate,
                heartbeat_seconds=self.settings.heartbeat_seconds,
                on_settled=self._settled,
            )
            self._workers.append(worker)
            self._start(worker.run(), f"worker {handler.name}")
        self._start(self.waker.run(), "waker")
        self._start(self.recorder.run(), RECORDER)

    async def start_service(self) -> None:
        """Start what runs by itself: folder events, scheduled sweeps, maintenance. The first sweep starts too."""
        watcher = FolderEvents(
            self.settings.buckets,
            emit=self._notify,
            sweep=self._want_sweep,
            clock=self.clock,
            run=self.lanes.on("store"),
        )
        seconds = self.settings.sweep_seconds
        self._start(Ingress(self.broker, self.looker, self.hints).run(), "ingress")
        self._start(watcher.run(self._stop_watching), FOLDER_EVENTS)
        await watcher.ready.wait()
        self._want_sweep("", "start")
        self._start(self._sweep_on_demand(), "sweeps on demand")
        self._start(self.schedule.every(LEASE, seconds, self.sweeper.sweep_now), "sweeps")
        self._start(self.schedule.every("prune", PRUNE_SECONDS, self._prune), "pruning")
        self._start(maintained(self.schedule, self.settings.maintenance_seconds, self.handlers), "maintenance")

    async def stop_watching(self) -> None:
        """Take no more folder events; sweeps go on."""
        self._stop_watching.set()
        await asyncio.gather(*(task for task in self._tasks if task.get_name() == FOLDER_EVENTS))

    async def _notify(self, event: ObjectEvent) -> None:
        headers = {"key": f"{event.bucket}/{event.key}", "reason": "folder"}
        await self.broker.publish(INGRESS, Message(encode_event(event), "application/json", headers, self._new_id()))

    def _want_sweep(self, bucket: str, reason: str) -> None:
        log.info("sweep.wanted", bucket=bucket, reason=reason)
        self._sweep_wanted.set()

    async def _sweep_on_demand(self) -> None:
        while True:
            await self._sweep_wanted.wait()
            self._sweep_wanted.clear()
            try:
                await self.sweeper.sweep(next_in=self.settings.sweep_seconds)
            except Exception:
                log.exception("sweep.failed", next_try_in=self.settings.sweep_seconds)

    async def _prune(self) -> None:
        await self.history.prune(self.clock() - round(self.settings.history_days * 86_400_000))
        await self.store.prune()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; a part that ends by itself ends the process, loudly."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                await task
                raise RuntimeError(f"{task.get_name()} ended by itself")
        finally:
            stopping.cancel()

    async def worked_off(self) -> None:
        """Wait until every hint has been taken and its work settled or put off."""
        while not await self._idle():
            self._progress.clear()
            for task in self._tasks:
                if task.done():
                    await task
            try:
                await asyncio.wait_for(self._progress.wait(), QUIET_CHECK)
            except TimeoutError:
                continue

    async def _idle(self) -> bool:
        if any(worker.in_flight for worker in self._workers):
            return False
        queues = [INGRESS, *(name(handler) for handler in self.handlers for name in (work_queue, bulk_queue))]
        return not any([await self.broker.depth(queue) for queue in queues])

    async def stop(self, drain_seconds: float, *, hurry: asyncio.Event | None = None) -> None:
        """Stop in the written order; `hurry` ends the drain early."""
        self._stop_watching.set()
        # Before the workers: a row they put back and the waker then hints would be hinted into a queue nobody reads.
        bringing_work = [task for task in self._tasks if task.get_name() not in (RECORDER, FOLDER_EVENTS)]
        for task in bringing_work:
            task.cancel()
        await asyncio.gather(*bringing_work, return_exceptions=True)
        draining = [asyncio.create_task(worker.stop(drain_seconds, hurry=hurry)) for worker in self._workers]
        await asyncio.gather(*draining)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._workers:
            try:
                await self.recorder.flush()
            except Exception:  # noqa: BLE001 (logged with its traceback where it came up)
                log.warning("records.left", next_try="at the next start")

    async def aclose(self) -> None:
        """Let go of everything; a part that fails to close keeps none of the others open."""
        for part in (*getattr(self, "handlers", {}).values(), self.broker, self.store, self.ledger, self.lanes):
            try:
                await part.aclose()
            except Exception:
                log.exception("close.failed", part=type(part).__name__)


def wall_clock() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    kinds: Mapping[str, HandlerKind] | None = None,
    on_settled: Callable[[Settled], None] = lambda _settled: None,
) -> AsyncIterator[App]:
    """
    Open a home; nothing is started.

    Raises:
        ConfigurationError: With one line per fault of the routes.
    """
    app = App(
        settings,
        builtin_kinds() if kinds is None else kinds,
        clock=wall_clock,
        new_id=RandomIds(),
        on_settled=on_settled,
    )
    try:
        await app.open()
        yield app
    finally:
        await app.aclose()
