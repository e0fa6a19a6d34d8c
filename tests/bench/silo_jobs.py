"""What the part `silo` measures, in a process that loads nothing else."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import orjson
import zstandard

from handlers.silo_staging import frames
from handlers.silo_staging.transform import transform
from tests.bench import memory


def copied(source: Path, target: Path) -> None:
    """Parse and dump every record."""
    with target.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
        for line in frames.lines(source):
            packed.write(orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))


def main(how: str, source: Path) -> None:
    """Do one of the two, and print what it took: seconds, and MB."""
    began, worked = time.perf_counter(), time.process_time()
    (copied if how == "copied" else transform)(source, source.with_suffix(".out"))
    taken = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - worked}
    print(json.dumps({**taken, "memory": memory.peak()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
