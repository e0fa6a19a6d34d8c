"""Column types: the seven of the CSV specification, and TIMESTAMP WITH TIME ZONE by option."""

from __future__ import annotations

import enum

import pyarrow as pa


class ColumnType(enum.Enum):
    """The type of a table column, in SQL's words."""

    BOOLEAN = "BOOLEAN"
    INTEGER = "INTEGER"
    BIGINT = "BIGINT"
    DOUBLE = "DOUBLE"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    TIMESTAMPTZ = "TIMESTAMPTZ"
    VARCHAR = "VARCHAR"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the column's values."""
        return _ARROW[self]


_ARROW = {
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int32(),
    ColumnType.BIGINT: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us"),
    ColumnType.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
    ColumnType.VARCHAR: pa.string(),
}

Pins = dict[str, ColumnType]
"""The types a table has settled on, by column name. Only INTEGER ever changes: to BIGINT."""

RESCUED = "_rescued"
"""The column of cells that did not fit: a JSON object {column: text}, NULL in a row without any."""

OWN_COLUMNS = ("_source_file", "_source_etag", "_ingested_at", RESCUED)
"""Columns that lakedrop adds to every table."""
