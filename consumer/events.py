"""
Notifications of object stores, as the objects they name. Pure.

All stores that speak S3 send `{"Records": [...]}` and differ in details; each difference is a named case here. The
folder watcher writes the same shape, so there is one way in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote_plus, unquote_plus

from consumer.workitem import LATEST

Kind = Literal["created", "removed", "metadata"]

TEST_EVENT: Final = "s3:TestEvent"
"""AWS sends one without records when a notification is configured."""

_EVENT_NAMES: Final[Mapping[Kind, str]] = {
    "created": "ObjectCreated:Put",
    "removed": "ObjectRemoved:Delete",
    "metadata": "ObjectTagging:Put",
}

_METADATA_ACTIONS: Final = frozenset({"PutTagging", "DeleteTagging", "PutRetention", "PutLegalHold", "PutAcl"})
"""MinIO announces these as `ObjectCreated`, with the ETag of the object as it was."""

_REMOVALS: Final = ("ObjectRemoved:", "LifecycleExpiration:", "LifecycleDelMarkerExpiration:", "ObjectLifecycle:")

_NO_CHANGES: Final = (
    "ObjectAccessed:",
    "Replication:",
    "Scanner:",
    "ObjectTransition:",
    "BucketCreated:",
    "BucketRemoved:",
)
"""They leave the object as it is. `ObjectAccessed` in particular is caused by our own reads."""


_RAW_KEY_ARN: Final = "arn:aws:s3:::/"
"""Versity's gateway alone writes a slash here, and alone does not form-encode its keys: a `+` in them is a plus."""


class BadNotification(Exception):
    """The notification cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """Something happened to an object: a hint to look, never a description of what is there."""

    bucket: str
    key: str
    kind: Kind
    time: int
    """Epoch milliseconds; 0 when the store did not say, or said what no clock shows."""
    etag: str | None = None
    """Without quotes."""
    size: int | None = None
    """Bytes."""
    version_id: str | None = None


def decode(body: bytes) -> list[ObjectEvent]:
    """
    Return the events of one notification, in its order; none when it is about nothing we look at.

    Raises:
        BadNotification: It is not of the S3 shape, or one of its records names no object.
    """
    try:
        notification = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadNotification(f"not JSON: {error}") from error
    if not isinstance(notification, dict):
        raise BadNotification("not a JSON object")
    records = notification.get("Records")
    if records is None and notification.get("Event") == TEST_EVENT:
        return []
    if not isinstance(records, list):
        raise BadNotification("no list `Records`")
    events = []
    for number, record in enumerate(records):
        try:
            event = _event(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadNotification(f"record {number}: {_reason(error)}") from error
        if event is not None:
            events.append(event)
    return events


def encode(event: ObjectEvent) -> bytes:
    """Write a notification of one event."""
    optional = {"size": event.size, "eTag": event.etag, "versionId": event.version_id}
    record = {
        "eventVersion": "2.1",
        "eventSource": "lakedrop:folder",
        "eventTime": datetime.fromtimestamp(event.time / 1000, UTC).isoformat(timespec="milliseconds"),
        "eventName": _EVENT_NAMES[event.kind],
        "s3": {
            "bucket": {"name": event.bucket},
            "object": {
                "key": quote_plus(event.key),
                **{name: value for name, value in optional.items() if value is not None},
            },
        },
    }
    return json.dumps({"Records": [record]}, separators=(",", ":")).encode()


def _event(record: Any) -> ObjectEvent | None:
    kind = _kind(_text(record, "eventName"))
    described = record["s3"]["object"]
    bucket = _text(record["s3"]["bucket"], "name")
    key = _text(described, "key")
    if not str(record["s3"]["bucket"].get("arn")).startswith(_RAW_KEY_ARN):
        key = unquote_plus(key, errors="strict")
    if kind is None or not key:
        return None
    _ = f"{bucket}{key}".encode()  # JSON may hold half a surrogate pair, which no queue or ledger takes
    return ObjectEvent(
        bucket,
        key,
        kind,
        time=_milliseconds(record.get("eventTime")),
        etag=str(described.get("eTag") or "").strip('"') or None,
        size=_size(described.get("size"), kind),
        version_id=str(described.get("versionId") or "") or None,
    )


def _kind(event_name: str) -> Kind | None:
    """Map `s3:ObjectCreated:Put` (MinIO) and `ObjectCreated:Put` (AWS); None for what changes no object."""
    name = event_name.removeprefix("s3:")
    if name.startswith(_NO_CHANGES):
        return None
    if name.startswith(_REMOVALS):
        return "removed"
    group, _, action = name.partition(":")
    # A name nobody has heard of is worth a look: it costs one HEAD.
    return "created" if group == "ObjectCreated" and action not in _METADATA_ACTIONS else "metadata"


def _size(size: Any, kind: Kind) -> int | None:
    """Read a number, or a string (Ceph); MinIO leaves it out for an empty object."""
    if size is None:
        return 0 if kind == "created" else None
    return int(size)


def _milliseconds(moment: Any) -> int:
    """Read a time of the years 1970 to 9999; a hint's time only tells people how long it took, so 0 will do."""
    try:
        parsed = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return 0
    milliseconds = round(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp() * 1000)
    return milliseconds if 0 <= milliseconds <= LATEST else 0


def _text(fields: Any, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"`{name}` is not a string")
    return value


def _reason(error: Exception) -> str:
    return f"no field {error}" if isinstance(error, KeyError) else str(error)
