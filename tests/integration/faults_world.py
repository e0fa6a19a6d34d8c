"""
A whole installation on real servers, with everything in it that can be broken from outside.

Two replicas of the service reach RabbitMQ, PostgreSQL (ledger and catalog) and the store through proxies; the store
reaches RabbitMQ by itself, and tests write to the store and read the tables without any proxy.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from consumer.broker import RabbitBroker
from consumer.workitem import DEAD_INGRESS, dead_queue
from tests import waits
from tests.acceptance.real import settings_text
from tests.integration import faults_registry
from tests.integration.faults_claims import Claims, as_replica
from tests.integration.faults_lakehouse import Lakehouse
from tests.integration.faults_load import Load
from tests.integration.faults_readers import by_pyiceberg
from tests.integration.faults_replica import Replica
from tests.rabbit import readers
from tests.stack.minio import TARGET, Minio, target
from tests.stack.postgres import Postgres
from tests.stack.proxy import Proxy, proxied
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.s3 import S3Server
from tests.waits import pause_after

if TYPE_CHECKING:
    from types_aiobotocore_s3.literals import EventType

T = TypeVar("T")

KEPT = "kept"
"""Bucket that only events tell of, which MinIO keeps while RabbitMQ is away: no sweep comes in time."""
SWEPT = "swept"
"""Bucket that is swept every few seconds, and whose events MinIO forgets while RabbitMQ is away."""
FORGETFUL = "FORGETFUL"
"""Target of MinIO for the latter."""
WAREHOUSE = "lakehouse-warehouse"
ON_STORE = f"s3://{WAREHOUSE}/"

LEASE_SECONDS = 3.0
SWEEP_SECONDS = 8.0

PATIENCE = 480.0
"""
Seconds until everything must agree, or a fault must show.

A hint of the waker that is lost, in a deleted queue or with the process that was to send it, comes again in a minute.
On two cores with five times the work that they can do, claims are lost for want of heartbeats, and it takes two.
"""

SETTINGS: Mapping[str, object] = {
    "store": "s3",
    "listen": "",
    "lease_seconds": LEASE_SECONDS,
    "heartbeat_seconds": 0.7,
    "waker_seconds": 0.3,
    "max_commit_latency": 0.3,
    "max_vanish_units": 100_000,
    "sweep_seconds": 3600.0,
}

RETRIES = "retry_delays = [0.5, 1, 2, 3, 5, 5, 5, 5, 5, 5, 5, 5]\n"
"""As patient with a server that is away as a test can be; the usual delays wait for more than an hour."""

ROUTE = """
[[routes]]
name = "{bucket}"
bucket = "{bucket}"
options = {{ on_delete = "remove", namespace = "{bucket}" }}
sweep_seconds = {seconds}
"""

DEAD = (DEAD_INGRESS, dead_queue("csv_to_iceberg"))


class Disagreement(AssertionError):
    """Tables, bucket and ledger did not come to agree in time."""


@dataclass
class World:
    """Everything there is; made by `opened`."""

    rabbitmq: RabbitMQ
    postgres: Postgres
    store: S3Server
    vhost: str
    """Address past the proxy, as the following one."""
    catalog: dict[str, str]
    """PyIceberg's properties, past the proxies."""
    proxies: dict[str, Proxy]
    """In front of `broker`, `store` and `ledger`; of a lakehouse also `catalog` and `trino`."""
    replicas: Sequence[Replica]
    claims: Claims
    chance: random.Random
    lakehouse: Lakehouse | None = None
    """Keeps the tables instead of the ledger's database."""
    loads: dict[str, Load] = field(default_factory=dict)
    sound: bool = True
    """All that was broken has come to agree."""

    def load(self, bucket: str) -> Load:
        """Return what changes a bucket, and remembers what it wrote."""
        return self.loads.setdefault(bucket, Load(self.store, bucket, self.chance))

    @property
    def vhost_name(self) -> str:
        return urlsplit(self.vhost).path.removeprefix("/")

    async def until_held(self) -> set[str]:
        """Wait until somebody holds claims; return their tokens."""
        return await until(self.claims.held, "nobody holds a claim")

    async def until_subscribed(self, *queues: str) -> list[int]:
        """
        Wait until all replicas read some queues: who is away already cannot be lost by another fault.

        Returns the marks behind which whoever is lost from now on says so: a cut that nobody has noticed yet, too.
        """

        async def subscribed() -> list[int]:
            marks = self.marks()  # before anybody is asked: what comes meanwhile is behind them
            known = all(replica.subscribed(queue) for replica in self.replicas for queue in queues)
            # Who has no use for work, as while a sink is away, stops reading without a word of loss.
            read = known and all([await readers(self.vhost, queue) >= len(self.replicas) for queue in queues])
            return marks if read else []

        return await until(subscribed, f"not every replica reads {queues}")

    def marks(self) -> list[int]:
        """Return where the replicas' logs end now."""
        return [replica.size for replica in self.replicas]

    def logged(self, marks: Sequence[int], *events: str) -> list[dict[str, Any]]:
        """Return the lines of some events that came into the logs behind their marks."""
        both = zip(self.replicas, marks, strict=True)
        return [line for replica, mark in both for line in replica.lines(mark) if line["event"] in events]

    async def until_logged(self, marks: Sequence[int], *events: str, least: int = 1) -> list[dict[str, Any]]:
        """Wait until some events are in the logs."""

        async def look() -> list[dict[str, Any]]:
            found = self.logged(marks, *events)
            return found if len(found) >= least else []

        return await until(look, f"no log has {least} of {events}")

    async def agree(self, *buckets: str, seconds: float = PATIENCE) -> float:
        """
        Wait until each table equals its bucket, nothing is unsettled, failed or dead; return the seconds it took.

        Raises:
            Disagreement: it did not come to that.
        """
        self.sound = False
        began = time.monotonic()
        end = began + seconds
        for bucket in buckets or tuple(self.loads):
            while True:
                looked = time.monotonic()
                difference = await self._difference(bucket)
                if not difference:
                    break
                if time.monotonic() > end:
                    logs = "\n".join(replica.complaints() for replica in self.replicas)
                    raise Disagreement(f"bucket {bucket} after {seconds:.0f} s: {difference}\n{logs}")
                await asyncio.sleep(pause_after(looked))
        took = time.monotonic() - began
        broker = RabbitBroker(self.vhost)
        try:
            dead = {queue: await broker.depth(queue) for queue in DEAD}
        finally:
            await broker.aclose()
        assert not any(dead.values()), dead
        assert await self.claims.settled_late() == []
        self.sound = True
        return took

    async def _difference(self, bucket: str) -> str:
        """Say how the bucket, the ledger and the tables differ; nothing when they do not."""
        load = self.load(bucket)
        objects = await load.objects()
        rows = await self.claims.query(
            "SELECT unit, status, applied_etag, error, dirty, "
            "lease_token IS NOT NULL OR wake_at IS NOT NULL AS unsettled FROM units WHERE bucket = $1",
            bucket,
        )
        if unsettled := [tuple(row) for row in rows if row["unsettled"]]:
            return f"{len(unsettled)} units are not settled: {unsettled[:5]}"
        if failed := [tuple(row) for row in rows if row["status"] != "done"]:
            return f"{len(failed)} units are not done: {failed[:5]}"
        applied = {row["unit"]: row["applied_etag"] for row in rows if row["applied_etag"]}
        if applied != objects:
            differing = sorted(dict(applied.items() ^ objects.items()))
            return f"the ledger differs from the bucket in {len(differing)} units: {differing[:5]}"
        return await self._misread(bucket, objects)

    async def _misread(self, bucket: str, objects: dict[str, str]) -> str:
        """Say how rows and records of the tables differ from what they should be, or from reader to reader."""
        load = self.load(bucket)
        readings = {"PyIceberg": await asyncio.to_thread(by_pyiceberg, self.catalog, bucket)}
        if self.lakehouse is not None:
            readings["Trino"] = await asyncio.to_thread(self.lakehouse.read, bucket)
        wanted = load.rows(objects)
        outcomes = await faults_registry.settled(self.claims, bucket)
        for reader, found in readings.items():
            if wanted != found.rows:
                lost, extra = wanted - found.rows, found.rows - wanted
                return (
                    f"{reader}: {lost.total()} rows are missing, of {sorted({row[:2] for row in lost})[:5]}, "
                    f"{extra.total()} are too many, of {sorted({row[:2] for row in extra})[:5]}"
                )
            if fault := faults_registry.wrong(outcomes, found.records, objects, load.written):
                return f"{reader}: {fault}"
        return ""


async def until(look: Callable[[], Awaitable[T]], otherwise: str, seconds: float = PATIENCE) -> T:
    """Look until there is something to see; return it."""
    return await waits.until(look, otherwise, seconds)


def telling(store: Minio, vhost: str) -> Minio:
    """Have a store that was not started tell of both buckets, of each in its way."""
    store.send_events(vhost, queue_dir=True)
    store.send_events(vhost, queue_dir=False, name=FORGETFUL)
    return store


@asynccontextmanager
async def opened(
    rabbitmq: RabbitMQ,
    postgres: Postgres,
    store: S3Server,
    vhost: str,
    folder: Path,
    *,
    warehouse: str = ON_STORE,
    lakehouse: Lakehouse | None = None,
    seed: int = 1,
) -> AsyncIterator[World]:
    """
    Start two replicas on servers that run; a store that is a `Minio` tells of both buckets.

    Args:
        rabbitmq: has the vhost.
        postgres: gets a database.
        store: sends its events to the vhost (`telling`), runs, and has no buckets yet.
        vhost: URL, past any proxy.
        folder: for the homes of the replicas.
        warehouse: where tables lie, unless a lakehouse says so.
        lakehouse: its servers run, with the warehouse in the store.
        seed: of the changes.
    """
    async with AsyncExitStack() as stack:
        name = f"test-{uuid4().hex[:12]}"
        database = await postgres.create_database(name)
        stack.push_async_callback(postgres.drop_database, name)
        proxies, urls = {}, {}
        servers = {"broker": vhost, "store": store.url, "ledger": database}
        if lakehouse is not None:
            servers |= {"catalog": lakehouse.rest.catalog(WAREHOUSE), "trino": lakehouse.trino.url}
        for what, url in servers.items():
            proxies[what], urls[what] = await stack.enter_async_context(proxied(url))
        files = {
            "s3.endpoint": store.url,
            "s3.access-key-id": store.access_key,
            "s3.secret-access-key": store.secret_key,
            "s3.region": store.region,
        }
        catalog = (
            {"type": "rest", "uri": servers["catalog"]}
            if lakehouse is not None
            else {"type": "sql", "uri": database.replace("://", "+psycopg2://"), "warehouse": warehouse}
        )
        settings = {
            **SETTINGS,
            "s3_endpoint": urls["store"],
            "s3_access_key": store.access_key,
            "s3_secret_key": store.secret_key,
            "broker_url": urls["broker"],
            "catalog": {**catalog, "uri": urls["ledger" if lakehouse is None else "catalog"]},
        }
        more = RETRIES + ROUTE.format(bucket=KEPT, seconds=3600.0) + ROUTE.format(bucket=SWEPT, seconds=SWEEP_SECONDS)
        await _create_buckets(store)
        if lakehouse is not None:
            stack.enter_context(lakehouse.known_to_trino({**catalog, **files}, store))
        replicas = []
        for number in (1, 2):
            home = folder / f"replica-{number}"
            home.mkdir(parents=True)
            own = {**settings, "ledger_url": as_replica(urls["ledger"], home.name)}
            if lakehouse is not None:
                own |= lakehouse.settings(urls["trino"], maintains=number == 1)
            (home / "lakedrop.toml").write_text(settings_text(own, more))
            replica = Replica(home)
            stack.callback(replica.close)
            replicas.append(replica)
        await asyncio.gather(*(asyncio.to_thread(replica.start) for replica in replicas))
        claims = Claims(database)
        await claims.watch()
        if isinstance(store, Minio):
            await _announce(store)
        yield World(
            rabbitmq, postgres, store, vhost, {**catalog, **files}, proxies, replicas, claims,
            random.Random(seed),  # noqa: S311 (a repeatable test)
            lakehouse,
        )  # fmt: skip


async def _create_buckets(store: S3Server) -> None:
    async with store.client() as client:
        for bucket in (KEPT, SWEPT, WAREHOUSE):
            await client.create_bucket(Bucket=bucket)


async def _announce(store: Minio) -> None:
    async with store.client() as client:
        for bucket, arn in ((KEPT, TARGET), (SWEPT, target(FORGETFUL))):
            events: list[EventType] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
            await client.put_bucket_notification_configuration(
                Bucket=bucket,
                NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": events}]},
            )
