"""Publishing to RabbitMQ with faults: nothing confirmed is lost, and what is not taken is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from consumer import broker_publisher
from consumer.broker import RabbitBroker
from consumer.broker_port import BrokerUnavailable
from consumer.broker_topology import UNROUTED
from consumer.workitem import INGRESS, Message, dead_queue
from tests.rabbit import BULK, LIVE, api, connected, drain, message, name_of, set_policies, soon, without_leader
from tests.stack.rabbitmq import RabbitMQ
from tests.waits import until


async def test_what_was_confirmed_is_there_after_the_server_was_killed(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost)
    async with connected(vhost) as broker:
        confirmed: set[str] = set()
        enough = asyncio.Event()
        done = asyncio.Event()

        async def publish(worker: int) -> None:
            number = 0
            while not done.is_set():
                name = f"{worker}-{number}"
                await broker.publish(LIVE, message(name))
                confirmed.add(name)
                number += 1
                if len(confirmed) == 500:
                    enough.set()

        async with asyncio.TaskGroup() as group:
            for worker in range(50):
                group.create_task(publish(worker))
            await soon(enough.wait())
            await asyncio.to_thread(rabbitmq.kill)
            at_the_kill = set(confirmed)
            assert not rabbitmq.running
            await asyncio.to_thread(rabbitmq.start)
            await until(lambda: _more_than(confirmed, at_the_kill))
            done.set()

        found = await soon(drain(broker, LIVE))

    assert len(at_the_kill) >= 500
    assert confirmed <= set(found)


async def _more_than(confirmed: set[str], before: set[str]) -> bool:
    return len(confirmed) > len(before)


async def test_publish_to_a_deleted_queue_declares_it(rabbitmq: RabbitMQ, vhost: str) -> None:
    async with connected(vhost) as broker:
        for queue in (LIVE, dead_queue("h")):
            await asyncio.to_thread(rabbitmq.call, "DELETE", api(vhost, "queues", queue))
            await broker.publish(queue, message("a"))

            assert await drain(broker, queue) == ["a"]


async def test_notification_that_finds_no_queue_is_kept(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost)
    async with connected(vhost) as broker:
        await asyncio.to_thread(rabbitmq.call, "DELETE", api(vhost, "queues", INGRESS))
        await broker.publish(INGRESS, message("a"))

        assert await drain(broker, UNROUTED) == ["a"]


async def test_unroutable_message_is_told_with_the_queue_where_it_cannot_be_declared(
    rabbitmq: RabbitMQ, vhost: str
) -> None:
    user = f"writer-{name_of(vhost)}"
    rabbitmq.call("PUT", f"users/{user}", password="secret", tags="")
    rabbitmq.call("PUT", f"permissions/{quote(name_of(vhost), safe='')}/{user}", configure="^$", write=".*", read=".*")
    url = vhost.replace(f"{rabbitmq.user}:{rabbitmq.password}@", f"{user}:secret@")
    broker = await RabbitBroker.connect(url)
    try:
        with pytest.raises(BrokerUnavailable, match=r"lakedrop\.work\.h.*ACCESS_REFUSED"):
            await soon(broker.publish(LIVE, message("a")))
    finally:
        await broker.aclose()
        rabbitmq.call("DELETE", f"users/{user}")


async def test_one_message_that_closes_the_channel_takes_no_other_with_it(rabbitmq: RabbitMQ, vhost: str) -> None:
    """A publish that is refused with the channel fails alone; those beside it are confirmed."""
    user = f"writer-{name_of(vhost)}"
    async with connected(vhost):
        pass
    rabbitmq.call("PUT", f"users/{user}", password="secret", tags="")
    rabbitmq.call(
        "PUT", f"permissions/{quote(name_of(vhost), safe='')}/{user}",
        configure=".*", write="amq.default", read=".*",
    )  # fmt: skip
    url = vhost.replace(f"{rabbitmq.user}:{rabbitmq.password}@", f"{user}:secret@")
    broker = await RabbitBroker.connect(url)
    try:
        results = await soon(
            asyncio.gather(
                *(broker.publish(LIVE, message(f"{number}")) for number in range(20)),
                broker.publish(INGRESS, message("refused")),  # this user may not write to lakedrop.events
                *(broker.publish(LIVE, message(f"{number}")) for number in range(20, 40)),
                return_exceptions=True,
            )
        )
        found = await drain(broker, LIVE)
    finally:
        await broker.aclose()
        rabbitmq.call("DELETE", f"users/{user}")

    refused = [result for result in results if result is not None]
    assert [type(result) for result in refused] == [BrokerUnavailable]
    assert "ACCESS_REFUSED" in str(refused[0])
    assert set(found) >= {f"{number}" for number in range(40)}


async def test_full_bulk_queue_makes_its_publisher_wait(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost, bulk={"max-length": 5})
    async with connected(vhost) as broker:
        waiting: asyncio.Task[None] | None = None
        count = 0
        with capture_logs() as logs:
            while waiting is None:  # the limit of a quorum queue is a soft one: some more are taken
                attempt = asyncio.create_task(broker.publish(BULK, message(f"{count}")))
                count += 1
                await until(partial(_is_taken_or_waits, attempt, logs))
                waiting = None if attempt.done() else attempt
                assert count < 100
        taken = await drain(broker, BULK)
        await soon(waiting)
        taken += await drain(broker, BULK)

    assert count > 5
    assert sorted(taken, key=int) == [f"{number}" for number in range(count)]


async def _is_taken_or_waits(publishing: asyncio.Task[None], logs: Sequence[Mapping[str, Any]]) -> bool:
    return publishing.done() or "queue.full" in [line["event"] for line in logs]


@pytest.mark.parametrize("queue", [LIVE, BULK, INGRESS])
async def test_queue_without_a_leader_is_not_told_as_full(rabbitmq: RabbitMQ, vhost: str, queue: str) -> None:
    """RabbitMQ refuses messages for both, and says no more."""
    async with connected(vhost, publish_seconds=1) as broker:
        with capture_logs() as logs, without_leader(rabbitmq, vhost, queue):
            repair = f"if that lasts: rabbitmqctl --vhost {name_of(vhost)} delete_queue {queue}"
            with pytest.raises(BrokerUnavailable, match=f"no leader for it; {re.escape(repair)}"):
                await soon(broker.publish(queue, message("a")))

        assert "queue.full" not in [line["event"] for line in logs]


async def test_message_for_a_queue_without_a_leader_is_taken_when_there_is_one(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost)
    async with connected(vhost) as broker:
        with without_leader(rabbitmq, vhost, BULK):
            publishing = asyncio.create_task(broker.publish(BULK, message("a")))
            done, _ = await asyncio.wait([publishing], timeout=broker_publisher.PAUSES[0])
            assert not done
        await soon(publishing)

        assert await drain(broker, BULK) == ["a"]


async def test_live_hints_are_never_refused_for_length(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost, bulk={"max-length": 1})
    async with connected(vhost) as broker:
        for number in range(20):
            await soon(broker.publish(LIVE, message(f"{number}")))

        assert await broker.depth(LIVE) == 20


async def test_long_errors_are_cut_where_a_frame_has_no_room_for_them(vhost: str) -> None:
    long = Message(b"{}", "application/json", {"key": "k", "error": "ü" * 300_000}, "id-1")
    async with connected(vhost) as broker:
        await broker.publish(dead_queue("h"), long)
        consumer = await broker.consume(dead_queue("h"), prefetch=1)
        found = (await soon(consumer.get())).message

    assert found.headers == {"key": "k", "error": "ü" * 2000}


async def test_a_person_can_read_a_hint_in_the_management_page(rabbitmq: RabbitMQ, vhost: str) -> None:
    sent = Message(
        '{"specversion":"1.0","subject":"drop/größe.csv"}'.encode(),
        "application/cloudevents+json",
        {"key": "drop/größe.csv", "reason": "event"},
        "id-1",
    )
    async with connected(vhost) as broker:
        await broker.publish(LIVE, sent)
        (shown,) = await asyncio.to_thread(
            rabbitmq.call, "POST", api(vhost, "queues", LIVE) + "/get",
            count=1, ackmode="ack_requeue_true", encoding="auto",
        )  # fmt: skip

    assert shown["payload"] == sent.body.decode()
    assert shown["properties"]["headers"].items() >= sent.headers.items()
    assert shown["properties"]["content_type"] == sent.content_type
    assert shown["properties"]["message_id"] == sent.id
    assert shown["properties"]["delivery_mode"] == 2


async def test_messages_of_one_id_or_none_are_told_apart(vhost: str) -> None:
    """What comes back unroutable names its id alone: of two under way, the right one must be told."""
    missing = dead_queue("missing")
    async with connected(vhost) as broker:
        twins = [broker.publish(queue, message("twin")) for queue in (missing, LIVE, missing, LIVE)]
        nameless = [broker.publish(LIVE, Message(b"", "", {}, "")) for _ in range(50)]
        await soon(asyncio.gather(*twins, *nameless))

        assert await drain(broker, missing) == ["twin", "twin"]
        found = await drain(broker, LIVE)
        assert found.count("twin") == 2
        assert len(set(found)) == 51
