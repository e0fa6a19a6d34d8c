"""
RabbitMQ as the broker: queues that outlive every process, shared by any number of them.

Two connections: RabbitMQ stops reading from one that publishes while it is short of memory or disk, and acks must not
wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from consumer.broker_consumer import GONE_SECONDS, WATCH_SECONDS, RabbitConsumer
from consumer.broker_link import Link, loss_is_no_cancel
from consumer.broker_port import BrokerUnavailable
from consumer.broker_publisher import PUBLISH_SECONDS, Publisher
from consumer.broker_session import RPC_SECONDS
from consumer.broker_topology import declare, declare_queue
from consumer.workitem import Message

T = TypeVar("T")


class RabbitBroker:
    """
    A `Broker` on RabbitMQ, which connects when it is first used.

    Connections that are lost come back by themselves. Ingress and bulk queues make publishers wait while a policy says
    that they are full.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://`.
        publish_seconds: Until a publish is given up.
        watch_seconds: How often a consumer asks whether it is still served.
    """

    def __init__(
        self, url: str, *, publish_seconds: float = PUBLISH_SECONDS, watch_seconds: float = WATCH_SECONDS
    ) -> None:
        self._writing = Link(url, "lakedrop publisher")
        self._reading = Link(url, "lakedrop consumer")
        self._watch_seconds = watch_seconds
        self._publisher = Publisher(self._writing, self._declare_again, self._waiting, seconds=publish_seconds)
        self._consumers: list[RabbitConsumer] = []
        self._channel: Channel | None = None
        """For questions; a question about what is not there closes it."""
        self._asking = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        queues: Collection[str] = (),
        publish_seconds: float = PUBLISH_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
    ) -> RabbitBroker:
        """
        Connect, and declare queues; others are declared when they are first named.

        Args:
            url: See the class.
            queues: Declared at once; `queues_of` names those of an installation.
            publish_seconds: See the class.
            watch_seconds: See the class.

        Raises:
            BrokerUnavailable: The server cannot be reached, refuses us, or has one of the queues in another shape.
        """
        broker = cls(url, publish_seconds=publish_seconds, watch_seconds=watch_seconds)
        try:
            await broker.ping()
            await broker.declare(queues)
        except BaseException:
            await broker.aclose()
            raise
        return broker

    async def declare(self, queues: Collection[str]) -> None:
        """Declare queues, with what is bound to them; raises as `connect` does."""
        if queues:
            await self._ask(lambda channel: declare(channel, queues), "the queues")

    async def publish(self, queue: str, message: Message) -> None:
        """Put a message on a queue; returns when RabbitMQ has confirmed it."""
        await self._publisher.publish(queue, message)

    async def consume(self, live: str, bulk: str | None = None, *, prefetch: int) -> RabbitConsumer:
        """Start reading one queue, or a live and a bulk one."""
        consumer = RabbitConsumer(self._reading, self._declare, live, bulk, prefetch, watch_seconds=self._watch_seconds)
        await consumer.start()
        self._consumers = [*(known for known in self._consumers if not known.closed), consumer]
        return consumer

    async def depth(self, queue: str) -> int:
        """Count the messages that nobody took, also those read ahead by consumers of this process; 0 if unknown."""
        try:
            waiting = await self._waiting(queue)
        except _NoSuchQueue:
            return 0
        # Afterwards: what left the queue before it was counted is on its way to somebody.
        return waiting + sum([await consumer.read_ahead(queue) for consumer in self._consumers])

    async def ping(self) -> None:
        """Raise `BrokerUnavailable` when RabbitMQ cannot be reached, does not answer, or takes no messages."""
        await self._ask(lambda channel: channel.basic_qos(prefetch_count=0), "a ping")
        await self._writing.connection()
        if await self._writing.is_blocked():
            raise BrokerUnavailable(f"{self._writing.place} blocks publishers: it is short of memory or disk")

    async def aclose(self) -> None:
        """Close all consumers and both connections."""
        for consumer in self._consumers:
            await consumer.aclose()
        self._consumers.clear()
        await self._reading.aclose()
        await self._writing.aclose()

    async def _waiting(self, queue: str) -> int:
        """Count the messages in a queue itself."""
        answer = await self._ask(lambda channel: channel.queue_declare(queue, passive=True), queue)
        return answer.message_count or 0

    async def _declare_again(self, queue: str) -> None:
        """Declare a queue that is gone, when all its readers have been told."""
        await asyncio.sleep(GONE_SECONDS)
        await self._declare(queue)
        for consumer in self._consumers:
            consumer.renew(queue)

    async def _declare(self, queue: str) -> None:
        await self._ask(lambda channel: declare_queue(channel, queue), queue)

    async def _ask(self, question: Callable[[Channel], Awaitable[T]], about: str) -> T:
        """Ask on the channel for questions, one after the other."""
        place = self._reading.place
        async with self._asking:
            try:
                with loss_is_no_cancel(place):
                    async with asyncio.timeout(RPC_SECONDS):
                        if self._channel is None or self._channel.is_closed:
                            self._channel = await self._reading.channel()
                        return await question(self._channel)
            except ChannelNotFoundEntity as error:
                raise _NoSuchQueue(f"{place} has no {about}: {error}") from error
            except ChannelPreconditionFailed as error:
                raise BrokerUnavailable(
                    f"{place} has {about} in another shape; `lakedrop check` tells how to repair it: {error}"
                ) from error
            except TimeoutError as error:
                raise BrokerUnavailable(f"{place} did not answer within {RPC_SECONDS:g} s about {about}") from error
            except BrokerUnavailable:
                raise
            except Exception as error:
                raise BrokerUnavailable(f"{place}: no answer about {about}: {error!r}") from error


class _NoSuchQueue(BrokerUnavailable):
    """The server has no such queue or exchange."""
