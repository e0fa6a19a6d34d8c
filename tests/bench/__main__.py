"""
`make bench`: measures the whole path from a dropped file to a queryable table, against named peers in the same run.

Figures depend on the machine; the ratios and the memory are what to look at. Writes docs/benchmarks.md with --write.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

from tests.bench.data import ROWS_PER_MB, large_file, small_file, small_files
from tests.bench.service import Service, running

PAGE = Path("docs/benchmarks.md")

FILES = 2000
PEER_FILES = 100
RATE = 20
"""Files a second of the latency run."""


@dataclass
class Row:
    """One line of the report."""

    what: str
    figure: str
    peer: str = ""
    ratio: str = ""
    memory: str = ""


@dataclass
class Bench:
    """A working folder and what was measured in it."""

    folder: Path
    megabytes: int
    pairs: int
    seconds: int
    rows: list[Row] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor seconds of each large file."""

    def note(self, row: Row) -> None:
        """Keep and show a line."""
        self.rows.append(row)
        print(f"{row.what:58} {row.figure:26} {row.peer:34} {row.ratio:10} {row.memory}", flush=True)

    # Many small files

    def small(self) -> None:
        """New, replaced and unchanged small files through a running service."""
        peer = self._peer_small()
        home = self.folder / "small"
        first, second = self.folder / "first", self.folder / "second"
        small_files(first, FILES, seed=1)
        small_files(second, FILES, seed=2)
        with running(home) as service:
            for what, source in (("new", first), ("replaced", second)):
                rate, cpu = self._drop_all(service, source)
                memory = f"{service.memory_mb()[0]:.0f} MB peak"
                figure = f"{rate:.0f} files/s, {cpu:.2f} ms CPU each"
                self.note(
                    Row(
                        f"{FILES} {what} files of 100 x 10",
                        figure,
                        f"PyIceberg append {peer:.1f} files/s",
                        f"{rate / peer:.0f} x",
                        memory,
                    )
                )
            self._check(service, FILES * 100)
        with running(home) as service:
            report = service.sweeps()[-1]
            took = (report["finished_at"] - report["started_at"]) / 1000
            figure = f"{took:.2f} s, {report['matched']} matched"
            self.note(Row(f"{FILES} unchanged after a restart", figure, memory=f"{service.memory_mb()[0]:.0f} MB peak"))

    def _peer_small(self) -> float:
        source = self.folder / "peer-source"
        small_files(source, PEER_FILES, seed=1)
        return PEER_FILES / float(_output("pyiceberg", str(source), str(PEER_FILES)))

    def _drop_all(self, service: Service, source: Path) -> tuple[float, float]:
        target = service.bucket / "orders"
        target.mkdir(exist_ok=True)
        moment, cpu, start = time.time_ns() // 1_000_000, service.cpu_seconds(), time.perf_counter()
        for file in sorted(source.iterdir()):
            file.rename(target / file.name)
        service.wait(lambda: service.settled_since(moment) >= FILES)
        seconds = time.perf_counter() - start
        return FILES / seconds, (service.cpu_seconds() - cpu) / FILES * 1000

    def _check(self, service: Service, rows: int) -> None:
        table = _load(service.home, "orders")
        found = table.scan(selected_fields=("_source_file",)).to_arrow().num_rows
        if found != rows:
            raise AssertionError(f"table holds {found} rows, not {rows}")

    # One large file

    def large(self) -> None:
        """One large file, interleaved with DuckDB's COPY of the same file."""
        source = self.folder / "large.csv"
        large_file(source, self.megabytes)
        size = source.stat().st_size / 1e6
        ours, theirs, memory = [], [], []
        for number in range(self.pairs):
            theirs.append(size / float(_output("duckdb", str(source), str(self.folder / "peer.parquet"))))
            speed, peak = self._ingest_large(source, size, number)
            ours.append(speed)
            memory.append(peak)
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        self.note(
            Row(
                f"one CSV of {size:.0f} MB ({self.pairs} interleaved pairs)",
                f"{statistics.median(ours):.0f} MB/s, {statistics.median(self.cpu):.1f} s CPU",
                f"DuckDB COPY {statistics.median(theirs):.0f} MB/s",
                f"{statistics.median(ratios):.2f} x ({min(ratios):.2f}-{max(ratios):.2f})",
                f"{max(memory):.0f} MB peak",
            )
        )

    def _ingest_large(self, source: Path, size: float, number: int) -> tuple[float, float]:
        home = self.folder / f"large-{number}"
        with running(home) as service:
            target = service.bucket / "large"
            target.mkdir()
            cpu, start = service.cpu_seconds(), time.perf_counter()
            (target / "large.csv").hardlink_to(source)
            service.wait(lambda: service.query("SELECT 1 FROM units WHERE status = 'done' AND wake_at IS NULL"))
            seconds = time.perf_counter() - start
            self.cpu.append(service.cpu_seconds() - cpu)
            rows = sum(task.file.record_count for task in _load(home, "large").scan().plan_files())
            if rows != self.megabytes * ROWS_PER_MB:
                raise AssertionError(f"{rows} rows in the table, not {self.megabytes * ROWS_PER_MB}")
            peak = service.memory_mb()[0]
        shutil.rmtree(home)
        return size / seconds, peak

    # Latency

    def latency(self) -> None:
        """Files at a steady rate: from the drop until a reader of the catalog sees the rows."""
        home = self.folder / "latency"
        with running(home) as service:
            target = service.bucket / "orders"
            target.mkdir()
            (target / "warm.csv").write_bytes(small_file(0))
            service.wait(lambda: service.settled_since(0) >= 1)
            seen = _Watcher(home)
            dropped: dict[str, float] = {}
            cpu, start = service.cpu_seconds(), time.monotonic()
            for number in range(RATE * self.seconds):
                time.sleep(max(0.0, start + number / RATE - time.monotonic()))
                name = f"f{number:06}.csv"
                dropped[f"orders/{name}"] = time.monotonic()
                (target / name).write_bytes(small_file(number))
            service.wait(lambda: len(seen.moments.keys() & dropped.keys()) == len(dropped))
            seconds = time.monotonic() - start
            seen.stop()
            commits = seen.commits
            used = (service.cpu_seconds() - cpu) / seconds
            delays = sorted(seen.moments[key] - moment for key, moment in dropped.items())
            self.note(
                Row(
                    f"{RATE} files/s for {self.seconds} s, drop to queryable",
                    f"p50 {_at(delays, 0.5):.2f} p95 {_at(delays, 0.95):.2f} max {delays[-1]:.2f} s",
                    f"{commits / seconds:.2f} commits/s",
                    f"{used:.2f} cores",
                    f"{service.memory_mb()[0]:.0f} MB peak",
                )
            )


class _Watcher:
    """A reader that follows the catalog and notes when it first sees each source."""

    def __init__(self, home: Path) -> None:
        self.moments: dict[str, float] = {}
        self.commits = 0
        self._home = home
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        catalog = _catalog(self._home)
        last: int | None = None
        files: set[str] = set()
        while not self._stop.wait(0.02):
            table = catalog.load_table("lakehouse.orders")
            if table.metadata.current_snapshot_id == last:
                continue
            self.commits += last is not None
            last, now = table.metadata.current_snapshot_id, time.monotonic()
            for task in table.scan(selected_fields=("_source_file",)).plan_files():
                path = task.file.file_path
                if path not in files:
                    files.add(path)
                    keys = pq.read_table(path.removeprefix("file://"), columns=["_source_file"])
                    for key in keys["_source_file"].unique().to_pylist():
                        self.moments.setdefault(key, now)


def _catalog(home: Path) -> SqlCatalog:
    return SqlCatalog("lakedrop", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")


def _load(home: Path, name: str) -> Any:
    return _catalog(home).load_table(f"lakehouse.{name}")


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


def _output(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.bench.peers", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


OBSERVATIONS = """
- The whole path: a real service sees the files in its bucket, and the clock stops when the ledger has them committed.
- One large file: DuckDB keeps the order of rows and runs on two threads; it writes one Parquet file and
  sniffs the dialect. lakedrop also hashes the file twice, records every rejected row and commits.
- Latency is the time until a reader that follows the catalog finds the rows; most of it is the commit window.
- Ratios and memory carry over to other machines, absolute figures do not.
"""


def _report(rows: list[Row]) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = ["| what | lakedrop | peer or rate | ratio or load | memory |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.figure} | {row.peer} | {row.ratio} | {row.memory} |" for row in rows]
    table = "\n".join(lines)
    measured = f"By `make bench ARGS=--write` on {datetime.now(UTC):%Y-%m-%d}; {machine}."
    return f"# Benchmarks\n\n{measured}\n\n{table}\n{OBSERVATIONS}"


def main() -> None:
    """Run the parts named on the command line, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="small, large, latency (default: all)")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large file (default %(default)s)")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs with the peer (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="length of the latency run (default %(default)s)")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=PAGE, help=f"also write the table to a file (default {PAGE})"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.megabytes, arguments.pairs, arguments.seconds)
        parts: dict[str, Callable[[], None]] = {"small": bench.small, "large": bench.large, "latency": bench.latency}
        if unknown := set(arguments.parts) - parts.keys():
            parser.error(f"no part {', '.join(unknown)}; there are {', '.join(parts)}")
        for name in arguments.parts or parts:
            parts[name]()
        if arguments.write:
            arguments.write.write_text(_report(bench.rows))


if __name__ == "__main__":
    main()
