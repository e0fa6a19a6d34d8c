"""From a commit until Trino shows it: a new table in SHOW TABLES, new rows in a count."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.bench import Bench, at
from tests.bench.report import Section
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.trino import Trino
from tests.unit.lake.upkeep import KeptBench

TABLES = 30

PATIENCE = 60.0


def trino_sight(bench: Bench) -> Section:
    """One after the other, on a lake with nothing else to do."""
    section = Section(
        "trino",
        "From a commit to Trino",
        "Tables of one row on MinIO behind a catalog on PostgreSQL, as the compose stack has it. Trino 483 has a heap "
        "of 1 GB and no settings about caches. Counted from the end of the commit to the end of the first statement "
        "that shows it, asked again and again; a statement of Trino's takes most of it.",
        ("what", "p50, p95, max", "statements that did not show it yet"),
    )
    for what, (delays, stale) in asyncio.run(_seen(bench.folder, bench.of(TABLES, 3))).items():
        delays.sort()
        section.note(what, f"{at(delays, 0.5):.2f}, {at(delays, 0.95):.2f}, {delays[-1]:.2f} s", str(stale))
    return section


async def _seen(folder: Path, tables: int) -> dict[str, tuple[list[float], int]]:
    """Return what was made -> seconds until it was seen, and how many statements were in vain."""
    found: dict[str, tuple[list[float], int]] = {}
    with ExitStack() as stack:
        servers = []
        for kind in (Postgres, Minio, Trino):
            place = folder / kind.name
            place.mkdir()
            server = kind.find(place)
            stack.callback(server.close)
            server.start()
            servers.append(server)
        postgres, minio, trino = servers
        assert isinstance(postgres, Postgres)
        assert isinstance(minio, Minio)
        assert isinstance(trino, Trino)
        database = await postgres.create_database("bench")
        properties = {
            "type": "sql",
            "uri": database.replace("postgresql://", "postgresql+psycopg2://"),
            "warehouse": f"s3://{await minio.create_bucket()}/warehouse",
            "s3.endpoint": minio.url,
            "s3.region": minio.region,
            "s3.access-key-id": minio.access_key,
            "s3.secret-access-key": minio.secret_key,
        }
        lake = KeptBench(folder, catalog=properties)
        stack.callback(lake.close)
        await lake.put({"t/warm.csv": {"n": [0]}})
        catalog = trino.create_catalog(properties, minio)
        trino.run("SELECT count(*) FROM t", catalog)

        def until(sql: str, row: tuple[object, ...], what: str) -> None:
            begin = time.monotonic()
            stale = 0
            while row not in trino.run(sql, catalog):
                stale += 1
                if time.monotonic() > begin + PATIENCE:
                    raise TimeoutError(f"{what}: not seen")
            delays, before = found.get(what, ([], 0))
            found[what] = [*delays, time.monotonic() - begin], before + stale

        for number in range(tables):
            name = f"t{number}"
            await lake.put({f"{name}/a.csv": {"n": [0]}}, committer=lake.committer(lake.table(f"lakehouse.{name}")))
            until("SHOW TABLES", (name,), "a new table, in SHOW TABLES")
        for number in range(tables):
            await lake.put({f"t/{number}.csv": {"n": [0]}})
            until("SELECT count(*) FROM t", (number + 2,), "rows of a new source, in a count")
    return found
