"""`lakedrop query`: SQL over the lake's tables, and over nothing else on this machine or the network."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from handlers.csv_to_iceberg.lake import Lake
from handlers.csv_to_iceberg.reader import literal, quoted, readable, without_rows

LOCKS = (
    # Python variables of this process are no tables.
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class QueryError(Exception):
    """The statement cannot be run; the message is for the person who wrote it."""


def query(lake: Lake, sql: str) -> pa.Table:
    """
    Run one SELECT (or SHOW, DESCRIBE, SUMMARIZE, VALUES) and return its whole result.

    Every table of the catalog is `namespace.table`; only those named in the statement are planned. The statement can
    read their files and nothing else: no other file, no network, no variable of this process; and it changes nothing.

    Raises:
        QueryError: The statement is wrong, names a table there is not, or is not one SELECT.
    """
    _refuse_all_but_select(sql)
    known = lake.table_names()
    named = [name for name in known if _mentions(sql, name.rpartition(".")[2])]
    with duckdb.connect() as connection:
        files: list[str] = []
        for name in named or known:
            loaded = lake.load(name)
            if loaded is None:
                continue
            rows = readable(connection, loaded, name) if named else without_rows(loaded)
            files += rows.files
            namespace, _, table = name.rpartition(".")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(namespace)}")
            connection.execute(f"CREATE VIEW {quoted(namespace)}.{quoted(table)} AS {rows.sql}")
        path = ",".join(quoted(namespace) for namespace in sorted({name.rpartition(".")[0] for name in named or known}))
        connection.execute(f"SET search_path = {literal(path)}")
        connection.execute(f"SET allowed_paths = [{', '.join(literal(file) for file in files)}]")
        for lock in LOCKS:
            connection.execute(lock)
        try:
            return connection.sql(sql).to_arrow_table()
        except duckdb.CatalogException as error:
            tables = ", ".join(known) or "none yet"
            raise QueryError(f"{str(error).splitlines()[0]}; tables of the lake: {tables}") from error
        except duckdb.Error as error:
            raise QueryError(str(error)) from error


def _refuse_all_but_select(sql: str) -> None:
    with duckdb.connect() as parser:
        try:
            statements = parser.extract_statements(sql)
        except duckdb.Error as error:
            raise QueryError(str(error)) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("one SELECT statement is expected; tables cannot be changed here")


def _mentions(sql: str, table: str) -> bool:
    """Tell whether a statement may name a table: its name stands there as a word. Planning one too many is harmless."""
    return re.search(rf"(?<!\w){re.escape(table)}(?!\w)", sql, re.IGNORECASE) is not None
