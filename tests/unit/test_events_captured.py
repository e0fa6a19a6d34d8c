"""Every captured message becomes the events it stands for, and no others."""

from __future__ import annotations

import pytest

from consumer.event_dialects import decode
from consumer.events import Kind
from consumer.seaweed_events import object_events
from consumer.workitem import Message
from tests.captured import FOLDER, messages, posts, responses

ODD = "dir x/my file+1 ünï€ 100%&=?#.csv"

STORES_OF_S3: dict[str, list[tuple[Kind, str]]] = {
    "put": [("created", "dir/plain.csv")],
    "overwrite": [("created", "dir/plain.csv")],
    "zero_byte": [("created", "zero")],
    "special_key": [("created", ODD)],
    "folder_marker": [("created", "folder/")],
    "multipart": [("created", "big/mp.bin")],
    "copy": [("created", "dir/copied.csv")],
    "copy_onto_itself": [("created", "dir/plain.csv")],
    "put_tagging": [("metadata", "dir/plain.csv")],
    "delete_tagging": [("metadata", "dir/plain.csv")],
    "delete": [("removed", "dir/copied.csv")],
    "delete_missing": [("removed", "not-there")],
    "multi_delete": [("removed", "dir/plain.csv"), ("removed", "never-existed"), ("removed", "zero")],
    "versioned_put": [("created", "v.txt")],
    "versioned_overwrite": [("created", "v.txt")],
    "versioned_delete_marker": [("removed", "v.txt")],
    "versioned_delete_version": [("removed", "v.txt")],
}
"""In any order: Versity's gateway keeps none in a deletion of several."""

SEAWEEDFS: dict[str, list[tuple[Kind, str]]] = {
    "create_bucket": [],
    "put": [("created", "evt/dir/plain.csv")],
    "overwrite": [("created", "evt/dir/plain.csv")],
    "overwrite_same_content": [("created", "evt/dir/plain.csv")],
    "zero_byte": [("created", "evt/zero")],
    "special_key": [("created", f"evt/{ODD}")],
    "folder_marker": [],
    "multipart": [("created", "evt/big/mp.bin")],
    "multipart_overwrite": [("created", "evt/big/mp.bin")],
    "multipart_aborted": [],
    "big_single_put_20MiB": [("created", "evt/big/single.bin")],
    "filer_http_put": [("created", "evt/httpput.txt")],
    "copy": [("created", "evt/dir/copied.csv")],
    "copy_onto_itself_metadata": [("metadata", "evt/dir/plain.csv")],
    "put_tagging": [("metadata", "evt/dir/plain.csv")],
    "delete_tagging": [("metadata", "evt/dir/plain.csv")],
    "rename_filer_mv": [("removed", "evt/dir/plain.csv"), ("created", "evt/dir/moved.csv")],
    "rename_dir_filer_mv": [
        ("removed", "evt/dir/copied.csv"),
        ("created", "evt/dir2/copied.csv"),
        ("removed", "evt/dir/moved.csv"),
        ("created", "evt/dir2/moved.csv"),
    ],
    "delete": [("removed", "evt/dir2/copied.csv")],
    "multi_delete": [("removed", "evt/dir2/moved.csv"), ("removed", "evt/zero")],
    "versioned_put": [("created", "evtv/d/v.txt")],
    "versioned_overwrite": [("created", "evtv/d/v.txt")],
    "versioned_delete_marker": [("removed", "evtv/d/v.txt")],
    "versioned_delete_version": [("removed", "evtv/d/v.txt")],
    "delete_bucket": [],
}


@pytest.mark.parametrize("operation", STORES_OF_S3)
@pytest.mark.parametrize("store", ["minio", "versitygw"])
def test_message_of_an_operation_names_its_objects(store: str, operation: str) -> None:
    events = [event for message in messages(f"{store}/{operation}") for event in decode(message)]

    assert sorted((event.kind, event.key) for event in events) == sorted(STORES_OF_S3[operation])
    assert {event.bucket for event in events} <= {"smp", "smpv"}
    assert all(1795218840000 <= event.time < 1795219400000 for event in events)


@pytest.mark.parametrize("operation", SEAWEEDFS)
def test_files_that_an_operation_writes_become_its_objects(operation: str) -> None:
    events = [
        event
        for response in responses(f"seaweedfs/{operation}")
        for event in object_events(response.directory, response.event_notification, at=7)
    ]

    assert [(event.kind, f"{event.bucket}/{event.key}") for event in events] == SEAWEEDFS[operation]
    assert {event.time for event in events} <= {7}


def test_every_captured_file_is_read_here() -> None:
    named = {f"{store}/{operation}" for store in ("minio", "versitygw") for operation in STORES_OF_S3}
    named |= {f"seaweedfs/{operation}" for operation in [*SEAWEEDFS, "gocdk_amqp", "webhook"]}

    assert {f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.json")} == named


def test_minio_tells_etag_size_and_version_as_s3_shows_them() -> None:
    (put,) = decode(messages("minio/multipart")[0])
    (empty,) = decode(messages("minio/zero_byte")[0])
    (marker,) = decode(messages("minio/versioned_delete_marker")[0])

    assert (put.etag, put.size, put.version_id) == ("d316408c159ea701ab954894bd3a92c2-2", 10485760, None)
    assert empty.size == 0  # it leaves the field out
    assert (marker.etag, marker.size, marker.version_id) == (None, None, "3f9b3180-72ca-40da-9b4e-e10dcfc73185")


def test_versity_etag_loses_its_quotes() -> None:
    (event,) = decode(messages("versitygw/special_key")[0])

    assert event.etag == "fbade9e36a3f36d3d676c1b808451dd7"


def test_seaweedfs_tells_etag_size_and_version_as_s3_shows_them() -> None:
    def only(operation: str) -> tuple[str | None, int | None, str | None]:
        (event,) = (
            event
            for response in responses(f"seaweedfs/{operation}")
            for event in object_events(response.directory, response.event_notification, at=0)
        )
        return event.etag, event.size, event.version_id

    assert only("multipart") == ("d316408c159ea701ab954894bd3a92c2-2", 10485760, None)
    assert only("filer_http_put") == ("d41d8cd98f00b204e9800998ecf8427e", 0, None)
    assert only("versioned_put") == ("c4ca4238a0b923820dcc509a6f75849b", 1, "6716196ff313053dec46ed6071b14ee0")
    assert only("versioned_delete_marker") == (None, None, "6716196f6d876cf23a0c0db80a93e905")


def test_messages_that_seaweedfs_publishes_itself_are_read() -> None:
    events = [decode(message) for message in messages("seaweedfs/gocdk_amqp")]

    assert [[(event.kind, event.bucket, event.key, event.time) for event in some] for some in events] == [
        [], [], [], [], [],
        [("created", "evt", "dir/plain ü+.csv", 0)],
        [("created", "evt", "dir/plain ü+.csv", 0)],
        [("removed", "evt", "dir/plain ü+.csv", 0)],
    ]  # fmt: skip
    assert [some[0].etag for some in events[5:]] == [
        "f69f5b72bc79a92dc70c63c9aa142e36", "3eeec17504561394905793f9d9507717", None,
    ]  # fmt: skip


def test_bodies_that_seaweedfs_posts_are_read() -> None:
    events = [decode(Message(body, "application/json", {}, "id")) for body in posts("seaweedfs/webhook")]

    assert [[(event.kind, event.key) for event in some] for some in events] == [
        [],
        [("created", "warm")],
        [("created", "dir/plain ü+.csv")],
        [],
        [("created", "dir/plain ü+.csv")],
        [("removed", "dir/plain ü+.csv")],
    ]
    assert events[1][0].etag == "f1290186a5d0b1ceab27f4e77c0c5d68"
