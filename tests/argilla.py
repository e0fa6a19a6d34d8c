"""Records for Argilla, and the small Argilla in a thread of its own, for commands that run an event loop themselves."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from tests.fake_argilla import FakeArgilla


def record(
    identity: str, text: str = "FV Ocean Star, flag NO", *spans: tuple[int, int, str], **more: Any
) -> dict[str, Any]:
    """Return a row as the merge of OCR results writes it."""
    doc, _, page = identity.partition(":")
    value = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    suggestion = {"question_name": "entities", "value": value, "score": 0.5, "agent": "model:v1", "type": "model"}
    return {
        "id": identity,
        "text": text,
        "doc_id": doc,
        "page_num": int(page or 1),
        "text_sha256": f"sha of {text}",
        "suggestions_json": json.dumps([suggestion] if spans else []),
        **more,
    }


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a file of rows."""
    file = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(file)
    return file.getvalue()


@contextmanager
def serving() -> Iterator[FakeArgilla]:
    """Serve the small Argilla."""
    fake, started, ended = FakeArgilla(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with fake.running():
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(180)
    try:
        yield fake
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join()


def shown(fake: FakeArgilla) -> dict[str, Any]:
    """Return what the datasets show: text, metadata and suggestions of each record, by dataset and identifier."""
    found: dict[str, Any] = {}
    for dataset in fake.datasets.values():
        questions = {one["id"]: one["name"] for one in dataset.questions}
        found[dataset.about["name"]] = {
            one.external_id: {
                "text": one.fields["text"],
                "metadata": one.metadata,
                "suggestions": {
                    questions[number]: (given["value"], given["score"], given["agent"])
                    for number, given in one.suggestions.items()
                },
            }
            for one in dataset.records.values()
        }
    return found
