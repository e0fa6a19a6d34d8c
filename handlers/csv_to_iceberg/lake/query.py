"""`lakedrop query`: SQL over the lake's tables, and over nothing else on this machine or the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

import duckdb
import pyarrow as pa

from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.reader import literal, quoted, readable, without_rows

LOCKS = (
    # Python variables of this process are no tables.
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


MOST_NAMED: Final = 10
"""Tables that are named when a statement asks for one there is not."""


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
            reason = str(error).splitlines()[0]
            raise QueryError(f"{reason}; tables of the lake: {_nearest(reason, known)}") from error
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


def _nearest(reason: str, known: Sequence[str]) -> str:
    """Name the tables there are, those most like the one that DuckDB missed first."""
    missing = re.search(r"Table with name (.+?) does not exist", reason)

    def likeness(name: str) -> float:
        return SequenceMatcher(None, missing[1].lower(), name.rpartition(".")[2].lower()).ratio() if missing else 0

    named = sorted(known, key=lambda name: (-likeness(name), name))[:MOST_NAMED]
    more = f" and {len(known) - MOST_NAMED:,} more; `show tables` lists them" if len(known) > MOST_NAMED else ""
    return (", ".join(named) or "none yet") + more


def _mentions(sql: str, table: str) -> bool:
    """Tell whether a statement may name a table: its name stands there as a word. Planning one too many is harmless."""
    return re.search(rf"(?<!\w){re.escape(table)}(?!\w)", sql, re.IGNORECASE) is not None
