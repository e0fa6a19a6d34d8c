"""
Transforming a release for SILO, against the least that any such program does: unpack, parse, dump and pack each record.

Each in a process of its own.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

import orjson
import zstandard

from tests.bench.bench import Bench, megabytes
from tests.bench.report import Section
from tests.silo_backend import record

RECORDS: Final = 200_000
BASES: Final = 2_500
"""Of each of the two sequences of a record."""

ROUNDS: Final = 3


def silo(bench: Bench) -> Section:
    """A release of 1 GB, and a twentieth of it, whose memory must be the same."""
    section = Section(
        "silo",
        "A release for SILO",
        f"Records of {2 * BASES:,} bases in two sequences, some 5 kB each, compressed by zstd at its usual level. "
        "The peer unpacks, parses, dumps and packs every record, with the same libraries, and changes nothing. "
        f"Medians of {ROUNDS} rounds, each in a process of its own.",
        ("what", "records/s", "of the peer's", "processor seconds", "peak memory"),
    )
    for count in (bench.of(RECORDS // 20, 100), bench.of(RECORDS, 1000)):
        source = bench.folder / f"{count}.ndjson.zst"
        raw = _release(source, count)
        pairs = [(_measured("transform", source), _measured("copied", source)) for _ in range(ROUNDS)]
        for name, which in (("lakedrop", 0), ("parse and dump", 1)):
            runs = [pair[which] for pair in pairs]
            ratio = statistics.median(pair[1]["seconds"] / pair[0]["seconds"] for pair in pairs)
            section.note(
                f"{name}, {count:,} records ({megabytes(raw / 1e6)})",
                f"{count / statistics.median(run['seconds'] for run in runs):,.0f}",
                f"{ratio:.2f}" if which == 0 else "",
                f"{statistics.median(run['cpu'] for run in runs):.1f}",
                megabytes(max(run["memory"] for run in runs)),
            )
    return section


def _release(place: Path, count: int) -> int:
    """Write a release; return its size before compression."""
    chance = random.Random(7)  # noqa: S311 (the same release every time)
    reference = "".join(chance.choices("ACGT", k=BASES))
    size = 0
    with place.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
        for number in range(count):
            at = chance.randrange(BASES)
            sequence = f"{reference[:at]}N{reference[at + 1 :]}"
            line = orjson.dumps(
                record(f"LOC_{number:09}.1", sequence=sequence, country="CH", qc=chance.random()),
                option=orjson.OPT_APPEND_NEWLINE,
            )
            size += len(line)
            packed.write(line)
    return size


def _measured(how: str, source: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.silo_jobs", how, str(source)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found
