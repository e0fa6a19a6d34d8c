"""Cases of SeaweedFS that the captured ones do not hold; and the schema they are read with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consumer.events import ObjectEvent
from consumer.seaweed_events import object_events, removed_bucket
from consumer.seaweed_pb2 import Entry, EventNotification, FileChunk
from tests.captured import responses

ROOT = Path(__file__).parents[2]

LATEST = "Seaweed-X-Amz-Latest-Version-Id"
VERSION = "Seaweed-X-Amz-Version-Id"


def moved(old: Entry | None, new: Entry | None, directory: str, to: str = "") -> list[ObjectEvent]:
    return object_events(directory, EventNotification(old_entry=old, new_entry=new, new_parent_path=to), at=1)


def versions_of(key: str, **extended: str) -> Entry:
    named = {name.replace("_", "-"): value.encode() for name, value in extended.items()}
    return Entry(name=f"{key}.versions", is_directory=True, extended=named)


def test_a_version_hints_only_once_it_is_the_latest() -> None:
    created, switched = responses("seaweedfs/versioned_put")[2:]

    assert object_events(created.directory, created.event_notification, at=1) == []
    assert len(object_events(switched.directory, switched.event_notification, at=1)) == 1


def test_an_object_named_like_a_version_is_an_object() -> None:
    assert moved(None, Entry(name="v_1"), "/buckets/b/x.versions") == [
        ObjectEvent("b", "x.versions/v_1", "created", 1, size=0)
    ]


def test_an_object_below_a_folder_named_uploads_is_an_object() -> None:
    assert [event.key for event in moved(None, Entry(name="k"), "/buckets/b/dir/.uploads")] == ["dir/.uploads/k"]
    assert moved(None, Entry(name="k"), "/buckets/b/.uploads") == []


@pytest.mark.parametrize("directory", ["/buckets", "/buckets/.system/owners", "/topics/x", "/etc", "", "/bucketsx/b"])
def test_what_is_no_object_of_a_bucket_is_ignored(directory: str) -> None:
    assert moved(None, Entry(name="k"), directory) == []
    assert moved(Entry(name="k"), None, directory) == []
    assert moved(Entry(name="k"), Entry(name="k"), directory) == []


def test_a_move_out_of_or_into_a_bucket_is_half_a_rename() -> None:
    out = moved(Entry(name="k"), Entry(name="k"), "/buckets/b", to="/home")
    back = moved(Entry(name="k"), Entry(name="k"), "/home", to="/buckets/b")

    assert [(event.kind, event.key) for event in out + back] == [("removed", "k"), ("created", "k")]


def test_a_new_parent_that_is_not_named_is_the_old_one() -> None:
    renamed = moved(Entry(name="a"), Entry(name="b"), "/buckets/x/dir")

    assert [(event.kind, event.key) for event in renamed] == [("removed", "dir/a"), ("created", "dir/b")]


def test_versions_that_are_renamed_or_removed_with_their_folder_hint_the_object() -> None:
    folder = versions_of("k", Seaweed_X_Amz_Latest_Version_Id="1", Seaweed_X_Amz_Latest_Version_Size="3")
    renamed = moved(folder, versions_of("n", Seaweed_X_Amz_Latest_Version_Id="1"), "/buckets/b")

    assert [(event.kind, event.key) for event in renamed] == [("removed", "k"), ("created", "n")]
    assert [(event.kind, event.key) for event in moved(folder, None, "/buckets/b")] == [("removed", "k")]
    assert moved(None, folder, "/buckets/b")[0].size == 3


def test_an_object_whose_last_version_went_is_looked_at() -> None:
    (event,) = moved(versions_of("k", Seaweed_X_Amz_Latest_Version_Id="1"), versions_of("k"), "/buckets/b")

    assert (event.key, event.kind) == ("k", "metadata")


def test_a_file_written_past_the_gateway_tells_its_size_by_its_chunks_or_content() -> None:
    (chunked,) = moved(None, Entry(name="k", chunks=[FileChunk(offset=4, size=3)]), "/buckets/b")
    (inlined,) = moved(None, Entry(name="k", content=b"12345"), "/buckets/b")

    assert (chunked.size, chunked.etag, inlined.size) == (7, None, 5)


def test_a_bucket_that_is_removed_or_renamed_is_told_apart_from_one_that_is_made_or_kept() -> None:
    folder, other = Entry(name="b", is_directory=True), Entry(name="c", is_directory=True)

    assert removed_bucket("/buckets", EventNotification(old_entry=folder)) == "b"
    assert removed_bucket("/buckets", EventNotification(old_entry=folder, new_entry=other)) == "b"
    assert removed_bucket("/buckets", EventNotification(old_entry=folder, new_entry=folder)) is None
    assert removed_bucket("/buckets", EventNotification(new_entry=folder)) is None
    assert removed_bucket("/buckets/b", EventNotification(old_entry=folder)) is None
    assert removed_bucket("/buckets", EventNotification(old_entry=Entry(name="file"))) is None


def test_the_generated_schema_is_that_of_the_proto_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, "consumer/seaweed.proto"], cwd=ROOT, check=True)

    for name in ("seaweed_pb2.py", "seaweed_pb2.pyi"):
        assert (tmp_path / "consumer" / name).read_text() == (ROOT / "consumer" / name).read_text(), "run make proto"
