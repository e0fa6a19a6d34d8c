"""Empty catalogs of every kind, as a service's settings describe them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.catalog import catalog_properties
from consumer.settings import Settings
from tests.stack.s3 import S3Server


def catalog_of(kind: str, request: pytest.FixtureRequest, home: Path) -> dict[str, str]:
    """
    Return PyIceberg's properties of an empty catalog.

    Args:
        kind: `rest`, `postgres` or `sqlite`, with tables in MinIO; or `seaweedfs`, with tables in SeaweedFS.
        request: Starts the servers.
        home: Of the service; SQLite's catalog is beside its own.
    """
    store: S3Server = request.getfixturevalue("weed" if kind == "seaweedfs" else "minio")
    bucket: str = request.getfixturevalue("table_bucket" if kind == "seaweedfs" else "bucket")
    warehouse = f"s3://{bucket}/warehouse"
    match kind:
        case "rest":
            given = {"type": "rest", "uri": request.getfixturevalue("rest_catalog").catalog(bucket)}
        case "postgres":
            given = {"type": "sql", "uri": request.getfixturevalue("database"), "warehouse": warehouse}
        case "sqlite":
            given = {"type": "sql", "uri": f"sqlite:///{home}/elsewhere.db", "warehouse": warehouse}
        case _:
            iceberg = request.getfixturevalue("weed").iceberg
            given = {
                "type": "rest",
                "uri": iceberg,
                "warehouse": f"s3://{bucket}/",
                "credential": f"{store.access_key}:{store.secret_key}",
                "oauth2-server-uri": f"{iceberg}/v1/oauth/tokens",
            }
    return catalog_properties(
        Settings(
            home=home,
            store="s3",
            s3_endpoint=store.url,
            s3_access_key=SecretStr(store.access_key),
            s3_secret_key=SecretStr(store.secret_key),
            catalog={name: SecretStr(value) for name, value in given.items()},
        )
    )
