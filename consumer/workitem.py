"""
Work items: the hints that travel through the queues, and the queues' names. Pure.

A hint says "this unit may have changed" and carries no other authority. On the wire it is a CloudEvents 1.0 event in
structured JSON mode; the headers repeat what a person wants to see when looking into a queue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

INGRESS: Final = "lakedrop.ingress"
"""Notifications as the store sent them."""
DEAD_INGRESS: Final = "lakedrop.dead.ingress"
"""Notifications nobody could read, with the reason in the header `error`."""

LATEST: Final = 253_402_300_799_999
"""Epoch milliseconds of the end of the year 9999, the last that can be written in ISO 8601."""

CONTENT_TYPE: Final = "application/cloudevents+json"

Kind = Literal["changed", "replay", "task"]

_TYPES: Final[Mapping[Kind, str]] = {
    "changed": "lakedrop.unit.changed",
    "replay": "lakedrop.unit.replay",
    "task": "lakedrop.task.requested",
}
_KINDS: Final[Mapping[str, Kind]] = {name: kind for kind, name in _TYPES.items()}


class BadMessage(Exception):
    """The message is not a hint; the text says what is wrong with it."""


class UnitKey(NamedTuple):
    """The primary key of a unit's row."""

    handler: str
    bucket: str
    """Empty for tasks."""
    unit: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a queue holds."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]
    id: str


@dataclass(frozen=True, slots=True)
class Hint:
    """This unit may have changed."""

    key: UnitKey
    kind: Kind
    reason: str
    """Who says so: event, sweep, replay, wake, ..."""
    id: str
    time: int
    """Epoch milliseconds."""
    route: str = ""
    """Name of the route that brought it here, empty where the sender does not know."""
    error: str | None = None
    """Why the unit failed, on copies in a dead queue."""


def work_queue(name: str) -> str:
    """Name the live queue of a handler, or of a route with a queue of its own."""
    return f"lakedrop.work.{name}"


def bulk_queue(name: str) -> str:
    """Name the queue for hints of sweeps and replays."""
    return f"lakedrop.bulk.{name}"


def dead_queue(name: str) -> str:
    """Name the queue with copies of failed units for people to see."""
    return f"lakedrop.dead.{name}"


def encode(hint: Hint) -> Message:
    """Write a hint as a CloudEvents message; a time before 1970 or after 9999 becomes the nearest that is not."""
    subject = f"{hint.key.bucket}/{hint.key.unit}" if hint.key.bucket else hint.key.unit
    body = {
        "specversion": "1.0",
        "id": hint.id,
        "source": f"/lakedrop/{hint.reason}",
        "type": _TYPES[hint.kind],
        "subject": subject,
        "time": _timestamp(min(max(hint.time, 0), LATEST)),
        "datacontenttype": "application/json",
        "data": {**hint.key._asdict(), "reason": hint.reason, "route": hint.route, "error": hint.error},
    }
    headers = {"key": subject, "reason": hint.reason}
    if hint.error is not None:
        headers["error"] = hint.error
    return Message(_ENCODER.encode(body).encode(), CONTENT_TYPE, headers, hint.id)


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
"""`json.dumps` would make one for each hint."""


def decode(message: Message) -> Hint:
    """
    Read a hint back.

    The content type is not looked at: people move messages between queues by hand, and their tools drop it.

    Raises:
        BadMessage: The body is not JSON, not a CloudEvent of a known type, or lacks a field.
    """
    try:
        body = json.loads(message.body)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("specversion") != "1.0":
        raise BadMessage("not a CloudEvent of specversion 1.0")
    kind = _KINDS.get(_text(body, "type"))
    if kind is None:
        raise BadMessage(f"type {body['type']!r} is none of {', '.join(_KINDS)}")
    data = body.get("data")
    if not isinstance(data, dict):
        raise BadMessage("field `data` is not an object")
    key = UnitKey(_text(data, "handler"), _text(data, "bucket"), _text(data, "unit"))
    if not key.handler or not key.unit:
        raise BadMessage("fields `data.handler` and `data.unit` must not be empty")
    return Hint(
        key,
        kind,
        reason=_text(data, "reason"),
        id=_text(body, "id"),
        time=_milliseconds(_text(body, "time")),
        route=_text(data, "route"),
        error=None if data.get("error") is None else _text(data, "error"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadMessage(f"field `{name}` is {'missing' if value is None else 'not a string'}")
    return value


def _timestamp(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)  # whole seconds: a float would round the last ones up
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadMessage(f"field `time` is no timestamp: {text!r}") from error
    if moment.tzinfo is None:
        raise BadMessage(f"field `time` has no offset from UTC: {text!r}")
    return round(moment.timestamp() * 1000)
