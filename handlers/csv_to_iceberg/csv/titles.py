"""What a spreadsheet writes above a table, padded to its width: titles, pairs of a name and a value, empty rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.header_cells import VALUE
from handlers.csv_to_iceberg.csv.records import Record
from handlers.csv_to_iceberg.csv.tables import MISSING, are_names, value_columns

_MOST_TITLES: Final = 10
"""Padded titles above a header; more of them are data."""


def below_titles(full: Sequence[Record], width: int) -> Record | None:
    """
    Return the first record as wide as the table that is no title; None when there is none, or it cannot be told.

    Spreadsheets pad a title to that width: `Report;;`. It may as well be a header over unnamed columns, unless it is
    more than a word, or there are names below it and values below those.
    """
    table = list(itertools.dropwhile(_is_padded_title, full))
    titles = full[: len(full) - len(table)]
    if not table or len(titles) > _MOST_TITLES:
        return None
    first, *rows = table
    if titles and not (all(first.cells) and any(value_columns([row.cells for row in rows], width))):
        told = width > 2 and any(" " in title.cells[0].strip() for title in titles)  # noqa: PLR2004 - see above
        return first if told and all(first.cells) else None
    return first


def below_padding(full: Sequence[Record]) -> Record | None:
    """
    Return the names below lines that all lack their last cells: `Customer;ACME;;`, `;Report;;`. None without such.

    They are the first record without a gap, all names, over values, and over as many rows as there are such lines. One
    line that lacks one cell may be the names itself; one that begins with a value is a row; where most rows lack the
    last cell too, it is remarks. A column with nothing in it needs no name.
    """
    if not full or all(full[0].cells):
        return None
    used = [any(column) for column in zip(*([cell.strip() for cell in record.cells] for record in full), strict=True)]
    table = [[cell.strip() for cell, fills in zip(record.cells, used, strict=True) if fills] for record in full]
    padded = list(itertools.takewhile(lambda cells: not any(cells[-1:]), table))
    names, *rows = table[len(padded) :] or [[]]
    if not 0 < len(padded) <= min(len(rows), _MOST_TITLES) or (len(padded) == 1 and all(padded[0][:-1])):
        return None
    values = value_columns(rows, len(names))
    if any(VALUE.fullmatch(next(filter(None, cells), "")) for cells in padded):
        return None
    if 2 * sum(bool(row[-1]) for row in rows) < len(rows):
        return None
    told = any(value and cell.lower() not in MISSING for cell, value in zip(names, values, strict=True))
    return full[len(padded)] if told and all(names) and are_names(names) else None


def below_gap(full: Sequence[Record], width: int) -> Record | None:
    """Return the names above values that a blank line sets apart from a few lines that happen to be as wide."""
    for number, (above, record) in enumerate(itertools.pairwise(full[: _MOST_TITLES + 1]), 1):
        rows = [row.cells for row in full[number + 1 :]]
        if record.begin > above.end and all(record.cells) and len(rows) >= number:
            return record if any(value_columns(rows, width)) else None
    return None


def names_first_column_only(full: Sequence[Record], width: int) -> bool:
    """Tell whether the first record is a name beside unnamed columns of text."""
    return (
        _is_padded_title(full[0])
        and not all(map(_is_padded_title, full[:2]))
        and " " not in full[0].cells[0].strip()
        and bool(full[0].cells[0].strip())
        and not any(value_columns([record.cells for record in full[1:]], width))
    )


def _is_padded_title(record: Record) -> bool:
    first, *others = (cell.strip() for cell in record.cells)
    return bool(others) and not any(others) and not VALUE.fullmatch(first)
