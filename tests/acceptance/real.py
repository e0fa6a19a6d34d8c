"""A home on real servers: MinIO that sends its events to RabbitMQ, a ledger on PostgreSQL, a catalog on MinIO."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError

from tests.acceptance.conftest import Home
from tests.stack.minio import TARGET, Minio
from tests.waits import wait_for

BUCKET = "csv-uploads"
WAREHOUSE = "lakehouse-warehouse"


@dataclass(frozen=True)
class Real:
    """The servers and the home."""

    home: Home
    minio: Minio
    broker_url: str
    ledger_url: str
    catalog: dict[str, str]
    """Properties of PyIceberg's catalog, without those of the store."""

    def configure(self, more: str = "", **settings: object) -> None:
        """Write `lakedrop.toml`; `settings` are those that differ from the usual, None leaves one out."""
        usual: dict[str, object] = {
            "store": "s3",
            "s3_endpoint": self.minio.url,
            "s3_access_key": self.minio.access_key,
            "s3_secret_key": self.minio.secret_key,
            "broker_url": self.broker_url,
            "ledger_url": self.ledger_url,
            "listen": "",
            "max_commit_latency": 0.2,
            "waker_seconds": 0.5,
            "catalog": self.catalog,
        }
        self.home.configure(settings_text({**usual, **settings}, more))

    def create_buckets(self) -> None:
        """Create the buckets of uploads and tables."""
        for bucket in (BUCKET, WAREHOUSE):
            self.s3("create_bucket", Bucket=bucket)

    def announce(self) -> None:
        """Have MinIO tell of everything that happens in the bucket of uploads."""
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        queues = [{"Id": "lakedrop", "QueueArn": TARGET, "Events": events}]
        self.s3(
            "put_bucket_notification_configuration",
            Bucket=BUCKET,
            NotificationConfiguration={"QueueConfigurations": queues},
        )

    def put(self, key: str, text: str) -> None:
        """Upload an object."""
        self.s3("put_object", Bucket=BUCKET, Key=key, Body=text.encode())

    def put_many(self, objects: Mapping[str, str]) -> None:
        """Upload objects, several at once."""

        async def upload() -> None:
            async with self.minio.client() as client:
                puts = (client.put_object(Bucket=BUCKET, Key=key, Body=text.encode()) for key, text in objects.items())
                await asyncio.gather(*puts)

        asyncio.run(upload())

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.s3("delete_object", Bucket=BUCKET, Key=key)

    def s3(self, operation: str, **arguments: Any) -> Any:
        """Call an operation of the S3 client."""

        async def call() -> Any:
            async with self.minio.client() as client:
                return await getattr(client, operation)(**arguments)

        return asyncio.run(call())

    def open_catalog(self) -> Catalog:
        """Open the catalog as any other program does."""
        return load_catalog("lakedrop", **self.catalog, **self.files)

    @property
    def files(self) -> dict[str, str]:
        """Properties of PyIceberg for reaching the store."""
        return {
            "s3.endpoint": self.minio.url,
            "s3.access-key-id": self.minio.access_key,
            "s3.secret-access-key": self.minio.secret_key,
            "s3.region": self.minio.region,
        }

    def rows(self, table: str, by: str = "id") -> list[dict[str, Any]]:
        """Read a table as any other program does, sorted by a column; nothing while there is none."""
        catalog = self.open_catalog()
        try:
            found = catalog.load_table(table).scan().to_arrow().to_pylist()
        except NoSuchTableError:
            return []
        finally:
            catalog.close()
        return sorted(found, key=lambda row: row[by])

    def until_rows(self, table: str, count: int) -> list[dict[str, Any]]:
        """Wait until a table has so many rows."""
        (found,) = wait_for(lambda: [rows] if len(rows := self.rows(table)) == count else None)
        return found


def settings_text(settings: Mapping[str, object], more: str = "") -> str:
    """Write settings as TOML, but for those that are None; `more` comes after them."""
    kept = {name: value for name, value in settings.items() if value is not None}
    return "\n".join(f"{name} = {_toml(value)}" for name, value in kept.items()) + f"\n{more}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f'"{name}" = {_toml(part)}' for name, part in value.items()) + " }"
        case int() | float():
            return str(value)
        case _:
            return f"'{value}'"
