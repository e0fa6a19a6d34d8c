"""
What happened to objects, from what happened to files of a SeaweedFS filer. Pure.

The filer tells of every entry it writes, and an S3 operation is several of them. Those that make no object visible are
noise: folders, the parts of an upload, the filer's own notes, a version that is not the latest (yet).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from consumer.events import BadNotification, ObjectEvent
from consumer.seaweed_pb2 import Entry, EventNotification

BUCKETS: Final = "/buckets"
"""Where the S3 gateway keeps its buckets: its option `-s3.bucketsPath`, whose default nobody changes."""

_UPLOADS: Final = ".uploads"
"""Folder in a bucket for the parts of uploads that are not complete."""

_VERSIONS: Final = ".versions"
"""Ends the folder of an object's versions, in a bucket that has versioning."""

_ETAG: Final = "Seaweed-X-Amz-ETag"
_VERSION_ID: Final = "Seaweed-X-Amz-Version-Id"
_LATEST_ID: Final = "Seaweed-X-Amz-Latest-Version-Id"
_LATEST_ETAG: Final = "Seaweed-X-Amz-Latest-Version-ETag"
_LATEST_SIZE: Final = "Seaweed-X-Amz-Latest-Version-Size"
_LATEST_IS_DELETED: Final = "Seaweed-X-Amz-Latest-Version-Is-Delete-Marker"


class _Place(NamedTuple):
    """Where an entry is, as S3 sees it."""

    bucket: str
    key: str


def from_amqp(path: str, body: bytes) -> list[ObjectEvent]:
    """
    Return the events of a message that the filer published itself (`[notification.gocdk_pub_sub]`).

    Args:
        path: Header `key`: where the entry was, or where it is now when there was none.
        body: `filer_pb.EventNotification`, which has no time.

    Raises:
        BadNotification: The body is no `filer_pb.EventNotification`.
    """
    try:
        notification = EventNotification.FromString(body)
    except DecodeError as error:
        raise BadNotification(f"not a filer_pb.EventNotification: {error}") from error
    return _named(path, notification)


def from_webhook(notification: Mapping[str, Any]) -> list[ObjectEvent]:
    """
    Return the events of a body that the filer posted (`[notification.webhook]`).

    Raises:
        BadNotification: It does not describe an entry.
    """
    try:
        read = ParseDict(notification["message"], EventNotification(), ignore_unknown_fields=True)
    except (ParseError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise BadNotification(f"`message` is not a filer_pb.EventNotification: {error}") from error
    return _named(str(notification.get("key", "")), read)


def _named(path: str, notification: EventNotification) -> list[ObjectEvent]:
    if not path.startswith("/"):
        raise BadNotification(f"`key` is no path: {path!r}")
    if not notification.HasField("old_entry") and not notification.HasField("new_entry"):
        raise BadNotification("neither `old_entry` nor `new_entry`")
    return object_events(path.rpartition("/")[0], notification, at=0)


def object_events(directory: str, notification: EventNotification, *, at: int) -> list[ObjectEvent]:
    """
    Return what became of objects.

    Args:
        directory: Of the entry before, or now when there was none.
        notification: The entry before and after.
        at: When, in epoch milliseconds; 0 when the filer did not say.
    """
    old = notification.old_entry if notification.HasField("old_entry") else None
    new = notification.new_entry if notification.HasField("new_entry") else None
    old_path = f"{directory}/{notification.old_entry.name}"
    new_path = f"{notification.new_parent_path or directory}/{notification.new_entry.name}"
    if old is not None and new is not None and old_path == new_path:
        return _updated(new_path, old, new, at)
    return [
        *([] if old is None else _removed(old_path, old, at)),
        *([] if new is None else _created(new_path, new, at)),
    ]


def removed_bucket(directory: str, notification: EventNotification) -> str | None:
    """Return the bucket that was removed or renamed as a whole: the filer tells of none of its objects then."""
    moved = notification.HasField("new_entry") and (
        (notification.new_parent_path or directory, notification.new_entry.name)
        != (directory, notification.old_entry.name)
    )
    gone = notification.HasField("old_entry") and (moved or not notification.HasField("new_entry"))
    if directory == BUCKETS and gone and notification.old_entry.is_directory:
        return notification.old_entry.name
    return None


def _created(path: str, entry: Entry, at: int) -> list[ObjectEvent]:
    place = _place(path)
    if place is None:
        return []
    if entry.is_directory:
        return _latest(place, entry, at)
    # A version is there before it is the latest one: who looked now would see the version before it, and be content.
    # The update of the folder that follows makes it visible.
    return [] if _is_version(place, entry) else [_event(place, entry, at)]


def _removed(path: str, entry: Entry, at: int) -> list[ObjectEvent]:
    place = _place(path)
    if place is None:
        return []
    if entry.is_directory:
        return [ObjectEvent(found.bucket, found.key, "removed", at) for found in _latest(place, entry, at)]
    if _is_version(place, entry):
        key = place.key.rpartition("/")[0].removesuffix(_VERSIONS)
        return [ObjectEvent(place.bucket, key, "removed", at, version_id=_text(entry, _VERSION_ID))]
    return [ObjectEvent(place.bucket, place.key, "removed", at)]


def _updated(path: str, old: Entry, new: Entry, at: int) -> list[ObjectEvent]:
    place = _place(path)
    if place is None:
        return []
    if new.is_directory:
        if _text(old, _LATEST_ID) == _text(new, _LATEST_ID):
            return []
        # Without a latest version the object under the plain key, if there is one, is what S3 shows.
        key = place.key.removesuffix(_VERSIONS)
        return _latest(place, new, at) or [ObjectEvent(place.bucket, key, "metadata", at)]
    if _is_version(place, new):
        return []
    return [_event(place, new, at, same=_content(old) == _content(new))]


def _place(path: str) -> _Place | None:
    """Return bucket and key; None for what is no object's."""
    if not path.startswith(f"{BUCKETS}/"):
        return None
    bucket, _, key = path[len(BUCKETS) + 1 :].partition("/")
    if bucket.startswith(".") or not key or key == _UPLOADS or key.startswith(f"{_UPLOADS}/"):
        return None
    return _Place(bucket, key)


def _is_version(place: _Place, entry: Entry) -> bool:
    """Tell a version from an object that somebody gave such a name in a bucket without versioning."""
    return place.key.rpartition("/")[0].endswith(_VERSIONS) and _VERSION_ID in entry.extended


def _latest(place: _Place, folder: Entry, at: int) -> list[ObjectEvent]:
    """Return what the folder of an object's versions says of the latest one; nothing for other folders."""
    if not place.key.endswith(_VERSIONS) or _LATEST_ID not in folder.extended:
        return []
    key = place.key.removesuffix(_VERSIONS)
    version_id = _text(folder, _LATEST_ID)
    if _text(folder, _LATEST_IS_DELETED) == "true":
        return [ObjectEvent(place.bucket, key, "removed", at, version_id=version_id)]
    size = _text(folder, _LATEST_SIZE) or ""
    return [
        ObjectEvent(
            place.bucket,
            key,
            "created",
            at,
            etag=(_text(folder, _LATEST_ETAG) or "").strip('"') or None,
            size=int(size) if size.isdecimal() else None,
            version_id=version_id,
        )
    ]


def _event(place: _Place, entry: Entry, at: int, *, same: bool = False) -> ObjectEvent:
    return ObjectEvent(
        place.bucket, place.key, "metadata" if same else "created", at, etag=_etag(entry), size=_size(entry)
    )


def _content(entry: Entry) -> tuple[str | None, int, list[int]]:
    return _etag(entry), _size(entry), [chunk.modified_ts_ns for chunk in entry.chunks]


def _etag(entry: Entry) -> str | None:
    """Return what S3 shows; a file that was written past the S3 gateway has its MD5 alone."""
    return (_text(entry, _ETAG) or entry.attributes.md5.hex()).strip('"') or None


def _size(entry: Entry) -> int:
    chunks = max((chunk.offset + chunk.size for chunk in entry.chunks), default=0)
    return max(entry.attributes.file_size, chunks, len(entry.content))


def _text(entry: Entry, name: str) -> str | None:
    return entry.extended[name].decode(errors="replace") if name in entry.extended else None
