"""All servers of a lakehouse at once, and a service on them: MinIO, RabbitMQ, a REST catalog, Trino, Superset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.acceptance.conftest import Done, Home, Service
from tests.acceptance.real import BUCKET, Real
from tests.readers import Readers
from tests.stack.rest_catalog import RestCatalog
from tests.stack.superset import Api, Superset
from tests.stack.trino import USER, Trino
from tests.waits import wait_for

DATABASE: Final = "Trino Lakehouse"
"""Of Superset, as the specification names it."""

OFTEN: Final = f"retry_delays = {[2.0] * 20}\n"
"""So that a test need not wait for ten minutes; how often does not matter to it."""


@dataclass(frozen=True)
class World:
    """The servers, and a home with a service."""

    real: Real
    rest_catalog: RestCatalog
    trino: Trino
    trino_catalog: str
    superset: Superset
    service: Service
    readers: Readers

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask Trino; tables of `lakehouse` need no other name."""
        return self.trino.run(statement, self.trino_catalog)

    def types(self, table: str) -> dict[str, str]:
        """Return the types of a table's columns, as Trino describes them."""
        return {name: kind for name, kind, *_ in self.sql(f"DESCRIBE {table}")}

    def upload(self, key: str, text: str, outcome: str = "done") -> dict[str, Any]:
        """Upload an object and wait until it was worked on; returns the line of the log that says so."""
        before = self.settled(key)
        self.real.put(key, text)
        (*_, last) = wait_for(lambda: found if len(found := self.settled(key)) > len(before) else None)
        assert last["outcome"] == outcome, last
        return last

    def settled(self, key: str) -> list[dict[str, Any]]:
        """Return the lines of the log that say how work on an object ended."""
        return [line for line in self.service.lines() if (line["event"], line.get("unit")) == ("delivery.settled", key)]

    def registry(self, key: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until the registry has so many records of an object, which Trino shows; the oldest comes first."""
        names = ("etag", "table_name", "row_count", "status", "error_message", "error_class", "dag_run_id")

        def look() -> list[tuple[Any, ...]] | None:
            if not self.real.rows("lakehouse._ingest_registry", by="file_key"):
                return None  # Trino would say that there is none
            found = self.sql(
                f"SELECT {', '.join(names)} FROM _ingest_registry WHERE file_key = '{key}' ORDER BY ingested_at"
            )
            return found if len(found) >= count else None

        found = wait_for(look)
        assert len(found) == count, found
        return [dict(zip(names, row, strict=True)) for row in found]

    def why(self, key: str) -> Any:
        """Return what `lakedrop why` says of an object."""
        return self.real.home.json("why", f"{BUCKET}/{key}", "--json")

    def lakedrop(self, *words: str) -> Done:
        """Run a command on the home, beside the service."""
        return self.real.home.lakedrop(*words)

    def dataset(self, table: str) -> dict[str, Any]:
        """Wait until Superset has the dataset of a table; returns what Superset says of it."""
        api = Api(self.superset)
        (found,) = wait_for(lambda: api.find("dataset", table_name=table))
        result: dict[str, Any] = api.call("GET", f"dataset/{found['id']}")["result"]
        return result


@contextmanager
def served(home: Home) -> Iterator[Service]:
    """Have a home served; it has begun."""
    service = Service(home.path)
    try:
        service.until("run.started")
        yield service
    finally:
        service.process.kill()
        service.process.wait()


@contextmanager
def serving(real: Real, rest_catalog: RestCatalog, trino: Trino, superset: Superset) -> Iterator[World]:
    """Begin as the compose stack does: buckets and notifications, then the service."""
    api = Api(superset)
    lake = trino.create_catalog(real.catalog, real.minio)
    address = f"trino://{USER}@{trino.url.removeprefix('http://')}/{lake}"
    database = api.call("POST", "database/", {"database_name": DATABASE, "sqlalchemy_uri": address})["id"]
    real.configure(
        OFTEN,
        trino_url=trino.url,
        trino_catalog=lake,
        superset_url=superset.url,
        superset_user=superset.user,
        superset_password=superset.password,
        superset_database=DATABASE,
    )
    done = real.home.lakedrop("notify", "apply", "--wait", "60")
    assert done.returncode == 0, done
    catalog = real.open_catalog()
    readers = Readers(catalog, lambda sql: trino.run(sql, lake))
    try:
        with served(real.home) as service:
            yield World(real, rest_catalog, trino, lake, superset, service, readers)
    finally:
        catalog.close()
        trino.drop_catalog(lake)
        superset.start()
        api = Api(superset)
        for dataset in api.find("dataset"):
            if dataset["database"]["id"] == database:
                api.call("DELETE", f"dataset/{dataset['id']}")
        api.call("DELETE", f"database/{database}")
