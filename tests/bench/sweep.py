"""A sweep of a million objects that nothing happened to, on both databases."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
import psutil
import sqlalchemy as sa

from consumer.collector import sparing_what_stays
from consumer.hints import Hints
from consumer.ids import RandomIds
from consumer.lanes import Lanes
from consumer.ledger import Ledger
from consumer.ledger_engine import open_engine
from consumer.ledger_leases import Leases
from consumer.ledger_progress import Progress
from consumer.ledger_schema import units
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_views import Units
from consumer.local_broker import LocalBroker
from consumer.look import Looker
from consumer.router import Route, Router
from consumer.schedule import Schedule
from consumer.sweep import Sweeper
from handlers.contract import StoredObject
from tests.bench.bench import Bench, megabytes
from tests.bench.report import Section
from tests.fakes import FakeHandler, RouteOptions
from tests.stack.postgres import Postgres
from tests.stack.server import Missing

KEYS = 1_000_000
WRITTEN_AT_ONCE = 20_000


def sweep(bench: Bench) -> Section:
    """Sweep unchanged objects; the listing costs next to nothing, so what is measured is all the rest."""
    keys = bench.of(KEYS, 2000)
    section = Section(
        "sweep",
        "Sweep",
        f"{keys:,} objects in the order a store lists them, from memory; as many settled rows with receipts. Nothing "
        "has changed. Each in a process of its own, with the garbage collector set as in a service.",
        ("ledger", "processor time", "of it the listing", "seconds", "peak memory", "of it before the sweep"),
    )
    _measure(section, "SQLite", bench.folder / "ledger.db", None, keys)
    try:
        postgres = Postgres.find(bench.folder)
    except Missing as missing:
        section.observations.append(f"PostgreSQL was not measured: no {missing}.")
        return section
    try:
        postgres.start()
        url = asyncio.run(postgres.create_database("bench-sweep"))
        _measure(section, "PostgreSQL", bench.folder / "none", url, keys)
    finally:
        postgres.close()
    section.observations += [
        "Processor time is that of the sweeping process, its threads included.",
        "The listing is this program's own, timed once more without the sweep; a store's comes on top.",
    ]
    return section


def _measure(section: Section, name: str, path: Path, url: str | None, keys: int) -> None:
    asyncio.run(fill(path, url, keys))
    command = [sys.executable, "-m", "tests.bench.sweep", str(path), url or "", str(keys)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["matched"], told["agrees"]) == (keys, True), told
    section.note(
        name,
        f"{told['cpu']:.1f} s",
        f"{told['listing']:.1f} s",
        f"{told['seconds']:.1f}",
        megabytes(told["peak"]),
        megabytes(told["before"]),
    )


class Counted(StoredObject):
    """An object of `CountedStore`."""

    async def open(self) -> BinaryIO:
        raise NotImplementedError

    async def read(self) -> bytes:
        raise NotImplementedError


def key_of(number: int) -> str:
    return f"orders/2026/part-{number:09}.csv"


def etag_of(number: int) -> str:
    return f"{number * 2654435761 % (1 << 64):032x}"


class CountedStore:
    """A bucket of numbered objects."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    async def list(self, _bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        assert (prefix, start_after) == ("", "")
        for number in range(self._keys):
            yield Counted(key_of(number), etag_of(number), 1000, 1)


async def fill(path: Path, url: str | None, keys: int) -> None:
    """Write a settled row with a receipt for each object."""
    lanes = Lanes()
    ledger = Ledger(open_engine(url, path, lanes.on("ledger")), clock=lambda: 1000, new_id=RandomIds())
    await ledger.open()
    receipt = {
        "fingerprint": "", "handler_version": "1", "target": "lakehouse.orders", "counts": {"rows": 10},
        "detail": {"columns": [[f"column_{number}", "VARCHAR", "text", 10, 10] for number in range(12)]},
    }  # fmt: skip
    same: dict[str, Any] = {
        "handler": "fake", "bucket": "drop", "status": "done", "open": False, "attempts": 0, "dirty": False,
        "force": False, "created_at": 1, "updated_at": 1,
    }  # fmt: skip
    for start in range(0, keys, WRITTEN_AT_ONCE):
        rows = [
            {**same, "unit": key_of(number), "observed_etag": etag_of(number), "applied_etag": etag_of(number)}
            for number in range(start, min(start + WRITTEN_AT_ONCE, keys))
        ]
        for row in rows:
            row["receipt"] = {**receipt, "fingerprint": row["applied_etag"]}
        if url is None:
            await ledger.write(lambda connection, rows=rows: connection.execute(sa.insert(units), rows))  # type: ignore[misc]  # a default binds the rows
        else:
            await _copy(url, rows)
    await ledger.aclose()
    await lanes.aclose()


async def _copy(url: str, rows: Sequence[dict[str, Any]]) -> None:
    connection = await asyncpg.connect(url)
    columns = list(rows[0])
    records = [[json.dumps(value) if name == "receipt" else value for name, value in row.items()] for row in rows]
    await connection.copy_records_to_table("units", records=records, columns=columns)
    await connection.close()


async def swept(path: Path, url: str | None, keys: int) -> dict[str, Any]:
    """Sweep, and tell what it cost: seconds, and megabytes."""
    lanes = Lanes()
    ids = RandomIds()
    ledger = Ledger(open_engine(url, path, lanes.on("ledger")), clock=lambda: 1000, new_id=ids)
    await ledger.open()
    handler = FakeHandler()
    routes = [Route("orders", "drop", "orders/", ("*.csv",), handler.name, RouteOptions(on_delete="remove"))]
    store: Any = CountedStore(keys)
    clock = ledger.clock
    sweeper = Sweeper(
        store=store,
        looker=Looker(store, Router(routes), {handler.name: handler}),
        routes=routes,
        units=Units(ledger),
        sweeps=Sweeps(ledger),
        hints=Hints(LocalBroker(), clock=clock, new_id=ids),
        schedule=Schedule(Leases(ledger), clock=clock, new_id=ids, heartbeat_seconds=10.0),
        clock=clock,
        new_id=ids,
        progress=Progress(ledger),
    )
    process = psutil.Process()
    before = peak = process.memory_info().rss
    wall, cpu = time.perf_counter(), time.process_time()

    def look(_report: Any) -> None:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)

    async with sparing_what_stays():
        report = await sweeper.sweep_now(progress=look)
        told = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - wall}
        cpu = time.process_time()
        async for _ in store.list("drop"):
            pass
        told["listing"] = time.process_time() - cpu
    await ledger.aclose()
    await lanes.aclose()
    return told | {"matched": report.matched, "agrees": report.agrees, "peak": peak / 1e6, "before": before / 1e6}


if __name__ == "__main__":
    where, address, amount = sys.argv[1:]
    print(json.dumps(asyncio.run(swept(Path(where), address or None, int(amount)))))
