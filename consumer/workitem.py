"""
Work items: the hints that travel through the queues, and the queues' names. Pure.

A hint says "this unit may have changed" and carries no other authority. On the wire it is a CloudEvents 1.0 event in
structured JSON mode; the headers repeat what a person wants to see when looking into a queue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

INGRESS: Final = "lakedrop.ingress"
"""Notifications as the store sent them."""
TASKS: Final = "tasks"
"""Name of the queues of tasks, of all handlers."""
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

    def with_headers(self, **headers: str) -> Message:
        """Return the same message with more headers."""
        return Message(self.body, self.content_type, {**self.headers, **headers}, self.id)


class Hint(NamedTuple):
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


class HintMessage(Message):
    """A hint as a message: a CloudEvent, which is written only where it leaves the process."""

    __slots__ = ("hint",)
    hint: Hint

    def __init__(self, hint: Hint) -> None:
        object.__setattr__(self, "hint", hint)  # messages are frozen

    @property
    def body(self) -> bytes:
        """The event in structured JSON mode."""
        hint = self.hint
        event = {
            "specversion": "1.0",
            "id": hint.id,
            "source": f"/lakedrop/{hint.reason}",
            "type": _TYPES[hint.kind],
            "subject": _subject(hint.key),
            "time": _timestamp(hint.time),
            "datacontenttype": "application/json",
            "data": {**hint.key._asdict(), "reason": hint.reason, "route": hint.route, "error": hint.error},
        }
        return _ENCODER.encode(event).encode()

    @property
    def content_type(self) -> str:
        """Of the body."""
        return CONTENT_TYPE

    @property
    def headers(self) -> Mapping[str, str]:
        """What a person wants to see of it in a queue."""
        headers = {"key": _subject(self.hint.key), "reason": self.hint.reason}
        return headers if self.hint.error is None else {**headers, "error": self.hint.error}

    @property
    def id(self) -> str:
        """Of the event."""
        return self.hint.id


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
    """Make a CloudEvents message of a hint; a time before 1970 or after 9999 becomes the nearest that is not."""
    return HintMessage(hint if 0 <= hint.time <= LATEST else hint._replace(time=min(max(hint.time, 0), LATEST)))


def _subject(key: UnitKey) -> str:
    return f"{key.bucket}/{key.unit}" if key.bucket else key.unit


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)
"""`json.dumps` would make one for each hint, and look out for circles."""


UNHELD: Final = re.compile("[\0\ud800-\udfff]")
"""Whoever claimed a unit of such a name would be refused by PostgreSQL, and have the hint again, for ever."""


def decode(message: Message) -> Hint:
    """
    Read a hint back.

    The content type is not looked at: people move messages between queues by hand, and their tools drop it.

    Raises:
        BadMessage: The body is not JSON, not a CloudEvent of a known type, lacks a field, or names what no ledger
            holds.
    """
    hint = message.hint if isinstance(message, HintMessage) else _read(message.body)
    if UNHELD.search("".join(hint.key)):
        raise BadMessage("a NUL or half a surrogate pair in `data`: no object has such a name, and no ledger holds it")
    return hint


def _read(written: bytes) -> Hint:
    """Read a hint that came from outside the process."""
    try:
        body = json.loads(written)
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
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Write whole seconds, as a float would round the last ones up; thousands of hints are of the same one."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadMessage(f"field `time` is no timestamp: {text!r}") from error
    if moment.tzinfo is None:
        raise BadMessage(f"field `time` has no offset from UTC: {text!r}")
    return round(moment.timestamp() * 1000)
