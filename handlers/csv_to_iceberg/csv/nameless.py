"""
Headers with one name fewer than the records have cells: which column is the one without a name.

R writes the names of rows first and gives them none; other programs leave the last name out. Taken wrongly, every name
stands one column off, so whichever way it is read is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.cells import Look, look_of
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.records import Record
from handlers.csv_to_iceberg.csv.results import shown
from handlers.csv_to_iceberg.csv.tables import MISSING, are_names

_SEEN: Final = 100
"""Records that tell what a column holds."""
_MOSTLY: Final = 0.8
"""Share of its cells that must contradict a name."""
_MOST_SHOWN: Final = 6
"""Cells of a record in a message."""

_VALUES: Final = frozenset({Look.NUMBER, Look.MOMENT})


def _is_no_id(cell: str) -> bool:
    # `A17`, `17` and `DEU` are, `Ann` is none.
    return look_of(cell) is not Look.TOKEN and not cell.isupper() and not any(map(str.isdigit, cell))


def _is_no_amount(cell: str) -> bool:
    return look_of(cell) is not Look.NUMBER


def _is_no_day(cell: str) -> bool:
    # Days may be numbers: 20240115, 1705276800.
    return look_of(cell) not in _VALUES


def _is_no_text(cell: str) -> bool:
    return look_of(cell) in _VALUES


_CONTRADICTS: Final[tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]] = (
    (re.compile(r"(?:.*[ _.-])?(?:id|uuid|guid)"), _is_no_id),
    (
        re.compile(r"(?:.*[ _.-])?(?:count|qty|quantity|amount|price|age|year|lat|lon|latitude|longitude)"),
        _is_no_amount,
    ),
    (re.compile(r"(?:.*[ _.-])?(?:date|datum|datetime|timestamp)(?:[ _.-].*)?|.*_at"), _is_no_day),
    (re.compile(r"(?:.*[ _.-])?(?:name|e-?mail|city|country|title|description|comment|url)"), _is_no_text),
)
"""What a name says, in lower case, and which cells cannot be below it. Only what nobody uses otherwise."""


def with_gap(names: Sequence[str], rows: Sequence[Record], before: int, *, aligned: bool) -> tuple[list[str], str]:
    """
    Return the names with an empty one put first or last, and what to tell about it.

    Where some names cannot stand above what one of the two ways puts below them, it is the other. Else the first
    column has none if its values all differ, as names of rows do, or if it is always empty.

    Args:
        names: One fewer than the cells of a record.
        rows: Records of the usual width; one at least.
        before: Lines above the line they are counted from.
        aligned: Columns are aligned by blanks, as R and commands for terminals print tables with names of rows.
    """
    columns = list(zip(*(row.cells for row in rows), strict=True))
    first = aligned or len(set(columns[0])) == len(rows) or not any(map(str.strip, columns[0]))
    if_last, if_first = _contradicted(names, columns[:-1]), _contradicted(names, columns[1:])
    if if_last != if_first:
        first = if_last
    told = ["", *names] if first else [*names, ""]
    row = rows[0]
    cells = [f"{shown(name)}: {shown(cell)}" for name, cell in zip(column_names(told), row.cells, strict=True)]
    if len(cells) > _MOST_SHOWN:
        cells[_MOST_SHOWN - 1 : -1] = ["..."]
    place = "first column has no name, as names of rows have none" if first else "last column has no name"
    return told, (
        f"the header has one name fewer than the records have cells; it was taken that the {place}. Line "
        f"{row.begin + before + 1:,} reads {', '.join(cells)}. If a name stands above the wrong cell, add the missing "
        "name to the header"
    )


def doubt_about_skipped_names(record: Record, width: int, before: int, *, values: bool) -> str:
    """
    Say that a record skipped right above the names may be these, one of them missing; empty if that cannot be.

    A single cell is a title.

    Args:
        record: As above.
        width: Names that were taken.
        before: Lines above the line that records are counted from.
        values: Whether numbers or dates stand below some name, which tell that record from the rows.
    """
    if values or not 1 < len(record.cells) == width - 1 or not are_names([*record.cells, "row"]):
        return ""
    line = record.begin + before + 1
    return (
        f"line {line:,} was skipped as a remark, and the line below it taken for the names. If line {line:,} has the "
        "names, add the one that is missing"
    )


def _contradicted(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    for name, cells in zip(names, columns, strict=True):
        said = name.strip().lower()
        for pattern, contradicts in _CONTRADICTS:
            if pattern.fullmatch(said):
                filled = [cell.strip() for cell in cells[:_SEEN] if cell.strip().lower() not in MISSING]
                if filled and sum(map(contradicts, filled)) >= _MOSTLY * len(filled):
                    return True
    return False
