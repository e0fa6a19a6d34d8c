"""Notifications of object stores, in every shape that one of them, or a mistake, may give them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import event_dialects, workitem
from consumer.events import BadNotification, Kind, ObjectEvent, encode
from consumer.workitem import LATEST, Hint, Message, UnitKey


def decode(body: bytes, headers: Mapping[str, str] = MappingProxyType({}), content_type: str = "") -> list[ObjectEvent]:
    return event_dialects.decode(Message(body, content_type, headers, "id"))


def notification(**changes: Any) -> bytes:
    record: dict[str, Any] = {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-20T10:11:12.345Z",
        "s3": {"bucket": {"name": "b"}, "object": {"key": "k", "size": 3, "eTag": "e"}},
    }
    record["s3"]["object"].update(changes.pop("object", {}))
    return json.dumps({"Records": [record | changes]}).encode()


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


def test_notification_wrapped_by_sns_is_unwrapped() -> None:
    wrapped = {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": notification().decode()}

    assert decode(json.dumps(wrapped).encode()) == decode(notification())


def test_test_event_wrapped_by_sns_is_no_event() -> None:
    assert decode(json.dumps({"Type": "Notification", "Message": '{"Event": "s3:TestEvent"}'}).encode()) == []


@pytest.mark.parametrize(
    ("detail_type", "kind"),
    [("Object Created", "created"), ("Object Deleted", "removed"), ("Object Tags Added", "metadata")],
)
def test_event_bridge_names_things_differently_and_encodes_no_key(detail_type: str, kind: Kind) -> None:
    described = {"key": "a b+c%20.csv", "size": 5, "etag": "e", "version-id": "v", "sequencer": "617f08299329d189"}
    event = {
        "version": "0",
        "detail-type": detail_type,
        "source": "aws.s3",
        "time": "2021-11-12T00:00:00Z",
        "detail": {"version": "0", "bucket": {"name": "b"}, "object": described, "reason": "PutObject"},
    }

    assert decode(json.dumps(event).encode()) == [
        ObjectEvent("b", "a b+c%20.csv", kind, 1636675200000, etag="e", size=5, version_id="v")
    ]


def test_event_bridge_event_that_changes_no_object_is_ignored() -> None:
    assert decode(b'{"detail-type": "Object Storage Class Changed", "detail": {}}') == []


def test_unknown_fields_of_any_type_are_not_looked_at() -> None:
    body = json.loads(notification())
    body["Records"][0].update(requestParameters=None, glacierEventData=[7], eventVersion=9, userIdentity="nobody")
    body["Records"][0]["s3"]["object"]["userMetadata"] = {"size": "x"}

    assert decode(json.dumps(body | {"Later": {}}).encode()) == decode(notification())


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
        (notification(object={"key": "a%00b"}), "record 0: a NUL"),
        (notification(object={"size": "many"}), "record 0: invalid literal"),
        (notification(object={"size": float("inf")}), "record 0: cannot convert"),
        (b'{"Type": "Notification", "Message": "hello"}', "not JSON"),
        (b'{"Type": "SubscriptionConfirmation", "Token": "t"}', "no list `Records`"),
        (b'{"detail-type": "Object Created", "detail": []}', "EventBridge: "),
        (
            b'{"detail-type": "Object Created", "detail": {"object": {"key": 7}, "bucket": {"name": "b"}}}',
            "EventBridge",
        ),
        (b'{"detail-type": "Object Created"}', "EventBridge: no field 'detail'"),
        (b'{"event_type": "create", "message": 7, "key": "/buckets/b/k"}', "`message` is not a filer_pb.Event"),
        (b'{"event_type": "create", "message": {"new_entry": 7}, "key": "/buckets/b/k"}', "`message` is not"),
        (b'{"event_type": "create", "message": {}, "key": "/buckets/b/k"}', "neither `old_entry` nor"),
        (b'{"event_type": "create", "message": {"new_entry": {"name": "k"}}}', "`key` is no path: ''"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable_notification_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadNotification) as caught:
        decode(body)

    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"\x0a{", b"\n" * 200])
def test_unreadable_protobuf_is_refused_with_the_reason(body: bytes) -> None:
    with pytest.raises(BadNotification, match=r"filer_pb|old_entry"):
        decode(body, {"key": "/buckets/b/k"})


@given(st.binary(), st.sampled_from(["/buckets/b/k", "/", "/buckets", "b/k", ""]))
def test_any_bytes_are_read_or_refused(body: bytes, path: str) -> None:
    with suppress(BadNotification):
        decode(body, {"key": path})


FIELDS = st.sampled_from(
    [
        "Records",
        "Type",
        "Message",
        "detail-type",
        "detail",
        "event_type",
        "message",
        "new_entry",
        "s3",
        "object",
        "bucket",
        "key",
        "name",
        "arn",
        "eventName",
        "size",
    ]
)


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


CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(
    st.builds(
        ObjectEvent,
        bucket=st.text(CHARACTERS, min_size=1),
        key=st.text(CHARACTERS, min_size=1),
        kind=st.sampled_from(["created", "removed", "metadata"]),
        time=st.integers(0, 4_000_000_000_000),
        etag=st.none() | st.text("0123456789abcdef-", min_size=1),
        size=st.integers(0),
        version_id=st.none() | st.text(min_size=1),
    )
)
def test_written_notification_reads_back(event: ObjectEvent) -> None:
    assert decode(encode(event)) == [event]
