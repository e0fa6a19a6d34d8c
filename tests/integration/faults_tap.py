"""Listens to what a store tells RabbitMQ, and tells it again, in other numbers and another order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from consumer.broker_topology import EVENTS
from consumer.workitem import INGRESS
from tests.waits import PATIENCE


class Tap:
    """Has a copy of every event since it was opened; made by `tapped`."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._news = asyncio.Event()
        self.events: list[AbstractIncomingMessage] = []

    async def take(self, message: AbstractIncomingMessage) -> None:
        self.events.append(message)
        self._news.set()

    async def until(self, events: int) -> None:
        """Wait until there are so many."""
        async with asyncio.timeout(PATIENCE):
            while len(self.events) < events:
                self._news.clear()
                await self._news.wait()

    async def tell(self, events: Sequence[AbstractIncomingMessage]) -> None:
        """Publish events anew, one after the other; past the exchange, where this tap would hear them too."""
        for event in events:
            message = aio_pika.Message(
                event.body,
                headers=event.headers,
                content_type=event.content_type,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await self._channel.default_exchange.publish(message, INGRESS)

    async def connect_ingress(self, *, connected: bool) -> None:
        """Let events reach the queue that the service reads, or not."""
        queue = await self._channel.get_queue(INGRESS)
        if connected:
            await queue.bind(EVENTS, "#")
        else:
            await queue.unbind(EVENTS, "#")


@asynccontextmanager
async def tapped(vhost: str) -> AsyncIterator[Tap]:
    """Listen to the exchange of events; its services have declared it."""
    connection = await aio_pika.connect(vhost)
    async with connection:
        channel = await connection.channel(on_return_raises=True)
        tap = Tap(channel)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "#")
        await queue.consume(tap.take, no_ack=True)
        yield tap
