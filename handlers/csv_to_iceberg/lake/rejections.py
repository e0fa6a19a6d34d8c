"""What became neither row nor value of one version of an object: its rejected records and rescued cells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import duckdb
from pyiceberg.table import Table

from handlers.contract import UNKNOWN
from handlers.csv_to_iceberg.csv.columns import OWN_COLUMNS, RESCUED
from handlers.csv_to_iceberg.lake.lake import REJECTS, Lake
from handlers.csv_to_iceberg.lake.reader import fetch, readable
from handlers.csv_to_iceberg.lake.rejects_table import OURS
from handlers.csv_to_iceberg.lake.shape import SOURCE_ETAG, SOURCE_FILE

SHOWN_CELLS: Final = 5
"""Cells that a row with a rescued one is recognised by."""


@dataclass(frozen=True, slots=True)
class RescuedCell:
    """A cell that did not fit the type of its column."""

    column: str
    text: str
    row: dict[str, Any]
    """The first cells of its row that have a value. Tables have no order of rows, so there is no number to name."""


@dataclass(frozen=True, slots=True)
class Rejections:
    """Both kinds, up to a limit each."""

    kept: int
    """Rejected records that `_ingest_rejects` has."""
    rejected: list[dict[str, Any]]
    """record, line, text, reason; in the order of the file."""
    rescued_rows: int
    """Rows with rescued cells that the table has."""
    rescued: list[RescuedCell]
    """Those of the first rows."""


def rejections(lake: Lake, target: str, key: str, etag: str, limit: int) -> Rejections:
    """
    Read what is kept of the version that a table shows of an object. Blocks.

    Args:
        lake: The catalog.
        target: The table, `namespace.table`.
        key: The object.
        etag: The version; `UNKNOWN` for whatever is there.
        limit: Records and rows to read, each.
    """
    with duckdb.connect() as connection:
        kept, rejected = _rejected(connection, lake.load(f"{target.rpartition('.')[0]}.{REJECTS}"), key, etag, limit)
        return Rejections(kept, rejected, *_rescued(connection, lake.load(target), key, etag, limit))


def _rejected(
    connection: duckdb.DuckDBPyConnection, table: Table | None, key: str, etag: str, limit: int
) -> tuple[int, list[dict[str, Any]]]:
    if table is None or OURS not in table.properties:
        return 0, []
    # A version that was done again may be there twice for a moment; either way a record is itself.
    found = fetch(
        connection,
        "SELECT count(*) OVER (), record, line, text, reason FROM ("  # noqa: S608  # the reader's own SQL
        f"SELECT DISTINCT ON (etag, record) * FROM ({readable(connection, table, 'rejects').sql})"
        " WHERE file_key = $1 AND ($2 = $3 OR etag = $2) ORDER BY rejected_at DESC) ORDER BY record LIMIT $4",
        [key, etag, UNKNOWN, limit],
    )
    names = ("record", "line", "text", "reason")
    return (found[0][0] if found else 0), [dict(zip(names, row[1:], strict=True)) for row in found]


def _rescued(
    connection: duckdb.DuckDBPyConnection, table: Table | None, key: str, etag: str, limit: int
) -> tuple[int, list[RescuedCell]]:
    if table is None:
        return 0, []
    names = [field.name for field in table.schema().fields]
    if not {RESCUED, SOURCE_FILE, SOURCE_ETAG} <= set(names):
        return 0, []
    found = fetch(
        connection,
        f"SELECT count(*) OVER (), * FROM ({readable(connection, table, 'data').sql}) WHERE {SOURCE_FILE} = $1"  # noqa: S608  # its own
        f" AND ($2 = $3 OR {SOURCE_ETAG} = $2) AND {RESCUED} IS NOT NULL LIMIT $4",
        [key, etag, UNKNOWN, limit],
    )
    cells = []
    for values in found:
        row = dict(zip(names, values[1:], strict=True))
        known = [(name, value) for name, value in row.items() if name not in OWN_COLUMNS and value is not None]
        cells += [
            RescuedCell(column, text, dict(known[:SHOWN_CELLS])) for column, text in json.loads(row[RESCUED]).items()
        ]
    return (found[0][0] if found else 0), cells
