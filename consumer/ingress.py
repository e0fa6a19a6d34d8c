"""Ingress: store notifications become hints for the units their objects belong to."""

from __future__ import annotations

from dataclasses import replace

import structlog

from consumer import events
from consumer.broker_port import Broker, Delivery
from consumer.hints import Hints
from consumer.look import Looker
from consumer.workitem import DEAD_INGRESS, INGRESS

log = structlog.get_logger("lakedrop.ingress")

PREFETCH = 100
"""Notifications read ahead; each may hold many events."""


class Ingress:
    """Decodes notifications and routes their events."""

    def __init__(self, broker: Broker, looker: Looker, hints: Hints) -> None:
        self._broker = broker
        self._looker = looker
        self._hints = hints

    async def run(self) -> None:
        """Work off the ingress queue until cancelled."""
        consumer = await self._broker.consume(INGRESS, prefetch=PREFETCH)
        try:
            while True:
                await self._take(await consumer.get())
        finally:
            await consumer.aclose()

    async def _take(self, delivery: Delivery) -> None:
        """Acked after the last hint is confirmed: a crash on the way brings the notification again."""
        message = delivery.message
        try:
            decoded = events.decode(message.body)
        except events.BadNotification as error:
            log.warning("notification.unreadable", reason=str(error), message_id=message.id)
            headers = {**message.headers, "error": str(error)}
            await self._broker.publish(DEAD_INGRESS, replace(message, headers=headers))
        else:
            for event in decoded:
                routed = self._looker.unit_of(event.bucket, event.key)
                if routed is not None:
                    route, key = routed
                    await self._hints.live(key, "event", route=route.name, at=event.time)
        await delivery.ack()
