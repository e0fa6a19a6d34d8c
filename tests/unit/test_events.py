"""Notifications of object stores, as captured from real ones."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import workitem
from consumer.events import BadNotification, Kind, ObjectEvent, decode, encode
from consumer.workitem import LATEST, Hint, UnitKey

CAPTURED = Path(__file__).parents[1] / "data" / "events"
AWKWARD_KEY = "dir x/my file+1 ünï€ 100%&=?#.csv"


def notification(**changes: Any) -> bytes:
    record: dict[str, Any] = {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-20T10:11:12.345Z",
        "s3": {"bucket": {"name": "b"}, "object": {"key": "k", "size": 3, "eTag": "e"}},
    }
    record["s3"]["object"].update(changes.pop("object", {}))
    return json.dumps({"Records": [record | changes]}).encode()


def test_minio_key_is_decoded_once() -> None:
    (event,) = decode((CAPTURED / "minio_special_key.json").read_bytes())

    assert event == ObjectEvent(
        "smp", AWKWARD_KEY, "created", 1795218843114, etag="fbade9e36a3f36d3d676c1b808451dd7", size=1
    )


def test_versity_key_is_not_decoded() -> None:
    (event,) = decode((CAPTURED / "versitygw_special_key.json").read_bytes())

    assert (event.key, event.kind, event.size) == (AWKWARD_KEY, "created", 1)
    assert event.etag == "fbade9e36a3f36d3d676c1b808451dd7"


def test_minio_empty_object_has_size_zero() -> None:
    (event,) = decode((CAPTURED / "minio_zero_byte.json").read_bytes())

    assert (event.key, event.size) == ("zero", 0)


def test_delete_marker_is_a_removal_with_its_version() -> None:
    (event,) = decode((CAPTURED / "minio_delete_marker.json").read_bytes())

    assert (event.kind, event.key, event.version_id) == ("removed", "v.txt", "3f9b3180-72ca-40da-9b4e-e10dcfc73185")
    assert event.etag is None
    assert event.size is None


def test_tagging_announced_as_creation_is_metadata() -> None:
    (event,) = decode((CAPTURED / "minio_put_tagging.json").read_bytes())

    assert event.kind == "metadata"


@pytest.mark.parametrize(
    ("event_name", "kind"),
    [
        ("ObjectCreated:CompleteMultipartUpload", "created"),
        ("s3:ObjectCreated:Copy", "created"),
        ("s3:ObjectRemoved:NoOP", "removed"),
        ("LifecycleExpiration:Delete", "removed"),
        ("s3:LifecycleDelMarkerExpiration:Delete", "removed"),
        ("ObjectLifecycle:Expiration:Current", "removed"),
        ("s3:ObjectTagging:Put", "metadata"),
        ("s3:ObjectCreated:PutRetention", "metadata"),
        ("ObjectInvented:Tomorrow", "metadata"),
        ("Unheard", "metadata"),
    ],
)
def test_event_names_map_to_kinds(event_name: str, kind: Kind) -> None:
    assert [event.kind for event in decode(notification(eventName=event_name))] == [kind]


@pytest.mark.parametrize("event_name", ["s3:ObjectAccessed:Get", "s3:Replication:OperationCompletedReplication"])
def test_events_that_change_no_object_are_ignored(event_name: str) -> None:
    assert decode(notification(eventName=event_name)) == []


def test_events_of_a_bucket_name_no_object() -> None:
    assert decode(notification(eventName="ObjectCreated:Put", object={"key": ""})) == []


def test_several_records_give_several_events_in_order() -> None:
    records = [json.loads(notification(object={"key": key}))["Records"][0] for key in "cab"]

    assert [event.key for event in decode(json.dumps({"Records": records}).encode())] == ["c", "a", "b"]


def test_test_event_of_aws_is_no_event() -> None:
    assert (
        decode(b'{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-20T10:11:12.345Z","Bucket":"b"}') == []
    )


def test_size_may_be_a_string() -> None:
    assert decode(notification(object={"size": "1024"}))[0].size == 1024


def test_empty_version_and_etag_are_none() -> None:
    (event,) = decode(notification(object={"versionId": "", "eTag": ""}))

    assert (event.version_id, event.etag) == (None, None)


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01.5", 1500),
        ("1970-01-01T01:00:00.000001+01:00", 0),
        ("yesterday", 0),
        (None, 0),
        ("9999-12-31T23:59:59.999Z", LATEST),
        ("9999-12-31T23:59:59.9999+00:00", 0),
        ("9999-12-31T23:59:59-14:00", 0),
        ("0001-01-01T00:00:00+14:00", 0),
        ("1969-12-31T23:59:59Z", 0),
    ],
)
def test_time_is_epoch_milliseconds_or_zero(moment: str | None, milliseconds: int) -> None:
    assert decode(notification(eventTime=moment))[0].time == milliseconds


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59.9999+00:00", "0001-01-01T00:00:00+14:00"])
def test_event_of_an_absurd_time_becomes_a_hint(moment: str) -> None:
    (event,) = decode(notification(eventTime=moment))
    hint = Hint(UnitKey("h", event.bucket, event.key), "changed", "event", "id", event.time)

    assert workitem.decode(workitem.encode(hint)) == hint


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no list `Records`"),
        (b'{"Records": {}}', "no list `Records`"),
        (b'{"Records": [7]}', "record 0"),
        (b'{"Records": [{}]}', "record 0: no field 'eventName'"),
        (notification(eventName=7), "record 0: `eventName` is not a string"),
        (notification(s3={}), "record 0: no field 'object'"),
        (notification(s3=[]), "record 0"),
        (notification(object={"key": "%ff"}), "record 0: 'utf-8' codec can't decode"),
        (notification(object={"key": "\ud800"}), "record 0: 'utf-8' codec can't encode"),
        (notification(object={"size": "many"}), "record 0: invalid literal"),
        (notification(object={"size": float("inf")}), "record 0: cannot convert"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable_notification_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadNotification) as caught:
        decode(body)

    assert str(caught.value).startswith(reason)


FIELDS = st.sampled_from(["Records", "s3", "object", "bucket", "key", "name", "arn", "eventName", "size"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.dictionaries(FIELDS, inner) | st.lists(inner),
        max_leaves=10,
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for body in (value, {"Records": value}, {"Records": [value]}):
        with suppress(BadNotification):
            decode(json.dumps(body).encode())


@given(
    st.builds(
        ObjectEvent,
        bucket=st.text(min_size=1),
        key=st.text(min_size=1),
        kind=st.sampled_from(["created", "removed", "metadata"]),
        time=st.integers(0, 4_000_000_000_000),
        etag=st.none() | st.text("0123456789abcdef-", min_size=1),
        size=st.integers(0),
        version_id=st.none() | st.text(min_size=1),
    )
)
def test_written_notification_reads_back(event: ObjectEvent) -> None:
    assert decode(encode(event)) == [event]
