"""Ingress: store notifications become hints for the units their objects belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from consumer import event_dialects
from consumer.broker_port import Broker, BrokerUnavailable, Delivery
from consumer.events import BadNotification, ObjectEvent
from consumer.hints import Hints
from consumer.look import Looker
from consumer.workitem import DEAD_INGRESS, INGRESS

log = structlog.get_logger("lakedrop.ingress")

PREFETCH = 200
"""Notifications under way together: each waits for the confirms of its hints."""

GROUP = 200
"""Events of one notification under way together."""

PAUSE = 1.0
"""Seconds until a hint is published again that the broker did not take."""


class Ingress:
    """Decodes notifications and routes their events, many at a time."""

    def __init__(self, broker: Broker, looker: Looker, hints: Hints) -> None:
        self._broker = broker
        self._looker = looker
        self._hints = hints
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work off the ingress queue until cancelled; what was not acked by then comes again."""
        consumer = await self._broker.consume(INGRESS, prefetch=PREFETCH)
        try:
            while True:
                task = asyncio.create_task(self._take(await consumer.get()), name="notification")
                self._tasks.add(task)
                task.add_done_callback(self._taken)
        finally:
            for task in self._tasks:
                task.cancel()
            await consumer.aclose()

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("notification.crashed", exc_info=error)

    async def _take(self, delivery: Delivery) -> None:
        """Acked after the last hint is confirmed: a crash on the way brings the notification again."""
        try:
            hints = self._hints_of(event_dialects.decode(delivery.message))
            for at in range(0, len(hints), GROUP):
                await _all(hints[at : at + GROUP])
        except BadNotification as error:
            await self._refuse(delivery, str(error))
        except Exception as error:
            # It would do the same to whoever reads it next.
            log.exception("notification.crashed", message_id=delivery.message.id)
            await self._refuse(delivery, f"{type(error).__name__}: {error}")
        await delivery.ack()

    def _hints_of(self, decoded: Sequence[ObjectEvent]) -> list[Callable[[], Awaitable[None]]]:
        """Return what hints the routed events."""
        routed = ((event, self._looker.unit_of(event.bucket, event.key)) for event in decoded)
        return [
            partial(self._hints.live, found[1], "event", route=found[0].name, at=event.time)
            for event, found in routed
            if found is not None
        ]

    async def _refuse(self, delivery: Delivery, reason: str) -> None:
        """Move a notification that cannot be read to where people look."""
        message = delivery.message
        log.warning("notification.unreadable", reason=reason, message_id=message.id)
        refused = message.with_headers(error=reason)
        await _until_taken(lambda: self._broker.publish(DEAD_INGRESS, refused))


async def _all(hints: Sequence[Callable[[], Awaitable[None]]]) -> None:
    if len(hints) == 1:
        await _until_taken(hints[0])
    else:
        await asyncio.gather(*(_until_taken(hint) for hint in hints))


async def _until_taken(publish: Callable[[], Awaitable[None]]) -> None:
    """
    Publish until the broker has it, however long it is blocked.

    To give the notification back would count against it, and everything before its last hint would be done again.
    """
    while True:
        try:
            await publish()
        except BrokerUnavailable as error:
            log.warning("hint.not_taken", reason=error.message, next_try_in=PAUSE)
            await asyncio.sleep(PAUSE)
        else:
            return
