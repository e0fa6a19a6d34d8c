"""What all tables of one namespace hold, and which objects the registry says are not in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
from pyiceberg.table import Table

from handlers.contract import Failure, Receipt
from handlers.csv_to_iceberg.commit_port import Shown
from handlers.csv_to_iceberg.lake import Lake
from handlers.csv_to_iceberg.reader import literal, readable
from handlers.csv_to_iceberg.receipts import VERSION, receipt_of_shown
from handlers.csv_to_iceberg.registry import Registry
from handlers.csv_to_iceberg.shape import SOURCE_ETAG, SOURCE_FILE, Shape

PAGE_ROWS = 10_000

Item = tuple[str, str, Receipt | Failure]
"""Bucket, key, and what the sink holds of it or why not."""

HELD = """
    SELECT bucket, file_key, target, list(etag), list(row_count)
    FROM held GROUP BY bucket, file_key, target ORDER BY bucket, file_key
"""

# The newest record of each object that no row in a table speaks for.
RECORDED = """
    WITH newest AS (
        SELECT bucket, file_key, arg_max(record, ingested_at) AS r
        FROM (SELECT bucket, file_key, ingested_at, registry AS record FROM registry)
        GROUP BY bucket, file_key
    )
    SELECT bucket, file_key, r.status, r.etag, r.table_name, r.error_class, r.error_message FROM newest
    WHERE r.status = 'failed'
       OR (r.status = 'success' AND r.row_count = 0 AND r.etag <> ''
           AND NOT EXISTS (FROM held WHERE held.bucket = newest.bucket AND held.file_key = newest.file_key))
    ORDER BY bucket, file_key
"""


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table of ours."""

    name: str
    bucket: str


class NamespaceInventory:
    """
    Reads the sources of all our tables in a namespace. For one thread; close it.

    The tables must have been fenced: commits under way at that time have landed or will fail.
    """

    def __init__(self, lake: Lake, tables: Sequence[OwnTable], registry: Registry) -> None:
        self._namespace = registry.name.rpartition(".")[0]
        self._connection = duckdb.connect()
        try:
            self._views(lake, tables, registry)
        except BaseException:
            self._connection.close()
            raise
        self._pages = self._items()

    def page(self) -> list[Item]:
        """Return the next items, none at the end; receipts come before failures, which may be of the same objects."""
        return next(self._pages, [])

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def _views(self, lake: Lake, tables: Sequence[OwnTable], registry: Registry) -> None:
        selects = ["SELECT NULL::VARCHAR, NULL::VARCHAR, NULL::VARCHAR, NULL::VARCHAR, NULL::BIGINT WHERE false"]
        for number, own in enumerate(tables):
            table = lake.load(own.name)
            if table is not None and _has_sources(table):
                rows = readable(self._connection, table, f"table_{number}").sql
                selects.append(
                    f"SELECT {literal(own.bucket)}, _source_file, {literal(own.name)}, _source_etag, count(*)"  # noqa: S608  # literals
                    f" FROM ({rows}) WHERE _source_file IS NOT NULL GROUP BY ALL"
                )
        self._connection.execute(
            f"CREATE TEMP TABLE held (bucket, file_key, target, etag, row_count) AS {' UNION ALL '.join(selects)}"
        )
        table = registry.load()
        self._recorded = table is not None
        if table is not None:
            self._connection.execute(f"CREATE TEMP VIEW registry AS {readable(self._connection, table, 'records').sql}")

    def _items(self) -> Iterator[list[Item]]:
        yield from self._query(HELD, _held)
        if self._recorded:
            yield from self._query(RECORDED, partial(_recorded, self._namespace))

    def _query(self, sql: str, item: Any) -> Iterator[list[Item]]:
        result = self._connection.execute(sql)
        while rows := result.fetchmany(PAGE_ROWS):
            yield [item(row) for row in rows]


def _has_sources(table: Table) -> bool:
    """Tell whether a table has our columns; one that was handed over gets them with our first rows."""
    return {SOURCE_FILE, SOURCE_ETAG} <= Shape.of(table.metadata).fields.keys()


def _held(row: tuple[str, str, str, list[str | None], list[int]]) -> Item:
    bucket, key, table, etags, counts = row
    shown = Shown(dict(zip(etags, counts, strict=True)))
    return bucket, key, receipt_of_shown(table, shown, {"found": "in the table"})


def _recorded(namespace: str, row: tuple[str, str, str, str, str, str | None, str | None]) -> Item:
    bucket, key, status, etag, table, error_class, message = row
    if status == "success":
        return bucket, key, Receipt(etag, VERSION, f"{namespace}.{table}", {"rows": 0}, {"found": "in the registry"})
    return bucket, key, Failure(etag, error_class or "", message or "no reason was recorded")
