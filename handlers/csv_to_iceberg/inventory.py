"""What all our tables hold, and which objects the registries say are not in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
from pyiceberg.table import Table

from handlers.contract import Failure, Receipt
from handlers.csv_to_iceberg.lake.commit_port import Shown
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.reader import literal, readable
from handlers.csv_to_iceberg.lake.registry import OURS, Registry
from handlers.csv_to_iceberg.lake.shape import SOURCE_ETAG, SOURCE_FILE, Shape
from handlers.csv_to_iceberg.receipts import VERSION, receipt_of_shown

PAGE_ROWS: Final = 10_000

RECORDED: Final = {
    "namespace": "VARCHAR",
    "bucket": "VARCHAR",
    "file_key": "VARCHAR",
    "ingested_at": "TIMESTAMP",
    "status": "VARCHAR",
    "etag": "VARCHAR",
    "table_name": "VARCHAR",
    "row_count": "INTEGER",
    "error_class": "VARCHAR",
    "error_message": "VARCHAR",
}
"""What is read of registries, `namespace` being theirs."""

Item = tuple[str, str, Receipt | Failure]
"""Bucket, key, and what the sink holds of it or why not."""

Row = tuple[str, str, int, str, list[str | None], list[int], str | None, str | None]
"""Of `ITEMS`."""

# The newest record of each object; what was deleted while it was being read says nothing about its content.
NEWEST = """
    SELECT bucket, file_key, arg_max(record, ingested_at) AS r
    FROM (SELECT bucket, file_key, ingested_at, recorded AS record FROM recorded)
    WHERE record.error_class IS DISTINCT FROM 'ObjectGone'
    GROUP BY bucket, file_key
"""

# What tables hold, what the registries say of objects without rows, and the failures, each behind the receipt.
ITEMS = f"""
    WITH newest AS ({NEWEST})
    SELECT bucket, file_key, 0 AS place, target, list(etag) AS etags, list(row_count) AS counts,
        NULL AS error_class, NULL AS message
    FROM held GROUP BY bucket, file_key, target
    UNION ALL
    SELECT bucket, file_key, 1, r.namespace || '.' || r.table_name, [r.etag], NULL, NULL, NULL FROM newest
    WHERE r.status = 'success' AND r.row_count = 0 AND r.etag <> ''
        AND NOT EXISTS (FROM held WHERE held.bucket = newest.bucket AND held.file_key = newest.file_key)
    UNION ALL
    SELECT bucket, file_key, 2, NULL, [r.etag], NULL, r.error_class, r.error_message FROM newest
    WHERE r.status = 'failed'
    ORDER BY bucket, file_key, place, target
"""  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table of ours."""

    name: str
    bucket: str


class Inventory:
    """
    Reads the sources of all our tables. For one thread; close it.

    The tables must have been fenced: commits under way at that time have landed or will fail.
    """

    def __init__(self, lake: Lake, tables: Sequence[OwnTable], registries: Sequence[Registry]) -> None:
        self._connection = duckdb.connect()
        try:
            self._read_tables(lake, tables)
            self._show_registries(registries)
            self._items = self._connection.execute(ITEMS)
        except BaseException:
            self._connection.close()
            raise

    def page(self) -> list[Item]:
        """Return the next items in byte order of bucket and key, none at the end; failures come behind receipts."""
        return [_item(row) for row in self._items.fetchmany(PAGE_ROWS)]

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def _read_tables(self, lake: Lake, tables: Sequence[OwnTable]) -> None:
        self._connection.execute(
            "CREATE TEMP TABLE held (bucket VARCHAR, file_key VARCHAR, target VARCHAR, etag VARCHAR, row_count BIGINT)"
        )
        for number, own in enumerate(tables):
            table = lake.load(own.name)
            if table is not None and _has_sources(table):
                rows = readable(self._connection, table, f"table_{number}").sql
                self._connection.execute(
                    f"INSERT INTO held SELECT {literal(own.bucket)}, _source_file, {literal(own.name)}, _source_etag,"  # noqa: S608  # literals
                    f" count(*) FROM ({rows}) WHERE _source_file IS NOT NULL GROUP BY ALL"
                )

    def _show_registries(self, registries: Sequence[Registry]) -> None:
        selects = [f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in RECORDED.items())} WHERE false"]
        for number, registry in enumerate(registries):
            table = registry.load()
            if table is not None and OURS in table.properties:
                names = ", ".join(name for name in RECORDED if name != "namespace")
                rows = readable(self._connection, table, f"records_{number}").sql
                selects.append(f"SELECT {literal(registry.namespace)}, {names} FROM ({rows})")  # noqa: S608  # literals
        self._connection.execute(f"CREATE TEMP VIEW recorded AS {' UNION ALL '.join(selects)}")


def _has_sources(table: Table) -> bool:
    """Tell whether a table has our columns; one that was handed over gets them with our first rows."""
    return {SOURCE_FILE, SOURCE_ETAG} <= Shape.of(table.metadata).fields.keys()


def _item(row: Row) -> Item:
    bucket, key, place, target, etags, counts, error_class, message = row
    if place == 0:
        shown = Shown(dict(zip(etags, counts, strict=True)))
        return bucket, key, receipt_of_shown(target, shown, {"found": "in the table"})
    etag = etags[0] or ""
    if place == 1:
        return bucket, key, Receipt(etag, VERSION, target, {"rows": 0}, {"found": "in the registry"})
    return bucket, key, Failure(etag, error_class or "", message or "no reason was recorded")
