"""
What a commit costs as a table grows: `python -m tests.bench.commits`, about five minutes.

The cost of a commit is what the `commit` lane spends on loading the table, writing the rows and swapping the metadata,
in a lake on the local disk: the mean of some commits, so that merges of manifests are in it. CPU time leaves out the
waits for a disk that other programs use too; wall time is given beside it.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import pyarrow as pa

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.results import Part, Report, Source
from handlers.csv_to_iceberg.lake.commit_port import Plan
from handlers.csv_to_iceberg.lake.expiry import expire_snapshots
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.parquet import renamed
from handlers.csv_to_iceberg.lake.reader import local_path
from handlers.csv_to_iceberg.lake.shape import SOURCE_FILE
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.table import IcebergTable

COMMITS: Final = 10_000
FILES: Final = 50_000
SOURCES: Final = 100_000
SOURCES_PER_COMMIT: Final = 1_000
SAMPLE: Final = 100
"""Commits that a mean is taken of."""

COLUMNS: Final = {
    "n": ColumnType.INTEGER,
    "price": ColumnType.DOUBLE,
    **{f"text_{number}": ColumnType.VARCHAR for number in range(6)},
}
LOWER, UPPER = 10, 11
"""Places of the bounds in a `DataFile`, which has no setters."""


def now() -> int:
    """Return epoch milliseconds; by a clock a minute behind that of the snapshots none of them would be expired."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds, means."""

    cpu: float
    wall: float

    def __str__(self) -> str:
        return f"{self.cpu:.1f} ms CPU, {self.wall:.1f} ms"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    what: str
    cost: Cost
    before: Cost | None = None
    """What it is compared with."""

    def __str__(self) -> str:
        against = f"{self.before} | {self.cost.cpu / self.before.cpu:.2f}" if self.before else "|"
        return f"| {self.what} | {self.cost} | {against} |"


class Subject:
    """A table and one process that commits to it; `name` tells processes apart."""

    def __init__(self, home: Path, name: str = "first") -> None:
        self.lake = Lake(LakeSettings(home=home))
        ids = count()
        self._new_id: Callable[[], str] = lambda: f"{next(ids):08x}-{name}"
        self.table = IcebergTable(self.lake, "lakehouse.t", "b", "", clock=now, new_id=self._new_id)
        values = {ColumnType.INTEGER: 1, ColumnType.DOUBLE: 1.5, ColumnType.VARCHAR: "some text"}
        self._table = pa.table({one: pa.array([values[kind]], kind.arrow) for one, kind in COLUMNS.items()})
        self._table = self._table.append_column("_rescued", pa.nulls(1, pa.string()))

    def put(self, keys: Sequence[str]) -> Cost:
        """Replace sources of one row each in one commit."""
        parts = [Part(Source(key, "etag"), self._table, Report(1, 1), COLUMNS) for key in sorted(keys)]
        cpu, wall = time.thread_time(), time.perf_counter()
        loaded = self.table.load() or self.table.create(COLUMNS)
        staged = self.table.stage(loaded, loaded.shape, parts, now())
        self.table.commit(loaded, Plan(frozenset(keys), [(staged, ())], len(keys)))
        return Cost(1000 * (time.thread_time() - cpu), 1000 * (time.perf_counter() - wall))

    def put_files(self, keys: Sequence[str]) -> None:
        """Add one data file for each source, as one commit for each would; the files are one file under many names."""
        loaded = self.table.load() or self.table.create(COLUMNS)
        staged = self.table.stage(
            loaded, loaded.shape, [Part(Source("x", "etag"), self._table, Report(1, 1), COLUMNS)], now()
        )
        (first,) = staged.files
        field_id = loaded.shape.fields[SOURCE_FILE].field_id
        files = []
        for key in keys:
            path = self.table.new_data_path(loaded)
            os.link(local_path(first.file_path) or "", local_path(path) or "")
            file = renamed(first, path)
            file[LOWER] = {**first.lower_bounds, field_id: key.encode()}
            file[UPPER] = {**first.upper_bounds, field_id: key.encode()}
            files.append(file)
        live = LiveFiles.of(loaded.table, self.lake.manifests)
        commit_snapshot(loaded.table, live, Change(files), new_id=self._new_id, now=now(), summary={})
        settings = self.lake.settings
        if len(loaded.table.metadata.snapshots) == settings.snapshots_kept + settings.expire_every:
            expire_snapshots(loaded.table, settings.snapshots_kept, now=loaded.table.metadata.last_updated_ms)


def mean(costs: Sequence[Cost]) -> Cost:
    """Return the mean of some costs."""
    return Cost(statistics.fmean(cost.cpu for cost in costs), statistics.fmean(cost.wall for cost in costs))


def many_commits(home: Path, commits: int = COMMITS) -> list[Figure]:
    """One new source a commit, again and again; then in turns with a table of `SAMPLE` such commits."""
    grown, young = Subject(home / "grown"), Subject(home / "young")
    costs = [grown.put([key]) for key in _keys(commits)]
    slowest = max(costs[SAMPLE:], key=lambda cost: cost.cpu)
    for key in _keys(SAMPLE):
        young.put([key])
    new = [[f"t/2026/new-{number}.csv"] for number in range(SAMPLE)]
    after, before = _in_turns(grown, young, new, new)
    return [
        Figure(f"commit of one new source after {commits:,}, against after {SAMPLE}", after, before),
        Figure("slowest of them, which merges manifests", slowest, before),
    ]


def many_files(home: Path, files: int = FILES) -> list[Figure]:
    """Replace sources that lie in a data file each."""
    subject = Subject(home)
    keys = _keys(files)
    for start in range(0, files, 100):
        subject.put_files(keys[start : start + 100])
    chance = random.Random(1)  # noqa: S311  # a repeatable choice
    replaced = [subject.put(chance.sample(keys, 100)) for _ in range(10)]
    one = mean([subject.put([chance.choice(keys)]) for _ in range(20)])
    cold = Subject(home, "second")
    return [
        Figure(f"replace 100 random sources of {files:,} commits", mean(replaced)),
        Figure("replace one of them", one),
        Figure("first commit of a process that knows nothing of the table", cold.put(["t/2026/new.csv"])),
    ]


def many_sources(home: Path, sources: int = SOURCES) -> list[Figure]:
    """Add and replace sources of a table whose data files hold many each, in turns with a table of a thousand."""
    large, small = Subject(home / "large"), Subject(home / "small")
    keys = _keys(sources)
    for start in range(0, sources, SOURCES_PER_COMMIT):
        large.put(keys[start : start + SOURCES_PER_COMMIT])
    few = keys[:SOURCES_PER_COMMIT]
    small.put(few)
    chance = random.Random(1)  # noqa: S311  # a repeatable choice
    turns = {
        "one new source": ([[f"t/2026/new-{number}.csv"] for number in range(40)],) * 2,
        "one replaced": tuple([[chance.choice(known)] for _ in range(40)] for known in (keys, few)),
        "100 replaced": tuple([chance.sample(known, 100) for _ in range(20)] for known in (keys, few)),
    }
    return [
        Figure(
            f"commit of {what} among {sources:,}, against among {SOURCES_PER_COMMIT:,}", *_in_turns(large, small, *both)
        )
        for what, both in turns.items()
    ]


def _keys(number: int) -> list[str]:
    return [f"t/2026/source-{source:06}.csv" for source in range(number)]


def _in_turns(
    one: Subject, other: Subject, ones: Sequence[Sequence[str]], others: Sequence[Sequence[str]]
) -> tuple[Cost, Cost]:
    """Return the mean costs of commits to two tables, made in turns: the machine is not as fast in each minute."""
    costs = [(one.put(mine), other.put(theirs)) for mine, theirs in zip(ones, others, strict=True)]
    return mean([mine for mine, _ in costs]), mean([theirs for _, theirs in costs])


def rows() -> list[str]:
    """Measure all; return the lines of a Markdown table."""
    lines = ["| What | Cost | Before | Ratio |", "|---|---|---|---|"]
    for measure in (many_commits, many_files, many_sources):
        with tempfile.TemporaryDirectory(prefix="lakedrop-bench-") as home:
            for figure in measure(Path(home)):
                lines.append(str(figure))
                print(figure, flush=True)
    return lines


if __name__ == "__main__":
    rows()
