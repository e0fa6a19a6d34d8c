"""Argilla behind a bucket, and what tests look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from tests.acceptance.conftest import Home
from tests.argilla import parquet
from tests.integration.faults_replica import Replica
from tests.integration.replicas import Replicas, replicated
from tests.stack.argilla import Argilla
from tests.stack.opensearch import OpenSearch
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.redis import Redis
from tests.waits import wait_for

BUCKET: Final = "annotations"
WORKSPACE: Final = "tests"

ROUTES: Final = f"""
[[routes]]
name = "argilla"
bucket = "{BUCKET}"
prefix = "argilla/in/"
handler = "argilla_records"
options = {{ workspace = "{WORKSPACE}", on_vanished = "delete" }}
"""


@dataclass(frozen=True)
class World:
    """Everything there is."""

    argilla: Argilla
    opensearch: OpenSearch
    redis: Redis
    both: Replicas
    log: Path

    @property
    def home(self) -> Home:
        return self.both.home

    @property
    def replicas(self) -> tuple[Replica, Replica]:
        return self.both.first, self.both.second

    def drop(self, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Upload the records of a dataset; return their ETag."""
        (etag,) = self.both.put({f"argilla/in/{name}/argilla_records.parquet": parquet(rows)}).values()
        return etag

    def settled(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of all logs that say how work on a dataset ended."""
        return self.both.settled(f"argilla/in/{name}/")

    def until_done(self, name: str) -> None:
        """Wait until a dataset is done for the first time."""
        self.both.until_done(f"argilla/in/{name}/")

    def bring(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Upload records and wait until they are in."""
        unit = f"argilla/in/{name}/"
        before = len(self.both.done(unit))
        self.drop(name, rows)
        self.both.until_done(unit, before + 1)

    def dataset(self, name: str) -> str | None:
        """Return the path of a dataset in the API; None while there is none."""
        ours = [one["id"] for one in self.argilla.call("GET", "me/workspaces")["items"] if one["name"] == WORKSPACE]
        found = self.argilla.call("GET", f"me/datasets?name={name}")["items"]
        return next((f"datasets/{one['id']}" for one in found if one["workspace_id"] in ours), None)

    def count(self, name: str) -> int:
        """Return how many records Argilla has stored so far."""
        path = self.dataset(name)
        return 0 if path is None else int(self.argilla.call("GET", f"{path}/records?limit=1")["total"])

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the records of a dataset by their names; no name is there twice."""
        found: list[dict[str, Any]] = []
        while not found or len(found) % 1000 == 0:
            query = f"limit=1000&offset={len(found)}&include=suggestions,responses"
            found += self.argilla.call("GET", f"{self.dataset(name)}/records?{query}")["items"]
        records = {record["external_id"]: record for record in found}
        assert len(records) == len(found), "a record is there twice"
        return records

    def indexed(self, name: str) -> int:
        """Return how many records the search index has."""
        return int(self.argilla.call("GET", f"{self.dataset(name)}/progress")["total"])

    def logged(self, name: str) -> dict[str, Any] | None:
        """Return the row of the ingest log for a dataset."""

        def read() -> list[dict[str, Any]] | None:
            with suppress(duckdb.IOException), duckdb.connect(str(self.log), read_only=True) as log:
                rows = log.execute("SELECT * FROM argilla_ingest_log WHERE dataset = ?", [name])
                names = [column[0] for column in rows.description or ()]
                return [dict(zip(names, row, strict=True)) for row in rows.fetchall()] or [{}]
            return None  # a replica has it open

        (row,) = wait_for(read)
        return row or None

    def mend(self) -> None:
        """Start whatever a test left dead, and have the first replica alone."""
        for server in (self.redis, self.opensearch, self.argilla):
            server.start()
        self.both.mend()


@contextmanager
def opened(
    servers: tuple[Argilla, OpenSearch, Redis, RabbitMQ, Postgres], factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Begin with an empty bucket and one replica at work."""
    argilla, opensearch, redis, rabbitmq, postgres = servers
    log = factory.mktemp("argilla-log") / "argilla.duckdb"
    settings = {"argilla_url": argilla.url, "argilla_api_key": argilla.api_key, "argilla_log": str(log)}
    with replicated((rabbitmq, postgres), factory, BUCKET, settings=settings, routes=ROUTES) as both:
        yield World(argilla, opensearch, redis, both, log)
