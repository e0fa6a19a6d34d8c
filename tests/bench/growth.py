"""What commits cost as a table grows, by `commits.py`; and what compaction makes of a table that was much replaced."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from tests.bench import commits as measured
from tests.bench.bench import Bench, load, megabytes
from tests.bench.data import ROWS, small_files
from tests.bench.peers import WITH_MEMORY
from tests.bench.report import Section
from tests.bench.service import running

REPLACED = 1000
"""Files of the table that is compacted."""
TURNS = 6
"""Times each of them is replaced."""


def growth(bench: Bench) -> Section:
    """Commits to tables of many commits, many files and many sources."""
    section = Section(
        "growth",
        "Commits to a growing table",
        "What the thread for commits spends on loading the table, writing one-row sources and swapping the metadata; "
        "means of some commits, but for the slowest and the first, in turns with what they are compared with.",
        ("what", "cost", "compared with", "ratio (CPU)"),
    )
    parts = (
        (measured.many_commits, bench.of(measured.COMMITS, 3 * measured.SAMPLE)),
        (measured.many_files, bench.of(measured.FILES, 500)),
        (measured.many_sources, max(2, bench.of(measured.SOURCES) // measured.SOURCES_PER_COMMIT)
         * measured.SOURCES_PER_COMMIT),
    )  # fmt: skip
    for number, (measure, amount) in enumerate(parts):
        for figure in measure(bench.folder / f"growth-{number}", amount):
            before = figure.before
            ratio = f"{figure.cost.cpu / before.cpu:.2f}" if before else ""
            section.note(figure.what, str(figure.cost), str(before or ""), ratio)
    section.observations += [
        "Processor time leaves out waits for the disk; wall time stands beside it.",
        "100 of many sources lie in up to 100 data files, of 1,000 in one at first; each gets a delete file.",
    ]
    return section


def compaction(bench: Bench) -> Section:
    """A table whose every source was replaced some times, before and after `lakedrop table maintain`."""
    files = bench.of(REPLACED, 20)
    section = Section(
        "compaction",
        "Compaction",
        f"{files:,} sources of {ROWS} rows, each replaced {TURNS} times by a running service; then "
        "`lakedrop table maintain`. A query counts the rows of each source.",
        ("what", "data files, delete files", "query", "seconds", "peak memory"),
    )
    home = bench.folder / "compaction"
    with running(home) as service:
        target = service.bucket / "orders"
        target.mkdir()
        for turn in range(TURNS + 1):
            moment = time.time_ns() // 1_000_000
            small_files(target, files, seed=turn)
            service.wait(lambda moment=moment: service.settled_since(moment) >= files)  # type: ignore[misc]  # a default binds the moment
    _note_table(section, bench, "before")
    begin = time.perf_counter()
    command = [sys.executable, "-c", WITH_MEMORY, "table", "maintain", "--json", "--home", str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    memory = float(done.stderr.splitlines()[-1])
    for one in json.loads(done.stdout):
        moved = f"{one['counts'].get('rows', 0):,} rows moved"
        section.note(f"maintenance of {one['target']}", moved, "", f"{seconds:.1f}", megabytes(memory))
    _note_table(section, bench, "after")
    section.observations += [
        "A running service compacts by itself; what it did meanwhile is in the first line.",
        "Seconds and memory of the maintenance are those of the whole command, with its start.",
    ]
    return section


def _note_table(section: Section, bench: Bench, when: str) -> None:
    home = bench.folder / "compaction"
    tasks = list(load(home, "orders").scan().plan_files())
    deletes = {file.file_path for task in tasks for file in task.delete_files}
    begin = time.perf_counter()
    sql = "select count(*) as n from (select _source_file from lakehouse.orders group by all)"
    command = [sys.executable, "-c", WITH_MEMORY, "query", sql, "--format", "json", "--home", str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    (row,) = json.loads(done.stdout)
    memory = megabytes(float(done.stderr.splitlines()[-1]))
    section.note(when, f"{len(tasks):,}, {len(deletes):,}", f"{row['n']:,} sources", f"{seconds:.2f}", memory)
