"""What a session sends to RabbitMQ, and in which order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from yarl import URL

from consumer.broker_session import Session

QUEUE = "lakedrop.work.csv_to_iceberg"


class Channel:
    """A channel that takes a turn of the event loop for every frame, as one does whose socket is full."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closing: asyncio.Future[None] = loop.create_future()
        self.connection = SimpleNamespace(closing=loop.create_future(), url=URL("amqp://broker/vhost"))
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.sent: list[Any] = []
        self.acked = asyncio.Event()
        self._arrived: Any = None

    async def basic_qos(self, *, prefetch_count: int) -> None:
        del prefetch_count

    async def basic_consume(self, queue: str, arrived: Any) -> Any:
        del queue
        self._arrived = arrived
        return SimpleNamespace(consumer_tag="tag")

    async def basic_ack(self, tag: int, *, multiple: bool = False, wait: bool) -> None:
        del multiple, wait
        await asyncio.sleep(0)
        self.sent.append(tag)
        self.acked.set()

    async def basic_cancel(self, tag: str) -> None:
        self.sent.append(f"cancel {tag}")

    async def close(self, exc: object, timeout: float) -> None:  # noqa: ASYNC109 (as in the original)
        del exc, timeout
        self.sent.append("close")

    async def deliver(self, count: int) -> None:
        for tag in range(1, count + 1):
            await self._arrived(SimpleNamespace(delivery_tag=tag))


async def test_acks_under_way_when_a_session_closes_are_sent_to_the_last() -> None:
    channel = Channel()
    session = Session(channel, 10, lambda: None)  # type: ignore[arg-type]
    await session.subscribe(QUEUE)
    await channel.deliver(9)
    for tag in (1, 3, 5, 7, 9):
        session.settle(tag, ack=True)
    await channel.acked.wait()  # the others are being sent

    await session.aclose()

    assert channel.sent == [1, 3, 5, 7, 9, "cancel tag", "close"]
