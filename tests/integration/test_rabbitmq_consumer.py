"""Reading from RabbitMQ with faults: every consumer comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import aio_pika
import pytest
from structlog.testing import capture_logs

from consumer import broker_session
from consumer.broker_port import Broker, BrokerUnavailable
from consumer.workitem import DEAD_INGRESS, INGRESS
from tests.rabbit import BULK, LIVE, acked, api, connected, drain, memory_alarm, message, set_policies, soon
from tests.stack.fixtures import Finder
from tests.stack.rabbitmq import RabbitMQ
from tests.waits import until


async def test_consumer_comes_back_after_a_restart_and_late_acks_do_nothing(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost)
    async with connected(vhost) as broker:
        consumer = await broker.consume(LIVE, BULK, prefetch=10)
        await broker.publish(LIVE, message("a"))
        before = await soon(consumer.get())
        await asyncio.to_thread(rabbitmq.stop)
        assert not rabbitmq.running
        with pytest.raises(BrokerUnavailable):
            await broker.ping()
        await asyncio.to_thread(rabbitmq.start)
        await before.ack()
        again = await soon(consumer.get())
        await again.ack()
        await broker.publish(BULK, message("b"))

        assert (again.message.id, again.redelivered) == ("a", True)
        assert await acked(consumer) == "b"
        assert await broker.depth(LIVE) == 0


async def test_deleted_queue_is_declared_again_under_its_consumer(rabbitmq: RabbitMQ, vhost: str) -> None:
    async with connected(vhost) as broker:
        consumer = await broker.consume(INGRESS, prefetch=10)
        await broker.publish(INGRESS, message("a"))
        assert await acked(consumer) == "a"
        await asyncio.to_thread(rabbitmq.call, "DELETE", api(vhost, "queues", INGRESS))
        await broker.publish(INGRESS, message("b"))

        assert await acked(consumer) == "b"
        found = await asyncio.to_thread(rabbitmq.call, "GET", api(vhost, "queues", INGRESS))
        assert found["arguments"] == {"x-queue-type": "quorum"}


async def test_consumer_that_the_server_forgot_is_noticed(vhost: str) -> None:
    """A consumer whose cancellation nobody was told of: the watch asks, and subscribes anew."""
    async with connected(vhost, watch_seconds=0.2) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        session = consumer._session
        assert session is not None
        channel, (tag,) = session._channel, session._tags.values()
        await channel.basic_cancel(tag)
        assert tag not in channel.consumers
        await soon(session.lost.wait())
        await broker.publish(LIVE, message("a"))

        assert await acked(consumer) == "a"
        assert session.reason == "RabbitMQ serves it no more, and did not say so"


async def test_queue_without_a_leader_is_told_with_what_to_do_and_read_once_that_is_done(
    find_server: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_session, "RPC_SECONDS", 2.0)
    server = find_server(RabbitMQ)
    await asyncio.to_thread(server.start)
    vhost = server.create_vhost("leaderless")
    async with connected(vhost) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        with capture_logs() as logs:
            await asyncio.to_thread(server.kill)
            server.forget_queues()
            await asyncio.to_thread(server.start)
            repair = f"rabbitmqctl --vhost leaderless delete_queue {LIVE}"
            await until(lambda: _tells(logs, f"{LIVE} be read, as when a queue has no leader; if that lasts: {repair}"))
        await asyncio.to_thread(server.call, "DELETE", api(vhost, "queues", LIVE))
        await broker.publish(LIVE, message("a"))

        assert await acked(consumer) == "a"


async def _tells(logs: list[MutableMapping[str, Any]], reason: str) -> bool:
    return any(reason in line.get("reason", "") for line in logs if line["event"] == "consumer.cannot_subscribe")


async def test_channel_closed_by_the_server_is_made_anew(vhost: str) -> None:
    async with connected(vhost) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        await broker.publish(LIVE, message("a"))
        unsettled = await soon(consumer.get())
        session = consumer._session
        assert session is not None
        await session._channel.basic_ack(4711)  # 406 PRECONDITION_FAILED, as after consumer_timeout
        await soon(session.lost.wait())
        again = await soon(consumer.get())
        await unsettled.ack()
        await again.ack()

        assert "unknown delivery tag 4711" in session.reason
        assert again.message.id == "a"
        assert again.redelivered


async def test_acks_in_any_order_keep_the_channel(vhost: str) -> None:
    async with connected(vhost) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        for number in range(6):
            await broker.publish(LIVE, message(f"{number}"))
        deliveries = [await soon(consumer.get()) for _ in range(6)]
        session = consumer._session
        for number in (3, 1, 0, 5, 2, 4):
            await deliveries[number].ack()
            await broker.depth(LIVE)  # a turn of the loop, and an answer of the server: each ack goes by itself
        await broker.publish(LIVE, message("last"))

        assert await acked(consumer) == "last"
        assert consumer._session is session
        await consumer.aclose()
        assert await broker.depth(LIVE) == 0


async def test_acks_go_on_while_publishers_are_blocked(rabbitmq: RabbitMQ, vhost: str) -> None:
    async with connected(vhost, publish_seconds=2) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        for name in ("a", "b"):
            await broker.publish(LIVE, message(name))
        with memory_alarm(rabbitmq):
            with pytest.raises(BrokerUnavailable, match="short of memory or disk"):
                await soon(broker.publish(LIVE, message("c")))
            with pytest.raises(BrokerUnavailable, match="short of memory or disk"):
                await broker.ping()
            assert [await acked(consumer), await acked(consumer)] == ["a", "b"]
            await consumer.aclose()
            assert await broker.depth(LIVE) == 0
        await until(lambda: _answers(broker))
        await broker.publish(LIVE, message("d"))

        assert "d" in await drain(broker, LIVE)


async def _answers(broker: Broker) -> bool:
    try:
        await broker.ping()
    except BrokerUnavailable:
        return False
    return True


async def test_messages_of_stores_are_read_whatever_they_leave_out(vhost: str) -> None:
    async with connected(vhost) as broker:
        connection = await aio_pika.connect(vhost)
        async with connection, connection.channel() as channel:
            exchange = await channel.get_exchange("lakedrop.events")
            headers: dict[str, Any] = {"minio-bucket": "drop", "number": 7, "bytes": bytearray(b"\xff")}
            await exchange.publish(aio_pika.Message(b"x", headers=headers), "anything")
            await exchange.publish(aio_pika.Message(b"y"), "")
        consumer = await broker.consume(INGRESS, prefetch=10)
        first, second = (await soon(consumer.get())).message, (await soon(consumer.get())).message

    assert (first.body, first.content_type) == (b"x", "")
    assert first.headers["minio-bucket"] == "drop"
    assert first.headers["number"] == "7"
    assert second.body == b"y"
    assert second.headers == {}


async def test_notification_that_kills_its_readers_ends_where_people_look(rabbitmq: RabbitMQ, vhost: str) -> None:
    set_policies(rabbitmq, vhost, ingress={"delivery-limit": 2})
    async with connected(vhost) as broker:
        await broker.publish(INGRESS, message("a"))
        for _ in range(3):
            consumer = await broker.consume(INGRESS, prefetch=1)
            await soon(consumer.get())
            await consumer.aclose()
        await until(lambda: _waits(broker, DEAD_INGRESS))
        consumer = await broker.consume(DEAD_INGRESS, prefetch=1)
        dead = (await soon(consumer.get())).message

        assert dead.id == "a"
        assert dead.headers["x-first-death-reason"] == "delivery_limit"


async def _waits(broker: Broker, queue: str) -> bool:
    return await broker.depth(queue) > 0
