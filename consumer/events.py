"""
Events: that something happened to an object. Pure.

`event_dialects` reads them from what stores send. The folder watcher and the bridge write the shape of S3 themselves,
so there is one way in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import quote_plus

Kind = Literal["created", "removed", "metadata"]

_EVENT_NAMES: Final[Mapping[Kind, str]] = {
    "created": "ObjectCreated:Put",
    "removed": "ObjectRemoved:Delete",
    "metadata": "ObjectTagging:Put",
}


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


def encode(event: ObjectEvent, source: str = "folder") -> bytes:
    """Write a notification of one event; `source` is which part of lakedrop saw it."""
    optional = {"size": event.size, "eTag": event.etag, "versionId": event.version_id}
    record = {
        "eventVersion": "2.1",
        "eventSource": f"lakedrop:{source}",
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
