"""
Argilla's own client: `argilla_peer.py URL KEY DATASET FILE` logs the records of a file; prints what that took.

Runs in the environment of the server, which has the client.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import argilla as rg  # type: ignore[import-not-found]  # of that environment


def main(url: str, key: str, name: str, file: Path) -> float:
    """Make a dataset, and log records that are ready; return seconds of the latter."""
    client = rg.Argilla(api_url=url, api_key=key)
    rg.Workspace(name=name, client=client).create()
    settings = rg.Settings(
        fields=[rg.TextField(name="text")],
        questions=[rg.SpanQuestion(name="entities", field="text", labels=["SHIP", "PORT"])],
        metadata=[
            rg.TermsMetadataProperty("doc_id"),
            rg.IntegerMetadataProperty("page_num"),
            rg.TermsMetadataProperty("text_sha256"),
        ],
    )
    dataset = rg.Dataset(name, workspace=name, settings=settings, client=client)
    dataset.create()
    records = [_record(row) for row in json.loads(file.read_bytes())]
    start = time.perf_counter()
    dataset.records.log(records, batch_size=500)
    return time.perf_counter() - start


def _record(row: dict[str, Any]) -> Any:
    (given,) = json.loads(row["suggestions_json"])
    scores = [given["score"]] * len(given["value"])
    return rg.Record(
        id=row["id"],
        fields={"text": row["text"]},
        metadata={name: row[name] for name in ("doc_id", "page_num", "text_sha256")},
        suggestions=[rg.Suggestion("entities", given["value"], score=scores, agent=given["agent"], type="model")],
    )


if __name__ == "__main__":
    took = main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    # Not `ru_maxrss`, which begins with what the process that started this one held.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    memory = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"seconds": took, "cpu": time.process_time(), "memory": memory}))
