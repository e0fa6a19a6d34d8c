"""
What lies in the dead queues for people to see: copies of failed units, and messages that nobody could read.

The ledger is the truth about failures. A copy whose unit has not failed, or not any more, is stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from consumer.broker_port import Broker, Delivery
from consumer.ledger_views import Units
from consumer.protocol import Status
from consumer.workitem import DEAD_INGRESS, INGRESS, TASKS, BadMessage, Hint, Message, UnitKey, dead_queue, decode

GET_SECONDS: Final = 5.0
"""Patience with a queue that somebody else reads at the same time."""
LOOK_SECONDS: Final = 0.02
"""Between two looks at what has come back."""
MOST: Final = 10_000
"""Letters of a queue that are looked at together; RabbitMQ's policy keeps no more."""
PAGE: Final = 1000
"""Units asked after together."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message in a dead queue."""

    queue: str
    message: Message
    hint: Hint | None
    """None: nobody can read it."""
    stale: bool
    """Its unit has not failed any more, or a later copy tells of it."""

    @property
    def reason(self) -> str:
        """Why it is here."""
        return self.message.headers.get("error") or self.message.headers.get("x-first-death-reason") or ""


@dataclass(slots=True)
class Pruned:
    """What was taken off dead queues."""

    stale: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class _Taken:
    """Messages in hand."""

    deliveries: list[Delivery] = field(default_factory=list)
    acked: int = 0

    async def ack(self, delivery: Delivery) -> None:
        """Take one off its queue for good."""
        await delivery.ack()
        self.acked += 1


class DeadLetters:
    """
    The dead queues of a broker.

    Args:
        names: Of queues: handlers, and routes with queues of their own.
    """

    def __init__(self, broker: Broker, units: Units, names: Collection[str]) -> None:
        self._broker = broker
        self._units = units
        self._queues = (DEAD_INGRESS, *(dead_queue(name) for name in sorted({*names, TASKS})))

    async def letters(self) -> list[Letter]:
        """Return what lies there, oldest first in each queue; it stays."""
        found: list[Letter] = []
        for queue in self._queues:
            async with self._taken(queue) as taken:
                found += await self._read(taken.deliveries)
        return found

    async def prune(self, *, unreadable: bool = False) -> Pruned:
        """Delete stale copies, and if asked for what nobody can read."""
        pruned = Pruned()
        for queue in self._queues:
            async with self._taken(queue) as taken:
                for delivery, letter in zip(taken.deliveries, await self._read(taken.deliveries), strict=True):
                    if letter.stale:
                        await taken.ack(delivery)
                        pruned.stale += 1
                    elif unreadable and letter.hint is None:
                        await taken.ack(delivery)
                        pruned.unreadable += 1
        return pruned

    async def retry_notifications(self) -> int:
        """Put notifications that could not be read back into the ingress; returns how many."""
        async with self._taken(DEAD_INGRESS) as taken:
            for delivery in taken.deliveries:
                headers = {name: value for name, value in delivery.message.headers.items() if not _ours(name)}
                await self._broker.publish(INGRESS, replace(delivery.message, headers=headers))
                await taken.ack(delivery)
        return taken.acked

    @asynccontextmanager
    async def _taken(self, queue: str) -> AsyncIterator[_Taken]:
        """Have all messages of a queue in hand; those not acked are back when it ends."""
        taken = _Taken()
        if not (waiting := min(await self._broker.depth(queue), MOST)):
            yield taken
            return
        consumer = await self._broker.consume(queue, prefetch=waiting)
        try:
            for _ in range(waiting):
                try:
                    async with asyncio.timeout(GET_SECONDS):
                        taken.deliveries.append(await consumer.get())
                except TimeoutError:
                    break
            yield taken
        finally:
            await consumer.aclose()
        await self._until_back(queue, len(taken.deliveries) - taken.acked)

    async def _until_back(self, queue: str, count: int) -> None:
        """Wait for the messages of a closed consumer: a quorum queue gets them only when it notices the end of it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + GET_SECONDS
        while await self._broker.depth(queue) < count and loop.time() < end:  # noqa: ASYNC110 (no server tells when)
            await asyncio.sleep(LOOK_SECONDS)

    async def _read(self, deliveries: Sequence[Delivery]) -> list[Letter]:
        hints = [_hint(delivery) for delivery in deliveries]
        failed = await self._failed({hint.key for hint in hints if hint is not None})
        letters: list[Letter] = []
        for delivery, hint in zip(reversed(deliveries), reversed(hints), strict=True):
            stale = hint is not None and hint.key not in failed
            if hint is not None:
                failed.discard(hint.key)  # the newest copy tells of it
            letters.append(Letter(delivery.queue, delivery.message, hint, stale))
        return letters[::-1]

    async def _failed(self, keys: Collection[UnitKey]) -> set[UnitKey]:
        """Return those units that have failed now."""
        groups: dict[tuple[str, str], list[str]] = {}
        for key in keys:
            groups.setdefault((key.handler, key.bucket), []).append(key.unit)
        failed: set[UnitKey] = set()
        for (handler, bucket), names in groups.items():
            for at in range(0, len(names), PAGE):
                known = await self._units.known(handler, bucket, names[at : at + PAGE])
                failed |= {
                    UnitKey(handler, bucket, unit) for unit, seen in known.items() if seen.status == Status.FAILED
                }
        return failed


def _ours(header: str) -> bool:
    """Tell headers that came with the death of a message."""
    return header == "error" or header.startswith(("x-first-death-", "x-last-death-"))


def _hint(delivery: Delivery) -> Hint | None:
    if delivery.queue == DEAD_INGRESS:
        return None
    try:
        return decode(delivery.message)
    except BadMessage:
        return None
