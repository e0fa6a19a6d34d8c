"""Compaction of a table of many small files: `python -m tests.bench.maintenance`."""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.results import Part, Report, Source
from handlers.csv_to_iceberg.lake.commit_port import Plan
from tests.unit.lake.upkeep import KeptBench

COLUMNS = {
    "id": ColumnType.BIGINT,
    "quantity": ColumnType.INTEGER,
    "price": ColumnType.DOUBLE,
    "name": ColumnType.VARCHAR,
    "note": ColumnType.VARCHAR,
}


def measure(files: int = 100, sources: int = 100, rows: int = 100) -> dict[str, Any]:
    """Return seconds of CPU and wall, megabytes, and what was swapped; a twentieth of the sources is removed."""
    chance = random.Random(1)  # noqa: S311  # repeatable
    numbers = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as home:
        bench = KeptBench(Path(home))
        table = bench.table()
        keys = [f"t/{number:06}.csv" for number in range(files * sources)]
        chance.shuffle(keys)
        for first in range(0, len(keys), sources):
            parts = [_part(key, rows, numbers) for key in sorted(keys[first : first + sources])]
            loaded = table.create(COLUMNS)
            table.commit(loaded, Plan(add=[(table.stage(loaded, loaded.shape, parts, 0), ())], sources=len(parts)))
        table.commit(table.create(COLUMNS), Plan(frozenset(chance.sample(keys, len(keys) // 20))))
        before = sum(task.file.file_size_in_bytes for task in bench.loaded().scan().plan_files())
        work, process = bench.due(), psutil.Process()
        resident, wall, cpu = process.memory_info().rss, time.perf_counter(), time.process_time()
        compaction = bench.compaction()
        compaction.prepare(bench.loaded(), work)
        prepared = time.perf_counter()
        swapped = compaction.swap()
        told = {
            "megabytes": before / 1e6,
            "cpu_seconds": time.process_time() - cpu,
            "prepare_seconds": prepared - wall,
            "swap_seconds": time.perf_counter() - prepared,
            "resident_megabytes": (process.memory_info().rss - resident) / 1e6,
            **asdict(swapped),
        }
        bench.close()
    return told


def _part(key: str, rows: int, numbers: np.random.Generator) -> Part:
    table = pa.table(
        {
            "id": pa.array(numbers.integers(0, 1 << 40, rows)),
            "quantity": pa.array(numbers.integers(0, 1000, rows).astype(np.int32)),
            "price": pa.array(numbers.random(rows)),
            "name": pa.array([f"name {number}" for number in numbers.integers(0, 10_000, rows)]),
            "note": pa.array([f"{number:x}" for number in numbers.integers(0, 1 << 60, rows)]),
            "_rescued": pa.nulls(rows, pa.string()),
        }
    )
    return Part(Source(key, "e1"), table, Report(records=rows, rows=rows), COLUMNS)


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:22} {value:,.3f}" if isinstance(value, float) else f"{name:22} {value}")
