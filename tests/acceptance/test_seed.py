"""
The CSV specification ("Spec: CSV Auto-Ingest Pipeline"), line by line: every test quotes the line that it is named after.

Files are real, `lakedrop` is the real program. The specification speaks of Airflow, Trino and Superset; where lakedrop
has its own means, the line is tested in its sense: a DAG run is `lakedrop run --once`, the polling is the sweep. The lists
"Acceptance Criteria" and "Failure Scenarios" are also tested on all servers at once, in tests/acceptance/servers. Lines
that need a service outside this process are tested only there:

| Line | Here |
|---|---|
| FR-1, "created automatically at stack startup" by `s3-init` in docker-compose.yml | by the start of the service |
| FR-11, "new Iceberg tables are automatically registered as Superset datasets" | nothing |
| "Superset is unreachable": registration fails gracefully | nothing |
| "Trino is unreachable": retries, others unaffected | a table that cannot be written to |
| "queryable via Trino", `DESCRIBE` and `INSERT` through Trino | PyIceberg and `lakedrop query` |
| NFR-1, a scan of 1,000 objects in under 10 seconds | nothing |

FR-9, "via the CeleryExecutor worker pool", is tested in its sense: there is no Celery; units do not wait for each other.
"""  # noqa: E501  # a table

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from consumer.settings import load_settings
from tests.acceptance.conftest import BUCKET, Home, Service
from tests.waits import PATIENCE, wait_for

Serve = Callable[..., Service]

QUICK = "max_commit_latency = 0.1\nwaker_seconds = 0.2\nretry_delays = []\n"

ROUTE = '[[routes]]\nname = "csv"\nbucket = "csv-uploads"\n'

CUSTOMERS = "id,name,joined\n1,anna,2024-01-05\n2,bert,2024-02-17\n"

COLUMNS = "select * exclude (_source_file, _source_etag, _ingested_at, _rescued) from lakehouse."


@pytest.fixture
def quick(home: Home) -> Home:
    home.configure(QUICK)
    return home


def catalog_of(home: Home) -> SqlCatalog:
    return SqlCatalog("lakedrop", uri=f"sqlite:///{home.path}/catalog.db", warehouse=f"file://{home.path}/warehouse")


def table_of(home: Home, name: str) -> Table:
    catalog = catalog_of(home)
    try:
        return catalog.load_table(f"lakehouse.{name}")
    finally:
        catalog.close()


def types_of(home: Home, name: str) -> dict[str, str]:
    """Return the types of a table's columns, as Iceberg names them."""
    return {field.name: str(field.field_type) for field in table_of(home, name).schema().fields}


def work(home: Home, code: int = 0) -> str:
    """Do what a cycle of the DAG does; return the log."""
    done = home.lakedrop("run", "--once")
    assert done.returncode == code, done.stderr
    return done.stderr


def registry(home: Home, key: str) -> list[dict[str, Any]]:
    return home.query(f"select * from lakehouse._ingest_registry where file_key = '{key}' order by ingested_at")


def rows(home: Home, name: str) -> list[dict[str, Any]]:
    return home.query(f"from lakehouse.{name}")


# Functional requirements


def test_fr_1_bucket_csv_uploads_is_created_at_startup(quick: Home, serve: Serve) -> None:
    """A new S3 bucket `csv-uploads` must be created at stack startup."""
    service = serve()
    service.until("run.started")

    assert (quick.path / "buckets" / "csv-uploads").is_dir()
    assert service.end() == 0


def test_fr_2_bucket_is_polled_every_five_minutes_for_new_or_modified_files(quick: Home) -> None:
    """The DAG must poll the `csv-uploads` bucket every 5 minutes for new or modified CSV files."""
    assert load_settings(quick.path).sweep_seconds == 300

    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)
    quick.drop("t/a.csv", CUSTOMERS + "3,cora,2024-03-01\n")
    quick.drop("t/b.csv", CUSTOMERS)
    report = quick.json("sweep", "--json")

    assert (report["changed"], report["new"], report["worked"]["done"]) == (1, 1, 2)
    assert len(rows(quick, "t")) == 5


def test_fr_3_first_level_directory_is_the_table(quick: Home) -> None:
    """The first-level directory in the bucket path determines the target Iceberg table name."""
    quick.drop("customers/file.csv", CUSTOMERS)
    quick.drop("products/deep/below/file.csv", "sku,price\na,1.5\n")
    work(quick)

    assert len(rows(quick, "customers")) == 2
    assert len(rows(quick, "products")) == 1


@pytest.mark.parametrize(("name", "delimiter"), [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
def test_fr_4_delimiter_is_detected(quick: Home, name: str, delimiter: str) -> None:
    """The delimiter is auto-detected for comma, semicolon, tab, and pipe delimited files."""
    text = 'id,name,note\n1,anna,"one, two"\n2,bert,"said ""so"""\n3,cora,plain\n'
    quick.drop(f"{name}/a.csv", text.replace(",", delimiter))
    work(quick)

    assert quick.query(f"select id, name, note from lakehouse.{name} order by id") == [
        {"id": 1, "name": "anna", "note": f"one{delimiter} two"},
        {"id": 2, "name": "bert", "note": 'said "so"'},
        {"id": 3, "name": "cora", "note": "plain"},
    ]


def test_fr_5_all_supported_types_are_inferred_with_varchar_as_fallback(quick: Home) -> None:
    """Supported types: VARCHAR, INTEGER, BIGINT, DOUBLE, BOOLEAN, DATE, TIMESTAMP. Default fallback is VARCHAR."""
    quick.drop(
        "t/a.csv",
        "text,whole,large,real,flag,day,moment,mixed\n"
        "abc,42,9999999999,3.14,true,2024-01-15,2024-01-15T10:30:00Z,1\n"
        "def,-7,-2147483649,-0.5,false,2024-01-16,2024-01-15T10:30:00+02:00,two\n"
        "ghi,0,1,1.2e10,true,2024-01-17,2024-01-15 10:30:00,2024-01-15\n",
    )
    work(quick)

    types = types_of(quick, "t")
    wanted = {"text": "string", "whole": "int", "large": "long", "real": "double", "flag": "boolean", "day": "date",
              "moment": "timestamp", "mixed": "string"}  # fmt: skip
    assert wanted.items() <= types.items()
    assert [row["moment"] for row in rows(quick, "t")] == [
        "2024-01-15T10:30:00",
        "2024-01-15T08:30:00",
        "2024-01-15T10:30:00",
    ]


def test_fr_6_namespace_and_table_are_created(quick: Home) -> None:
    """The DAG must create the Iceberg namespace and table if they do not exist, using the inferred schema."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)

    catalog = catalog_of(quick)
    assert ("lakehouse",) in catalog.list_namespaces()
    assert ("lakehouse", "t") in catalog.list_tables("lakehouse")
    catalog.close()


def test_fr_7_new_columns_are_added_without_data_loss(quick: Home) -> None:
    """A CSV with columns not present in an existing table triggers ALTER TABLE ADD COLUMN without data loss."""
    quick.drop("t/a.csv", "id,name\n1,anna\n")
    work(quick)
    before = {field.name: field.field_id for field in table_of(quick, "t").schema().fields}
    quick.drop("t/b.csv", "id,name,score\n2,bert,1.5\n")
    work(quick)

    assert quick.query(COLUMNS + "t order by id") == [
        {"id": 1, "name": "anna", "score": None},
        {"id": 2, "name": "bert", "score": 1.5},
    ]
    after = {field.name: field.field_id for field in table_of(quick, "t").schema().fields}
    assert before.items() <= after.items()


def test_fr_8_rows_of_the_source_file_are_replaced_and_no_others(quick: Home) -> None:
    """Replace strategy: delete all rows associated with the source file, then insert the new data."""
    quick.drop("t/a.csv", CUSTOMERS)
    quick.drop("t/b.csv", "id,name,joined\n3,cora,2024-03-01\n")
    work(quick)
    (other,) = quick.query("from lakehouse.t where _source_file = 't/b.csv'")
    quick.drop("t/a.csv", "id,name,joined\n1,Anna,2024-01-05\n")
    work(quick)

    assert quick.query("select id, name from lakehouse.t where _source_file = 't/a.csv'") == [{"id": 1, "name": "Anna"}]
    assert quick.query("from lakehouse.t where _source_file = 't/b.csv'") == [other]


def test_fr_9_every_file_is_processed_by_itself(quick: Home) -> None:
    """Each file discovered during a polling cycle must be processed as a separate task, executing in parallel."""
    for number in range(20):
        quick.drop(f"t{number % 4}/{number}.csv", CUSTOMERS if number % 5 else "")
    done = quick.lakedrop("run", "--once")
    assert done.returncode == 1

    states = dict(quick.in_ledger("select status, count(*) from units group by status"))
    assert states == {"done": 16, "failed": 4}
    assert quick.in_ledger("select count(distinct token) from history where event = 'done'") == [(16,)]
    settled = [json.loads(line) for line in done.stderr.splitlines() if '"delivery.settled"' in line]
    ended = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in settled]
    began = [end - line["seconds"] for end, line in zip(ended, settled, strict=True)]
    assert len(settled) == 20
    assert sum(line["seconds"] for line in settled) > 2 * (max(ended) - min(began))
    last = max(end for end, line in zip(ended, settled, strict=True) if line["outcome"] == "done")
    assert all(end <= last for end, line in zip(ended, settled, strict=True) if line["outcome"] == "failed")


def test_fr_10_etags_are_tracked_in_the_registry_table(quick: Home) -> None:
    """The ETag registry must be stored as an Iceberg table (`iceberg.lakehouse._ingest_registry`)."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)

    specified = {"file_key": "string", "etag": "string", "table_name": "string", "row_count": "int",
                 "status": "string", "error_message": "string", "ingested_at": "timestamp",
                 "dag_run_id": "string"}  # fmt: skip
    schema = table_of(quick, "_ingest_registry").schema()
    assert [(field.name, str(field.field_type)) for field in schema.fields][:8] == list(specified.items())
    not_null = {field.name for field in schema.fields if field.required}
    assert not_null >= {"file_key", "etag", "table_name", "status", "ingested_at", "dag_run_id"}
    ((etag,),) = quick.in_ledger("select applied_etag from units")
    lookup = "select 1 as known from lakehouse._ingest_registry where file_key = 't/a.csv'"
    assert quick.query(f"{lookup} and etag = '{etag}' and status = 'success' limit 1") == [{"known": 1}]
    assert quick.query(f"{lookup} and etag = 'another' and status = 'success' limit 1") == []


def test_fr_12_every_row_has_the_audit_columns(quick: Home) -> None:
    """Every ingested row must include `_source_file VARCHAR` and `_ingested_at TIMESTAMP` (UTC)."""
    began = datetime.now(UTC).replace(tzinfo=None)
    quick.drop("t/a.csv", CUSTOMERS)
    quick.drop("t/sub/b.csv", CUSTOMERS)
    work(quick)

    assert types_of(quick, "t").items() >= {"_source_file": "string", "_ingested_at": "timestamp"}.items()
    found = rows(quick, "t")
    assert sorted(row["_source_file"] for row in found) == ["t/a.csv"] * 2 + ["t/sub/b.csv"] * 2
    ended = datetime.now(UTC).replace(tzinfo=None)
    assert all(began.replace(microsecond=0) <= datetime.fromisoformat(row["_ingested_at"]) <= ended for row in found)


def test_fr_13_file_larger_than_100_mb_is_warned_about_and_processed(quick: Home, serve: Serve) -> None:
    """Files larger than 100 MB must trigger a warning in the logs but still be processed."""
    folder = quick.bucket / "large"
    folder.mkdir(parents=True)
    line = b"1234567,%s\n" % (b"x" * 4000)
    with (folder / "a.csv").open("wb") as file:
        file.write(b"id,text\n")
        for _ in range(25):
            file.write(line * 1000)
    quick.drop("small/a.csv", CUSTOMERS)
    service = serve()

    warning = service.until("csv.large_file", key="large/a.csv")
    done = service.until("delivery.settled", unit="large/a.csv", outcome="done")

    assert warning["level"] == "warning"
    assert 100_000_000 < warning["bytes"] < 100 << 20
    assert done["rows"] == 25_000
    assert not [line for line in service.lines() if line["event"] == "csv.large_file" and line["key"] == "small/a.csv"]
    assert service.end() == 0


# Non-functional requirements


def test_nfr_2_running_again_makes_neither_duplicates_nor_errors(quick: Home) -> None:
    """Re-running with the same files and ETags must not produce duplicate records or errors."""
    for number in range(3):
        quick.drop(f"t/{number}.csv", CUSTOMERS)
    work(quick)
    before = rows(quick, "t")

    for _ in range(3):
        assert "Nothing had to be done." in quick.lakedrop("run", "--once").stdout
    forced = quick.lakedrop("replay", "--prefix", "t/", "--force", "--yes")

    assert forced.returncode == 0
    assert len(rows(quick, "t")) == len(before) == 6
    assert len(quick.query("select distinct _source_file, id from lakehouse.t")) == 6


def test_nfr_3_tables_of_other_pipelines_are_left_alone(quick: Home) -> None:
    """The DAG must not interfere with the existing `csv_to_iceberg_pipeline` or its data in `lakehouse.sales`."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)
    catalog = catalog_of(quick)
    sales = catalog.create_table("lakehouse.sales", schema=pa.schema([("amount", pa.int32())]))
    sales.append(pa.table({"amount": pa.array([1, 2], pa.int32())}))
    before = sales.metadata_location
    quick.drop("sales/mine.csv", "amount\n3\n")
    quick.drop("t/b.csv", CUSTOMERS)

    work(quick, code=1)

    assert catalog.load_table("lakehouse.sales").metadata_location == before
    catalog.close()
    (record,) = registry(quick, "sales/mine.csv")
    assert (record["status"], "was not made by lakedrop" in record["error_message"]) == ("failed", True)
    assert len(rows(quick, "t")) == 4


def test_nfr_4_types_come_from_the_first_1000_values(quick: Home) -> None:
    """Type inference must process the first 1000 rows, falling back to VARCHAR for ambiguous columns."""
    lines = [f"{number},{number if number % 2 else 'word'}" for number in range(1000)]
    quick.drop("t/a.csv", "\n".join(["sure,ambiguous", *lines, *["late,text"] * 3000]) + "\n")
    work(quick)

    assert types_of(quick, "t").items() >= {"sure": "int", "ambiguous": "string"}.items()
    assert quick.query("select count(*) as n, count(sure) as sure, count(_rescued) as rescued from lakehouse.t") == [
        {"n": 4000, "sure": 1000, "rescued": 3000}
    ]


@pytest.mark.parametrize(
    ("folder", "table"), [("My Data!", "my_data"), ("CUSTOMERS", "customers"), ("2024", "_2024"), ("a-b.c", "a_b_c")]
)
def test_nfr_5_table_names_are_sanitised(quick: Home, folder: str, table: str) -> None:
    """Lowercased, non-alphanumeric characters replaced with underscores, prefixed with `_` if starting with a digit."""
    quick.drop(f"{folder}/a.csv", CUSTOMERS)
    work(quick)

    assert len(rows(quick, table)) == 2
    (record,) = registry(quick, f"{folder}/a.csv")
    assert record["table_name"] == table


# Type inference, column names, file lifecycle


def test_type_mapping_of_the_specification_holds_literally_on_request(home: Home) -> None:
    """The table "Type Mapping": `yes` and 1/0 are BOOLEAN, `15/01/2024` is a DATE."""
    home.configure(QUICK + ROUTE + 'options = { types = "seed" }\n')
    home.drop(
        "t/a.csv",
        "b,bits,i,big,d,day,ts,v\n"
        "yes,1,42,9999999999,3.14,15/01/2024,2024-01-15T10:30:00Z,anything\n"
        "no,0,-7,-2147483649,-0.5,16/01/2024,2024-01-16T10:30:00Z,else\n"
        "true,1,007,9999999998,1.2e10,17/01/2024,2024-01-17T10:30:00Z,1\n",
    )
    work(home)

    types = types_of(home, "t")
    assert [types[name] for name in ("b", "bits", "i", "big", "d", "day", "ts", "v")] == [
        "boolean", "boolean", "int", "long", "double", "date", "timestamp", "string",
    ]  # fmt: skip
    assert home.query("select i, day from lakehouse.t where v = '1'") == [{"i": 7, "day": "2024-01-17"}]


def test_ninety_percent_of_the_values_decide_on_the_type(quick: Home) -> None:
    """If >= 90% of non-empty values parse as a given type, assign that type; else fall back to VARCHAR."""
    values = [(str(n) if n < 90 else "odd", str(n) if n < 89 else "odd") for n in range(100)]
    quick.drop("t/a.csv", "enough,short\n" + "".join(f"{a},{b}\n" for a, b in values))
    work(quick)

    assert types_of(quick, "t").items() >= {"enough": "int", "short": "string"}.items()


def test_column_names_are_sanitised(quick: Home) -> None:
    """`"Order ID  #"` becomes `order_id`; `col_` goes before a digit."""
    quick.drop("t/a.csv", '"Order ID  #",__Total__,1st,a-b\n1,2,3,4\n')
    work(quick)

    assert list(types_of(quick, "t"))[:4] == ["order_id", "total", "col_1st", "a_b"]


def test_files_remain_in_the_bucket(quick: Home) -> None:
    """Files remain in the `csv-uploads` bucket after processing."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)

    assert (quick.bucket / "t/a.csv").read_text() == CUSTOMERS


def test_rows_of_a_deleted_file_remain(quick: Home) -> None:
    """Delete a file from S3 (rows remain in Iceberg)."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)
    (quick.bucket / "t/a.csv").unlink()
    work(quick)

    assert len(rows(quick, "t")) == 2


# Acceptance criteria that are not a requirement above


def test_uploaded_csv_is_queryable_within_ten_minutes(quick: Home, serve: Serve) -> None:
    """Uploading `test_table/data.csv` results in a queryable table `lakehouse.test_table` within 10 minutes."""
    service = serve()
    service.until("run.started")
    began = time.monotonic()
    quick.drop("test_table/data.csv", CUSTOMERS)
    service.until("delivery.settled", unit="test_table/data.csv", outcome="done")

    assert [row["name"] for row in rows(quick, "test_table")] == ["anna", "bert"]
    assert time.monotonic() - began < 600
    assert service.end() == 0


def test_schema_matches_the_data_types(quick: Home) -> None:
    """The inferred schema matches the CSV data types (integers are INTEGER, dates are DATE, etc.)."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)

    assert types_of(quick, "t").items() >= {"id": "int", "name": "string", "joined": "date"}.items()


def test_same_content_again_is_skipped(quick: Home) -> None:
    """Re-uploading the same file with identical content is skipped (verified via `_ingest_registry`)."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)
    (first,) = rows(quick, "t")[:1]
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)

    assert len(registry(quick, "t/a.csv")) == 1
    assert rows(quick, "t")[0]["_ingested_at"] == first["_ingested_at"]


def test_changed_content_is_ingested_again_and_replaces_the_old(quick: Home) -> None:
    """Re-uploading a file with changed content triggers re-ingestion and replaces the old data."""
    quick.drop("t/a.csv", CUSTOMERS)
    work(quick)
    quick.drop("t/a.csv", "id,name,joined\n7,gina,2024-05-05\n")
    work(quick)

    assert [row["name"] for row in rows(quick, "t")] == ["gina"]
    first, second = registry(quick, "t/a.csv")
    assert (first["row_count"], second["row_count"]) == (2, 1)
    assert first["etag"] != second["etag"]


def test_files_of_one_directory_share_a_table(quick: Home) -> None:
    """Multiple CSV files in the same directory contribute rows to the same table, each tracked by `_source_file`."""
    quick.drop("customers/q1.csv", CUSTOMERS)
    quick.drop("customers/q2.csv", "id,name,joined\n3,cora,2024-03-01\n")
    work(quick)

    assert quick.query("select _source_file as f, count(*) as n from lakehouse.customers group by f order by f") == [
        {"f": "customers/q1.csv", "n": 2},
        {"f": "customers/q2.csv", "n": 1},
    ]


def test_registry_has_a_record_for_every_processed_file(quick: Home) -> None:
    """A record for every processed file with correct status, row count, and ETag."""
    quick.drop("t/good.csv", CUSTOMERS)
    quick.drop("t/ragged.csv", CUSTOMERS + "3\n")
    quick.drop("t/bad.csv", "")
    work(quick, code=1)

    etags = dict(quick.in_ledger("select unit, observed_etag from units"))
    records = {record["file_key"]: record for record in quick.query("from lakehouse._ingest_registry")}
    assert {key: record["etag"] for key, record in records.items()} == etags
    assert {key: (record["status"], record["row_count"]) for key, record in records.items()} == {
        "t/good.csv": ("success", 2),
        "t/ragged.csv": ("success", 2),
        "t/bad.csv": ("failed", None),
    }
    assert "empty" in records["t/bad.csv"]["error_message"]
    assert all(record["dag_run_id"] for record in records.values())


def test_empty_bucket_is_no_error(quick: Home, serve: Serve) -> None:
    """The DAG handles an empty `csv-uploads` bucket without errors."""
    assert "Nothing had to be done." in quick.lakedrop("run", "--once").stdout

    service = serve()
    service.until("sweep.finished", listed=0, errors=[])
    assert not [line for line in service.lines() if line["level"] in ("warning", "error", "critical")]
    assert service.end() == 0


# Failure scenarios


def test_csv_without_header_row_fails_with_a_message_in_the_registry(quick: Home) -> None:
    """CSV with no header row: the file is skipped, `_ingest_registry` records status `failed` with error message."""
    quick.drop("t/a.csv", "1,2.5,2024-01-01\n2,3.5,2024-01-02\n")
    work(quick, code=1)

    (record,) = registry(quick, "t/a.csv")
    assert (record["status"], record["error_class"]) == ("failed", "HeaderMissing")
    assert "no header was found" in record["error_message"]


def test_rows_with_mismatched_column_counts_are_skipped_and_their_lines_logged(quick: Home) -> None:
    """Rows with mismatched column counts are skipped. A warning is logged with line numbers."""
    quick.drop("t/a.csv", "id,name\n1,anna\n2\n3,cora\n4,dora,extra\n")
    log = work(quick)

    assert [row["id"] for row in rows(quick, "t")] == [1, 3]
    (warning,) = [line for line in log.splitlines() if '"csv.rejected"' in line]
    assert '"lines": [3, 5]' in warning
    assert '"level": "warning"' in warning
    assert registry(quick, "t/a.csv")[0]["rejected_count"] == 2


def test_table_that_cannot_be_written_is_tried_again_and_others_are_not_affected(home: Home) -> None:
    """Trino is unreachable: the task retries; other files in the same DAG run are not affected."""
    home.configure(QUICK.replace("retry_delays = []", "retry_delays = [3600]"))
    home.drop("broken/a.csv", CUSTOMERS)
    work(home)
    data = home.path / "warehouse" / "lakehouse" / "broken" / "data"
    data.rename(data.with_name("away"))
    data.write_text("a file where a folder should be")
    home.drop("broken/a.csv", CUSTOMERS + "3,cora,2024-03-01\n")
    home.drop("good/b.csv", CUSTOMERS)

    assert home.lakedrop("run", "--once", "--wait", "0").returncode == 75
    assert home.in_ledger("select unit, status from units order by unit") == [
        ("broken/a.csv", "retrying"),
        ("good/b.csv", "done"),
    ]

    data.unlink()
    data.with_name("away").rename(data)
    assert home.lakedrop("replay", "--status", "retrying", "--yes").returncode == 0
    assert len(rows(home, "broken")) == 3


def test_file_deleted_between_scan_and_download_is_recorded_as_failed(quick: Home, serve: Serve) -> None:
    """File deleted from S3 between scan and download: the file is recorded as `failed` in the registry."""
    folder = quick.bucket / "t"
    folder.mkdir(parents=True)
    with (folder / "a.csv").open("wb") as file:
        file.write(b"id,name\n")
        for _ in range(100):
            file.write(b"1234567,some text that takes its time to be read\n" * 20_000)
    service = serve()
    service.until("run.started")
    wait_for(lambda: quick.in_ledger("select 1 from units where open and lease_token is not null and attempts > 0"))
    (folder / "a.csv").unlink()

    wait_for(lambda: (quick.path / "warehouse/lakehouse/_ingest_registry").exists() and registry(quick, "t/a.csv"))
    (record,) = registry(quick, "t/a.csv")
    assert (record["status"], record["error_class"]) == ("failed", "ObjectGone")
    assert service.end() == 0


def test_conflicting_schemas_keep_the_types_there_are(quick: Home) -> None:
    """New columns are added. Existing columns retain their types; values are cast or NULL on failure."""
    quick.drop("t/1.csv", "id,amount,day\n1,1.5,2024-01-01\n")
    work(quick)
    quick.drop("t/2.csv", "id,amount,day,more\n2,3,not a day,x\nthree,text,2024-01-02,y\n")
    work(quick)

    assert types_of(quick, "t").items() >= {"id": "int", "amount": "double", "day": "date", "more": "string"}.items()
    assert quick.query(COLUMNS + "t where _source_file = 't/2.csv' order by more") == [
        {"id": 2, "amount": 3.0, "day": None, "more": "x"},
        {"id": None, "amount": None, "day": "2024-01-02", "more": "y"},
    ]
    rescued = quick.query("select _rescued from lakehouse.t where _source_file = 't/2.csv' order by more")
    assert [json.loads(row["_rescued"]) for row in rescued] == [
        {"day": "not a day"},
        {"id": "three", "amount": "text"},
    ]


def test_concurrent_runs_do_no_work_twice(quick: Home) -> None:
    """Concurrent DAG runs: a second trigger is queued."""
    for number in range(30):
        quick.drop(f"t/{number}.csv", CUSTOMERS)
    words = [sys.executable, "-m", "consumer", "run", "--once", "--home", str(quick.path)]
    both = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]

    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    assert len(rows(quick, "t")) == 60
    assert quick.query("select count(*) as n from lakehouse._ingest_registry") == [{"n": 30}]


def test_bucket_that_does_not_exist_is_told_and_tried_again(home: Home, serve: Serve) -> None:
    """Bucket does not exist: the scan fails with a clear error. The DAG retries."""
    home.configure(QUICK + "sweep_seconds = 0.5\n")
    service = serve()
    service.until("sweep.finished", errors=[])
    shutil.rmtree(home.bucket)

    def told() -> list[str]:
        return [error for line in service.lines() if line["event"] == "sweep.finished" for error in line["errors"]]

    wait_for(told)
    assert f"no bucket `{BUCKET}`: create the folder {home.bucket}" in told()[0]

    home.drop("t/a.csv", CUSTOMERS)
    service.until("delivery.settled", unit="t/a.csv", outcome="done")
    assert service.end() == 0


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig"])
def test_other_encodings_are_detected(quick: Home, encoding: str) -> None:
    """CSV with non-UTF-8 encoding: attempts to detect encoding."""
    path = quick.bucket / "t" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes("id,name\n1,Müller\n2,Straße\n3,René\n".encode(encoding))
    work(quick)

    assert [row["name"] for row in quick.query("from lakehouse.t order by id")] == ["Müller", "Straße", "René"]


def test_encoding_that_cannot_be_detected_fails(quick: Home) -> None:
    """If detection fails, the file is skipped with status `failed`."""
    undetectable = {
        "t/letters-of-no-language.csv": b"id,name\n1," + bytes(range(0x80, 0x100)) + b"\n",
        "t/word-of-two-languages.csv": "id,name\n1,Gdańsk\n".encode("cp1250"),
    }
    for key, data in undetectable.items():
        path = quick.bucket / key
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
    work(quick, code=1)

    for key in undetectable:
        (record,) = registry(quick, key)
        assert (record["status"], record["error_class"]) == ("failed", "EncodingUnknown")
        assert "Save the file as UTF-8" in record["error_message"]
