"""Two replicas of a service on real servers: MinIO that tells RabbitMQ of a bucket, and a ledger in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.acceptance.conftest import Home
from tests.acceptance.real import settings_text
from tests.integration.faults_replica import Replica
from tests.stack.fixtures import Finder
from tests.stack.minio import TARGET, Minio
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.waits import PATIENCE, wait_for

SETTINGS: Final[Mapping[str, object]] = {
    "store": "s3",
    "listen": "",
    "lease_seconds": 3.0,
    "heartbeat_seconds": 0.7,
    "waker_seconds": 0.3,
    "grace_seconds": 0.1,
    "sweep_seconds": 3600.0,
}

RETRIES: Final = "retry_delays = [0.5, 1, 2, 3, 5, 5, 5, 5, 5, 5, 5, 5]\n"


@dataclass(frozen=True)
class Replicas:
    """The replicas, and the bucket that they look after."""

    bucket: str
    minio: Minio
    rabbitmq: RabbitMQ
    vhost: str
    """Its name."""
    home: Home
    """Of commands; those of the replicas are alike."""
    first: Replica
    """The one that runs."""
    second: Replica

    def put(self, objects: Mapping[str, bytes]) -> dict[str, str]:
        """Upload objects; return their ETags."""

        async def upload() -> dict[str, str]:
            async with self.minio.client() as client:
                stored = {
                    key: await client.put_object(Bucket=self.bucket, Key=key, Body=body)
                    for key, body in objects.items()
                }
            return {key: answer["ETag"].strip('"') for key, answer in stored.items()}

        return asyncio.run(upload())

    def settled(self, unit: str) -> list[dict[str, Any]]:
        """Return the lines of both logs that say how work on a unit ended."""
        lines = [*self.first.lines(), *self.second.lines()]
        return [line for line in lines if (line["event"], line.get("unit")) == ("delivery.settled", unit)]

    def done(self, unit: str) -> list[dict[str, Any]]:
        """Return those of them that say that it was done."""
        return [line for line in self.settled(unit) if line["outcome"] == "done"]

    def until_done(self, unit: str, times: int = 1, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until a unit was done so often; return the last line that says so."""

        def look() -> list[dict[str, Any]] | None:
            return found if len(found := self.done(unit)) >= times else None

        return wait_for(look, f"{unit} was not done {times} times", seconds)[-1]

    def cut_off(self) -> None:
        """Have RabbitMQ let go of both, as it does a minute after it heard of one for the last time."""
        for connection in self.rabbitmq.call("GET", f"vhosts/{self.vhost}/connections"):
            if connection.get("user_provided_name", "").startswith("lakedrop"):
                self.rabbitmq.call("DELETE", f"connections/{quote(connection['name'])}")

    def mend(self) -> None:
        """Have the first alone at work, whatever a test did to them."""
        self.second.resume()
        self.second.stop()
        self.first.resume()
        self.first.start()


@contextmanager
def replicated(
    servers: tuple[RabbitMQ, Postgres],
    factory: pytest.TempPathFactory,
    bucket: str,
    *,
    settings: Mapping[str, object],
    routes: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Replicas]:
    """
    Begin with an empty bucket that announces what happens in it, and one replica at work.

    Args:
        servers: They get a vhost and a database for it.
        factory: Makes the folders of all that runs.
        bucket: Its name; the store has no other.
        settings: Beside those of the servers.
        routes: As `lakedrop.toml` has them.
        environment: Of the replicas.
    """
    rabbitmq, postgres = servers
    name = f"{bucket}-{uuid4().hex[:12]}"
    place: Path = factory.mktemp(bucket)
    with ExitStack() as stack:
        vhost = rabbitmq.create_vhost(name)
        stack.callback(rabbitmq.delete_vhost, name)
        ledger = asyncio.run(postgres.create_database(name))
        stack.callback(lambda: asyncio.run(postgres.drop_database(name)))
        find = Finder(factory)
        stack.callback(find.close)
        minio = find(Minio)
        minio.send_events(vhost, queue_dir=False)
        minio.start()
        asyncio.run(_announce(minio, bucket))
        text = settings_text(
            {
                **SETTINGS,
                "s3_endpoint": minio.url,
                "s3_access_key": minio.access_key,
                "s3_secret_key": minio.secret_key,
                "broker_url": vhost,
                "ledger_url": ledger,
                **settings,
            },
            RETRIES + routes,
        )
        homes = [Home(place / home) for home in ("commands", "first", "second")]
        for home in homes:
            home.configure(text)
        first, second = Replica(homes[1].path), Replica(homes[2].path)
        for replica in (first, second):
            replica.configure(environment or {})
            stack.callback(replica.close)
        first.start()
        yield Replicas(bucket, minio, rabbitmq, name, homes[0], first, second)


async def _announce(minio: Minio, bucket: str) -> None:
    async with minio.client() as client:
        await client.create_bucket(Bucket=bucket)
        await client.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {"Id": "lakedrop", "QueueArn": TARGET, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
                ]
            },
        )
