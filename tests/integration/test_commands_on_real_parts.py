"""Commands as a person runs them, where store, broker, ledger and catalog are servers, or only some of them."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from consumer import exits
from tests.acceptance.conftest import Home, Service, _restored_logs, home, serve
from tests.acceptance.real import BUCKET, WAREHOUSE, Real
from tests.stack.fixtures import Finder
from tests.stack.minio import Minio
from tests.stack.rabbitmq import RabbitMQ

__all__ = ("_restored_logs", "home", "serve")

pytestmark = pytest.mark.needs("minio", "postgres", "rabbitmq")

Serve = Callable[..., Service]


@pytest.fixture
def minio(vhost: str, find_server: Finder) -> Minio:
    """MinIO that can send its events to the vhost."""
    server = find_server(Minio)
    server.send_events(vhost, queue_dir=False)
    server.start()
    return server


@pytest.fixture
def real(home: Home, minio: Minio, vhost: str, database: str, rabbitmq: RabbitMQ) -> Real:
    """A home on all four, as `lakedrop notify apply` leaves it."""
    uri = database.replace("postgresql://", "postgresql+psycopg2://")
    made = Real(home, minio, vhost, database, {"type": "sql", "uri": uri, "warehouse": f"s3://{WAREHOUSE}/"})
    made.configure(broker_management_url=rabbitmq.management)
    applied = home.lakedrop("notify", "apply")
    assert (applied.returncode, "csv-uploads: 1 notification set" in applied.stdout) == (exits.OK, True), applied
    return made


def said(home: Home, *words: str, code: int = exits.OK) -> str:
    """Run a command; return what it says."""
    done = home.lakedrop(*words)
    assert done.returncode == code, (words, done)
    return " ".join(done.stdout.split())


def put_files(real: Real) -> None:
    real.put("customers/q1.csv", "id,name\n1,anna\n2,bert\n")
    real.put("customers/q2.csv", "id,name\n3,carl\n4\n5,eve\n")
    real.put("customers/bad.csv", "")
    real.put("orders/odd é+ %20 & name.csv", "id,amount\n1,10\n2,20\n")


def certificate(home: Home, path: Path) -> str:
    """Have a certificate written; return its digest."""
    report = home.json("sweep", "--certificate", str(path), "--json")
    assert report["agrees"], report
    digest: str = report["certificate"]["digest"]
    return digest


async def forget(database: str) -> int:
    """Empty the ledger's rows behind everybody's back, as a lost database would; returns how many there were."""
    connection = await asyncpg.connect(database)
    gone = await connection.execute("DELETE FROM units")
    await connection.execute("DELETE FROM history")
    await connection.close()
    return int(gone.removeprefix("DELETE "))


def test_files_are_planned_ingested_looked_at_and_certified(real: Real, tmp_path: Path) -> None:
    home = real.home
    put_files(real)

    plan = said(home, "plan", code=exits.FAILED)
    assert "3 to write, 1 would fail; 6 rows in, 0 out, 1 rejected" in plan
    said(home, "run", "--once", code=exits.FAILED)

    found = home.query("select id, _source_file from lakehouse.customers order by id")
    assert [row["id"] for row in found] == [1, 2, 3, 5]
    assert "1 rejected record record 2, line 3" in said(home, "rejects", "csv-uploads/customers/q2.csv")
    assert "lakehouse.orders holds exactly this version" in said(home, "why", "orders/odd é+ %20 & name.csv")
    assert "EmptyFile 1" in said(home, "status")
    first, second = tmp_path / "one.jsonl", tmp_path / "two.jsonl.gz"
    assert certificate(home, first) == certificate(home, second)
    assert first.read_bytes() == gzip.decompress(second.read_bytes())


def test_failures_are_repeated_pruned_and_repaired(real: Real) -> None:
    home = real.home
    put_files(real)
    said(home, "run", "--once", code=exits.FAILED)

    assert "1 to be done again" in said(home, "replay", "--prefix", "customers/", "--yes", code=exits.FAILED)
    listed = said(home, "dead", "list")
    assert "1 unit failed csv-uploads/customers/bad.csv EmptyFile" in listed
    assert "1 dead letter that a newer one repeats" in listed
    assert said(home, "dead", "prune").startswith("1 dead letter and 0")
    real.put("customers/bad.csv", "id,name\n6,fay\n")
    assert "1 done" in said(home, "dead", "retry", "--yes")
    assert said(home, "dead", "list").startswith("0 units failed")
    assert "5 rows" in said(home, "table", "rebuild", "customers")
    assert "lakehouse.customers" in said(home, "table", "maintain", "--dry-run")
    real.configure(compact_small_files=2)
    assert "data files became 1, 0 delete files became 0; 6 rows moved" in said(home, "table", "maintain")
    assert home.query("select count(*) as n from lakehouse._ingest_registry") == [{"n": 6}]
    assert home.query("select count(*) as n from lakehouse.customers") == [{"n": 5}]


def test_bucket_that_is_empty_or_gone_or_shut_takes_no_rows_out_until_a_person_says_so(real: Real) -> None:
    home = real.home
    routes = '[[routes]]\nname = "csv"\nbucket = "csv-uploads"\noptions = { on_delete = "remove" }\n'
    brake = {"max_vanish_units": 1, "max_vanish_share": 0.0}
    real.configure(routes, **brake)
    keys = [f"t/{number}.csv" for number in range(3)]
    real.put_many(dict.fromkeys(keys, "id,name\n1,anna\n"))
    said(home, "sweep")

    def rows() -> int:
        (found,) = home.query("select count(*) as n from lakehouse.t")
        return int(found["n"])

    real.configure(routes, **brake, s3_secret_key="mistyped")
    assert "SignatureDoesNotMatch" in said(home, "sweep", code=exits.UNAVAILABLE)
    real.configure(routes, **brake)
    for key in keys:
        real.delete(key)
    assert "3 deletions withheld" in said(home, "sweep", code=exits.FAILED)
    real.s3("delete_bucket", Bucket=BUCKET)
    assert "no bucket `csv-uploads`" in said(home, "sweep", "--accept-vanished", code=exits.UNAVAILABLE)
    real.s3("create_bucket", Bucket=BUCKET)
    assert "3 deletions withheld" in said(home, "sweep", code=exits.FAILED)
    assert rows() == len(keys)
    said(home, "sweep", "--accept-vanished")
    assert rows() == 0


def test_lost_ledger_is_made_anew_and_certifies_the_same(real: Real, tmp_path: Path) -> None:
    home = real.home
    put_files(real)
    said(home, "run", "--once", code=exits.FAILED)
    before = certificate(home, tmp_path / "before.jsonl")

    assert asyncio.run(forget(real.ledger_url)) > 0
    told = said(home, "ledger", "rebuild")

    assert "4 had no row and have one now" in told
    assert "A sweep would find nothing to do" in told
    assert certificate(home, tmp_path / "after.jsonl") == before
    real.configure(ledger_url=None)  # a ledger of SQLite, of the same sinks
    assert "4 had no row and have one now" in said(home, "ledger", "rebuild")
    assert certificate(home, tmp_path / "other.jsonl") == before


def test_notifications_that_are_not_as_wanted_are_named_with_their_repair(real: Real) -> None:
    home = real.home

    def events() -> tuple[bool, str, str | None]:
        results = {result["name"]: result for result in check(home)}
        found = results["events csv-uploads"]
        return found["ok"], found["message"], found["repair"]

    assert events() == (True, "are sent to arn:minio:sqs::LAKEDROP:amqp", None)
    narrow = '[[routes]]\nname = "in"\nbucket = "csv-uploads"\nprefix = "in/"\nmatch = ["**"]\n'
    real.configure(narrow, broker_management_url=None)
    ok, message, repair = events()
    assert (ok, message) == (False, "not sent: in/*; sent for no route: *")
    assert repair is not None
    assert "lakedrop notify apply" in repair
    said(home, "notify", "apply")
    assert events()[0]
    said(home, "notify", "remove")
    assert events()[:2] == (False, "not sent: in/*")
    real.announce()
    assert events()[:2] == (True, "are sent as others have set it")


def check(home: Home) -> list[dict[str, Any]]:
    """Run `check`, whatever it finds."""
    found: list[dict[str, Any]] = json.loads(home.lakedrop("check", "--json").stdout)
    return found


def test_without_rabbitmq_the_sweep_alone_brings_objects_of_s3_in(real: Real, serve: Serve) -> None:
    home = real.home
    real.configure(broker_url=None)
    real.put("customers/q1.csv", "id,name\n1,anna\n")

    assert "1 done" in said(home, "sweep")
    said(home, "check")
    real.put("customers/q2.csv", "id,name\n2,bert\n")
    service = serve()
    service.until("delivery.settled", unit="customers/q2.csv", outcome="done")
    assert service.until("run.sweeps_only")["look_every"] > 0
    assert service.end() == exits.OK
    assert said(home, "dead", "list").startswith("0 units failed")
    assert home.query("select count(*) as n from lakehouse.customers") == [{"n": 2}]


def test_service_that_starts_sweeps_though_a_sweep_has_just_been(real: Real, serve: Serve) -> None:
    home = real.home
    said(home, "sweep")
    said(home, "notify", "remove")
    real.put("customers/unheard.csv", "id,name\n1,anna\n")

    service = serve()

    assert service.until("sweep.wanted")["reason"] == "start"
    service.until("delivery.settled", unit="customers/unheard.csv", outcome="done")
    assert service.end() == exits.OK
