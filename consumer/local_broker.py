"""
Queues inside one process.

Nothing survives the process and nothing has to: the ledger's rows hold the deadlines, and a sweep runs at every start.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from consumer.broker_port import AlreadySettled, BrokerUnavailable, LiveFirst
from consumer.workitem import Message, dead_queue, work_queue

DEFAULT_BOUND: Final = 10_000
"""Some 10 MB of hints: minutes of work, and little memory."""
DEFAULT_DEAD_BOUND: Final = 1_000
"""More than a person reads; the ledger has them all."""


class _Waiting(NamedTuple):
    message: Message
    redelivered: bool


class _Queue:
    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = name.startswith(dead_queue(""))
        self.is_live = name.startswith(work_queue(""))
        self.waiting: deque[_Waiting] = deque()
        self.readers: dict[LocalConsumer, None] = {}
        """In the order they came, so that a run in virtual time can be repeated."""
        self.room = asyncio.Event()
        """Set whenever a message was taken off."""

    def put(self, message: Message) -> None:
        self.waiting.append(_Waiting(message, redelivered=False))
        self.ring()

    def put_back(self, message: Message) -> None:
        self.waiting.appendleft(_Waiting(message, redelivered=True))
        self.ring()

    def take(self) -> _Waiting:
        self.room.set()
        return self.waiting.popleft()

    def ring(self) -> None:
        for reader in self.readers:
            reader.bell.set()


class LocalBroker:
    """
    A `Broker` without a server. Queues come into being when first named.

    Ingress and bulk queues hold `bound` messages and make publishers wait beyond that. Dead queues keep their newest
    `dead_bound` messages. Live queues are not bounded: workers publish to them, and a worker that waited for room would
    wait for itself.
    """

    def __init__(self, *, bound: int = DEFAULT_BOUND, dead_bound: int = DEFAULT_DEAD_BOUND) -> None:
        self._bound = bound
        self._dead_bound = dead_bound
        self._queues: dict[str, _Queue] = {}
        self._consumers: list[LocalConsumer] = []
        self._closed = False

    async def publish(self, queue: str, message: Message) -> None:
        """Put a message on a queue; see the class for what happens when it is full."""
        target = self._queue(queue)
        if target.is_dead:
            while len(target.waiting) >= self._dead_bound:
                target.take()
        elif not target.is_live:
            while not self._closed and len(target.waiting) >= self._bound:
                target.room.clear()
                await target.room.wait()
        if self._closed:
            raise BrokerUnavailable(f"the local broker is closed: message {message.id} for {queue} was not taken")
        target.put(message)

    async def consume(self, live: str, bulk: str | None = None, *, prefetch: int) -> LocalConsumer:
        """Start reading one queue, or a live and a bulk one."""
        if self._closed:
            raise BrokerUnavailable(f"the local broker is closed: {live} cannot be read")
        consumer = LocalConsumer(self._queue(live), None if bulk is None else self._queue(bulk), prefetch)
        self._consumers.append(consumer)
        return consumer

    async def depth(self, queue: str) -> int:
        """Count the messages waiting on a queue."""
        known = self._queues.get(queue)
        return len(known.waiting) if known else 0

    async def ping(self) -> None:
        """Raise `BrokerUnavailable` once closed."""
        if self._closed:
            raise BrokerUnavailable("the local broker is closed")

    async def aclose(self) -> None:
        """Close all consumers; publishers that wait for room get `BrokerUnavailable`."""
        self._closed = True
        for consumer in self._consumers:
            await consumer.aclose()
        for queue in self._queues.values():
            queue.room.set()

    def _queue(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(name)
        return queue


class LocalConsumer:
    """A `Consumer` of `LocalBroker`."""

    def __init__(self, live: _Queue, bulk: _Queue | None, prefetch: int) -> None:
        self.bell = asyncio.Event()
        """Set when `get` should look again."""
        self._live = live
        self._bulk = bulk
        self._prefetch = prefetch
        self._turns = LiveFirst()
        self._unsettled: dict[LocalDelivery, None] = {}
        self._closed = False
        for queue in self._queues():
            queue.readers[self] = None

    async def get(self) -> LocalDelivery:
        """Wait for the next delivery."""
        while not self._closed:
            queue = self._next_queue()
            if queue is not None:
                delivery = LocalDelivery(self, queue, queue.take())
                self._unsettled[delivery] = None
                return delivery
            self.bell.clear()
            await self.bell.wait()
        raise BrokerUnavailable(f"the consumer of {self._live.name} is closed")

    async def aclose(self) -> None:
        """Stop; unsettled deliveries go back to where they were."""
        self._closed = True
        for queue in self._queues():
            queue.readers.pop(self, None)
        for delivery in reversed(self._unsettled):
            delivery.return_to_queue()
        self._unsettled.clear()
        self.bell.set()

    def settle(self, delivery: LocalDelivery) -> bool:
        """Strike a delivery off; False when it went back to its queue before."""
        if delivery not in self._unsettled:
            return False
        del self._unsettled[delivery]
        self.bell.set()
        return True

    def _next_queue(self) -> _Queue | None:
        if len(self._unsettled) >= self._prefetch:
            return None
        match self._turns.choose(live=bool(self._live.waiting), bulk=bool(self._bulk and self._bulk.waiting)):
            case "live":
                return self._live
            case "bulk":
                return self._bulk
            case _:
                return None

    def _queues(self) -> list[_Queue]:
        return [self._live] if self._bulk is None else [self._live, self._bulk]


class LocalDelivery:
    """A `Delivery` of `LocalBroker`."""

    def __init__(self, consumer: LocalConsumer, queue: _Queue, taken: _Waiting) -> None:
        self.message = taken.message
        self.queue = queue.name
        self.redelivered = taken.redelivered
        self._consumer = consumer
        self._origin = queue
        self._settled = False

    async def ack(self) -> None:
        """Be done with the message."""
        self._settle()

    async def reject(self, *, requeue: bool) -> None:
        """Put the message back, or drop it."""
        if self._settle() and requeue:
            self.return_to_queue()

    def return_to_queue(self) -> None:
        """Put the message where it was: at the front."""
        self._origin.put_back(self.message)

    def _settle(self) -> bool:
        if self._settled:
            raise AlreadySettled(f"message {self.message.id} of {self.queue} was settled before")
        self._settled = True
        return self._consumer.settle(self)
