"""Tasks as messages: told of once, waiting where people see them, done by whoever takes them; each is only a hint."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from consumer.broker import RabbitBroker
from consumer.broker_port import Broker
from consumer.broker_topology import queues_of
from consumer.hints import Hints
from consumer.ids import RandomIds
from consumer.ledger import Ledger
from consumer.ledger_leases import Leases
from consumer.ledger_sqlite import sqlite_engine
from consumer.ledger_tasks import TaskRows
from consumer.local_broker import LocalBroker
from consumer.schedule import Schedule
from consumer.task_queue import TaskQueue
from consumer.tasks import Tasks
from consumer.workitem import TASKS, Message, dead_queue, work_queue
from handlers.tasks import Task, asked_for
from tests import waits
from tests.fakes import FakeHandler, inline
from tests.waits import PATIENCE


class Counter(FakeHandler):
    """Counts what it is asked for, when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.over = asyncio.Semaphore(0)

    async def retargeted(self) -> Collection[str]:
        await asyncio.Event().wait()
        return []

    async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        for _ in only:
            yield Task("count", "x", "1")

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        self.begun.set()
        await self.go.wait()
        self.done.append(task.target)
        self.over.release()
        return {}

    async def all_done(self, count: int) -> None:
        for _ in range(count):
            await self.over.acquire()


@asynccontextmanager
async def _rabbit(url: str) -> AsyncIterator[Broker]:
    broker = await RabbitBroker.connect(url, queues=queues_of(["fake"]))
    try:
        yield broker
    finally:
        await broker.aclose()


@pytest.fixture(params=["local", "rabbitmq"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    if request.param == "local":
        local = LocalBroker()
        yield local
        await local.aclose()
    else:
        async with _rabbit(request.getfixturevalue("vhost")) as shared:
            yield shared


class Site:
    """A ledger, a broker, and processes on them that look for nothing by themselves."""

    def __init__(self, broker: Broker, ledger: Ledger) -> None:
        self.broker = broker
        self.rows = TaskRows(ledger)
        self._ledger = ledger

    def process(self, handler: Counter) -> tuple[TaskQueue, Tasks]:
        ids = RandomIds()
        hints = Hints(self.broker, clock=self._ledger.clock, new_id=ids)
        queue = TaskQueue(self.broker, hints)
        schedule = Schedule(Leases(self._ledger), clock=self._ledger.clock, new_id=ids, heartbeat_seconds=5)
        return queue, Tasks({"fake": handler}, self.rows, schedule, delays=(1.0,), announce=queue.announce)

    @asynccontextmanager
    async def reading(self, handler: Counter) -> AsyncIterator[None]:
        queue, tasks = self.process(handler)
        running = asyncio.create_task(queue.run(tasks.take))
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def until(self, queue: str, is_so: Callable[[int], bool]) -> None:
        async def look() -> bool:
            return is_so(await self.broker.depth(queue))

        await waits.until(look, f"{queue} did not get there")


@pytest.fixture
async def site(broker: Broker) -> AsyncIterator[Site]:
    ledger = Ledger(sqlite_engine(None, inline), clock=lambda: time.time_ns() // 1_000_000, new_id=RandomIds())
    await ledger.open()
    yield Site(broker, ledger)
    await ledger.aclose()


WAITING = work_queue(TASKS)


def empty(depth: int) -> bool:
    return depth == 0


def some(depth: int) -> bool:
    return depth > 0


_numbers = itertools.count()


def asked(**arguments: str) -> Task:
    return asked_for("count", arguments, str(next(_numbers)))


async def test_tasks_wait_in_the_queue_while_one_is_done_and_are_done_by_who_takes_them(site: Site) -> None:
    handler = Counter()
    _, asking = site.process(handler)
    first, *others = [asked(n=str(number)) for number in range(6)]
    await asking.ask("fake", [first], "command")
    await site.until(WAITING, some)

    async with site.reading(handler), asyncio.timeout(PATIENCE):
        await handler.begun.wait()
        await asking.ask("fake", others, "command")
        await asking.ask("fake", others, "command")
        await site.until(WAITING, some)
        handler.go.set()
        await site.until(WAITING, empty)
        await handler.all_done(6)

    assert sorted(handler.done) == sorted(task.target for task in [first, *others])


async def test_a_message_of_a_task_that_is_done_changes_nothing(site: Site) -> None:
    handler = Counter()
    handler.go.set()
    _, tasks = site.process(handler)
    task = asked(n="1")
    await tasks.ask("fake", [task], "command")
    assert (await tasks.do("fake", task)).state == "done"

    async with site.reading(handler):
        await site.until(WAITING, empty)

    assert handler.done == [task.target]


async def test_what_is_no_task_is_put_where_people_look(site: Site) -> None:
    await site.broker.publish(WAITING, Message(b"hello", "text/plain", {}, "1"))

    async with site.reading(Counter()):
        await site.until(dead_queue(TASKS), some)
        await site.until(WAITING, empty)
