"""What every broker does, the in-process one as well as a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import pytest

from consumer.broker_port import AlreadySettled, Broker, BrokerUnavailable, Consumer, Delivery
from consumer.workitem import DEAD_INGRESS, INGRESS, Message, bulk_queue, dead_queue, work_queue
from tests.rabbit import either_broker

T = TypeVar("T")

LIVE = work_queue("h")
BULK = bulk_queue("h")


@pytest.fixture(params=["local", "rabbitmq"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    async with either_broker(request, "h") as broker:
        yield broker


def message(name: str) -> Message:
    return Message(name.encode(), "text/plain", {"key": name}, name)


async def soon(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(60):
        return await awaitable


async def publish(broker: Broker, queue: str, *names: str) -> None:
    for name in names:
        await soon(broker.publish(queue, message(name)))


async def take(consumer: Consumer, count: int = 1) -> list[Delivery]:
    return [await soon(consumer.get()) for _ in range(count)]


async def bodies_acked(consumer: Consumer, count: int) -> list[str]:
    bodies = []
    for _ in range(count):
        delivery = await soon(consumer.get())
        bodies.append(delivery.message.body.decode())
        await delivery.ack()
    return bodies


async def test_message_arrives_as_it_was_sent(broker: Broker) -> None:
    sent = Message(b"\0body\xff", "application/cloudevents+json", {"key": "dir/ünï€\n", "reason": "event"}, "id-1")
    await broker.publish(LIVE, sent)

    (delivery,) = await take(await broker.consume(LIVE, prefetch=1))

    assert delivery.message == sent
    assert delivery.queue == LIVE
    assert not delivery.redelivered


async def test_waiting_reader_gets_a_later_message(broker: Broker) -> None:
    consumer = await broker.consume(LIVE, prefetch=1)
    waiting = asyncio.create_task(consumer.get())
    await publish(broker, LIVE, "a")

    assert (await soon(waiting)).message.id == "a"


async def test_acked_message_never_comes_again(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b")
    consumer = await broker.consume(LIVE, prefetch=10)
    first, _unsettled = await take(consumer, 2)
    await first.ack()
    await consumer.aclose()

    (again,) = await take(await broker.consume(LIVE, prefetch=10))

    assert again.message.id == "b"
    assert again.redelivered


async def test_unsettled_deliveries_of_a_closed_consumer_come_again_in_order(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b", "c")
    consumer = await broker.consume(LIVE, prefetch=2)
    await take(consumer, 2)
    await consumer.aclose()
    await consumer.aclose()

    again = await take(await broker.consume(LIVE, prefetch=3), 3)

    assert [(delivery.message.id, delivery.redelivered) for delivery in again] == [
        ("a", True),
        ("b", True),
        ("c", False),
    ]


async def test_requeued_message_comes_again_marked(broker: Broker) -> None:
    await publish(broker, LIVE, "a")
    consumer = await broker.consume(LIVE, prefetch=1)
    (first,) = await take(consumer)
    await first.reject(requeue=True)

    (again,) = await take(consumer)

    assert again.message.id == "a"
    assert again.redelivered


async def test_dropped_message_does_not_come_again(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b")
    consumer = await broker.consume(LIVE, prefetch=1)
    (first,) = await take(consumer)
    await first.reject(requeue=False)

    assert await bodies_acked(consumer, 1) == ["b"]
    assert await broker.depth(LIVE) == 0


async def test_second_settlement_is_refused(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b")
    acked, requeued = await take(await broker.consume(LIVE, prefetch=2), 2)
    await acked.ack()
    await requeued.reject(requeue=True)

    with pytest.raises(AlreadySettled):
        await acked.reject(requeue=True)
    with pytest.raises(AlreadySettled):
        await requeued.ack()


async def test_settling_after_the_consumer_closed_does_nothing(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b")
    consumer = await broker.consume(LIVE, prefetch=2)
    acked, requeued = await take(consumer, 2)
    await consumer.aclose()
    await acked.ack()
    await requeued.reject(requeue=True)

    assert await bodies_acked(await broker.consume(LIVE, prefetch=2), 2) == ["a", "b"]
    assert await broker.depth(LIVE) == 0


async def test_prefetch_bounds_the_unsettled_deliveries(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b", "c")
    consumer = await broker.consume(LIVE, prefetch=2)
    first, _ = await take(consumer, 2)
    waiting = asyncio.create_task(consumer.get())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)

    await first.ack()

    assert (await soon(waiting)).message.id == "c"


async def test_cancelled_get_loses_nothing(broker: Broker) -> None:
    consumer = await broker.consume(LIVE, prefetch=10)
    waiting = asyncio.create_task(consumer.get())
    await asyncio.sleep(0)
    await publish(broker, LIVE, "a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    if not waiting.cancelled():
        await waiting.result().reject(requeue=True)

    assert await bodies_acked(consumer, 1) == ["a"]


async def test_live_goes_before_bulk_but_bulk_gets_a_quarter(broker: Broker) -> None:
    await publish(broker, BULK, *(f"bulk {number}" for number in range(4)))
    await publish(broker, LIVE, *(f"live {number}" for number in range(6)))
    consumer = await broker.consume(LIVE, BULK, prefetch=100)

    kinds = [name.split()[0] for name in await bodies_acked(consumer, 10)]

    assert kinds == ["live", "live", "live", "bulk", "live", "live", "live", "bulk", "bulk", "bulk"]


async def test_bulk_is_read_at_once_while_live_is_idle(broker: Broker) -> None:
    await publish(broker, BULK, "a", "b")
    consumer = await broker.consume(LIVE, BULK, prefetch=100)

    deliveries = await take(consumer, 2)

    assert [delivery.queue for delivery in deliveries] == [BULK, BULK]


async def test_readers_of_one_queue_share_it(broker: Broker) -> None:
    first = await broker.consume(LIVE, prefetch=1)
    second = await broker.consume(LIVE, prefetch=1)
    await publish(broker, LIVE, "a", "b")

    taken = await take(first) + await take(second)

    assert sorted(delivery.message.id for delivery in taken) == ["a", "b"]


async def test_requeued_message_reaches_another_waiting_reader(broker: Broker) -> None:
    first = await broker.consume(LIVE, prefetch=1)
    await publish(broker, LIVE, "a")
    await take(first)
    second = await broker.consume(LIVE, prefetch=1)
    waiting = asyncio.create_task(second.get())
    await asyncio.sleep(0)
    await first.aclose()

    assert (await soon(waiting)).redelivered


async def test_depth_counts_what_nobody_took(broker: Broker) -> None:
    await publish(broker, LIVE, "a", "b")
    await take(await broker.consume(LIVE, prefetch=1))

    assert await broker.depth(LIVE) == 1
    assert await broker.depth(INGRESS) == 0
    assert await broker.depth(work_queue("unknown")) == 0


async def test_dead_queues_need_no_reader(broker: Broker) -> None:
    await publish(broker, dead_queue("h"), "a")
    await publish(broker, DEAD_INGRESS, "b", "c")

    assert await broker.depth(dead_queue("h")) == 1
    assert await broker.depth(DEAD_INGRESS) == 2


async def test_closed_consumer_says_so(broker: Broker) -> None:
    consumer = await broker.consume(LIVE, prefetch=1)
    waiting = asyncio.create_task(consumer.get())
    await asyncio.sleep(0)
    await consumer.aclose()

    with pytest.raises(BrokerUnavailable):
        await soon(waiting)
    with pytest.raises(BrokerUnavailable):
        await soon(consumer.get())


async def test_closed_broker_takes_nothing(broker: Broker) -> None:
    await broker.ping()
    consumer = await broker.consume(LIVE, prefetch=1)
    await broker.aclose()

    for attempt in (
        broker.publish(LIVE, message("a")),
        broker.consume(LIVE, prefetch=1),
        broker.ping(),
        consumer.get(),
    ):
        with pytest.raises(BrokerUnavailable):
            await soon(attempt)
