"""The registry: every processed version once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitStateUnknownException

from handlers.contract import Outcome, Receipt
from handlers.csv_to_iceberg.handler import CsvToIceberg, create
from handlers.csv_to_iceberg.lake.lake import LakeSettings, Placement
from handlers.csv_to_iceberg.lake.query import query
from handlers.csv_to_iceberg.lake.refusals import ForeignTable
from tests.unit.lake.bench import Context

REGISTRY = "lakehouse._ingest_registry"


@pytest.fixture
async def handler(tmp_path: Path) -> AsyncIterator[CsvToIceberg]:
    context = Context(str(tmp_path))
    routes = {"sales": Placement(prefix="in/", namespace="sales")}
    made = create(LakeSettings(home=tmp_path, routes=routes), context)
    yield made
    await made.aclose()
    context.close()


def outcome(unit: str = "t/a.csv", claim: str = "token-1", **changes: Any) -> Outcome:
    receipt = Receipt("e1", "1", "lakehouse.t", {"rows": 3, "rejected": 2, "rescued": 1})
    made = Outcome("b", unit, claim, "e1", "success", 1_790_000_000_123, receipt, None, None, "csv")
    return replace(made, **changes)


def rows(handler: CsvToIceberg, name: str = REGISTRY) -> list[dict[str, Any]]:
    table = handler._lake.load(name)
    assert table is not None
    found: list[dict[str, Any]] = table.scan().to_arrow().sort_by("file_key").to_pylist()
    return found


async def test_a_success_is_recorded_with_its_counts(handler: CsvToIceberg) -> None:
    await handler.record([outcome()])

    (row,) = rows(handler)
    assert row.pop("ingested_at").isoformat() == "2026-09-21T14:13:20.123000"
    assert row == {
        "file_key": "t/a.csv",
        "etag": "e1",
        "table_name": "t",
        "row_count": 3,
        "status": "success",
        "error_message": None,
        "dag_run_id": "token-1",
        "rejected_count": 2,
        "rescued_count": 1,
        "bucket": "b",
        "error_class": None,
    }


async def test_columns_are_those_of_the_specification(handler: CsvToIceberg) -> None:
    await handler.record([outcome()])
    table = handler._lake.load(REGISTRY)
    assert table is not None

    types = {field.name: f"{field.field_type}{' not null' * field.required}" for field in table.schema().fields}
    assert types == {
        "file_key": "string not null",
        "etag": "string not null",
        "table_name": "string not null",
        "row_count": "int",
        "status": "string not null",
        "error_message": "string",
        "ingested_at": "timestamp not null",
        "dag_run_id": "string not null",
        "rejected_count": "long",
        "rescued_count": "long",
        "bucket": "string not null",
        "error_class": "string",
    }


async def test_a_failure_is_recorded_under_the_table_it_was_meant_for(handler: CsvToIceberg) -> None:
    failed = outcome(
        "in/Some Folder/a.csv",
        status="failed",
        receipt=None,
        error_class="EmptyFile",
        error="no header",
        route="sales",
    )
    await handler.record([failed])

    (row,) = rows(handler, "sales._ingest_registry")
    assert (row["table_name"], row["status"]) == ("some_folder", "failed")
    assert (row["error_class"], row["error_message"]) == ("EmptyFile", "no header")
    assert row["row_count"] is None


async def test_recording_again_adds_only_what_is_missing(handler: CsvToIceberg) -> None:
    await handler.record([outcome("t/a.csv"), outcome("t/b.csv", claim="token-2")])
    await handler.record(
        [outcome("t/b.csv", claim="token-2"), outcome("t/c.csv", claim="token-3")],
    )

    assert [row["file_key"] for row in rows(handler)] == ["t/a.csv", "t/b.csv", "t/c.csv"]


async def test_one_claim_may_process_a_unit_twice(handler: CsvToIceberg) -> None:
    await handler.record([outcome(), outcome(at=1_790_000_000_124), outcome(fingerprint="e2")])

    assert len(rows(handler)) == 3


@pytest.mark.parametrize("landed", [True, False])
async def test_an_unknown_outcome_does_not_double_records(
    handler: CsvToIceberg, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    await handler.record([outcome("t/first.csv")])
    catalog = handler._lake.catalog
    real = catalog.commit_table
    answers = [landed]

    def commit(*args: Any) -> Any:
        if not answers:
            return real(*args)
        if answers.pop():
            real(*args)
        raise CommitStateUnknownException("reset")

    monkeypatch.setattr(catalog, "commit_table", commit)
    await handler.record([outcome("t/a.csv", claim="token-9")])

    assert [row["file_key"] for row in rows(handler)] == ["t/a.csv", "t/first.csv"]


async def test_a_registry_of_somebody_else_is_left_alone(handler: CsvToIceberg) -> None:
    handler._lake.catalog.create_namespace("lakehouse")
    handler._lake.catalog.create_table(REGISTRY, pa.schema([("file_key", pa.string())]))
    with pytest.raises(ForeignTable):
        await handler.record([outcome()])

    assert rows(handler) == []


async def test_outcomes_of_other_namespaces_are_recorded_when_one_registry_refuses(handler: CsvToIceberg) -> None:
    handler._lake.catalog.create_namespace("lakehouse")
    handler._lake.catalog.create_table(REGISTRY, pa.schema([("file_key", pa.string())]))
    sales = Receipt("e1", "1", "sales.t", {"rows": 1})
    with pytest.raises(ForeignTable):
        await handler.record([outcome(), outcome("in/t/a.csv", receipt=sales, route="sales")])

    assert [row["file_key"] for row in rows(handler, "sales._ingest_registry")] == ["in/t/a.csv"]
    assert rows(handler) == []


async def test_history_is_kept_and_the_specified_lookup_finds_the_version(handler: CsvToIceberg) -> None:
    versions = [("e1", "success"), ("e2", "failed"), ("e3", "success")]
    for number, (etag, status) in enumerate(versions):
        error: dict[str, Any] = (
            {"error_class": "EmptyFile", "error": "empty", "receipt": None} if status == "failed" else {}
        )
        await handler.record([outcome(claim=f"token-{number}", fingerprint=etag, status=status, **error)])

    found = query(handler._lake, f"select etag, status, row_count, error_message from {REGISTRY} order by etag")
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("e1", "success", 3, None),
        ("e2", "failed", None, "empty"),
        ("e3", "success", 3, None),
    ]
    for etag, status in versions:
        looked_up = query(
            handler._lake,
            f"select 1 from {REGISTRY} where file_key = 't/a.csv' and etag = '{etag}' and status = 'success' limit 1",
        )
        assert looked_up.num_rows == (status == "success")


async def test_table_asks_for_metrics_of_its_own_columns_alone(handler: CsvToIceberg) -> None:
    """Iceberg in Java refuses a table that names others."""
    await handler.record([outcome()])

    table = handler._lake.load(REGISTRY)
    assert table is not None
    assert [name for name in table.properties if name.startswith("write.metadata.metrics.column.")] == []
