"""What tests of the bridge share: a broker that can be away, and patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from consumer.broker_port import BrokerUnavailable
from consumer.event_dialects import decode
from consumer.events import ObjectEvent
from consumer.local_broker import LocalBroker
from consumer.workitem import INGRESS, Message

SECONDS = 60.0
"""Until a test gives up; nothing here takes ten."""


class Broker(LocalBroker):
    """A broker that can be away, and that remembers what it took."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused = 0
        self.taken: list[Message] = []
        self.hold: asyncio.Event | None = None
        self.news = asyncio.Event()

    async def publish(self, queue: str, message: Message) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.away:
            self.refused += 1
            self.news.set()
            raise BrokerUnavailable("away")
        assert queue == INGRESS
        self.taken.append(message)
        self.news.set()

    @property
    def keys(self) -> list[str]:
        return [f"{event.bucket}/{event.key}" for message in self.taken for event in decode(message)]

    @property
    def events(self) -> list[ObjectEvent]:
        return [event for message in self.taken for event in decode(message)]


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something that another task does."""
    async with asyncio.timeout(SECONDS):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.005)
