"""What only the in-process broker promises; the rest is in tests/contract/test_broker.py."""

from __future__ import annotations

import asyncio

import pytest

from consumer.broker_port import BrokerUnavailable, LiveFirst
from consumer.local_broker import LocalBroker
from consumer.workitem import DEAD_INGRESS, INGRESS, Message, bulk_queue, dead_queue, work_queue


def message(number: int) -> Message:
    return Message(b"", "", {}, str(number))


async def fill(broker: LocalBroker, queue: str, count: int) -> None:
    for number in range(count):
        await broker.publish(queue, message(number))


@pytest.mark.parametrize("queue", [INGRESS, bulk_queue("h")])
async def test_publisher_waits_for_room(queue: str) -> None:
    broker = LocalBroker(bound=2)
    await fill(broker, queue, 2)
    publishing = [asyncio.create_task(broker.publish(queue, message(number))) for number in (2, 3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in publishing)
    consumer = await broker.consume(queue, prefetch=10)

    taken = []
    async with asyncio.timeout(60):
        for _ in range(4):
            taken.append((await consumer.get()).message.id)  # noqa: PERF401 (one after the other, with room in between)
        await asyncio.gather(*publishing)

    assert sorted(taken) == ["0", "1", "2", "3"]
    assert await broker.depth(queue) == 0


async def test_live_queue_never_makes_a_worker_wait() -> None:
    broker = LocalBroker(bound=2)
    async with asyncio.timeout(60):
        await fill(broker, work_queue("h"), 100)

    assert await broker.depth(work_queue("h")) == 100


@pytest.mark.parametrize("queue", [dead_queue("h"), DEAD_INGRESS])
async def test_dead_queue_keeps_the_newest(queue: str) -> None:
    broker = LocalBroker(dead_bound=3)
    await fill(broker, queue, 5)
    consumer = await broker.consume(queue, prefetch=10)

    assert [(await consumer.get()).message.id for _ in range(3)] == ["2", "3", "4"]
    assert await broker.depth(queue) == 0


async def test_closing_frees_publishers_that_wait() -> None:
    broker = LocalBroker(bound=1)
    await fill(broker, INGRESS, 1)
    publishing = asyncio.create_task(broker.publish(INGRESS, message(1)))
    await asyncio.sleep(0)
    await broker.aclose()

    with pytest.raises(BrokerUnavailable, match=r"message 1 for lakedrop\.ingress was not taken"):
        await publishing


def test_bulk_waits_for_its_turn_again_after_each_turn() -> None:
    turns = LiveFirst()

    assert [turns.choose(live=True, bulk=True) for _ in range(8)] == ["live", "live", "live", "bulk"] * 2
    assert turns.choose(live=False, bulk=False) is None


def test_bulk_that_comes_late_does_not_wait_for_another_three() -> None:
    turns = LiveFirst()
    for _ in range(10):
        turns.choose(live=True, bulk=False)

    assert turns.choose(live=True, bulk=True) == "bulk"
