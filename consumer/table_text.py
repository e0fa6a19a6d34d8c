"""A result as a table for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.live import numbered
from consumer.terminal import shown

MOST_ROWS = 1000
"""Rows of a table for people; `csv` and `json` have all."""

READABLE = 16
"""Characters of a long cell that are worth showing."""

GAP = 2
"""Spaces between columns."""

NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


def print_table(out: Console, result: pa.Table, *, noun: str = "row", hint: str = "--format json") -> None:
    """
    Print the first rows aligned; what does not fit the terminal is cut, and columns beyond it are counted.

    Args:
        out: Where to.
        result: All rows.
        noun: What a row is called.
        hint: The option that shows all columns.
    """
    rows = [[cell(value) for value in row.values()] for row in result.slice(0, MOST_ROWS).to_pylist()]
    names = [Text(shown(name), "bold") for name in result.column_names]
    natural = [max(text.cell_len for text in column) for column in zip(names, *rows, strict=True)]
    widths = _fitted(natural, out.width)
    table = Table(box=None, pad_edge=False)
    for name, field, width in zip(names, result.schema, widths, strict=False):
        number = any(test(field.type) for test in NUMBERS)
        table.add_column(name, justify="right" if number else "left", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*row[: len(widths)])
    out.print(table)
    counted = [numbered(result.num_rows, noun)]
    if result.num_rows > MOST_ROWS:
        counted.append(f"the first {MOST_ROWS:,} are shown")
    if len(widths) < len(names):
        counted.append(f"{numbered(len(names) - len(widths), 'column')} more: {hint} shows all")
    out.print(f"({', '.join(counted)})", style="dim")


def _fitted(natural: list[int], width: int) -> list[int]:
    """Return the widths of the columns that fit: the widest ones are cut to one width, at least `READABLE`."""
    fitting = 0
    used = -GAP
    for columns in natural:
        used += min(columns, READABLE) + GAP
        if used > width and fitting:
            break
        fitting += 1
    shown_widths = natural[:fitting]
    room = width - GAP * (fitting - 1)
    limit = max(shown_widths, default=0)
    while limit > READABLE and sum(min(columns, limit) for columns in shown_widths) > room:
        limit -= 1
    return [min(columns, limit) for columns in shown_widths]


def cell(value: Any) -> Text:
    """Return a cell for people: NULL is told apart from text."""
    if value is None:
        return Text("NULL", "dim")
    if isinstance(value, bool):
        return Text(str(value).lower())
    return Text(shown(value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)))
