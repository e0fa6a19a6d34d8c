"""Catalogs on servers that are down, and come up while they are waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.csv_to_iceberg.lake.away import CatalogAway
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from tests.stack.fixtures import Finder
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.rest_catalog import RestCatalog
from tests.stack.server import Server

Down = tuple[Server, LakeSettings]


@pytest.fixture
def sql(postgres: Postgres, database: str, tmp_path: Path) -> Down:
    uri = database.replace("postgresql://", "postgresql+psycopg2://")
    settings = LakeSettings(home=tmp_path, catalog={"type": "sql", "uri": uri, "warehouse": f"file://{tmp_path}"})
    return postgres, settings


@pytest.fixture
def rest(minio: Minio, bucket: str, find_server: Finder, tmp_path: Path) -> Down:
    server = find_server(RestCatalog)
    server.keep_in(minio)
    server.start()
    return server, LakeSettings(home=tmp_path, catalog={"type": "rest", "uri": server.catalog(bucket)})


def away(use: Callable[[], object]) -> str:
    with pytest.raises(CatalogAway) as caught:
        use()
    return caught.value.message


@pytest.mark.parametrize("kind", ["sql", "rest"])
def test_catalog_whose_server_is_away_is_something_to_wait_for(kind: str, request: pytest.FixtureRequest) -> None:
    server, settings = request.getfixturevalue(kind)
    server.stop()

    told = away(lambda: Lake(settings))
    server.start()
    lake = Lake(settings)
    lake.ping()
    server.stop()
    told_by_ping = away(lake.ping)
    server.start()

    lake.ping()
    lake.close()
    assert told.startswith("the catalog at ")
    assert "does not answer" in told
    assert "@" not in told, "no password is shown"
    assert "does not answer" in told_by_ping
