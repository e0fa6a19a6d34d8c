"""Connections to RabbitMQ that are cut, silent, refused or never made."""

from __future__ import annotations

import asyncio
import gc

import pytest

from consumer import broker_consumer, broker_link
from consumer.broker import RabbitBroker
from consumer.broker_link import Link
from consumer.broker_port import BrokerUnavailable
from tests.rabbit import LIVE, acked, connected, message, soon
from tests.stack import ports
from tests.stack.proxy import proxied
from tests.stack.rabbitmq import RabbitMQ


async def test_cut_connections_lose_nothing(vhost: str) -> None:
    async with proxied(vhost) as (proxy, through), connected(through) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        received: list[str] = []
        names = {f"{number}" for number in range(300)}

        async def receive() -> None:
            while names - set(received):
                received.append(await acked(consumer))

        receiving = asyncio.create_task(receive())
        cuts = 0
        for number in sorted(names, key=int):
            await broker.publish(LIVE, message(number))
            if int(number) % 100 == 50:
                cuts += proxy.cut()
        await soon(receiving)

        assert cuts >= 3
        assert set(received) == names


async def test_silent_connection_is_noticed_and_made_anew(vhost: str) -> None:
    async with proxied(vhost) as (proxy, through), connected(through, publish_seconds=2, watch_seconds=0.5) as broker:
        consumer = await broker.consume(LIVE, prefetch=10)
        proxy.blackhole()
        with pytest.raises(BrokerUnavailable, match=r"did not take a message for lakedrop\.work\.h within 2 s"):
            await soon(broker.publish(LIVE, message("a")))
        await proxy.until(lambda counts: counts.held > 0)
        proxy.cut()
        proxy.restore()
        await broker.publish(LIVE, message("b"))
        got = {await acked(consumer)}
        if got != {"b"}:
            got.add(await acked(consumer))

        assert "b" in got


async def test_connection_that_fails_leaves_nothing_to_close_to_the_garbage_collector() -> None:
    """aio-pika's `__del__` makes a coroutine in whatever thread collects it; where no loop runs nobody awaits it."""
    link = Link(f"amqp://127.0.0.1:{ports.reserve()}", "test")
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        await link.connection()
    await link.aclose()

    await asyncio.to_thread(gc.collect)  # what is never awaited is an error here


async def test_connection_that_hears_no_goodbye_leaves_nothing_to_close_to_the_garbage_collector(
    vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_link, "CLOSE_SECONDS", 0.1)
    async with proxied(vhost) as (proxy, through):
        link = Link(f"{through}?heartbeat=600", "test")  # which ends it no sooner
        await link.connection()
        proxy.blackhole()
        await soon(link.aclose())
        await proxy.until(lambda counts: counts.held > 0)

        await asyncio.to_thread(gc.collect)


async def test_server_that_is_not_there_is_told_without_the_password(rabbitmq: RabbitMQ, vhost: str) -> None:
    nobody = vhost.replace(f":{rabbitmq.password}@", ":mistyped@")

    with pytest.raises(BrokerUnavailable, match="refused user or password") as caught:
        await soon(RabbitBroker.connect(nobody))
    assert "mistyped" not in str(caught.value)
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        await soon(RabbitBroker.connect("amqp://guest:guest@127.0.0.1:1/"))


async def test_stopping_while_the_server_is_away_takes_no_time(vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_consumer, "PAUSES", (3600.0,))
    async with proxied(vhost) as (proxy, through):
        broker = await RabbitBroker.connect(through)
        consumer = await broker.consume(LIVE, prefetch=1)
        proxy.refuse()
        assert proxy.cut() == 2
        waiting = asyncio.create_task(consumer.get())
        await proxy.until(lambda counts: counts.refused > 0)
        await soon(broker.aclose())

        with pytest.raises(BrokerUnavailable):
            await waiting
