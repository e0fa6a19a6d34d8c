"""
RabbitMQ's definitions for an installation: what `load_definitions` makes when the server starts.

Users may do what they must and no more. Passwords are given in; there are no defaults.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumer.broker_topology import BINDINGS, EVENTS, EXCHANGES, POLICIES, QUEUE_ARGUMENTS, Policy, queues_of

VHOST: Final = "lakedrop"
"""One for each installation."""

NOTHING: Final = "^$"
OURS: Final = r"^lakedrop\."
EVENTS_ALONE: Final = rf"^{EVENTS.replace('.', chr(92) + '.')}$"


@dataclass(frozen=True, slots=True)
class User:
    """A RabbitMQ user: expressions for what it may declare, publish to and read."""

    name: str
    variable: str
    """Environment variable with its password."""
    tags: str
    configure: str
    write: str
    read: str


USERS: Final = (
    # MinIO declares the exchange before every event, which is a right to change it as well.
    User("lakedrop-store", "LAKEDROP_RABBITMQ_STORE_PASSWORD", "", EVENTS_ALONE, EVENTS_ALONE, NOTHING),
    User("lakedrop-bridge", "LAKEDROP_RABBITMQ_BRIDGE_PASSWORD", "", NOTHING, EVENTS_ALONE, NOTHING),
    # `management` shows it its own vhosts: `lakedrop check` compares policies. Hints go by the default exchange.
    User(
        "lakedrop-consumer",
        "LAKEDROP_RABBITMQ_CONSUMER_PASSWORD",
        "management",
        OURS,
        r"^(amq\.default|lakedrop\..*)$",
        OURS,
    ),
    User("lakedrop-operator", "LAKEDROP_RABBITMQ_OPERATOR_PASSWORD", "monitoring", NOTHING, NOTHING, OURS),
)


def definitions(vhosts: Collection[str], names: Collection[str], passwords: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the definitions of one or several installations on one server.

    Args:
        vhosts: One for each installation.
        names: Handlers, and routes with queues of their own.
        passwords: By `User.variable`.
    """
    return {
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "users": [
            {"name": user.name, "password": passwords[user.variable], "tags": user.tags, "limits": {}} for user in USERS
        ],
        "permissions": [
            {"user": user.name, "vhost": vhost, "configure": user.configure, "write": user.write, "read": user.read}
            for vhost in vhosts
            for user in USERS
        ],
        "policies": [{"vhost": vhost, **policy_json(policy)} for vhost in vhosts for policy in POLICIES],
        "exchanges": [
            {"vhost": vhost, "name": name, "type": kind, **_DURABLE, "internal": False, "arguments": {}}
            for vhost in vhosts
            for name, kind in EXCHANGES.items()
        ],
        "queues": [
            {"vhost": vhost, "name": queue, **_DURABLE, "arguments": dict(QUEUE_ARGUMENTS)}
            for vhost in vhosts
            for queue in queues_of(names)
        ],
        "bindings": [
            {
                "vhost": vhost,
                "source": exchange,
                "destination": queue,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for vhost in vhosts
            for exchange, queue, key in BINDINGS
        ],
    }


_DURABLE: Final = {"durable": True, "auto_delete": False}


def policy_json(policy: Policy) -> dict[str, Any]:
    """Return a policy as RabbitMQ's API and definitions have it."""
    return {
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": 0,
    }
