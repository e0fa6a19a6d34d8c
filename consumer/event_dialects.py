"""
Which store sent a notification, and so how it is read. Pure.

The sender is told by what the message itself shows: SeaweedFS's AMQP messages name a path in the header `key`, no
content type, and hold protobuf; everything else is JSON and has the fields of its kind. Which exchange it came through
says nothing: several stores may share one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from consumer.event_records import from_event_bridge, from_records
from consumer.events import BadNotification, ObjectEvent
from consumer.seaweed_events import from_amqp, from_webhook
from consumer.workitem import Message

PATH_HEADER: Final = "key"
"""Where SeaweedFS names the path of the entry; only paths begin with a slash, the keys in our own messages do not."""


def decode(message: Message) -> list[ObjectEvent]:
    """
    Return the events of one notification, in its order; none when it is about nothing we look at.

    Raises:
        BadNotification: No store is known to send such a message; the text says what is wrong with it.
    """
    path = message.headers.get(PATH_HEADER, "")
    # The body itself cannot tell: protobuf may begin with what JSON takes for a line feed and a brace.
    if path.startswith("/") and "json" not in message.content_type:
        return from_amqp(path, message.body)
    notification = _json(message.body)
    if notification.get("Type") == "Notification" and isinstance(notification.get("Message"), str):
        notification = _json(notification["Message"])  # Amazon's SNS wraps what S3 says
    if "detail-type" in notification:
        return from_event_bridge(notification)
    if "event_type" in notification and "message" in notification:
        return from_webhook(notification)
    return from_records(notification)


def _json(text: bytes | str) -> Mapping[str, Any]:
    try:
        notification = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadNotification(f"not JSON: {error}") from error
    if not isinstance(notification, dict):
        raise BadNotification("not a JSON object")
    return notification
