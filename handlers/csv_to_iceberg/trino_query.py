"""`lakedrop query --engine trino`: SQL in Trino's words, and what it returns as Arrow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from handlers.csv_to_iceberg.lake.query import QueryError
from handlers.csv_to_iceberg.trino_client import Column, TrinoAway, TrinoClient, TrinoFailed, TrinoRefused

READING: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"})
"""First words of statements that change nothing."""

BETWEEN: Final = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
"""Blanks, parentheses and comments before a word."""

TYPES: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
}
CAST_TYPES: Final[Mapping[str, pa.DataType]] = {
    "real": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
"""Of what is text in JSON, some numbers included (`NaN`, `Infinity`)."""

WORD: Final = re.compile(r"\w*")

DECIMAL: Final = re.compile(r"decimal\((\d+),\s*(\d+)\)")


def query(client: TrinoClient, sql: str, schema: str) -> pa.Table:
    """
    Run one statement that reads, and return its whole result. What it may read is decided by Trino's access control.

    Args:
        client: Of the Trino that is asked.
        sql: One SELECT (or SHOW, DESCRIBE, EXPLAIN, VALUES).
        schema: Where tables without one are looked for.

    Raises:
        QueryError: The statement is wrong or would change something; or Trino cannot be asked.
    """
    statement = sql.strip().removesuffix(";")
    first, second = _first_words(statement)
    # EXPLAIN ANALYZE runs the statement that it explains, of whatever kind.
    if first not in READING or (first, second) == ("EXPLAIN", "ANALYZE"):
        raise QueryError("one SELECT statement is expected; tables cannot be changed here")
    try:
        result = client.run(statement, schema=schema)
    except (TrinoAway, TrinoFailed, TrinoRefused) as error:
        raise QueryError(error.message) from error
    arrays = [_array(column, [row[at] for row in result.rows]) for at, column in enumerate(result.columns)]
    return pa.Table.from_arrays(arrays, names=[column.name for column in result.columns])


def _first_words(statement: str) -> tuple[str, str]:
    """Return the first two words in capitals, each empty where something else stands."""
    words = []
    at = 0
    for _ in range(2):
        at = _end(BETWEEN, statement, at)
        end = _end(WORD, statement, at)
        words.append(statement[at:end].upper())
        at = end
    return words[0], words[1]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a pattern that also matches nothing ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _array(column: Column, values: Sequence[Any]) -> pa.Array:
    kind = column.type
    if kind in TYPES:
        return pa.array(values, TYPES[kind])
    if any(isinstance(value, list | dict) for value in values):
        return pa.array([None if value is None else json.dumps(value, ensure_ascii=False) for value in values])
    text = pa.array([None if value is None else str(value) for value in values], pa.string())
    decimal = DECIMAL.fullmatch(kind)
    target = pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else CAST_TYPES.get(kind.partition("(")[0])
    # With a zone, as `timestamp(6) with time zone` is, it stays the text that Trino writes.
    if target is None or kind.endswith("zone"):
        return text
    try:
        return text.cast(target)
    except pa.ArrowInvalid:  # years beyond those of Arrow's parser, picoseconds: the text says it all
        return text
