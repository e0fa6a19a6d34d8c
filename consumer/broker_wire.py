"""Messages as RabbitMQ carries them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiormq import spec
from aiormq.abc import DeliveredMessage

from consumer.workitem import Message

PERSISTENT: Final = 2

ROOM_FOR_HEADERS: Final = 64 * 1024
"""All properties of a message must fit into one frame of 128 KiB, or the server closes the connection."""
HEADER_CUT: Final = 2000
"""Characters that are left of each header when there is no room for all; the body has what was cut."""

_OF_THE_SERVER: Final = frozenset({"x-delivery-count", "x-acquired-count", "x-death"})
"""Counters of the server. Sent back to RabbitMQ 3, `x-death` would be counted on."""


def properties_of(message: Message) -> spec.Basic.Properties:
    """Return the properties a message is published with: it is kept on disk."""
    headers = message.headers
    if sum(len(name) + len(value) for name, value in headers.items()) * 4 > ROOM_FOR_HEADERS:
        headers = {name: value[:HEADER_CUT] for name, value in headers.items()}
    return spec.Basic.Properties(
        content_type=message.content_type,
        headers=dict(headers),
        delivery_mode=PERSISTENT,
        message_id=message.id,
    )


def message_of(delivered: DeliveredMessage) -> Message:
    """Return a message as it was sent; stores leave out what they like."""
    properties = delivered.header.properties
    return Message(
        delivered.body,
        properties.content_type or "",
        _texts(properties.headers or {}),
        properties.message_id or "",
    )


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in headers.items() if name not in _OF_THE_SERVER}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
