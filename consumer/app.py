"""
The composition root: the parts of one process are made and wired here, opened, and let go.

Order of a stop: no new notifications, no new hints, no new deliveries; work under way gets its time, the rest is put
back; outcomes reach the sinks' records; handlers, broker, ledger and threads are let go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from consumer.broker import RabbitBroker
from consumer.broker_topology import queues_of
from consumer.exits import CommandError
from consumer.gate import Gate
from consumer.handler_context import Context
from consumer.handler_maker import HandlerMaker
from consumer.held import Settled
from consumer.hints import Hints
from consumer.ids import RandomIds
from consumer.kinds import builtin_kinds
from consumer.lanes import Lanes
from consumer.ledger_etags import FolderEtags
from consumer.ledger_history import History
from consumer.ledger_leases import Leases
from consumer.ledger_progress import Progress
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_tasks import TaskRows
from consumer.ledger_views import Units
from consumer.look import Looker
from consumer.parts import LEDGER_FILE, make_broker, make_ledger, make_store
from consumer.recorder import Recorder
from consumer.replay import Replay
from consumer.retry import RetryPolicy
from consumer.routes import HandlerKind, build_router
from consumer.running import Running
from consumer.schedule import Schedule
from consumer.settings import Settings
from consumer.sweep import Sweeper
from consumer.task_queue import TaskQueue
from consumer.tasks import Tasks
from consumer.terminal import command
from consumer.waker import Waker
from consumer.worker import Worker
from consumer.workitem import INGRESS, bulk_queue, work_queue
from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.app")

QUIET_CHECK = 0.2
"""Seconds between looks whether work is finished, when nothing settles meanwhile."""


class Closes(Protocol):
    """What is let go of at the end."""

    async def aclose(self) -> None:
        """Let go."""


class App:
    """
    One process of lakedrop on a home. Made by `made_app`, or by `open_app`, which opens it too.

    Attributes are the parts that commands use. None is connected before `open`.

    Args:
        serves: The process is a service: its hints go through the broker that all replicas share.
    """

    def __init__(
        self,
        settings: Settings,
        kinds: Mapping[str, HandlerKind],
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        on_settled: Callable[[Settled], None],
        serves: bool,
    ) -> None:
        self.settings = settings
        self.router = build_router(settings, kinds)
        self.clock = clock
        self.new_id = new_id
        self.lanes = Lanes()
        self.ledger = make_ledger(settings, self.lanes, clock=clock, new_id=new_id)
        self.units = Units(self.ledger)
        self.history = History(self.ledger)
        self.sweeps = Sweeps(self.ledger)
        self.unlisted: dict[tuple[str, str], str] = {}
        """Files in bucket folders that cannot be objects, with the reason."""
        self.store = make_store(settings, FolderEtags(self.ledger), self.lanes, clock=clock, report=self._unlisted)
        self.broker = make_broker(settings, serves=serves)
        context = Context(settings.home, self.lanes, self.ledger)
        self.maker = HandlerMaker(settings, kinds, self.router.routes, self.lanes, context)
        self.handlers = self.maker.handlers
        self.sinks = self.maker.sinks
        self.looker = Looker(self.store, self.router, self.handlers)
        self.hints = Hints(self.broker, clock=clock, new_id=new_id, queue_of=self.looker.queue_of)
        self.schedule = Schedule(
            Leases(self.ledger), clock=clock, new_id=new_id, heartbeat_seconds=settings.heartbeat_seconds
        )
        self.sweeper = Sweeper(
            store=self.store,
            looker=self.looker,
            routes=self.router.routes,
            units=self.units,
            sweeps=self.sweeps,
            hints=self.hints,
            schedule=self.schedule,
            clock=clock,
            new_id=new_id,
            progress=Progress(self.ledger),
            max_vanish=settings.max_vanish_units,
            max_vanish_share=settings.max_vanish_share,
            rate=settings.sweep_rate,
        )
        self.waker = Waker(
            self.ledger,
            self.hints,
            handlers=frozenset(self.sinks),
            seconds=settings.waker_seconds,
            sinks=self.sinks.values(),
        )
        self.recorder = Recorder(self.handlers, self.history, self.schedule)
        self.task_rows = TaskRows(self.ledger)
        self.task_queue = TaskQueue(self.broker, self.hints)
        self.tasks = Tasks(
            self.handlers,
            self.task_rows,
            self.schedule,
            delays=settings.retry_delays,
            announce=self.task_queue.announce,
        )
        self._on_settled = on_settled
        self._serves = serves
        self._progress = asyncio.Event()
        self.running = Running()
        self._workers: list[Worker] = []

    @property
    def queues(self) -> Mapping[str, str]:
        """Names of queues, `lakedrop.work.<name>` and so on, with the handler whose hints they hold."""
        return {
            **{route.handler: route.handler for route in self.router.routes},
            **{route.queue: route.handler for route in self.router.routes if route.queue is not None},
        }

    async def open(self) -> None:
        """
        Make the home, open the ledger, make the handlers.

        Raises:
            TransientError: A server does not answer.
            CommandError: Something else is in the way.
        """
        await self.open_ledger()
        await self.make_handlers()

    async def open_ledger(self) -> None:
        """Make the home and open the ledger; raises as `open` does."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        if self.settings.store == "folder":
            for bucket in {route.bucket for route in self.router.routes}:
                (self.settings.buckets / bucket).mkdir(parents=True, exist_ok=True)
        try:
            await self.ledger.open()
        except TransientError:
            raise
        except Exception as error:
            raise CommandError(self._ledger_fault(getattr(error, "orig", error))) from error  # not the statement too

    async def make_handlers(self) -> None:
        """Make those that routes name and that are not made yet; raises as `open` does."""
        await self.maker.make_all()
        self.replay = Replay(
            store=self.store,
            looker=self.looker,
            routes=self.router.routes,
            units=self.units,
            hints=self.hints,
            versions={name: handler.version for name, handler in self.handlers.items()},
        )

    async def open_broker(self) -> None:
        """Have all queues ready before anybody publishes; raises as `open` does."""
        if isinstance(self.broker, RabbitBroker):
            await self.broker.declare(queues_of(list(self.queues)))

    def _ledger_fault(self, reason: object) -> str:
        if self.settings.ledger_url is not None:
            return f"the ledger's database cannot be used: {reason}"
        path = self.settings.home / LEDGER_FILE
        return (
            f"{path}: {reason}\nIf it is damaged: move it and the {path.name}-* files aside, then run "
            f"{command(self.settings, 'ledger', 'rebuild')}"
        )

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
        for queue, handler in self.queues.items():
            worker = Worker(
                self.handlers[handler],
                ledger=self.ledger,
                looker=self.looker,
                broker=self.broker,
                policy=policy,
                gate=gate,
                sink=self.sinks[handler],
                waits=self._serves,
                heartbeat_seconds=self.settings.heartbeat_seconds,
                on_settled=self._settled,
                queue=queue,
            )
            self._workers.append(worker)
            self.running.start(f"worker {queue}", worker.run)
        self.running.start("waker", self.waker.run)
        self.running.start("recorder", self.recorder.run, lasting=True)

    async def worked_off(self) -> None:
        """Wait until every hint has been taken and its work settled or put off."""
        while not await self._idle():
            self._progress.clear()
            await self.running.check()
            try:
                async with asyncio.timeout(QUIET_CHECK):
                    await self._progress.wait()
            except TimeoutError:
                continue

    async def _idle(self) -> bool:
        """Only what this process hinted is asked for: `make_broker` keeps a command's hints to itself."""
        if any(worker.in_flight for worker in self._workers):
            return False
        queues = [INGRESS, *(name(queue) for queue in self.queues for name in (work_queue, bulk_queue))]
        if any([await self.broker.depth(queue) for queue in queues]):
            return False
        return not any(worker.in_flight for worker in self._workers)  # a hint may have been taken meanwhile

    async def stop(self, drain_seconds: float, *, hurry: asyncio.Event | None = None) -> None:
        """Stop in the written order; `hurry` ends the drain early."""
        # Before the workers: a row they put back and the waker then hints would be hinted into a queue nobody reads.
        await self.running.stop_work()
        draining = [asyncio.create_task(worker.stop(drain_seconds, hurry=hurry)) for worker in self._workers]
        await asyncio.gather(*draining)
        await self.running.stop()
        if self._workers:
            try:
                await self.recorder.flush(wait=False)
            except Exception:  # noqa: BLE001 (logged with its traceback where it came up)
                log.warning("records.left", next_try="at the next start")

    async def aclose(self) -> None:
        """Let go of everything; a part that fails to close keeps none of the others open."""
        parts: list[Closes] = [*self.sinks.values(), *self.handlers.values()]
        parts += [self.broker, self.store, self.ledger, self.lanes]
        for part in parts:
            try:
                await part.aclose()
            except Exception:
                log.exception("close.failed", part=type(part).__name__)


def wall_clock() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def made_app(
    settings: Settings,
    *,
    kinds: Mapping[str, HandlerKind] | None = None,
    on_settled: Callable[[Settled], None] = lambda _settled: None,
    serves: bool = False,
) -> AsyncIterator[App]:
    """
    Make the parts of a process, and let go of them at the end; nothing is opened.

    Raises:
        ConfigurationError: With one line per fault of the routes.
    """
    app = App(
        settings,
        builtin_kinds() if kinds is None else kinds,
        clock=wall_clock,
        new_id=RandomIds(),
        on_settled=on_settled,
        serves=serves,
    )
    try:
        yield app
    finally:
        await app.aclose()


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    kinds: Mapping[str, HandlerKind] | None = None,
    on_settled: Callable[[Settled], None] = lambda _settled: None,
    serves: bool = False,
) -> AsyncIterator[App]:
    """
    Open a home; nothing is started.

    Raises:
        ConfigurationError: With one line per fault of the routes.
        TransientError: A server does not answer.
        CommandError: Something else is in the way.
    """
    async with made_app(settings, kinds=kinds, on_settled=on_settled, serves=serves) as app:
        await app.open()
        yield app
