"""`_ingest_registry`: one row per processed version of an object, beside the tables it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import IcebergType, IntegerType, LongType, NestedField, StringType, TimestampType

from handlers.contract import Outcome
from handlers.csv_to_iceberg.csv.names import table_name
from handlers.csv_to_iceberg.lake.entries import FileEntry
from handlers.csv_to_iceberg.lake.expiry import Expiry
from handlers.csv_to_iceberg.lake.lake import REGISTRY, Lake
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.own_table import OwnTable
from handlers.csv_to_iceberg.lake.parquet import plain_data_file, write_table
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.table import unpartitioned

OURS: Final = "lakedrop.registry"
"""Table property that says who made the registry."""

# First eight: the CSV specification, "Ingest Registry". `dag_run_id` is the claim's token.
SCHEMA: Final = Schema(
    NestedField(1, "file_key", StringType(), required=True),
    NestedField(2, "etag", StringType(), required=True),
    NestedField(3, "table_name", StringType(), required=True),
    NestedField(4, "row_count", IntegerType(), required=False),
    NestedField(5, "status", StringType(), required=True),
    NestedField(6, "error_message", StringType(), required=False),
    NestedField(7, "ingested_at", TimestampType(), required=True),
    NestedField(8, "dag_run_id", StringType(), required=True),
    NestedField(9, "rejected_count", LongType(), required=False),
    NestedField(10, "rescued_count", LongType(), required=False),
    NestedField(11, "bucket", StringType(), required=True),
    NestedField(12, "error_class", StringType(), required=False),
)
MAX_ROW_COUNT: Final = 2**31 - 1
"""`row_count` is an INTEGER there; the receipt has the exact number."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row."""

    file_key: str
    etag: str
    table_name: str
    row_count: int | None
    status: str
    error_message: str | None
    ingested_at: int
    """Epoch milliseconds."""
    dag_run_id: str
    rejected_count: int | None
    rescued_count: int | None
    bucket: str
    error_class: str | None

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells records apart; a unit may be processed twice under one claim."""
        return self.dag_run_id, self.etag, self.ingested_at * 1000


def record_of(outcome: Outcome, namespace: str, prefix: str) -> tuple[str, Record]:
    """
    Return the namespace and the row of an outcome.

    Args:
        outcome: What became of a version.
        namespace: Of its route, for outcomes that reached no table.
        prefix: Of its route.
    """
    success = outcome.status == "success"
    target = outcome.receipt.target if outcome.receipt is not None else ""
    table = target or f"{namespace}.{table_name(outcome.unit.removeprefix(prefix)) or ''}"
    counts = outcome.receipt.counts if success and outcome.receipt is not None else {}
    rows = counts.get("rows")
    return table.rpartition(".")[0], Record(
        file_key=outcome.unit,
        etag=outcome.fingerprint,
        table_name=table.rpartition(".")[2],
        row_count=None if rows is None else min(rows, MAX_ROW_COUNT),
        status=outcome.status,
        error_message=outcome.error,
        ingested_at=outcome.at,
        dag_run_id=outcome.token,
        rejected_count=counts.get("rejected"),
        rescued_count=counts.get("rescued"),
        bucket=outcome.bucket,
        error_class=outcome.error_class,
    )


class Registry:
    """The registry of one namespace. Methods block and belong on the `commit` lane."""

    def __init__(self, lake: Lake, namespace: str, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self.namespace = namespace
        self._own = OwnTable(lake, f"{namespace}.{REGISTRY}", SCHEMA, OURS)
        self._lake = lake
        self._clock = clock
        self._new_id = new_id
        self._expiry = Expiry(lake.settings, clock)

    def append(self, records: Sequence[Record]) -> int:
        """
        Append those records that are not there yet, in one commit. Returns how many were appended.

        The scan for those already there and the commit are against the same metadata, so that two processes that
        record the same group cannot both append it.

        Raises:
            CommitConflict: Somebody else committed; call again.
            Exception: The outcome is unknown; call again.
        """
        table = self._own.load_or_create()
        live = LiveFiles.of(table, self._lake.manifests, "ingested_at")
        present = self._present(table, live, records)
        records = [record for record in records if record.identity not in present]
        if not records:
            return 0
        path = table.location_provider().new_data_location(f"{self._new_id()}.parquet")
        written = write_table(table.io, path, self._own.rows(table, _columns(records)))
        entry = plain_data_file(written, table.schema(), table.properties, unpartitioned(table))
        commit_snapshot(table, live, Change([entry]), new_id=self._new_id, now=self._clock(), summary={})
        self._expiry.committed(table)
        return len(records)

    def load(self) -> Table | None:
        """Load the registry for reading; None when there is none."""
        return self._own.load()

    @staticmethod
    def _present(table: Table, live: LiveFiles, records: Sequence[Record]) -> set[tuple[str, str, int]]:
        times = [record.ingested_at * 1000 for record in records]
        found: set[tuple[str, str, int]] = set()
        earliest, latest = (pa.scalar(time, pa.timestamp("us")) for time in (min(times), max(times)))
        wanted = (pc.field("ingested_at") >= earliest) & (pc.field("ingested_at") <= latest)
        for entry in live.data():
            if _may_hold(entry, min(times), max(times)):
                with table.io.new_input(entry.path).open() as stream:
                    rows = pq.read_table(stream, columns=["dag_run_id", "etag", "ingested_at"], filters=wanted)
                found.update(
                    zip(
                        rows["dag_run_id"].to_pylist(),
                        rows["etag"].to_pylist(),
                        rows["ingested_at"].cast(pa.int64()).to_pylist(),
                        strict=True,
                    )
                )
        return found


def _may_hold(file: FileEntry, earliest: int, latest: int) -> bool:
    """Tell from a file's bounds whether it may hold a time (microseconds) of the range."""
    return (file.lower is None or int.from_bytes(file.lower, "little", signed=True) <= latest) and (
        file.upper is None or int.from_bytes(file.upper, "little", signed=True) >= earliest
    )


def _columns(records: Sequence[Record]) -> dict[str, pa.Array]:
    kinds: dict[IcebergType, pa.DataType] = {
        StringType(): pa.string(),
        IntegerType(): pa.int32(),
        LongType(): pa.int64(),
    }
    columns = {}
    for field in SCHEMA.fields:
        values = [getattr(record, field.name) for record in records]
        if isinstance(field.field_type, TimestampType):
            columns[field.name] = pa.array(np.array(values, np.int64) * 1000).cast(pa.timestamp("us"))
        else:
            columns[field.name] = pa.array(values, kinds[field.field_type])
    return columns
