"""The whole way on real servers: a PUT to MinIO, its own event through RabbitMQ, a commit to a catalog others read."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from consumer import exits
from consumer.workitem import work_queue
from tests.acceptance.conftest import Home, Service
from tests.acceptance.real import WAREHOUSE, Real
from tests.rabbit import readers
from tests.stack.fixtures import Finder
from tests.stack.minio import Minio
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.rest_catalog import RestCatalog
from tests.waits import wait_for

pytestmark = pytest.mark.xdist_group("servers")

GOOD = "id,name\n1,anna\n2,bert\n"
Serve = Callable[..., Service]


def made(home: Home, minio: Minio, vhost: str, database: str, catalog: dict[str, str]) -> Real:
    real = Real(home, minio, vhost, database, catalog)
    real.create_buckets()
    real.configure()
    return real


@pytest.fixture
def store(vhost: str, find_server: Finder) -> Minio:
    """MinIO that sends its events to the vhost, and forgets those it cannot send."""
    minio = find_server(Minio)
    minio.send_events(vhost, queue_dir=False)
    minio.start()
    return minio


@pytest.fixture
def on_sql(home: Home, store: Minio, vhost: str, database: str) -> Real:
    uri = database.replace("postgresql://", "postgresql+psycopg2://")
    return made(home, store, vhost, database, {"type": "sql", "uri": uri, "warehouse": f"s3://{WAREHOUSE}/"})


@pytest.fixture
def on_rest(home: Home, store: Minio, vhost: str, database: str, find_server: Finder) -> Real:
    rest = find_server(RestCatalog)
    rest.keep_in(store)
    rest.start()
    return made(home, store, vhost, database, {"type": "rest", "uri": rest.catalog(WAREHOUSE)})


@pytest.fixture
def replicas(on_sql: Real) -> Iterator[tuple[Service, Service]]:
    """Two services, of homes that share nothing but the servers."""
    with ExitStack() as stack:
        services = []
        for number in (1, 2):
            home = Home(on_sql.home.path.parent / f"replica-{number}" / "home")
            home.path.parent.mkdir()
            home.configure((on_sql.home.path / "lakedrop.toml").read_text())
            service = Service(home.path)
            stack.callback(service.process.wait)
            stack.callback(service.process.kill)
            services.append(service)
        for service in services:
            service.until("run.started")
        yield services[0], services[1]


def done_by(service: Service) -> set[str]:
    """Return the units that a service has done."""
    settled = {"event": "delivery.settled", "outcome": "done"}
    return {line["unit"] for line in service.lines() if settled.items() <= line.items()}


@pytest.mark.parametrize("catalog", ["on_sql", "on_rest"])
def test_upload_becomes_rows_by_its_own_event(catalog: str, request: pytest.FixtureRequest, serve: Serve) -> None:
    real: Real = request.getfixturevalue(catalog)
    service = serve()
    service.until("run.started")
    real.announce()

    real.put("customers/q1.csv", GOOD)
    service.until("delivery.settled", unit="customers/q1.csv", outcome="done")

    assert [(row["id"], row["name"], row["_source_file"]) for row in real.rows("lakehouse.customers")] == [
        (1, "anna", "customers/q1.csv"),
        (2, "bert", "customers/q1.csv"),
    ]
    assert real.home.query("select count(*) as n from lakehouse.customers") == [{"n": 2}]
    recorded = wait_for(lambda: real.rows("lakehouse._ingest_registry", by="file_key"))
    assert [(row["file_key"], row["status"]) for row in recorded] == [("customers/q1.csv", "success")]
    assert service.end() == exits.OK
    assert [line for line in service.lines() if line["level"] == "error"] == []


def test_new_version_replaces_and_deletion_removes_rows(on_sql: Real, serve: Serve) -> None:
    on_sql.configure('[[routes]]\nname = "all"\nbucket = "csv-uploads"\noptions = { on_delete = "remove" }\n')
    service = serve()
    service.until("run.started")
    on_sql.announce()

    on_sql.put("customers/q1.csv", GOOD)
    on_sql.until_rows("lakehouse.customers", 2)
    on_sql.put("customers/q1.csv", "id,name\n3,carl\n")
    assert [row["id"] for row in on_sql.until_rows("lakehouse.customers", 1)] == [3]
    on_sql.delete("customers/q1.csv")

    on_sql.until_rows("lakehouse.customers", 0)


def test_commands_work_beside_the_service(on_sql: Real, serve: Serve) -> None:
    service = serve()
    service.until("run.started")
    on_sql.announce()
    on_sql.put("customers/q1.csv", GOOD)
    on_sql.put("customers/bad.csv", "")
    service.until("delivery.settled", unit="customers/q1.csv", outcome="done")
    service.until("delivery.settled", unit="customers/bad.csv")
    home = on_sql.home

    assert home.lakedrop("check").stdout.count("ok    ") >= 7
    why = home.json("why", "csv-uploads/customers/q1.csv", "--json")
    assert (why["state"], why["stored"]["size"]) == ("done", len(GOOD))
    assert home.json("sweep", "--json")["agrees"]
    replay = home.lakedrop("replay", "--prefix", "customers/q1", "--force", "--yes")
    assert (replay.returncode, "1 to be done again" in replay.stdout) == (exits.OK, True), replay
    handed = home.lakedrop("replay", "--prefix", "customers/q1", "--force", "--yes", "--hand-over")
    assert (handed.returncode, "Handed over" in handed.stdout) == (exits.OK, True), handed
    done = {"event": "delivery.settled", "unit": "customers/q1.csv", "step": "begin"}
    wait_for(lambda: sum(done.items() <= line.items() for line in service.lines()) == 2 or None)
    assert len(on_sql.rows("lakehouse.customers")) == 2


def test_replicas_share_the_work_and_do_none_twice(on_sql: Real, replicas: tuple[Service, Service]) -> None:
    # Who has begun may not read yet; from then on RabbitMQ gives to both in turn.
    wait_for(lambda: asyncio.run(readers(on_sql.broker_url, work_queue("csv_to_iceberg"))) == len(replicas))
    on_sql.announce()
    keys = [f"orders/{number:03}.csv" for number in range(60)]

    on_sql.put_many(dict.fromkeys(keys, GOOD))
    rows = on_sql.until_rows("lakehouse.orders", 2 * len(keys))

    assert sorted({row["_source_file"] for row in rows}) == keys
    wait_for(lambda: done_by(replicas[0]) | done_by(replicas[1]) == set(keys) or None)
    assert done_by(replicas[0]), "the first has worked"
    assert done_by(replicas[1]), "the second has worked"


def test_replica_that_dies_leaves_its_work_to_the_other(on_sql: Real, replicas: tuple[Service, Service]) -> None:
    on_sql.announce()
    keys = [f"orders/{number:03}.csv" for number in range(60)]

    on_sql.put_many(dict.fromkeys(keys, GOOD))
    replicas[0].process.send_signal(signal.SIGKILL)
    rows = on_sql.until_rows("lakehouse.orders", 2 * len(keys))

    assert sorted({row["_source_file"] for row in rows}) == keys


def test_service_waits_for_servers_that_are_away_at_its_start(on_sql: Real, rabbitmq: RabbitMQ, serve: Serve) -> None:
    rabbitmq.stop()
    service = serve()
    service.until("part.waits", part="broker")

    rabbitmq.start()
    service.until("run.started")
    on_sql.announce()
    on_sql.put("customers/q1.csv", GOOD)

    on_sql.until_rows("lakehouse.customers", 2)


@pytest.mark.usefixtures("on_sql")
def test_service_that_waits_for_a_server_ends_at_a_signal(rabbitmq: RabbitMQ, serve: Serve) -> None:
    rabbitmq.stop()
    service = serve()
    service.until("part.waits", part="broker")

    assert service.end() == exits.OK
