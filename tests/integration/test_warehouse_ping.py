"""What a ping finds out about the store of a warehouse, where only a listing tells it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pyarrow as pa
import pytest
from aiobotocore.session import get_session

from consumer.check import Check
from consumer.checks import checks
from consumer.settings import Settings
from consumer.settings_routes import RouteSettings
from handlers.csv_to_iceberg.lake.away import WarehouseRefuses
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.lake.presence import Presence
from tests.stack.minio import Minio

Catalog = Mapping[str, str]
OpenLake = Callable[[Catalog], Lake]


@pytest.fixture
def catalog(minio: Minio, bucket: str, tmp_path: Path) -> Catalog:
    return {
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/catalog.db",
        "warehouse": f"s3://{bucket}/warehouse",
        "s3.endpoint": minio.url,
        "s3.access-key-id": minio.access_key,
        "s3.secret-access-key": minio.secret_key,
        "s3.region": minio.region,
    }


@pytest.fixture
def open_lake(tmp_path: Path) -> Iterator[OpenLake]:
    with ExitStack() as opened:
        yield lambda catalog: opened.enter_context(closing(Lake(LakeSettings(home=tmp_path, catalog=dict(catalog)))))


async def limited(catalog: Catalog, minio: Minio, *actions: str) -> Catalog:
    """Return the catalog with keys that may do nothing else in all buckets."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::*"]}],
    }
    async with get_session().create_client(
        "sts",
        endpoint_url=minio.url,
        region_name=minio.region,
        aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key,
    ) as client:
        lent = await client.assume_role(
            RoleArn="arn:minio:ignores:what:it:is", RoleSessionName="limited", Policy=json.dumps(policy)
        )
    keys = lent["Credentials"]
    return {
        **catalog,
        "s3.access-key-id": keys["AccessKeyId"],
        "s3.secret-access-key": keys["SecretAccessKey"],
        "s3.session-token": keys["SessionToken"],
    }


def refusal(lake: Lake) -> str:
    with pytest.raises(WarehouseRefuses) as caught:
        Presence(lake).ping()
    return caught.value.message


async def test_keys_that_may_not_list_can_commit_nothing_and_the_ping_names_the_right(
    catalog: Catalog, minio: Minio, open_lake: OpenLake
) -> None:
    given = await limited(catalog, minio, "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    lake = open_lake(given)
    lake.catalog.create_namespace("lakehouse")
    with pytest.raises(OSError, match="ACCESS_DENIED during ListObjectsV2"):
        lake.catalog.create_table("lakehouse.t", pa.schema([("n", pa.int64())]))

    assert "let the keys list its bucket (s3:ListBucket)" in refusal(lake)


async def test_check_names_the_right_to_list_and_advises_to_start_nothing(
    catalog: Catalog, minio: Minio, tmp_path: Path
) -> None:
    given = await limited(catalog, minio, "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    settings = Settings(
        home=tmp_path,
        routes=(RouteSettings(name="csv", bucket="drop", handler="csv_to_iceberg"),),
        catalog=given,
    )
    found: dict[str, Check] = {}
    async for one in checks(settings):
        found[one.name] = one
    told = found["handler csv_to_iceberg"]

    assert (told.ok, told.repair) == (False, "correct `catalog`, or the user's rights on the server")
    assert "s3:ListBucket" in told.message


async def test_keys_with_the_rights_of_the_documentation_can_commit_and_pass_the_ping(
    catalog: Catalog, minio: Minio, open_lake: OpenLake
) -> None:
    rights = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket")
    lake = open_lake(await limited(catalog, minio, *rights))
    Presence(lake).ping()
    lake.catalog.create_namespace("lakehouse")
    lake.catalog.create_table("lakehouse.t", pa.schema([("n", pa.int64())]))

    Presence(lake).ping()


@pytest.mark.parametrize(
    ("name", "code"),
    [("s3.secret-access-key", "SIGNATURE_DOES_NOT_MATCH"), ("s3.access-key-id", "INVALID_ACCESS_KEY")],
)
def test_wrong_keys_are_told_from_rights_that_lack(name: str, code: str, catalog: Catalog, open_lake: OpenLake) -> None:
    told = refusal(open_lake({**catalog, name: "not-the-right-one"}))

    assert code in told
    assert "correct the s3 properties of `catalog`" in told
    assert "ListBucket)" not in told


async def test_bucket_that_was_deleted_is_noticed(
    catalog: Catalog, minio: Minio, bucket: str, open_lake: OpenLake
) -> None:
    lake = open_lake(catalog)
    Presence(lake).ping()
    async with minio.client() as client:
        await client.delete_bucket(Bucket=bucket)

    told = refusal(lake)

    assert "NO_SUCH_BUCKET" in told
    assert "make the bucket, or correct `warehouse`" in told
