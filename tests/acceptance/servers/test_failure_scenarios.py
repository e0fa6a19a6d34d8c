"""
"Failure Scenarios" of the CSV specification, on all its servers at once: a test for each line, named after it.

Two requirements that are about scanning are here, too: NFR-1 and NFR-2.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from consumer import exits
from tests.acceptance.conftest import Home
from tests.acceptance.real import BUCKET, Real
from tests.acceptance.servers.world import World, served
from tests.stack.proxy import proxied
from tests.stack.superset import Superset
from tests.stack.trino import Trino
from tests.waits import PATIENCE, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_readers_agree")]

Another = Callable[..., Real]

CUSTOMERS = "id,name,joined\n1,anna,2024-01-05\n2,bert,2024-02-17\n"


def test_a_csv_with_no_header_row_is_recorded_as_failed(world: World) -> None:
    """The file is skipped, `_ingest_registry` records status `failed` with error message."""
    world.upload("headless/a.csv", "1,2.5,2024-01-01\n2,3.5,2024-01-02\n", outcome="failed")

    (record,) = world.registry("headless/a.csv")
    assert (record["status"], record["error_class"]) == ("failed", "HeaderMissing")
    assert "no header was found" in record["error_message"]
    why = world.why("headless/a.csv")
    assert (why["state"], why["error_class"]) == ("failed", "HeaderMissing")


def test_rows_with_inconsistent_column_count_are_skipped_and_their_lines_logged(world: World) -> None:
    """Rows with mismatched column counts are skipped. A warning is logged with line numbers."""
    key = "ragged/a.csv"
    world.upload(key, "id,name\n1,anna\n2\n3,cora\n4,dora,extra\n")

    assert world.sql("SELECT id FROM ragged ORDER BY id") == [(1,), (3,)]
    (warning,) = (line for line in world.service.lines() if (line["event"], line.get("key")) == ("csv.rejected", key))
    assert (warning["level"], warning["lines"], warning["rejected"]) == ("warning", [3, 5], 2)
    shown = world.real.home.json("rejects", f"{BUCKET}/{key}", "--json")
    assert [(reject["line"], reject["text"]) for reject in shown["rejected"]] == [(3, "2"), (5, "4,dora,extra")]


def checked(world: World, name: str) -> dict[str, Any]:
    """Return what `lakedrop check` says of one part."""
    results: list[dict[str, Any]] = json.loads(world.lakedrop("check", "--json").stdout)
    return next(result for result in results if result["name"] == name)


def test_trino_is_unreachable_and_no_file_waits_for_it(world: World, trino: Trino) -> None:
    """Nothing is written through Trino: files go into their tables without it, and it shows them when it is back."""
    trino.stop()
    world.upload("while_trino_is_away/a.csv", CUSTOMERS)
    assert len(world.real.rows("lakehouse.while_trino_is_away")) == 2
    told = checked(world, "trino")
    assert (told["ok"], told["repair"].partition(" (")[0]) == (False, "start Trino")

    trino.start()
    assert checked(world, "trino")["ok"]
    assert world.sql("SELECT count(*) FROM while_trino_is_away") == [(2,)]


def said_away(world: World) -> list[dict[str, Any]]:
    """Return the lines of the log that say that a sink is away."""
    return [line for line in world.service.lines() if line["event"] == "sink.away"]


def test_the_catalog_is_unreachable_and_files_are_tried_again(world: World) -> None:
    """What Trino is to the specification's tasks: retried while it is away; no file is marked failed for that."""
    world.upload("steady/a.csv", CUSTOMERS)
    before = len(said_away(world))
    world.rest_catalog.kill()
    try:
        world.real.put("while_the_catalog_is_away/a.csv", CUSTOMERS)
        world.real.put("steady/b.csv", CUSTOMERS)
        away = wait_for(lambda: said_away(world)[before:])[0]
    finally:
        world.rest_catalog.start()
    (_,) = wait_for(lambda: world.settled("while_the_catalog_is_away/a.csv"))[-1:]

    assert away["handler"] == "csv_to_iceberg"
    assert world.registry("while_the_catalog_is_away/a.csv")[0]["status"] == "success"
    assert world.registry("steady/b.csv")[0]["status"] == "success"
    assert world.sql("SELECT _source_file, count(*) FROM steady GROUP BY 1 ORDER BY 1") == [
        ("steady/a.csv", 2),
        ("steady/b.csv", 2),
    ]


def test_superset_is_unreachable_and_the_dataset_is_registered_when_it_is_back(
    world: World, superset: Superset
) -> None:
    """Registration fails gracefully. Data is still ingested. The dataset is registered on the next successful run."""
    superset.stop()
    world.upload("while_superset_is_away/a.csv", CUSTOMERS)
    assert world.sql("SELECT count(*) FROM while_superset_is_away") == [(2,)]

    def refused() -> str | None:
        why = world.why("while_superset_is_away/a.csv")
        assert why["state"] == "done"
        return next((task["error"] for task in why["tasks"] if task["error"] is not None), None)

    assert "does not answer" in wait_for(refused)

    superset.start()
    assert world.dataset("while_superset_is_away")["schema"] == "lakehouse"


async def test_a_file_deleted_between_scan_and_download_is_recorded_as_failed(world: World, another: Another) -> None:
    """The download fails with a 404. The file is recorded as `failed` in the registry."""
    bucket = "deleted-meanwhile"
    body = b"id,name\n" + b"1234567,some text that takes its time to be read\n" * 800_000
    async with proxied(world.real.minio.url) as (proxy, url):
        other = await asyncio.to_thread(another, bucket, s3_endpoint=url)
        await asyncio.to_thread(world.real.s3, "create_bucket", Bucket=bucket)
        await asyncio.to_thread(world.real.s3, "put_object", Bucket=bucket, Key="t/a.csv", Body=body)
        proxy.slow(1 << 20)
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, served(other.home))
            await proxy.until(lambda counts: counts.bytes > 3 << 20)
            await asyncio.to_thread(world.real.s3, "delete_object", Bucket=bucket, Key="t/a.csv")
            cut = proxy.cut()
            proxy.restore()
            await asyncio.to_thread(
                wait_for, lambda: other.rows("deleted_meanwhile._ingest_registry", by="file_key") or None
            )

    assert cut > 0, "it was being read"
    assert world.sql("SELECT file_key, status, error_class FROM deleted_meanwhile._ingest_registry") == [
        ("t/a.csv", "failed", "ObjectGone")
    ]


def test_files_of_one_directory_with_conflicting_schemas_keep_the_types_there_are(world: World) -> None:
    """New columns are added. Existing columns retain their types; a value is cast to them, or NULL on failure."""
    world.upload("conflicting/1.csv", "id,amount,day\n1,1.5,2024-01-01\n")
    before = world.types("conflicting")
    world.upload("conflicting/2.csv", "id,amount,day,more\n2,3,not a day,x\nthree,text,2024-01-02,y\n")

    assert before.items() <= world.types("conflicting").items()
    assert world.types("conflicting")["more"] == "varchar"
    assert world.sql(
        "SELECT id, amount, day, json_format(json_parse(_rescued)) FROM conflicting"
        " WHERE _source_file = 'conflicting/2.csv' ORDER BY more"
    ) == [
        (2, 3.0, None, '{"day":"not a day"}'),
        (None, None, "2024-01-02", '{"amount":"text","id":"three"}'),
    ]


ASKING = """
CREATE TABLE asking (token text, port integer);
CREATE FUNCTION note_asking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO asking VALUES (NEW.token, inet_client_port());
  RETURN NEW;
END $$;
CREATE TRIGGER asking BEFORE INSERT ON leases FOR EACH ROW EXECUTE FUNCTION note_asking();
"""
"""Keeps who asks for a lease, also in vain."""

NO_LONGER_ASKING = "DROP TRIGGER asking ON leases; DROP FUNCTION note_asking; DROP TABLE asking;"


def test_a_second_trigger_is_queued(world: World) -> None:
    """
    `max_active_runs=1` prevents concurrent polling. A second trigger is queued.

    A poll is a sweep, and what triggers one is the clock of a service, `lakedrop sweep`, or a bridge. All of them take
    turns by a lease in the ledger: whoever comes second waits until the first has ended, and sweeps then. Here the
    store stands still while the first lists, until the second has asked for the lease.
    """
    world.upload("queued/a.csv", CUSTOMERS)
    engine = sa.create_engine(world.real.ledger_url.replace("postgresql://", "postgresql+psycopg2://"))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        ledger = stack.enter_context(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        ledger.execute(sa.text(ASKING))
        stack.callback(ledger.execute, sa.text(NO_LONGER_ASKING))
        stack.callback(world.real.minio.start)
        world.real.minio.pause()
        first = stack.enter_context(_sweep(world.real.home))
        wait_for(lambda: _asked(ledger, first, "asking JOIN leases USING (token)"))
        second = stack.enter_context(_sweep(world.real.home))
        wait_for(lambda: _asked(ledger, second, "asking"))
        assert first.poll() is None, "the first has not ended"
        world.real.minio.start()
        reports = [json.loads(process.communicate(timeout=PATIENCE)[0]) for process in (first, second)]

    assert [process.returncode for process in (first, second)] == [exits.OK, exits.OK]
    assert reports[0]["finished_at"] <= reports[1]["started_at"]
    assert [report["errors"] for report in reports] == [[], []]
    assert world.sql("SELECT count(*) FROM queued") == [(2,)]


def _sweep(home: Home) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "consumer", "sweep", "--json", "--home", str(home.path)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _asked(ledger: sa.Connection, process: subprocess.Popen[str], where: str) -> bool:
    """Tell whether a connection of this process asked for a lease."""
    ports = [connection.laddr.port for connection in psutil.Process(process.pid).net_connections()]
    return bool(ledger.scalar(sa.text(f"SELECT count(*) FROM {where} WHERE port = ANY(:ports)"), {"ports": ports}))


def test_a_bucket_that_does_not_exist_is_told_clearly_and_tried_again(world: World, another: Another) -> None:
    """The scan fails with a clear error. The DAG retries."""
    bucket = "made-later"
    other = another(bucket, sweep_seconds=1.0)
    with served(other.home) as service:
        told = wait_for(lambda: next((error for line in service.lines() for error in line.get("errors", ())), None))
        assert f"no bucket `{bucket}`" in told
        assert other.home.lakedrop("sweep").returncode == exits.UNAVAILABLE

        world.real.s3("create_bucket", Bucket=bucket)
        world.real.s3("put_object", Bucket=bucket, Key="t/a.csv", Body=CUSTOMERS.encode())
        service.until("delivery.settled", unit="t/a.csv", outcome="done")

    assert world.sql("SELECT count(*) FROM made_later.t") == [(2,)]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_csv_with_another_encoding_is_detected(world: World, encoding: str) -> None:
    """Attempts to detect encoding."""
    name = encoding.replace("-", "_")
    body = "id,name\n1,Müller\n2,Straße\n3,René\n".encode(encoding)
    world.real.s3("put_object", Bucket=BUCKET, Key=f"{name}/a.csv", Body=body)
    wait_for(lambda: world.settled(f"{name}/a.csv"))

    assert world.sql(f"SELECT name FROM {name} ORDER BY id") == [("Müller",), ("Straße",), ("René",)]


def test_a_csv_whose_encoding_cannot_be_detected_is_recorded_as_failed(world: World) -> None:
    """If detection fails, the file is skipped with status `failed`."""
    body = b"id,name\n1," + bytes(range(0x80, 0x100)) + b"\n"
    world.real.s3("put_object", Bucket=BUCKET, Key="undetectable/a.csv", Body=body)

    (record,) = world.registry("undetectable/a.csv")
    assert (record["status"], record["error_class"]) == ("failed", "EncodingUnknown")


def test_nfr_1_a_scan_of_1000_objects_takes_less_than_10_seconds(world: World) -> None:
    """The polling DAG must complete a scan of the bucket in under 10 seconds for up to 1000 objects."""
    world.real.put_many({f"thousand/{number:04}.csv": f"id\n{number}\n" for number in range(1000)})
    world.real.until_rows("lakehouse.thousand", 1000)  # a sweep leaves alone what the service has in its hands
    wait_for(lambda: world.real.home.json("sweep", "--json")["agrees"])
    assert world.sql("SELECT count(*), count(DISTINCT _source_file) FROM thousand") == [(1000, 1000)]

    seconds = []
    for _ in range(3):  # what else keeps the machine busy may stretch some of them
        report = world.real.home.json("sweep", "--json")
        began, ended = (datetime.fromisoformat(report[name]) for name in ("started_at", "finished_at"))
        seconds.append((ended - began).total_seconds())
        assert (report["listed"] >= 1000, report["new"], report["changed"], report["agrees"]) == (True, 0, 0, True)

    assert min(seconds) < 10, "from the first listing to the last comparison"


def test_nfr_2_running_again_makes_neither_duplicates_nor_errors(world: World) -> None:
    """Re-running with the same files and ETags must not produce duplicate records or errors."""
    world.upload("again/a.csv", CUSTOMERS)
    world.upload("again/b.csv", CUSTOMERS)
    for _ in range(2):
        report = world.real.home.json("sweep", "--json")
        assert (report["new"], report["changed"], report["errors"]) == (0, 0, [])
    forced = world.lakedrop("replay", "--prefix", "again/", "--force", "--yes")

    assert forced.returncode == exits.OK, forced
    assert world.sql("SELECT _source_file, count(*) FROM again GROUP BY 1 ORDER BY 1") == [
        ("again/a.csv", 2),
        ("again/b.csv", 2),
    ]
    world.registry("again/a.csv", 2)
