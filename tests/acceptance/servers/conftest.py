"""One world for all tests of a module: starting it takes longer than most of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.conftest import Home
from tests.acceptance.real import WAREHOUSE, Real
from tests.acceptance.servers.world import OFTEN, World, serving
from tests.stack.fixtures import Finder
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.rest_catalog import RestCatalog
from tests.stack.superset import Superset
from tests.stack.trino import Trino


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    trino: Trino,
    superset: Superset,
    rabbitmq: RabbitMQ,
    postgres: Postgres,
) -> Iterator[World]:
    """All servers at once, a service on them, and nothing in the buckets."""
    name = f"world-{uuid4().hex[:12]}"
    find = Finder(tmp_path_factory)
    vhost = rabbitmq.create_vhost(name)
    ledger = asyncio.run(postgres.create_database(name))
    try:
        minio = find(Minio)
        minio.send_events(vhost, queue_dir=False)
        minio.start()
        rest_catalog = find(RestCatalog)
        rest_catalog.keep_in(minio)
        rest_catalog.start()
        home = Home(tmp_path_factory.mktemp("world") / "home")
        catalog = {"type": "rest", "uri": rest_catalog.catalog(WAREHOUSE)}
        with serving(Real(home, minio, vhost, ledger, catalog), rest_catalog, trino, superset) as made:
            yield made
    finally:
        find.close()
        asyncio.run(postgres.drop_database(name))
        rabbitmq.delete_vhost(name)


@pytest.fixture
def another(world: World, postgres: Postgres, rabbitmq: RabbitMQ, tmp_path: Path) -> Iterator[Callable[..., Real]]:
    """
    Make homes of their own on the servers of `world`, not yet served; `another(bucket, **settings)`.

    The bucket need not be there, and its events go nowhere; tables are in a namespace named after it.
    """
    with ExitStack() as stack:

        def make(bucket: str, more: str = "", **settings: object) -> Real:
            name = f"{bucket}-{uuid4().hex[:12]}"
            vhost = rabbitmq.create_vhost(name)
            stack.callback(rabbitmq.delete_vhost, name)
            ledger = asyncio.run(postgres.create_database(name))
            stack.callback(lambda: asyncio.run(postgres.drop_database(name)))
            real = replace(world.real, home=Home(tmp_path / name / "home"), broker_url=vhost, ledger_url=ledger)
            real.home.path.parent.mkdir()
            namespace = bucket.replace("-", "_")
            route = f"[[routes]]\nname = 'other'\nbucket = '{bucket}'\noptions = {{ namespace = '{namespace}' }}\n"
            real.configure(OFTEN + more + route, **settings)
            return real

        yield make


@pytest.fixture
def _readers_agree(world: World) -> Iterator[None]:
    """Trino and PyIceberg read the same rows after every test."""
    yield
    world.readers.agree()
