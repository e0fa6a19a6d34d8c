"""A route over the warehouse is refused also where only the catalog knows the warehouse's place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr
from pyiceberg.catalog import Catalog, load_catalog
from structlog.testing import capture_logs

from consumer.app import App, made_app, open_app
from consumer.catalog import catalog_properties
from consumer.check import Check
from consumer.checks import checks
from consumer.service import Service
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings
from tests.stack.fixtures import Finder
from tests.stack.minio import Minio
from tests.stack.rest_catalog import RestCatalog
from tests.stack.s3 import S3Server
from tests.stack.versitygw import Versitygw
from tests.waits import PATIENCE


def configured(home: Path, store: S3Server, server: RestCatalog, warehouse: str, route: RouteSettings) -> Settings:
    """Return settings whose catalog keeps its tables in a bucket that they do not name."""
    return Settings(
        home=home,
        store="s3",
        s3_endpoint=store.url,
        s3_access_key=SecretStr(store.access_key),
        s3_secret_key=SecretStr(store.secret_key),
        catalog={
            "type": SecretStr("rest"),
            "uri": SecretStr(server.catalog(warehouse)),
            "warehouse": SecretStr("name-of-the-warehouse"),
        },
        routes=(route,),
        listen="",
    )


def over(bucket: str, prefix: str = "") -> RouteSettings:
    return RouteSettings(name="all", bucket=bucket, prefix=prefix, match=("**",), handler="csv_to_iceberg")


def opened(settings: Settings) -> Catalog:
    return load_catalog("test", **catalog_properties(settings))


async def lines(settings: Settings) -> dict[str, Check]:
    return {found.name: found async for found in checks(settings)}


async def settled(app: App) -> None:
    app.start_workers()
    await app.sweeper.sweep()
    await app.worked_off()
    await app.stop(5)


async def test_no_process_begins_and_check_names_both(
    minio: Minio, bucket: str, rest_catalog: RestCatalog, tmp_path: Path
) -> None:
    settings = configured(tmp_path, minio, rest_catalog, bucket, over(bucket, "ware"))
    opened(settings).create_namespace("lakehouse")

    with pytest.raises(ConfigurationError) as caught:
        async with open_app(settings):
            pytest.fail("it was opened")
    check = (await lines(settings))["handler csv_to_iceberg"]

    expected = f"the objects of {bucket}/ware and the catalog's warehouse s3://{bucket}/warehouse/lakehouse"
    assert caught.value.faults == [check.message]
    assert expected in check.message
    assert "give the warehouse a bucket of its own" in check.message
    assert (check.ok, check.repair) == (False, None)


async def test_a_route_beside_it_is_served(
    minio: Minio, bucket: str, rest_catalog: RestCatalog, tmp_path: Path
) -> None:
    settings = configured(tmp_path, minio, rest_catalog, bucket, over(bucket, "in/"))
    opened(settings).create_namespace("lakehouse")
    async with minio.client() as client:
        await client.put_object(Bucket=bucket, Key="in/t/a.csv", Body=b"n\n1\n")

    async with open_app(settings) as app:
        await settled(app)

    assert opened(settings).load_table("lakehouse.t").scan().count() == 1
    assert [check for check in (await lines(settings)).values() if not check.ok] == []


async def test_a_catalog_without_anything_tells_when_it_gets_its_first_table_and_nothing_is_written(
    minio: Minio, bucket: str, rest_catalog: RestCatalog, tmp_path: Path
) -> None:
    settings = configured(tmp_path, minio, rest_catalog, bucket, over(bucket))
    async with minio.client() as client:
        await client.put_object(Bucket=bucket, Key="t/a.csv", Body=b"n\n1\n")

    async with open_app(settings) as app:
        await settled(app)
        (row,) = await app.units.find(bucket, "t/a.csv")
    async with minio.client() as client:
        listed = await client.list_objects_v2(Bucket=bucket)

    assert (row.status, row.error_class) == ("failed", "WarehouseOverUploads")
    assert f"s3://{bucket}/warehouse/lakehouse lie in one place" in (row.error or "")
    assert [found["Key"] for found in listed["Contents"]] == ["t/a.csv"]
    with pytest.raises(ConfigurationError):
        async with open_app(settings):
            pytest.fail("it was opened")


async def test_a_catalog_that_is_away_is_waited_for_and_asked_then(
    versitygw: Versitygw, find_server: Finder, tmp_path: Path
) -> None:
    bucket = await versitygw.create_bucket()
    server = find_server(RestCatalog)
    server.keep_in(versitygw)
    server.start()
    settings = configured(tmp_path, versitygw, server, bucket, over(bucket))
    await asyncio.to_thread(lambda: opened(settings).create_namespace("lakehouse"))
    await asyncio.to_thread(server.stop)

    with capture_logs() as logs:
        async with made_app(settings, serves=True) as app, asyncio.timeout(PATIENCE):
            serving = asyncio.create_task(Service(app).serve(asyncio.Event()))
            while not [line for line in logs if line["event"] == "part.waits"]:  # noqa: ASYNC110  # logs ring no bell
                await asyncio.sleep(0.05)
            assert not serving.done()
            await asyncio.to_thread(server.start)
            with pytest.raises(ConfigurationError) as caught:
                await serving
            await app.stop(0)

    assert f"s3://{bucket}/warehouse/lakehouse" in str(caught.value)
