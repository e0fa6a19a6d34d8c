"""
Notifications in the shape of S3, `{"Records": [...]}`: Amazon, MinIO, RustFS, Ceph, Versity's gateway, lakedrop. Pure.

They differ in details; each difference is a named case here. Fields nobody needs are not looked at, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote_plus

from consumer.events import BadNotification, Kind, ObjectEvent
from consumer.workitem import LATEST

TEST_EVENTS: Final = frozenset({"s3:TestEvent"})
"""Amazon sends one without records when a notification is configured, Versity's gateway when it starts."""

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

_EVENT_BRIDGE: Final[Mapping[str, Kind]] = {
    "Object Created": "created",
    "Object Deleted": "removed",
    "Object Restore Completed": "created",
    "Object Tags Added": "metadata",
    "Object Tags Deleted": "metadata",
    "Object ACL Updated": "metadata",
}
"""Amazon S3 user guide, "EventBridge event message structure". Others change no object."""


def from_records(notification: Mapping[str, Any]) -> list[ObjectEvent]:
    """
    Return the events of `Records`, in their order; none when it is about nothing we look at.

    Raises:
        BadNotification: It has no records, or one of them names no object.
    """
    records = notification.get("Records")
    if records is None and notification.get("Event") in TEST_EVENTS:
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


def from_event_bridge(notification: Mapping[str, Any]) -> list[ObjectEvent]:
    """
    Return the event that Amazon's EventBridge passed on; it does not encode keys.

    Raises:
        BadNotification: It names no object.
    """
    kind = _EVENT_BRIDGE.get(str(notification.get("detail-type")))
    if kind is None:
        return []
    try:
        detail = notification["detail"]
        described = detail["object"]
        return [
            _checked(
                ObjectEvent(
                    _text(detail["bucket"], "name"),
                    _text(described, "key"),
                    kind,
                    time=_milliseconds(notification.get("time")),
                    etag=str(described.get("etag") or "").strip('"') or None,
                    size=_size(described.get("size"), kind),
                    version_id=str(described.get("version-id") or "") or None,
                )
            )
        ]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BadNotification(f"EventBridge: {_reason(error)}") from error


def _event(record: Any) -> ObjectEvent | None:
    kind = _kind(_text(record, "eventName"))
    described = record["s3"]["object"]
    bucket = _text(record["s3"]["bucket"], "name")
    key = _text(described, "key")
    if not str(record["s3"]["bucket"].get("arn")).startswith(_RAW_KEY_ARN):
        key = unquote_plus(key, errors="strict")
    if kind is None or not key:
        return None
    return _checked(
        ObjectEvent(
            bucket,
            key,
            kind,
            time=_milliseconds(record.get("eventTime")),
            etag=str(described.get("eTag") or "").strip('"') or None,
            size=_size(described.get("size"), kind),
            version_id=str(described.get("versionId") or "") or None,
        )
    )


def _checked(event: ObjectEvent) -> ObjectEvent:
    """JSON may hold half a surrogate pair and a NUL, which no queue or not every ledger takes."""
    if "\0" in f"{event.bucket}{event.key}":
        raise ValueError("a NUL in bucket or key")
    _ = f"{event.bucket}{event.key}".encode()
    return event


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
