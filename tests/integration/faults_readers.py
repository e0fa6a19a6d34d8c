"""The tables and the registry of a bucket as other programs read them, past everything that can be broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError

from tests.integration.faults_load import TABLES, Rows
from tests.stack.trino import Trino, TrinoError

COLUMNS = ("_source_file", "_source_etag", "id", "version")

REGISTRY = "_ingest_registry"


class Record(NamedTuple):
    """What the registry says of one version."""

    key: str
    etag: str
    status: str
    rows: int | None
    error_class: str | None
    claim: str
    at: int
    """Epoch milliseconds."""


RECORD = ("file_key", "etag", "status", "row_count", "error_class", "dag_run_id", "ingested_at")


@dataclass
class Reading:
    """What one program read."""

    rows: Rows = field(default_factory=Counter)
    records: Counter[Record] = field(default_factory=Counter)


def by_pyiceberg(properties: Mapping[str, str], bucket: str) -> Reading:
    """Read all with PyIceberg."""
    catalog = load_catalog("lakedrop", **properties)

    def rows(name: str, *columns: str) -> list[tuple[Any, ...]]:
        try:
            scan = catalog.load_table(f"{bucket}.{name}").scan(selected_fields=columns)
        except NoSuchTableError:
            return []
        values = [_numbers(column).to_pylist() for column in scan.to_arrow().select(columns).itercolumns()]
        return list(zip(*values, strict=True))

    try:
        return _read(rows)
    finally:
        catalog.close()


def by_trino(trino: Trino, catalog: str, bucket: str) -> Reading:
    """Read all with Trino, which knows the tables in one of its catalogs."""

    def rows(name: str, *columns: str) -> list[tuple[Any, ...]]:
        # It has no cast from timestamps to numbers; seconds are doubles.
        time = "CAST(round(to_unixtime(ingested_at) * 1000) AS bigint)"
        selected = ", ".join(time if column == "ingested_at" else column for column in columns)
        try:
            return trino.run(f"SELECT {selected} FROM {name}", catalog, bucket)
        except TrinoError as error:
            if "does not exist" in str(error):
                return []
            raise

    return _read(rows)


def _read(rows: Callable[..., list[tuple[Any, ...]]]) -> Reading:
    reading = Reading()
    for name in TABLES:
        reading.rows.update(rows(name, *COLUMNS))
    reading.records.update(Record(*row) for row in rows(REGISTRY, *RECORD))
    return reading


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return epoch milliseconds where a column has microseconds."""
    return column.cast(pa.timestamp("ms")).cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
