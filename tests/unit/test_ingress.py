"""Ingress: notifications become hints, many at a time, and none is lost on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from consumer.broker_port import BrokerUnavailable
from consumer.events import ObjectEvent, encode
from consumer.hints import Hints
from consumer.ingress import PREFETCH, Ingress
from consumer.local_broker import LocalBroker
from consumer.look import Looker
from consumer.router import Route, Router
from consumer.workitem import DEAD_INGRESS, INGRESS, Message, decode, work_queue
from handlers.contract import ObjectRef
from tests.fakes import CountingIds, FakeHandler, MemoryStore, RouteOptions

BUCKET = "drop"
LIVE = work_queue("fake")


class ReluctantBroker(LocalBroker):
    """Takes hints when `opened` is set, and refuses as many before as `refusals` says."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.refusals = 0
        self.offered = 0

    async def publish(self, queue: str, message: Message) -> None:
        if queue == LIVE:
            self.offered += 1
            if self.refusals:
                self.refusals -= 1
                raise BrokerUnavailable("short of memory")
            await self.opened.wait()
        await super().publish(queue, message)


class CrashingHandler(FakeHandler):
    """Cannot tell the unit of some keys."""

    def unit_of(self, ref: ObjectRef, options: RouteOptions) -> str:
        if "odd" in ref.key:
            raise RuntimeError("what a key")
        return super().unit_of(ref, options)


@asynccontextmanager
async def running(broker: LocalBroker) -> AsyncIterator[None]:
    handler = CrashingHandler()
    route = Route("all", BUCKET, "", (), handler.name, RouteOptions())
    looker = Looker(MemoryStore(BUCKET, clock=lambda: 0), Router([route]), {handler.name: handler})
    ingress = Ingress(broker, looker, Hints(broker, clock=lambda: 0, new_id=CountingIds()))
    task = asyncio.create_task(ingress.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def notification(*keys: str) -> Message:
    records = [json.loads(encode(ObjectEvent(BUCKET, key, "created", 0)))["Records"][0] for key in keys]
    return Message(json.dumps({"Records": records}).encode(), "application/json", {"minio-bucket": BUCKET}, "n")


async def hinted(broker: LocalBroker, count: int) -> set[str]:
    """Take hints; return their units."""
    consumer = await broker.consume(LIVE, prefetch=count)
    async with asyncio.timeout(60):
        return {decode((await consumer.get()).message).key.unit for _ in range(count)}


async def until_offered(broker: ReluctantBroker, count: int) -> None:
    async with asyncio.timeout(60):
        while broker.offered < count:  # noqa: ASYNC110 (turns of the loop, no time)
            await asyncio.sleep(0)


async def test_many_notifications_are_under_way_together() -> None:
    broker = ReluctantBroker()
    keys = [f"{number}.csv" for number in range(PREFETCH)]
    for key in keys:
        await broker.publish(INGRESS, notification(key))
    async with running(broker):
        await until_offered(broker, PREFETCH)
        broker.opened.set()

        assert await hinted(broker, PREFETCH) == set(keys)


async def test_notification_is_acked_after_the_last_of_its_hints() -> None:
    broker = ReluctantBroker()
    await broker.publish(INGRESS, notification("a.csv", "b.csv", "c.csv"))
    async with running(broker):
        await until_offered(broker, 3)
        assert await broker.depth(LIVE) == 0

    assert await broker.depth(INGRESS) == 1
    broker.opened.set()
    async with running(broker):
        assert await hinted(broker, 3) == {"a.csv", "b.csv", "c.csv"}
        async with asyncio.timeout(60):
            while await broker.depth(INGRESS):  # noqa: ASYNC110 (turns of the loop, no time)
                await asyncio.sleep(0)


async def test_hints_wait_for_a_broker_that_takes_none() -> None:
    broker = ReluctantBroker()
    broker.refusals = 2
    broker.opened.set()
    await broker.publish(INGRESS, notification("a.csv"))
    async with running(broker):
        assert await hinted(broker, 1) == {"a.csv"}

    assert broker.offered == 3
    assert await broker.depth(INGRESS) == 0


async def test_unreadable_notification_goes_where_people_look() -> None:
    broker = LocalBroker()
    await broker.publish(INGRESS, Message(b"{", "application/json", {"minio-bucket": BUCKET}, "n"))
    await broker.publish(INGRESS, notification("a.csv"))
    async with running(broker):
        assert await hinted(broker, 1) == {"a.csv"}
        dead = await (await broker.consume(DEAD_INGRESS, prefetch=1)).get()

    assert dead.message.body == b"{"
    assert dead.message.headers["minio-bucket"] == BUCKET
    assert "JSON" in dead.message.headers["error"]


async def test_notification_that_crashes_its_reader_goes_there_too() -> None:
    broker = LocalBroker()
    await broker.publish(INGRESS, notification("odd.csv"))
    await broker.publish(INGRESS, notification("a.csv"))
    async with running(broker):
        assert await hinted(broker, 1) == {"a.csv"}
        dead = await (await broker.consume(DEAD_INGRESS, prefetch=1)).get()

    assert dead.message.headers["error"] == "RuntimeError: what a key"
    assert await broker.depth(INGRESS) == 0
