"""One large file: through a running service, interleaved with DuckDB's COPY and polars' sink of the same file."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.bench import Bench, load, megabytes
from tests.bench.data import large_file, slow_file
from tests.bench.peers import Measured, peer
from tests.bench.report import Section
from tests.bench.service import running

HEADER = ("what", "MB/s", "of DuckDB's (pair by pair)", "processor seconds", "peak memory")


def large(bench: Bench) -> Section:
    """Five interleaved pairs on a file of 1 GB."""
    size = bench.of(1000, 5)
    section = _section("large", f"One file of {size:,} MB", "Ten columns of all types, as plain as CSV gets.")
    _compare(section, bench, size, large_file, pairs=5)
    return section


def slow(bench: Bench) -> Section:
    """A file whose columns no plain cast takes."""
    size = bench.of(300, 3)
    section = _section(
        "slow",
        f"One file of {size:,} MB with columns off the fast path",
        "As above, with `;` as the delimiter, a column of dates as DD/MM/YYYY, one of yes/no and one of decimal "
        "commas: no strict cast takes them as they are.",
    )
    _compare(section, bench, size, slow_file, pairs=3)
    section.observations.append("The peers leave columns they cannot tell the type of as text, which costs them less.")
    return section


def huge(bench: Bench) -> Section:
    """A file four times as large: memory must be the same."""
    size = bench.of(4000, 20)
    section = _section("huge", f"One file of {size:,} MB", "Four times the large file: memory must not grow with it.")
    _compare(section, bench, size, large_file, pairs=1)
    return section


def _section(name: str, title: str, data: str) -> Section:
    return Section(name, title, f"{data} Medians; every run is checked for its number of rows.", HEADER)


def _compare(section: Section, bench: Bench, size: int, make: Callable[[Path, int], int], *, pairs: int) -> None:
    source = bench.folder / f"{section.name}.csv"
    rows = make(source, size)
    actual = source.stat().st_size / 1e6
    delimiter = ";" if make is slow_file else ","
    runs: dict[str, list[Measured]] = {"lakedrop": [], "DuckDB `COPY`": [], "polars `sink_parquet`": []}
    ours, duckdb, polars = runs.values()
    for number in range(pairs):
        duckdb.append(peer("duckdb", source, bench.folder / "peer.parquet"))
        ours.append(_ingest(bench, source, number, rows))
        if number < 3:
            polars.append(peer("polars", source, bench.folder / "peer.parquet", delimiter))
    source.unlink()
    for name, measured in runs.items():
        ratios = [theirs.seconds / one.seconds for one, theirs in zip(measured, duckdb, strict=False)]
        speed = actual / statistics.median(one.seconds for one in measured)
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        ratio = "" if measured is duckdb else f"{statistics.median(ratios):.2f}{spread}"
        cpu = f"{statistics.median(one.cpu for one in measured):.1f}"
        section.note(
            f"{name}, {len(measured)} runs", f"{speed:.0f}", ratio, cpu, megabytes(max(one.memory for one in measured))
        )
    section.observations += [
        "lakedrop also hashes the file twice, accounts for every record, keeps cells that do not fit, and commits.",
        "DuckDB runs on two threads; it and polars write one Parquet file and no table. All keep the order of rows.",
        "All compress with zstd: lakedrop at level 1, the others at the level they take by default.",
    ]


def _ingest(bench: Bench, source: Path, number: int, rows: int) -> Measured:
    home = bench.folder / f"home-{source.stem}-{number}"
    with running(home) as service:
        target = service.bucket / "large"
        target.mkdir()
        cpu, start = service.cpu_seconds(), time.perf_counter()
        (target / "large.csv").hardlink_to(source)
        service.wait(lambda: service.query("SELECT 1 FROM units WHERE status = 'done' AND wake_at IS NULL"), 900)
        seconds = time.perf_counter() - start
        used = service.cpu_seconds() - cpu
        found = sum(task.file.record_count for task in load(home, "large").scan().plan_files())
        if found != rows:
            raise AssertionError(f"{found:,} rows in the table, not {rows:,}")
        peak = service.memory_mb()[0]
    shutil.rmtree(home)
    return Measured(seconds, used, peak)
