"""
Reading our tables: PyIceberg plans the files of a snapshot, DuckDB reads them by field id.

Renamed, added and widened columns come out right because files are matched by field id. Position deletes are applied
exactly: each data file's deleted rows are taken out by an anti-join on its name and row number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlparse

import duckdb
import numpy as np
import pyarrow as pa
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from handlers.csv_to_iceberg.lake.parquet import read_deletes
from handlers.csv_to_iceberg.lake.remote_files import reachable

SQL_TYPES: Final[dict[type[IcebergType], str]] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMPTZ",
    StringType: "VARCHAR",
    BinaryType: "BLOB",
    UUIDType: "UUID",
}


@dataclass(frozen=True, slots=True)
class Readable:
    """A table made readable in a connection."""

    sql: str
    """A SELECT of all columns and live rows."""
    files: tuple[str, ...]
    """The files it reads, by the names that the connection knows them by."""


def literal(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def local_path(location: str) -> str | None:
    """Return the path of a location on this machine, None for any other."""
    parsed = urlparse(location)
    if parsed.scheme in ("", "file"):
        return location.removeprefix("file://")
    return None


def readable(
    connection: duckdb.DuckDBPyConnection, table: Table, label: str, tasks: Sequence[FileScanTask] | None = None
) -> Readable:
    """
    Make the current snapshot of a table readable.

    Args:
        connection: Gets Arrow tables registered under names that begin with `label`.
        table: Freshly loaded.
        label: Unique in the connection.
        tasks: The files to read; None for all.
    """
    if tasks is None:
        tasks = list(table.scan().plan_files())
    fields = table.schema().fields
    if any(_sql_type(field.field_type) is None for field in fields):
        # Nested columns: PyIceberg reads them itself, all into memory.
        connection.register(label, table.scan().to_arrow())
        return Readable(f"SELECT * FROM {quoted(label)}", ())  # noqa: S608  # quoted
    if not tasks:
        return without_rows(table)
    elsewhere = "" if all(local_path(task.file.file_path) for task in tasks) else reachable(connection, table.io)
    paths = {task.file.file_path: local_path(task.file.file_path) or elsewhere + task.file.file_path for task in tasks}
    columns = ", ".join(quoted(field.name) for field in fields)
    schema = "MAP {{{}}}".format(  # braces of SQL in an f-string are unreadable
        ", ".join(
            f"{field.field_id}: {{name: {literal(field.name)}, type: {literal(_sql_type(field.field_type) or '')},"
            " default_value: NULL}"
            for field in fields
        )
    )
    selects = []
    if clean := [task for task in tasks if not task.delete_files]:
        selects.append(f"SELECT {columns} FROM read_parquet({_path_list(clean, paths)}, schema = {schema})")  # noqa: S608  # quoted above
    if marked := [task for task in tasks if task.delete_files]:
        connection.register(label, _deleted_rows(table, marked, paths))
        selects.append(
            f"SELECT {columns} FROM read_parquet({_path_list(marked, paths)}, schema = {schema}) AS data"  # noqa: S608  # quoted above
            f" ANTI JOIN {quoted(label)} AS gone ON data.filename = gone.file AND data.file_row_number = gone.pos"
        )
    return Readable(" UNION ALL ".join(selects), tuple(paths.values()))


def build_on_the_right(connection: duckdb.DuckDBPyConnection) -> None:
    """
    Let joins hold their right side in memory and stream the left one.

    DuckDB cannot tell how few rows an Arrow table has, and would rather hold all rows of a table than the keys it is
    joined with.
    """
    connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")


def without_rows(table: Table) -> Readable:
    """Return the columns of a table without its rows; nested columns as text."""
    columns = ", ".join(
        f"NULL::{_sql_type(field.field_type) or 'VARCHAR'} AS {quoted(field.name)}" for field in table.schema().fields
    )
    return Readable(f"SELECT {columns} WHERE false", ())


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement and return all its rows: a connection with an unfetched result refuses the next statement."""
    rows: list[tuple[Any, ...]] = connection.execute(sql, list(parameters)).fetchall()
    return rows


def _path_list(tasks: Sequence[FileScanTask], paths: Mapping[str, str]) -> str:
    return "[" + ", ".join(literal(paths[task.file.file_path]) for task in tasks) + "]"


def _deleted_rows(table: Table, tasks: Sequence[FileScanTask], paths: Mapping[str, str]) -> pa.Table:
    files: list[str] = []
    counts: list[int] = []
    positions = []
    for task in tasks:
        path = task.file.file_path
        gone = np.unique(np.concatenate([read_deletes(table.io, other, path) for other in task.delete_files]))
        files.append(paths[path])
        counts.append(len(gone))
        positions.append(gone)
    names = pa.array(files).take(pa.array(np.repeat(np.arange(len(files)), counts)))
    return pa.table({"file": names, "pos": pa.array(np.concatenate(positions))})


def _sql_type(kind: IcebergType) -> str | None:
    if isinstance(kind, DecimalType):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return SQL_TYPES.get(type(kind))
