"""A session of RabbitMQ whose connection is lost in the middle of something, which aiormq tells by CancelledError."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from yarl import URL

from consumer.broker_consumer import RabbitConsumer
from consumer.broker_link import Link, loss_is_no_cancel
from consumer.broker_session import Session
from tests.virtual_loop import virtual

PLACE = "amqp://broker/vhost"


@dataclass
class Channel:
    """What a session asks of aiormq's channel."""

    lost_at: frozenset[str] = frozenset()
    """Calls that end with the connection."""
    calls: list[str] = field(default_factory=list)
    consumers: dict[str, object] = field(default_factory=dict)
    on_consumer_cancel_callbacks: set[object] = field(default_factory=set)
    closing: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def connection(self) -> SimpleNamespace:
        return SimpleNamespace(closing=self.closing, url=URL(PLACE))

    async def basic_qos(self, **_options: object) -> None:
        self._called("qos")

    async def basic_consume(self, queue: str, _arrived: object) -> SimpleNamespace:
        self._called("consume")
        self.consumers[queue] = _arrived
        return SimpleNamespace(consumer_tag=queue)

    async def queue_declare(self, _queue: str, **_options: object) -> SimpleNamespace:
        self._called("declare")
        return SimpleNamespace(consumer_count=1)

    async def basic_ack(self, _tag: int, **_options: object) -> None:
        self._called("ack")

    async def basic_cancel(self, _tag: str) -> None:
        self._called("cancel")

    async def close(self, *_reason: object, **_options: object) -> None:
        self._called("close")

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if what in self.lost_at:
            raise asyncio.CancelledError


class Channels(Link):
    """A connection that opens these channels, one after the other."""

    def __init__(self, *channels: Channel) -> None:
        super().__init__(PLACE, "test")
        self._channels = list(channels)

    async def channel(self, *, confirms: bool = False) -> Any:
        del confirms
        return self._channels.pop(0)


async def declare(_queue: str) -> None:
    """Every queue is there."""


@virtual
async def test_consumer_comes_back_when_the_connection_is_lost_while_its_session_ends() -> None:
    first, second = Channel(frozenset({"cancel", "close"})), Channel()
    consumer = RabbitConsumer(Channels(first, second), declare, "live", None, 10)
    await consumer.start()
    assert consumer._session is not None
    consumer._session.lose("the queue was deleted")
    await asyncio.sleep(100)

    assert {"cancel", "close"} <= set(first.calls), "the loss came then"
    assert second.consumers.keys() == {"live"}
    assert consumer._supervisor is not None
    assert not consumer._supervisor.done()
    await consumer.aclose()


@virtual
async def test_stop_goes_on_when_the_connection_is_lost_meanwhile() -> None:
    channel = Channel(frozenset({"cancel", "close"}))
    consumer = RabbitConsumer(Channels(channel), declare, "live", None, 10)
    await consumer.start()
    await consumer.aclose()

    assert channel.calls[-2:] == ["cancel", "close"]
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left behind"


@virtual
async def test_session_whose_acks_cannot_be_sent_is_lost() -> None:
    channel = Channel(frozenset({"ack"}))
    session = Session(channel, 10, lambda: None)  # type: ignore[arg-type]  # as much of it as is used
    await session.subscribe("live")
    arrived: Any = channel.consumers["live"]
    await arrived(SimpleNamespace(delivery_tag=1))
    session.unsettled += 1
    session.settle(1, ack=True)
    await session.lost.wait()

    assert "was lost" in session.reason
    await session.aclose()


@virtual
async def test_task_that_is_cancelled_is_cancelled() -> None:
    async def waits() -> None:
        with loss_is_no_cancel(PLACE):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert waiting.cancelled()
