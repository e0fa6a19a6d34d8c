"""Benches on catalogs of all kinds, and lakes that Trino sees, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiobotocore.session import get_session

from tests.integration.trino_lake import TrinoLake, lakes
from tests.stack.trino import Trino
from tests.stack.weed import Weed
from tests.unit.lake.upkeep import KeptBench

NewBench = Callable[..., KeptBench]


@pytest.fixture(autouse=True)
def _plan_with_pyiceberg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars warns when its own planner is not installed."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.fixture
async def table_bucket(weed: Weed) -> str:
    """Name of an empty bucket that SeaweedFS's catalog keeps tables in."""
    name = f"tables-{uuid4().hex[:12]}"
    keys = {"aws_access_key_id": weed.access_key, "aws_secret_access_key": weed.secret_key}
    async with get_session().create_client(
        "s3tables", endpoint_url=weed.url, region_name=weed.region, **keys
    ) as client:
        await client.create_table_bucket(name=name)
    return name


@pytest.fixture
def new_bench(tmp_path: Path, catalog: dict[str, str]) -> Iterator[NewBench]:
    """Make benches on the lake of the module's `catalog`: each is a process of its own to it."""
    benches: list[KeptBench] = []

    def make(**settings: Any) -> KeptBench:
        benches.append(KeptBench(tmp_path, catalog=catalog, **settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture(params=["rest", "postgres"])
def lake(request: pytest.FixtureRequest, trino: Trino, tmp_path: Path) -> Iterator[TrinoLake]:
    """An empty lake behind each kind of catalog that Trino and we share."""
    del trino  # first: a skip comes before other servers start
    yield from lakes(request.param, request, tmp_path)


@pytest.fixture
def rest_lake(request: pytest.FixtureRequest, trino: Trino, tmp_path: Path) -> Iterator[TrinoLake]:
    """An empty lake behind a REST catalog."""
    del trino
    yield from lakes("rest", request, tmp_path)
