"""
What the consumer asks of a message broker: `local_broker` in one process, RabbitMQ between several.

Delivery is at least once, in no promised order. A message is gone after `ack` and comes again otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from consumer.workitem import Message
from handlers.contract import TransientError

BULK_SHARE: Final = 4
"""While live hints wait, one delivery in this many is a bulk one."""


class BrokerUnavailable(TransientError):
    """The broker did not take the message."""


class BrokerRefused(BrokerUnavailable):
    """The broker answers, and does not let us in: user, password or vhost are wrong."""


class BrokerUntrusted(BrokerUnavailable):
    """No authority that is trusted here signed the broker's certificate."""


class AlreadySettled(RuntimeError):
    """A delivery was settled a second time."""


class Delivery(Protocol):
    """
    One hand-over of a message, to be settled exactly once; a second settlement raises `AlreadySettled`.

    Settling a delivery whose consumer or connection has closed does nothing: the message comes again.
    """

    @property
    def message(self) -> Message:
        """The message handed over."""
        ...

    @property
    def queue(self) -> str:
        """The queue it came from."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it may have been handed over before."""
        ...

    async def ack(self) -> None:
        """Take the message off its queue."""
        ...

    async def reject(self, *, requeue: bool) -> None:
        """Put the message back, or drop it."""
        ...


class Consumer(Protocol):
    """A reader of one live queue and perhaps the bulk queue beside it."""

    async def get(self) -> Delivery:
        """
        Wait for the next delivery; `LiveFirst` says from which queue. Cancelling loses nothing.

        Raises:
            BrokerUnavailable: The broker or this consumer was closed.
        """
        ...

    async def aclose(self) -> None:
        """Stop; unsettled deliveries go back to their queues. May be called twice."""
        ...


class Broker(Protocol):
    """Queues by name."""

    async def publish(self, queue: str, message: Message) -> None:
        """
        Put a message on a queue; returns when it is safe there. Waits while an ingress or bulk queue is full.

        Raises:
            BrokerUnavailable: The message may not have been taken.
        """
        ...

    async def consume(self, live: str, bulk: str | None = None, *, prefetch: int) -> Consumer:
        """
        Start reading; `prefetch` bounds the unsettled deliveries of this consumer.

        Raises:
            BrokerUnavailable: The broker cannot be reached.
        """
        ...

    async def depth(self, queue: str) -> int:
        """Count the messages waiting on a queue, without those handed over; 0 for an unknown queue."""
        ...

    async def ping(self) -> None:
        """Raise `BrokerUnavailable` when the broker cannot be used."""
        ...

    async def aclose(self) -> None:
        """Close all consumers and let go of the connection."""
        ...


@dataclass(slots=True)
class LiveFirst:
    """
    Chooses the queue of a consumer's next delivery.

    Live goes before bulk; bulk is taken when live is idle, and otherwise every `BULK_SHARE`th time so that it never
    starves.
    """

    _lives_in_a_row: int = 0

    def choose(self, *, live: bool, bulk: bool) -> Literal["live", "bulk"] | None:
        """Return which of the queues that have a message is next, None when none has."""
        if live and not (bulk and self._lives_in_a_row >= BULK_SHARE - 1):
            self._lives_in_a_row += 1
            return "live"
        if bulk:
            self._lives_in_a_row = 0
            return "bulk"
        return None
