"""Store and broker as one process sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from consumer.broker_port import Consumer, Delivery
from consumer.local_broker import LocalBroker
from consumer.workitem import Message
from handlers.contract import StoredObject
from tests.fakes import MemoryStore
from tests.simulation.world import World

BUCKET = "drop"


class SimStore(MemoryStore):
    """A bucket whose objects change at any time, and whose listing may be old news."""

    def __init__(self, world: World) -> None:
        super().__init__(BUCKET, clock=world.loop.clock)
        self._world = world
        self._before: dict[tuple[str, str], str] = {}
        self.at = self._at

    def put(self, bucket: str, key: str, text: str) -> None:
        self._before = dict(self.texts)
        super().put(bucket, key, text)

    def delete(self, bucket: str, key: str) -> None:
        self._before = dict(self.texts)
        super().delete(bucket, key)

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        stale = self._world.strike("list") == "stale"
        texts = self._before if stale else self.texts
        await self.reached("list")
        for key in sorted(key for inside, key in texts if inside == bucket):
            if key.startswith(prefix) and key > start_after:
                await self.reached("listed")
                yield self.version(bucket, key, texts[bucket, key])

    async def _at(self, operation: str) -> None:
        await self._world.cross("store", lambda: None, operation)


class SimBroker:
    """A broker's client in one process: messages are lost, doubled and late, answers get lost."""

    def __init__(self, world: World, server: LocalBroker) -> None:
        self._world = world
        self._server = server
        self.consumers: list[Consumer] = []

    async def publish(self, queue: str, message: Message) -> None:
        await self._world.cross("broker", lambda: self._send(queue, message))

    async def consume(self, live: str, bulk: str | None = None, *, prefetch: int) -> Consumer:
        inner = await self._server.consume(live, bulk, prefetch=prefetch)
        self.consumers.append(inner)
        return SimConsumer(self._world, inner)

    async def depth(self, queue: str) -> int:
        return await self._server.depth(queue)

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...

    def _send(self, queue: str, message: Message) -> None:
        world = self._world
        kind = world.strike("publish")
        if kind == "late":
            world.late += 1
            world.later(world.chance.uniform(1, 90), lambda: self._arrive(queue, message, late=True))
        elif kind != "lost":
            for _ in range(2 if kind == "doubled" else 1):
                self._arrive(queue, message)

    def _arrive(self, queue: str, message: Message, *, late: bool = False) -> None:
        self._world.late -= late
        self._server._queue(queue).put(message)


class SimConsumer:
    """Hands deliveries over."""

    def __init__(self, world: World, inner: Consumer) -> None:
        self._world = world
        self._inner = inner

    async def get(self) -> Delivery:
        return SimDelivery(self._world, await self._inner.get())

    async def aclose(self) -> None:
        await self._inner.aclose()


class SimDelivery:
    """A delivery whose settlement is a call to the outside."""

    def __init__(self, world: World, inner: Delivery) -> None:
        self._world = world
        self._inner = inner
        self.message = inner.message
        self.queue = inner.queue
        self.redelivered = inner.redelivered

    async def ack(self) -> None:
        await self._world.cross("ack", self._inner._settle)  # type: ignore[attr-defined]  # a LocalDelivery

    async def reject(self, *, requeue: bool) -> None:
        await self._world.cross("ack", lambda: None)
        await self._inner.reject(requeue=requeue)
