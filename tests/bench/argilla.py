"""Records into Argilla, against its own client on the same server; and memory, whatever their number."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from tests.acceptance.conftest import Home
from tests.argilla import parquet, record, serving
from tests.bench.bench import Bench, megabytes
from tests.bench.peers import WITH_COSTS, Measured, measured
from tests.bench.report import Section
from tests.stack import argilla as installed
from tests.stack.argilla import Argilla
from tests.stack.opensearch import OpenSearch
from tests.stack.redis import Redis

RECORDS: Final = 2_000
LETTERS: Final = 2_000
"""Of a text."""
ROUNDS: Final = 2

GROWING: Final = (1_000, 10_000, 100_000, 1_000_000)

PEER: Final = Path(__file__).with_name("argilla_peer.py")


def argilla(bench: Bench) -> Section:
    """Send records by turns as both do."""
    section = Section(
        "argilla",
        "Records into Argilla",
        f"Records of {LETTERS:,} letters with one suggestion of a span, on Argilla 2.8 with OpenSearch and SQLite. The "
        "peer is Argilla's own client: `records.log` of records it has made before, 500 a call. Ours is the whole work "
        "on a dropped file: it is copied and read, the dataset is made (which the peer has done before its clock "
        "starts), what it has is compared, the records are sent and counted back. "
        f"Means of {ROUNDS} rounds, each into a dataset of its own, with another of both as the first.",
        ("what", "records/s", "of the peer's", "processor seconds", "peak memory"),
    )
    count = bench.of(RECORDS, 50)
    with _server(bench.folder) as server:
        pairs = []
        for number in range(ROUNDS):
            rows = _records(count, number)
            first = _peer(bench.folder / f"peer-{number}", server, rows) if number % 2 else None
            ours = _ours(bench.folder / f"home-{number}", server.url, rows)
            pairs.append((ours, first or _peer(bench.folder / f"peer-{number}", server, rows)))
    for name, which in (("lakedrop", 0), ("Argilla's client", 1)):
        runs = [pair[which] for pair in pairs]
        ratio = statistics.mean(pair[1].seconds / pair[0].seconds for pair in pairs)
        section.note(
            f"{name}, {count:,} records",
            f"{count / statistics.mean(run.seconds for run in runs):,.0f}",
            f"{ratio:.2f}" if which == 0 else "",
            f"{statistics.mean(run.cpu for run in runs):.1f}",
            megabytes(max(run.memory for run in runs)),
        )
    section.observations.append(
        "Argilla itself is the limit of both: one process, which takes its time for every record."
    )
    return section


def argilla_memory(bench: Bench) -> Section:
    """Bring ever larger files, each as one row group, into the small Argilla of the tests."""
    section = Section(
        "argilla_memory",
        "Memory of records into Argilla",
        "The same records, in files of one row group, into the small Argilla of the tests, which keeps them in a "
        "dictionary: so many would take the real one hours. Peak memory of the service, once for each.",
        ("records", "file", "records/s", "processor seconds", "peak memory"),
    )
    peaks = []
    for number in GROWING:
        count = bench.of(number, number // 100)
        with serving() as fake:
            rows = _records(count, 0)
            place = bench.folder / f"many-{number}"
            ours = _ours(place, fake.url, rows)
            assert len(fake.dataset("orders").records) == count
        size = sum(file.stat().st_size for file in place.rglob("argilla_records.parquet")) / 1_000_000
        peaks.append(ours.memory)
        section.note(
            f"{count:,}", f"{size:,.1f} MB", f"{count / ours.seconds:,.0f}", f"{ours.cpu:.1f}", megabytes(ours.memory)
        )
    section.observations.append(f"Between the least and the greatest peak lie {megabytes(max(peaks) - min(peaks))}.")
    return section


@contextmanager
def _server(folder: Path) -> Iterator[Argilla]:
    """Have Argilla, and what it stands on, on folders of their own."""

    def fresh(name: str) -> Path:
        made = folder / name
        made.mkdir()
        return made

    engine, redis = OpenSearch.find(fresh("opensearch")), Redis.find(fresh("redis"))
    server = Argilla.find(fresh("argilla"))
    server.use(engine, redis)
    with ExitStack() as stack:
        for each in (engine, redis, server):
            stack.callback(each.close)
            each.start()
        yield server


def _records(count: int, seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)  # noqa: S311 (the same records every time)
    words = ["harbour", "vessel", "register", "tonnage", "captain", "bergen", "flag", "owner"]
    rows = []
    for number in range(count):
        text = " ".join(chance.choices(words, k=LETTERS // 6))[:LETTERS]
        start = chance.randrange(LETTERS - 100)
        rows.append(record(f"doc-{number // 10}:{number}", text, (start, start + 12, chance.choice(["SHIP", "PORT"]))))
    return rows


def _ours(place: Path, url: str, rows: list[dict[str, Any]]) -> Measured:
    """Have a service bring a file; seconds are those of the work on it."""
    home = Home(place)
    home.configure(
        f'listen = ""\ngrace_seconds = 0.1\nargilla_url = "{url}"\nargilla_api_key = "{installed.API_KEY}"\n'
        f'[[routes]]\nname = "argilla"\nbucket = "csv-uploads"\nprefix = "in/"\nhandler = "argilla_records"\n'
        f'options = {{ workspace = "{place.name}" }}\n'
    )
    file = home.bucket / "in/orders/argilla_records.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(parquet(rows))
    command = [sys.executable, "-c", WITH_COSTS, "run", "--once", "--home", str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *told, costs = (json.loads(line) for line in done.stderr.splitlines() if line.startswith("{"))
    (settled,) = (line for line in told if line["event"] == "delivery.settled")
    assert settled["rows"] == len(rows), settled
    return Measured(seconds=settled["seconds"], **costs)


def _peer(folder: Path, server: Argilla, rows: list[dict[str, Any]]) -> Measured:
    folder.mkdir()
    file = folder / "records.json"
    file.write_bytes(orjson.dumps(rows))
    python = installed.folder() / "venv/bin/python"
    # -P: its folder has a module of the name of the client.
    return measured([str(python), "-P", str(PEER), server.url, server.api_key, folder.name, str(file)])
