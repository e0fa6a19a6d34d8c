"""Many small files: new, replaced and unchanged ones through a running service, against dlt and plain PyIceberg."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.bench import Bench, load, megabytes
from tests.bench.data import COLUMNS, ROWS, small_files
from tests.bench.peers import Measured, dlt, peer
from tests.bench.report import Section
from tests.bench.service import Service, running

FILES = 10_000
REPLACED = 3000
"""Of them: a burst takes a second or two whatever the speed, until it is calm and its last window has closed."""
MANY = 30_000
"""Of a longer burst, of which the second until it is calm and that of its last window are a smaller part."""
PEER_FILES = 300
APPENDS = 100
OVERWRITES = 100
OVERWRITTEN = 1000
"""Files of the table that is overwritten in."""


def small(bench: Bench) -> Section:
    """Measure."""
    files, again = bench.of(FILES, 20), bench.of(REPLACED, 10)
    section = Section(
        "small",
        "Many small files",
        f"Files of {ROWS} rows x {COLUMNS} columns, about 10 kB, renamed into the bucket of a running service at once. "
        "Memory is the peak of the process. Ratios are files a second, ours to theirs.",
    )
    first, second = bench.folder / "first", bench.folder / "second"
    small_files(first, files, seed=1)
    small_files(second, again, seed=2)
    rivals = _rivals(bench)
    home = bench.folder / "small"
    rates = {}
    with running(home) as service:
        for what, source, count in (("new", first, files), ("replaced", second, again)):
            rates[what] = _burst(section, service, what, source, count)
        _check(service, files * ROWS)
    _longer(bench, section)
    for what, count, name, measured in rivals:
        theirs = count / measured.seconds
        ratio = rates[what] / theirs
        ours = f"{rates[what]:,.0f} {what} files/s"
        section.note(
            f"{count:,} files", ours, f"{name} {theirs:.1f} files/s", f"{ratio:.0f} x", megabytes(measured.memory)
        )
    with running(home) as service:
        report = service.sweeps()[-1]
        took = (report["finished_at"] - report["started_at"]) / 1000
        memory = megabytes(service.memory_mb()[0])
        section.note(
            f"{files:,} unchanged after a restart", f"{took:.2f} s, {report['matched']:,} matched", "", "", memory
        )
    section.observations += [
        "Figures of lakedrop hold up to a second of waiting for the last commit window.",
        "The memory of a peer's line is the peer's. Peers load fewer files, as they take longer for each.",
        "dlt loads all its files in one run and appends: a file that is loaded again is in its table twice.",
        "An `overwrite` of plain PyIceberg finds the rows by `_source_file`, with full bounds on that column.",
    ]
    return section


def _longer(bench: Bench, section: Section) -> None:
    count = bench.of(MANY, 60)
    small_files(bench.folder / "many-files", count, seed=3)
    with running(bench.folder / "many") as service:
        _burst(section, service, "new", bench.folder / "many-files", count)
        _check(service, count * ROWS)


def _rivals(bench: Bench) -> list[tuple[str, int, str, Measured]]:
    appends, files = bench.of(APPENDS, 5), bench.of(PEER_FILES, 10)
    table, overwrites = bench.of(OVERWRITTEN, 20), bench.of(OVERWRITES, 5)
    source = bench.folder / "peer-source"
    small_files(source, files, seed=1)
    found = []
    loaded = dlt(source, bench.folder / "dlt")
    if loaded is not None:
        found.append(("new", files, "dlt", loaded))
    appended = peer("append", source, bench.folder / "append", min(appends, files))
    found.append(("new", min(appends, files), "PyIceberg `append`", appended))
    small_files(source, table, seed=1)
    overwritten = peer("overwrite", source, bench.folder / "overwrite", table, overwrites)
    name = f"PyIceberg `overwrite` in {table:,} files"
    return [*found, ("replaced", overwrites, name, overwritten)]


def _burst(section: Section, service: Service, what: str, source: Path, files: int) -> float:
    """Measure one, and return its files a second."""
    rate, cpu = _drop_all(service, source, files)
    memory = megabytes(service.memory_mb()[0])
    section.note(f"{files:,} {what} files", f"{rate:,.0f} files/s, {cpu:.2f} ms CPU each", "", "", memory)
    return rate


def _drop_all(service: Service, source: Path, files: int) -> tuple[float, float]:
    """Return files a second, and milliseconds of processor time for each."""
    target = service.bucket / "orders"
    target.mkdir(exist_ok=True)
    before = service.entries()
    moment, cpu, start = time.time_ns() // 1_000_000, service.cpu_seconds(), time.perf_counter()
    for file in sorted(source.iterdir()):
        file.rename(target / file.name)
    # Each commit leaves an entry; to count them all takes milliseconds that the service could have.
    service.wait(lambda: service.entries() - before >= files and service.settled_since(moment) >= files)
    seconds = time.perf_counter() - start
    return files / seconds, (service.cpu_seconds() - cpu) / files * 1000


def _check(service: Service, rows: int) -> None:
    found = load(service.home, "orders").scan(selected_fields=("_source_file",)).to_arrow().num_rows
    if found != rows:
        raise AssertionError(f"table holds {found} rows, not {rows}")
