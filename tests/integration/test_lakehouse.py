"""
A REST catalog, Trino and two replicas under load, and each part killed at work.

Afterwards every table equals its bucket for PyIceberg and for Trino, and the registry has one record for each version.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.faults_world import World
from tests.integration.random_faults import KINDS, lakehouse, rounds
from tests.needs import skip_without
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.trino import Trino

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    rabbitmq: RabbitMQ, postgres: Postgres, trino: Trino, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    skip_without("minio")
    skip_without("rest_catalog")
    async with lakehouse(rabbitmq, postgres, trino, tmp_path_factory.mktemp("lakehouse")) as world:
        yield world


async def test_all_readers_see_the_bucket_after_parts_were_killed_at_work(world: World) -> None:
    await rounds(world, 3, seed=4, kind=KINDS["lakehouse"])
