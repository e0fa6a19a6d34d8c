"""Messages and events that real stores sent, in tests/data/events; `README.md` there says how they were captured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consumer.seaweed_pb2 import Entry, EventNotification, FileChunk, FuseAttributes, SubscribeMetadataResponse
from consumer.workitem import Message

FOLDER = Path(__file__).parent / "data" / "events"


def messages(name: str) -> list[Message]:
    """Return the AMQP messages of an operation, such as `minio/put`."""
    return [
        Message(
            bytes.fromhex(captured["body_hex"])
            if "body_hex" in captured
            else json.dumps(captured["body"], ensure_ascii=False).encode(),
            captured["properties"]["content_type"] or "",
            {name: str(value) for name, value in captured["properties"]["headers"].items()},
            captured["properties"]["message_id"] or "",
        )
        for captured in _read(name)
    ]


def posts(name: str) -> list[bytes]:
    """Return the bodies of HTTP posts."""
    return [json.dumps(captured["body"], ensure_ascii=False).encode() for captured in _read(name)]


def responses(name: str) -> list[SubscribeMetadataResponse]:
    """Return what the filer streamed during an operation, such as `seaweedfs/put`."""
    return [
        SubscribeMetadataResponse(
            directory=captured["directory"],
            event_notification=EventNotification(
                old_entry=_entry(captured["old"]),
                new_entry=_entry(captured["new"]),
                delete_chunks=captured["delete_chunks"],
                new_parent_path=captured["new_parent_path"],
            ),
            ts_ns=captured["ts_ns"],
        )
        for captured in _read(name)
    ]


def _entry(captured: Any) -> Entry | None:
    if captured is None:
        return None
    return Entry(
        name=captured["name"],
        is_directory=captured["dir"],
        chunks=[
            FileChunk(offset=chunk["off"], size=chunk["size"], modified_ts_ns=chunk["mts"])
            for chunk in captured["chunks"]
        ],
        attributes=FuseAttributes(
            file_size=captured["size"],
            mtime=captured["mtime"],
            mtime_ns=captured["mtime_ns"],
            md5=bytes.fromhex(captured["md5"]),
        ),
        extended={name: value.encode() for name, value in captured["extended"].items()},
    )


def _read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
