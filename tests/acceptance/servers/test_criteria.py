"""
"Acceptance Criteria" of the CSV specification, on all its servers at once: a test for each line, named after it.

MinIO tells RabbitMQ of an upload, a running service commits to a REST catalog, Trino answers, Superset has datasets.
Where the specification speaks of Airflow, lakedrop's own means are meant: polling is the sweep, a DAG run a command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.acceptance.real import BUCKET, Real
from tests.acceptance.servers.world import DATABASE, World
from tests.waits import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_readers_agree")]

CUSTOMERS = "id,name,joined\n1,anna,2024-01-05\n2,bert,2024-02-17\n"


def test_the_bucket_is_created_automatically_at_stack_startup(world: World) -> None:
    """The `csv-uploads` bucket is created automatically at stack startup."""
    buckets = {bucket["Name"] for bucket in world.real.s3("list_buckets")["Buckets"]}

    assert buckets == {"csv-uploads", "lakehouse", "lakehouse-warehouse"}
    assert world.lakedrop("notify", "show").returncode == 0


def test_an_uploaded_csv_is_a_queryable_table_within_10_minutes(world: World) -> None:
    """Uploading `test_table/data.csv` results in a queryable table `iceberg.lakehouse.test_table` within 10 minutes."""
    began = time.monotonic()
    world.upload("test_table/data.csv", CUSTOMERS)

    assert ("test_table",) in world.sql("SHOW TABLES")
    assert world.sql("SELECT id, name, joined FROM test_table ORDER BY id") == [
        (1, "anna", "2024-01-05"),
        (2, "bert", "2024-02-17"),
    ]
    assert time.monotonic() - began < 600


def test_the_inferred_schema_matches_the_data_types(world: World) -> None:
    """The inferred schema matches the CSV data types (integers are `INTEGER`, dates are `DATE`, etc.)."""
    world.upload(
        "typed/a.csv",
        "text,whole,large,real,flag,day,moment\n"
        "abc,42,9999999999,3.14,true,2024-01-15,2024-01-15T10:30:00Z\n"
        "def,-7,-2147483649,-0.5,false,2024-01-16,2024-01-15T10:30:00+02:00\n",
    )

    wanted = {"text": "varchar", "whole": "integer", "large": "bigint", "real": "double", "flag": "boolean",
              "day": "date", "moment": "timestamp(6)"}  # fmt: skip
    assert wanted.items() <= world.types("typed").items()
    assert world.sql("SELECT moment FROM typed ORDER BY whole DESC") == [
        ("2024-01-15 10:30:00.000000",),
        ("2024-01-15 08:30:00.000000",),
    ]


def test_the_same_file_with_identical_content_is_skipped(world: World) -> None:
    """Re-uploading the same file with identical content is skipped (verified via `_ingest_registry`)."""
    world.upload("same/a.csv", CUSTOMERS)
    world.registry("same/a.csv")
    before = world.sql("SELECT * FROM same")

    world.real.put("same/a.csv", CUSTOMERS)
    world.upload("other/a.csv", CUSTOMERS)  # whose event comes after
    report = world.real.home.json("sweep", "--json")

    assert report["agrees"]
    assert len(world.registry("same/a.csv")) == 1
    assert world.sql("SELECT * FROM same") == before


def test_a_file_with_changed_content_is_ingested_again_and_replaces_the_old_data(world: World) -> None:
    """Re-uploading a file with changed content triggers re-ingestion and replaces the old data."""
    world.upload("changed/a.csv", CUSTOMERS)
    world.upload("changed/b.csv", "id,name,joined\n3,cora,2024-03-01\n")
    world.upload("changed/a.csv", "id,name,joined\n7,gina,2024-05-05\n")

    assert world.sql("SELECT id, name FROM changed ORDER BY id") == [(3, "cora"), (7, "gina")]
    first, second = world.registry("changed/a.csv", 2)
    assert (first["row_count"], second["row_count"]) == (2, 1)
    assert first["etag"] != second["etag"]


def test_files_of_one_directory_contribute_rows_to_the_same_table(world: World) -> None:
    """Multiple CSV files in the same directory contribute rows to the same table, each tracked by `_source_file`."""
    world.upload("customers/q1.csv", CUSTOMERS)
    world.upload("customers/q2.csv", "id,name,joined\n3,cora,2024-03-01\n")

    counts = "SELECT _source_file, count(*) FROM customers GROUP BY 1 ORDER BY 1"
    assert world.sql(counts) == [("customers/q1.csv", 2), ("customers/q2.csv", 1)]


def test_new_columns_are_added_without_data_loss(world: World) -> None:
    """A CSV with columns not present in an existing table triggers `ALTER TABLE ADD COLUMN` without data loss."""
    world.upload("grown/a.csv", "id,name\n1,anna\n")
    world.upload("grown/b.csv", "id,name,score\n2,bert,1.5\n")

    assert world.types("grown")["score"] == "double"
    assert world.sql("SELECT id, name, score FROM grown ORDER BY id") == [(1, "anna", None), (2, "bert", 1.5)]


@pytest.mark.parametrize(("name", "delimiter"), [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
def test_the_delimiter_is_detected(world: World, name: str, delimiter: str) -> None:
    """The delimiter is auto-detected for comma, semicolon, tab, and pipe delimited files."""
    text = 'id,name,note\n1,anna,"one, two"\n2,bert,"said ""so"""\n3,cora,plain\n'
    world.upload(f"by_{name}/a.csv", text.replace(",", delimiter))

    assert world.sql(f"SELECT id, name, note FROM by_{name} ORDER BY id") == [
        (1, "anna", f"one{delimiter} two"),
        (2, "bert", 'said "so"'),
        (3, "cora", "plain"),
    ]


def test_audit_columns_are_present_in_every_ingested_row(world: World) -> None:
    """Audit columns `_source_file` and `_ingested_at` are present in every ingested row."""
    world.upload("audited/a.csv", CUSTOMERS)
    world.upload("audited/deep/b.csv", CUSTOMERS)

    assert world.types("audited").items() >= {"_source_file": "varchar", "_ingested_at": "timestamp(6)"}.items()
    assert world.sql(
        "SELECT _source_file, count(*), count(_ingested_at),"
        " bool_and(abs(date_diff('second', _ingested_at, localtimestamp AT TIME ZONE 'UTC')) < 600)"
        " FROM audited GROUP BY 1 ORDER BY 1"
    ) == [("audited/a.csv", 2, 2, True), ("audited/deep/b.csv", 2, 2, True)]


def test_new_tables_are_registered_as_superset_datasets(world: World) -> None:
    """New Iceberg tables are automatically registered as Superset datasets."""
    world.upload("charted/a.csv", CUSTOMERS)
    dataset = world.dataset("charted")

    assert (dataset["schema"], dataset["database"]["database_name"]) == ("lakehouse", DATABASE)
    assert {column["column_name"] for column in dataset["columns"]} >= {"id", "name", "joined", "_source_file"}

    def told() -> bool:
        (task,) = world.why("charted/a.csv")["tasks"]
        return bool(task["state"] == "done" and task["detail"]["dataset"] == dataset["id"])

    wait_for(told)


def test_the_registry_has_a_record_for_every_processed_file(world: World) -> None:
    """The `_ingest_registry` has a record for every processed file with correct status, row count, and ETag."""
    world.upload("recorded/good.csv", CUSTOMERS)
    world.upload("recorded/ragged.csv", CUSTOMERS + "3\n")
    world.upload("recorded/bad.csv", "", outcome="failed")

    found = {}
    for name in ("good", "ragged", "bad"):
        (record,) = world.registry(f"recorded/{name}.csv")
        stored = world.real.s3("head_object", Bucket=BUCKET, Key=f"recorded/{name}.csv")
        assert record["etag"] == stored["ETag"].strip('"')
        assert (record["table_name"], bool(record["dag_run_id"])) == ("recorded", True)
        found[name] = record["status"], record["row_count"], record["error_class"]
    assert found == {"good": ("success", 2, None), "ragged": ("success", 2, None), "bad": ("failed", None, "EmptyFile")}


def test_the_existing_pipeline_continues_to_function_independently(world: World) -> None:
    """The existing `csv_to_iceberg_pipeline` DAG continues to function independently: it inserts into `sales`."""
    world.upload("before/a.csv", CUSTOMERS)  # whose namespace is that of `sales`
    world.sql("CREATE TABLE sales (id integer, amount double)")
    world.sql("INSERT INTO sales VALUES (1, 1.5)")
    before = world.sql('SELECT snapshot_id FROM "sales$snapshots"')

    world.real.s3("put_object", Bucket="lakehouse", Key="raw/sales_sample.csv", Body=b"id,amount\n1,1.5\n")
    world.upload("sales/mine.csv", "id,amount\n3,3.5\n", outcome="failed")
    (record,) = world.registry("sales/mine.csv")

    assert (record["status"], "was not made by lakedrop" in record["error_message"]) == ("failed", True)
    assert world.sql('SELECT snapshot_id FROM "sales$snapshots"') == before
    world.sql("INSERT INTO sales VALUES (2, 2.5)")
    assert world.sql("SELECT id, amount FROM sales ORDER BY id") == [(1, 1.5), (2, 2.5)]
    assert world.real.home.json("sweep", "--json")["agrees"], "the other bucket is none of ours"


def test_files_larger_than_100_mb_are_warned_about_and_processed(world: World) -> None:
    """Files larger than 100 MB produce a warning log but are still processed."""
    line = f"1234567,{'x' * 40_000}\n"
    done = world.upload("large/a.csv", "id,text\n" + line * 2_510)
    warned = [entry for entry in world.service.lines() if entry["event"] == "csv.large_file"]
    (warning,) = (entry for entry in warned if entry["key"] == "large/a.csv")

    assert (warning["level"], done["rows"]) == ("warning", 2_510)
    assert 100_000_000 < warning["bytes"] < 100 << 20
    assert world.sql("SELECT count(*), min(length(text)) FROM large") == [(2_510, 40_000)]


def test_an_empty_bucket_is_handled_without_errors(another: Callable[..., Real]) -> None:
    """The DAG handles an empty `csv-uploads` bucket without errors."""
    empty = another("nothing-in-it")
    empty.s3("create_bucket", Bucket="nothing-in-it")
    done = empty.home.lakedrop("run", "--once")

    assert (done.returncode, done.stdout) == (0, "Nothing had to be done.\n")
    assert {json.loads(line)["level"] for line in done.stderr.splitlines()} <= {"info"}
    report = empty.home.json("sweep", "--json")
    assert (report["listed"], report["errors"], report["agrees"]) == (0, [], True)


def test_table_names_are_sanitised(world: World) -> None:
    """Table names are sanitised (`My Data!` directory becomes `my_data` table)."""
    world.upload("My Data!/a.csv", CUSTOMERS)

    assert world.sql("SELECT count(*) FROM my_data") == [(2,)]
    assert world.registry("My Data!/a.csv")[0]["table_name"] == "my_data"
