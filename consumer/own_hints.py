"""The broker of a command beside a service on RabbitMQ."""

from __future__ import annotations

from consumer.broker_port import Broker, Consumer
from consumer.local_broker import LocalBroker
from consumer.workitem import Message, dead_queue


class OwnHints:
    """
    A `Broker` that keeps hints in this process and shares what people look at: dead letters.

    A command works off what it hints, and ends when that is done; on queues shared with a service nobody could tell
    when. The claims of the ledger keep the two apart. Nor does it need RabbitMQ to do its work.
    """

    def __init__(self, shared: Broker) -> None:
        self._own = LocalBroker()
        self._shared = shared

    async def publish(self, queue: str, message: Message) -> None:
        """Put a message on a queue."""
        await self._of(queue).publish(queue, message)

    async def consume(self, live: str, bulk: str | None = None, *, prefetch: int) -> Consumer:
        """Start reading one queue, or a live and a bulk one."""
        return await self._of(live).consume(live, bulk, prefetch=prefetch)

    async def depth(self, queue: str) -> int:
        """Count the messages waiting on a queue."""
        return await self._of(queue).depth(queue)

    async def ping(self) -> None:
        """Raise `BrokerUnavailable` when RabbitMQ cannot be used."""
        await self._shared.ping()

    async def aclose(self) -> None:
        """Close both."""
        await self._own.aclose()
        await self._shared.aclose()

    def _of(self, queue: str) -> Broker:
        return self._shared if queue.startswith(dead_queue("")) else self._own
