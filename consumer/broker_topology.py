"""
What must be there on RabbitMQ: exchanges, queues, bindings and policies.

A queue is declared with its type and nothing else. Everything that somebody may want to change is a policy, so that no
upgrade ever meets a queue whose arguments cannot be changed (406 PRECONDITION_FAILED).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiormq.abc import AbstractChannel
from yarl import URL

from consumer.terminal import shell
from consumer.workitem import DEAD_INGRESS, INGRESS, TASKS, bulk_queue, dead_queue, work_queue

EVENTS: Final = "lakedrop.events"
"""Topic exchange that stores publish their notifications to."""
UNROUTED: Final = "lakedrop.unrouted"
"""Takes what `EVENTS` could not route: an exchange, and the queue behind it."""

QUEUE_ARGUMENTS: Final[Mapping[str, Any]] = {"x-queue-type": "quorum"}

EXCHANGES: Final[Mapping[str, str]] = {EVENTS: "topic", UNROUTED: "fanout"}
"""Exchanges with their types; all durable."""

BINDINGS: Final = ((EVENTS, INGRESS, "#"), (UNROUTED, UNROUTED, ""))
"""Exchange, queue and routing key."""

FOR_EVER: Final = 1_000_000
"""
A delivery limit that is never met: hints go back while the ledger is down, once a second. RabbitMQ 4 would drop them
after 20 deliveries if there were no limit, and RabbitMQ 3 takes no -1.
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """A RabbitMQ policy."""

    name: str
    pattern: str
    apply_to: Literal["queues", "exchanges"]
    definition: Mapping[str, Any] = field(default_factory=dict)


POLICIES: Final = (
    Policy("lakedrop-events", r"^lakedrop\.events$", "exchanges", {"alternate-exchange": UNROUTED}),
    Policy(
        "lakedrop-ingress",
        r"^lakedrop\.ingress$",
        "queues",
        {
            # A notification that kills its reader a hundred times goes where people look. At least once needs
            # `reject-publish`; a store with a disk queue of its own keeps what is rejected, the sweep finds the rest.
            "delivery-limit": 100,
            "dead-letter-exchange": "",
            "dead-letter-routing-key": DEAD_INGRESS,
            "dead-letter-strategy": "at-least-once",
            "max-length": 1_000_000,
            "overflow": "reject-publish",
        },
    ),
    # Workers publish to live queues and would wait for themselves: no length.
    Policy("lakedrop-work", r"^lakedrop\.work\.", "queues", {"delivery-limit": FOR_EVER}),
    Policy(
        "lakedrop-bulk",
        r"^lakedrop\.bulk\.",
        "queues",
        {"delivery-limit": FOR_EVER, "max-length": 100_000, "overflow": "reject-publish"},
    ),
    Policy(
        "lakedrop-dead",
        r"^lakedrop\.(dead\.|unrouted$)",
        "queues",
        # More than a person reads: the oldest go.
        {"delivery-limit": FOR_EVER, "max-length": 10_000, "overflow": "drop-head"},
    ),
)


def queues_of(names: Collection[str]) -> tuple[str, ...]:
    """Return all queues of an installation; `names` are handlers, and routes with queues of their own."""
    return (
        INGRESS,
        DEAD_INGRESS,
        UNROUTED,
        *(queue(name) for name in sorted({*names, TASKS}) for queue in (work_queue, bulk_queue, dead_queue)),
    )


async def declare_queue(channel: AbstractChannel, queue: str) -> None:
    """Declare a queue and what is bound to it, which changes nothing where all of it is there."""
    await channel.queue_declare(queue, durable=True, arguments=dict(QUEUE_ARGUMENTS))
    for exchange, bound, key in BINDINGS:
        if bound == queue:
            await channel.exchange_declare(exchange, exchange_type=EXCHANGES[exchange], durable=True)
            await channel.queue_bind(queue, exchange, key)


async def declare(channel: AbstractChannel, queues: Collection[str]) -> None:
    """Declare queues; those that take in what others could not route first."""
    for queue in sorted(queues, key=lambda name: name != UNROUTED):
        await declare_queue(channel, queue)


def without_leader(place: str, queue: str) -> str:
    """Return the repair of a queue that stays without a leader, as a command and what it leads to."""
    vhost = URL(place).path.removeprefix("/") or "/"
    repair = shell("rabbitmqctl", "--vhost", vhost, "delete_queue", queue)
    return f"{repair}  # it is declared again, and a sweep finds what it held"
