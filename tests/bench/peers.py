"""
The same jobs by other means: `python -m tests.bench.peers JOB ...` runs one and prints JSON.

One process each, so that seconds, processor time and peak memory are theirs alone. `dlt_peer.py` is the peer that has
an environment of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.csv as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table

from tests.bench import memory

DLT_PYTHON = Path(".venv-bench/bin/python")
"""Made by `make bench`."""

WITH_MEMORY = """
import sys
from consumer.cli import main
from tests.bench import memory
code = main(sys.argv[1:])
print(memory.peak(), file=sys.stderr)
sys.exit(code)
"""
"""A program that is `lakedrop`, and ends with its peak of memory (MB) on standard error."""

WITH_COSTS = """
import json, sys, time
from consumer.cli import main
from tests.bench import memory
code = main(sys.argv[1:])
print(json.dumps({"cpu": time.process_time(), "memory": memory.peak()}), file=sys.stderr)
sys.exit(code)
"""
"""A program that is `lakedrop`, and ends with what it took on standard error."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a peer took."""

    seconds: float
    cpu: float
    """Processor seconds of the whole process."""
    memory: float
    """Peak resident MB."""


def peer(job: str, *arguments: str | Path | int) -> Measured:
    """Run a job of this module in a process of its own."""
    return measured([sys.executable, "-m", "tests.bench.peers", job, *map(str, arguments)])


def dlt(source: Path, target: Path) -> Measured | None:
    """Load a folder with dlt, filesystem to Iceberg; None where dlt is not installed."""
    if not DLT_PYTHON.exists():
        print(f"no dlt: `make bench` installs it into {DLT_PYTHON.parents[1]}", file=sys.stderr)
        return None
    script = Path(__file__).with_name("dlt_peer.py")
    return measured([str(DLT_PYTHON), str(script), str(source), str(target)])


def measured(command: list[str]) -> Measured:
    """Run a command that prints what it took, as JSON in its last line."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def report(seconds: float) -> None:
    """Print what this process took."""
    print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "memory": memory.peak()}))


def _table(folder: Path, first: Path) -> Table:
    folder.mkdir(parents=True)
    catalog = SqlCatalog("peer", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("peer")
    data = pc.read_csv(first)
    return catalog.create_table("peer.t", schema=data.append_column("_source_file", [[first.name] * len(data)]).schema)


def _rows(table: Table, file: Path) -> object:
    data = pc.read_csv(file)
    return data.append_column("_source_file", [[file.name] * len(data)]).cast(table.schema().as_arrow())


def pyiceberg_append(source: Path, target: Path, count: int) -> float:
    """Append files one by one with plain pyarrow and PyIceberg; return seconds."""
    files = sorted(source.glob("*.csv"))[:count]
    table = _table(target, files[0])
    start = time.perf_counter()
    for file in files:
        table.append(_rows(table, file))
    return time.perf_counter() - start


def pyiceberg_overwrite(source: Path, target: Path, files: int, overwrites: int) -> float:
    """Replace some files of a table, one `overwrite` each; the table has a data file for each of its sources."""
    sources = sorted(source.glob("*.csv"))[:files]
    table = _table(target, sources[0])
    with table.transaction() as transaction:
        transaction.set_properties({"write.metadata.metrics.column._source_file": "full"})
    paths = []
    for file in sources:
        paths.append(f"{target}/{file.stem}.parquet")
        pq.write_table(_rows(table, file), paths[-1])
    table.add_files(paths)
    start = time.perf_counter()
    for file in sources[:: max(1, files // overwrites)][:overwrites]:
        table.overwrite(_rows(table, file), overwrite_filter=EqualTo(term="_source_file", value=file.name))
    return time.perf_counter() - start


def duckdb_copy(source: Path, target: Path) -> float:
    """COPY a CSV to zstd Parquet with DuckDB on two threads, as it comes; return seconds."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        start = time.perf_counter()
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{source}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
        return time.perf_counter() - start


def polars_sink(source: Path, target: Path, delimiter: str) -> float:
    """Stream a CSV to zstd Parquet with polars, which does not detect delimiters; return seconds."""
    start = time.perf_counter()
    pl.scan_csv(source, separator=delimiter, try_parse_dates=True).sink_parquet(target, compression="zstd")
    return time.perf_counter() - start


JOBS: dict[str, Callable[..., float]] = {
    "append": lambda source, target, count: pyiceberg_append(Path(source), Path(target), int(count)),
    "overwrite": lambda source, target, files, count: pyiceberg_overwrite(
        Path(source), Path(target), int(files), int(count)
    ),
    "duckdb": lambda source, target: duckdb_copy(Path(source), Path(target)),
    "polars": lambda source, target, delimiter: polars_sink(Path(source), Path(target), delimiter),
}

if __name__ == "__main__":
    report(JOBS[sys.argv[1]](*sys.argv[2:]))
