"""A lake on a real store behind a real catalog, seen by us and by Trino."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyiceberg.catalog import load_catalog

from handlers.contract import Claim, Outcome, Receipt, Unit
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.handler import create
from handlers.csv_to_iceberg.lake.lake import LakeSettings
from handlers.csv_to_iceberg.lake.query import query
from handlers.csv_to_iceberg.trino_client import TrinoSettings
from handlers.upkeep import Upkeep
from tests.integration.catalogs import catalog_of
from tests.readers import Readers
from tests.stack.minio import Minio
from tests.stack.trino import Trino
from tests.unit.lake.test_handler import Held
from tests.unit.lake.upkeep import COLUMNS, KeptBench, Rows, WallContext

TABLE = "lakehouse.t"


class TrinoLake:
    """
    A lake and the catalog that Trino has of it.

    Args:
        properties: PyIceberg's, of the catalog and the store.
        trino: where the catalog is made; `close` lets go of it.
    """

    def __init__(self, home: Path, properties: Mapping[str, str], store: Minio, trino: Trino) -> None:
        self.properties = properties
        self.trino = trino
        self._home = home
        self._stack = ExitStack()
        # Of a catalog in a database PyIceberg makes the tables, which Trino expects to find.
        self.bench()
        self.catalog = trino.create_catalog(properties, store)
        self._stack.callback(trino.drop_catalog, self.catalog)
        catalog = load_catalog("lakedrop", **properties)
        self._stack.callback(catalog.close)
        self.readers = Readers(catalog, self.run)

    def bench(self, home: Path | None = None, **settings: Any) -> KeptBench:
        """Return a process of its own to the lake."""
        made = KeptBench(home or self._home, catalog=self.properties, **settings)
        self._stack.callback(made.close)
        return made

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement in Trino; tables of `lakehouse` need no other name."""
        return self.trino.run(sql, self.catalog)

    def execute(self, procedure: str, table: str = "t") -> None:
        """Run one of Trino's table procedures."""
        self.run(f"ALTER TABLE {table} EXECUTE {procedure}")

    def agreed(self, bench: KeptBench, *columns: str) -> Rows:
        """Return the rows of the table that Trino, PyIceberg, DuckDB and polars agree on."""
        columns = columns or COLUMNS
        select = f"SELECT {', '.join(columns)} FROM {TABLE}"
        table = bench.loaded(TABLE)
        files = pl.scan_iceberg(table, reader_override="native", storage_options=self._storage())
        found = {
            "PyIceberg": table.scan(selected_fields=columns).to_arrow().select(columns).to_pylist(),
            "DuckDB": query(bench.lake, select).to_pylist(),
            "polars": files.select(columns).collect().to_dicts(),
        }
        rows = {reader: [tuple(row[name] for name in columns) for row in some] for reader, some in found.items()}
        in_order = {reader: sorted(some, key=repr) for reader, some in {**rows, "Trino": self.run(select)}.items()}
        seen = in_order["Trino"]
        assert in_order == dict.fromkeys(in_order, seen)
        return seen

    def _storage(self) -> dict[str, str]:
        """Return how polars reaches the store."""
        return {
            "aws_endpoint_url": self.properties["s3.endpoint"],
            "aws_region": self.properties["s3.region"],
            "aws_access_key_id": self.properties["s3.access-key-id"],
            "aws_secret_access_key": self.properties["s3.secret-access-key"],
            "aws_allow_http": "true",
        }

    def close(self) -> None:
        self._stack.close()


def lakes(kind: str, request: pytest.FixtureRequest, home: Path) -> Iterator[TrinoLake]:
    """Yield a lake and close it; whatever was done to it, Trino and PyIceberg read the same rows of all its tables."""
    properties = catalog_of(kind, request, home)
    lake = TrinoLake(home, properties, request.getfixturevalue("minio"), request.getfixturevalue("trino"))
    try:
        yield lake
        lake.readers.agree()
    finally:
        lake.close()


class Service:
    """A handler on a lake, which knows of Trino at `url` unless that is empty."""

    def __init__(self, home: Path, lake: TrinoLake, url: str, **settings: Any) -> None:
        self.context = WallContext(str(home))
        trino = TrinoSettings(url=url, catalog=lake.catalog) if url else None
        given = LakeSettings(home=home, catalog=lake.properties, max_commit_latency=0.0, **settings)
        self.handler = create(given, self.context, trino=trino)

    def unit(self, key: str, **options: Any) -> Unit:
        return Unit("b", key, "csv", "", Options(**options))

    async def put(self, key: str, text: str, etag: str = "e1", **options: Any) -> Receipt:
        """Have an object ingested, and its outcome recorded."""
        token = self.context.new_id()
        unit = self.unit(key, **options)
        receipt = await self.handler.apply(unit, [Held(key, text.encode(), etag)], Claim(token, etag, None))
        outcome = Outcome("b", key, token, etag, "success", self.context.clock(), receipt, None, None, "csv")
        await self.handler.record([outcome])
        return receipt

    async def remove(self, key: str) -> Receipt:
        """Have an object's rows taken out."""
        claim = Claim(self.context.new_id(), "", None)
        return await self.handler.apply(self.unit(key, on_delete="remove"), [], claim)

    async def maintain(self) -> list[Upkeep]:
        return [upkeep async for upkeep in self.handler.maintain()]

    async def aclose(self) -> None:
        await self.handler.aclose()
        self.context.close()


@asynccontextmanager
async def serving(home: Path, lake: TrinoLake, url: str | None = None, **settings: Any) -> AsyncIterator[Service]:
    """Run a service on a lake; `url` leads to its Trino, by default straight, empty to none."""
    service = Service(home, lake, lake.trino.url if url is None else url, **settings)
    try:
        yield service
    finally:
        await service.aclose()
