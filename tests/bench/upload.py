"""From an upload to MinIO until a reader of the catalog sees its rows, by MinIO's own events through RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance.conftest import Home, Service
from tests.acceptance.real import BUCKET, WAREHOUSE, Real
from tests.bench.bench import Bench, at
from tests.bench.data import ROWS, small_file
from tests.bench.reader import TABLE, Reader
from tests.bench.report import Section
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.rest_catalog import RestCatalog

RATE = 20
"""Files a second."""
SECONDS = 20


def upload(bench: Bench) -> Section:
    """A steady rate, with the settings as they are by default."""
    section = Section(
        "upload",
        "From upload to queryable",
        f"Files of {ROWS} rows, uploaded one by one to MinIO, which sends its events to RabbitMQ and keeps none on "
        "disk (`queue_dir` unset). The ledger is on PostgreSQL, tables are on MinIO; all of it, the uploads and the "
        "reader run on this machine. Counted from the beginning of the PUT; a reader follows the catalog.",
        ("what", "catalog", "p50, p95, max"),
    )
    seconds = bench.of(SECONDS, 3)
    for name, kind in (("PostgreSQL", "sql"), ("REST", "rest")):
        folder = bench.folder / kind
        folder.mkdir()
        with _servers(folder, kind) as real:
            service = Service(real.home.path)
            try:
                service.until("run.started")
                real.announce()
                real.put("orders/warm.csv", small_file(0).decode())
                real.until_rows(TABLE, ROWS)
                delays = sorted(_delays(real, [small_file(number) for number in range(RATE * seconds)]))
            finally:
                service.end()
        seen = f"{at(delays, 0.5):.2f}, {at(delays, 0.95):.2f}, {delays[-1]:.2f} s"
        section.note(f"{RATE} files/s for {seconds} s", name, seen)
    return section


@contextmanager
def _servers(folder: Path, kind: str) -> Iterator[Real]:
    """Have all servers on folders of their own; the catalog is of this type."""

    def fresh(name: str) -> Path:
        made = folder / name
        made.mkdir()
        return made

    with ExitStack() as stack:
        rabbitmq = RabbitMQ.find(fresh("rabbitmq"))
        postgres = Postgres.find(fresh("postgres"))
        minio = Minio.find(fresh("minio"))
        for server in (rabbitmq, postgres, minio):
            stack.callback(server.close)
        rabbitmq.start()
        postgres.start()
        vhost = rabbitmq.create_vhost("bench")
        database = asyncio.run(postgres.create_database("bench"))
        minio.send_events(vhost, queue_dir=False)
        minio.start()
        home = Home(fresh("service") / "home")
        if kind == "rest":
            rest_catalog = RestCatalog.find(fresh("rest_catalog"))
            stack.callback(rest_catalog.close)
            rest_catalog.keep_in(minio)
            rest_catalog.start()
            catalog = {"type": "rest", "uri": rest_catalog.catalog(WAREHOUSE)}
        else:
            uri = database.replace("postgresql://", "postgresql+psycopg2://")
            catalog = {"type": "sql", "uri": uri, "warehouse": f"s3://{WAREHOUSE}/"}
        real = Real(home, minio, vhost, database, catalog)
        real.create_buckets()
        real.configure(max_commit_latency=None, waker_seconds=None)
        yield real


def _delays(real: Real, contents: list[bytes]) -> Iterator[float]:
    """Upload at `RATE`; yield seconds from the beginning of each PUT until its rows were seen."""
    seen = Reader(real.open_catalog)
    begun = asyncio.run(_uploaded(real, contents))
    end = time.monotonic() + 120
    while not begun.keys() <= seen.moments.keys():
        if time.monotonic() > end:
            raise TimeoutError(f"{len(begun.keys() - seen.moments.keys())} uploads were never seen")
        time.sleep(0.05)
    seen.stop()
    yield from (seen.moments[key] - moment for key, moment in begun.items())


async def _uploaded(real: Real, contents: list[bytes]) -> dict[str, float]:
    begun: dict[str, float] = {}
    async with real.minio.client() as client, asyncio.TaskGroup() as puts:
        start = time.monotonic()
        for number, content in enumerate(contents):
            await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
            key = f"orders/f{number:06}.csv"
            begun[key] = time.monotonic()
            puts.create_task(client.put_object(Bucket=BUCKET, Key=key, Body=content))
    return begun
