"""A release of ESCO into Weaviate, against the client's own batching, on one server in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.bench.bench import Bench, megabytes
from tests.bench.report import Section
from tests.esco_release import Release
from tests.stack.weaviate import API_KEY, Weaviate

SKILLS: Final = 14_000
OCCUPATIONS: Final = 3_000
RELATIONS: Final = 126_000


def esco(bench: Bench) -> Section:
    """A release of usual size and a tenth of it, whose memory must be much the same."""
    section = Section(
        "esco",
        "A release of ESCO into Weaviate",
        f"{SKILLS:,} skills, {OCCUPATIONS:,} occupations, {RELATIONS:,} relations between them and all others, vectors "
        "by wordllama, HNSW. lakedrop reads, joins, compares, writes, counts everything back. The peer has the same "
        "objects and vectors, and puts them in by `batch.stream`, bare and then whole, as Weaviate takes no reference "
        "to what is not there. Each in a process of its own, on one server that is emptied between.",
        ("what", "objects/s", "of the peer's", "processor seconds", "peak memory"),
    )
    server = Weaviate.native(bench.folder)
    try:
        server.start()
        for share in (0.1, 1.0):
            _measure(bench, section, server, share)
    finally:
        server.close()
    return section


def _measure(bench: Bench, section: Section, server: Weaviate, share: float) -> None:
    folder = bench.folder / f"{share}" / "en"
    release = Release(
        bench.of(round(SKILLS * share), 40),
        bench.of(round(OCCUPATIONS * share), 10),
        bench.of(round(RELATIONS * share), 100),
    )
    release.write(folder)
    del release
    server.clear()
    peer = _measured("streamed", folder, server)
    server.clear()
    first = _measured("ingested", folder, server)
    again = _measured("ingested", folder, server)
    for name, found in (("lakedrop", first), ("batch.stream", peer), ("lakedrop, nothing changed", again)):
        rate = found["objects"] / found["seconds"]
        ratio = "" if found is peer else f"{peer['seconds'] / found['seconds']:.2f}"
        section.note(
            f"{name}, {found['objects']:,.0f} objects",
            f"{rate:,.0f}",
            ratio,
            f"{found['cpu']:.1f}",
            megabytes(found["memory"]),
        )


def _measured(how: str, folder: Path, server: Weaviate) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.esco_jobs", how, str(folder), server.url, str(server.grpc_port)]
    environment = {**os.environ, "WEAVIATE_API_KEY": API_KEY}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
