"""
Publishing to RabbitMQ: persistent, mandatory, confirmed, within a time.

Any number of publishes are under way at once on one channel; each waits for its own confirm. A connection that is lost
meanwhile leaves their outcome unknown: they are published again, as a message may come twice but not be lost.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from aiormq.channel import Channel
from aiormq.exceptions import AMQPChannelError, ChannelNotFoundEntity, DeliveryError, PublishError

from consumer.broker_link import Link, loss_is_no_cancel
from consumer.broker_port import BrokerUnavailable
from consumer.broker_topology import EVENTS, without_leader
from consumer.broker_wire import properties_of
from consumer.workitem import INGRESS, Message, bulk_queue

log = structlog.get_logger("lakedrop.broker")

PUBLISH_SECONDS: Final = 30.0
"""Until a publish is given up; a restart of RabbitMQ takes about ten."""
PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between tries; the last is repeated."""
FULL_PAUSE: Final = 0.5
"""Seconds until a message is offered again to a queue that is full."""


class Publisher:
    """
    Publishes on a connection of its own: RabbitMQ blocks connections that publish when it runs short of resources.

    Args:
        link: Where to.
        declare: Declares a queue that is not there.
        count: Counts the messages that wait in a queue.
        seconds: Until a publish is given up.
    """

    def __init__(
        self,
        link: Link,
        declare: Callable[[str], Awaitable[None]],
        count: Callable[[str], Awaitable[int]],
        *,
        seconds: float = PUBLISH_SECONDS,
    ) -> None:
        self._link = link
        self._declare = declare
        self._count = count
        self._seconds = seconds
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._ids: set[str] = set()
        """Messages under way on the shared channel: what comes back unroutable is known by its id alone."""

    async def publish(self, queue: str, message: Message) -> None:
        """
        Publish until it is confirmed; ingress and bulk queues that are full are waited for.

        Raises:
            BrokerUnavailable: It may not have been taken.
        """
        waits = queue == INGRESS or queue.startswith(bulk_queue(""))
        full = False
        while True:
            try:
                await self._in_time(queue, message)
            except DeliveryError as error:
                if not waits:
                    raise BrokerUnavailable(f"{self._link.place} refused a message for {queue}: it is full") from error
                if not full:
                    log.warning("queue.full", queue=queue, next_try_in=FULL_PAUSE)
                full = True
                await asyncio.sleep(FULL_PAUSE)
            else:
                return

    async def _in_time(self, queue: str, message: Message) -> None:
        attempt = _Attempt()
        try:
            async with asyncio.timeout(self._seconds):
                while not await self._is_taken(queue, message, attempt):
                    await asyncio.sleep(PAUSES[min(attempt.tries, len(PAUSES) - 1)])
                    attempt.tries += 1
        except TimeoutError as error:
            if await self._link.is_blocked():
                reason = "it blocks publishers, being short of memory or disk"
            else:
                reason = attempt.trouble or "no confirm"
                self._link.drop()  # a new connection may do better
            raise BrokerUnavailable(
                f"{self._link.place} did not take a message for {queue} within {self._seconds:g} s: {reason}"
            ) from error

    async def _is_taken(self, queue: str, message: Message, attempt: _Attempt) -> bool:
        """
        Publish once, as `_try`; what a queue without a leader refuses is worth another try.

        RabbitMQ refuses for such a queue as for a full one, and does not say why. It counts no messages in a queue that
        it cannot ask (seen with 3.10.8); a full one that was emptied meanwhile takes the next try.

        Raises:
            DeliveryError: The queue is full.
            BrokerUnavailable: As `_try`.
        """
        try:
            return await self._try(queue, message, attempt)
        except DeliveryError:
            with suppress(BrokerUnavailable):
                if await self._count(queue) > 0:
                    raise
        attempt.trouble = f"it has no leader for it; if that lasts: {without_leader(self._link.place, queue)}"
        return False

    async def _try(self, queue: str, message: Message, attempt: _Attempt) -> bool:
        """
        Publish once; False when it is worth another try.

        Raises:
            DeliveryError: The queue refused it.
            BrokerUnavailable: Another try would end like this one.
        """
        try:
            with loss_is_no_cancel(self._link.place):
                await (self._publish_alone if attempt.alone else self._publish_shared)(queue, message)
        except (PublishError, ChannelNotFoundEntity) as error:
            if attempt.declared:
                raise BrokerUnavailable(f"{self._link.place} has no queue {queue}, nor could it be made") from error
            await self._declare(queue)
            attempt.declared = True
        except AMQPChannelError as error:
            if attempt.alone:
                raise BrokerUnavailable(f"{self._link.place} refused a message for {queue}: {error}") from error
            attempt.alone = True  # whichever message closed the channel: on one of its own it closes nobody else's
        except (DeliveryError, TypeError, ValueError, struct.error):
            raise  # refused by the queue, or nothing that can be written: no connection would change that
        except Exception as error:  # (aiormq ends what waits with whatever closed the connection)
            if self._link.closed:
                raise BrokerUnavailable(
                    f"the broker is closed: message {message.id} for {queue} may be lost"
                ) from error
            attempt.trouble = str(error) or repr(error)
        else:
            return True
        return False

    async def _publish_shared(self, queue: str, message: Message) -> None:
        await self._link.unblocked()
        channel = self._channel
        if channel is None or channel.is_closed:
            channel = await self._open_shared()
        if message.id in self._ids:
            await self._publish_alone(queue, message)
            return
        if message.id:  # aiormq makes up missing ones
            self._ids.add(message.id)
        try:
            await _publish(channel, queue, message)
        finally:
            self._ids.discard(message.id)

    async def _publish_alone(self, queue: str, message: Message) -> None:
        await self._link.unblocked()
        channel = await self._link.channel(confirms=True)
        try:
            await _publish(channel, queue, message)
        finally:
            with suppress(Exception):  # the message is confirmed, or its error is on the way up
                await channel.close()

    async def _open_shared(self) -> Channel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.channel(confirms=True)
            return self._channel


@dataclass(slots=True)
class _Attempt:
    """How far a publish has come."""

    alone: bool = False
    """On a channel of its own."""
    declared: bool = False
    tries: int = 0
    trouble: str = ""


async def _publish(channel: Channel, queue: str, message: Message) -> None:
    """Publish and wait for the confirm. Notifications take the way that stores use, whose rights end there."""
    await channel.basic_publish(
        message.body,
        exchange=EVENTS if queue == INGRESS else "",
        routing_key=queue,
        properties=properties_of(message),
        mandatory=True,
        wait=False,  # for the confirm, not also for the socket: publishes would go one by one
    )
