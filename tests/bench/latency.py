"""From the drop of a file until a reader of the catalog sees its rows, at steady rates and in a flood of tiny files."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from tests.bench.bench import Bench, at, catalog_of, megabytes
from tests.bench.data import ROWS, small_file
from tests.bench.reader import Reader
from tests.bench.report import Section
from tests.bench.service import Service, running

RATES = (20, 200)
"""Files a second."""
SECONDS = 20
TINY = 10_000
"""Files of one row."""


def latency(bench: Bench) -> Section:
    """Steady rates, and ten thousand files of one row as fast as they can be written."""
    section = Section(
        "latency",
        "From drop to queryable",
        f"Files of {ROWS} rows, dropped one by one; tiny ones have one row. A "
        "reader follows the catalog and notes when it first sees the rows of each file.",
        ("what", "p50, p95, max", "commits a second", "cores used", "peak memory"),
    )
    seconds = bench.of(SECONDS, 3)
    for rate in RATES:
        _measure(section, bench, f"{rate} files/s for {seconds} s", rate * seconds, 1 / rate, tiny=False)
    count = bench.of(TINY, 100)
    _measure(section, bench, f"{count:,} files of one row, 1,000 a second", count, 0.001, tiny=True)
    _measure(section, bench, f"{count:,} files of one row, at once", count, 0, tiny=True)
    section.observations += [
        "Most of the time is waiting for the commit window, `max_commit_latency`, one second by default.",
        "A table gets at most one commit a window; commits of compaction come on top.",
    ]
    return section


def _measure(section: Section, bench: Bench, what: str, count: int, pause: float, *, tiny: bool) -> None:
    home = bench.folder / f"latency-{count}-{pause}"
    contents = [b"id,name,day\n%d,name %d,2024-01-05\n" % (n, n) if tiny else small_file(n) for n in range(count)]
    with running(home) as service:
        target = service.bucket / "orders"
        target.mkdir()
        (target / "warm.csv").write_bytes(contents[0])
        service.wait(lambda: service.settled_since(0) >= 1)
        seen = Reader(partial(catalog_of, home))
        dropped, used, seconds = _drop(service, seen, target, contents, pause)
        seen.stop()
        delays = sorted(seen.moments[key] - moment for key, moment in dropped.items())
        section.note(
            what,
            f"{at(delays, 0.5):.2f}, {at(delays, 0.95):.2f}, {delays[-1]:.2f} s",
            f"{seen.commits / seconds:.2f}",
            f"{used / seconds:.2f}",
            megabytes(service.memory_mb()[0]),
        )


def _drop(
    service: Service, seen: Reader, target: Path, contents: list[bytes], pause: float
) -> tuple[dict[str, float], float, float]:
    """Return when each file was dropped, and the processor and wall seconds until all were seen."""
    dropped: dict[str, float] = {}
    cpu, start = service.cpu_seconds(), time.monotonic()
    for number, content in enumerate(contents):
        if pause:
            time.sleep(max(0.0, start + number * pause - time.monotonic()))
        name = f"f{number:06}.csv"
        part = target / f"{name}.part"
        part.write_bytes(content)
        dropped[f"orders/{name}"] = time.monotonic()
        part.rename(target / name)
    service.wait(lambda: len(seen.moments.keys() & dropped.keys()) == len(dropped))
    return dropped, service.cpu_seconds() - cpu, time.monotonic() - start
