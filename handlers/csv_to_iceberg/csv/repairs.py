"""
Records whose quotes do not enclose whole cells, split as a careful reader would.

A quote closes a cell only before a delimiter or at the end, or it is a character like any other. All patterns are
possessive: no text makes them go back.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.layout import Dialect
from handlers.csv_to_iceberg.csv.quotes import quoting_of

_MOST_LINES: Final = 100
"""Lines of a record with damaged quotes that are tried together."""
_TRY_COSTS: Final = 8
"""How much longer a try takes than the csv module."""
_LINE_END: Final = re.compile(r"[\r\n]")


class Repaired(NamedTuple):
    """A damaged record, split otherwise."""

    cells: list[str]
    lines: int
    """How many of the lines it stands on."""
    tried: int
    """Characters that the csv module would have read in the same time."""


def repaired(
    cells: list[str], lines: Sequence[str], dialect: Dialect, delimiter: str, *, width: int, patience: int
) -> Repaired:
    """
    Split a record whose quotes are damaged.

    As few lines as possible are used: a quote that closes nothing shall not swallow records. Of several ways to split
    those, the first that gives `width` cells is taken; if none does, or that would swallow another record, the record
    is the first line.

    Args:
        cells: What the csv module makes of the lines.
        lines: Prepared for it.
        dialect: Of the file.
        delimiter: In the prepared lines.
        width: Cells of a record; 0 if nobody knows.
        patience: What `tried` may come to; the first line is tried in any case.
    """
    tried = 0
    for used in range(1, min(len(lines), _MOST_LINES) + 1) if width else ():
        text = "".join(lines[:used]).rstrip("\r\n")
        tried += _TRY_COSTS * len(text)
        split = _first_of_width(text, dialect, delimiter, width)
        if split is not None:
            below = lines[1:used]
            tried += _TRY_COSTS * sum(len(line) * number for number, line in enumerate(below, 1))
            if _end_in_record(below, dialect, delimiter, width):
                break
            return Repaired(split, used, tried)
        if tried > patience:
            break
    first = lines[0].rstrip("\r\n")
    unquoted = _unquoted(first, dialect, delimiter)
    if len(unquoted) == width:
        return Repaired(unquoted, 1, tried)
    if len(lines) == 1 and len(cells) == width:
        return Repaired(cells, 1, tried)
    return Repaired(next(filter(None, _leniently(first, dialect, delimiter)), unquoted), 1, tried)


def _first_of_width(text: str, dialect: Dialect, delimiter: str, width: int) -> list[str] | None:
    splits = (*_leniently(text, dialect, delimiter, width), _piecewise(text, dialect, delimiter, width))
    return next((split for split in splits if split is not None and len(split) == width), None)


def _end_in_record(lines: Sequence[str], dialect: Dialect, delimiter: str, width: int) -> bool:
    """
    Tell whether lines that a cell was to go on in end in a record of its own, which the quote before it closed in.

    Such a record has cells that its quotes enclose, and no other quotes: the end of a cell that goes on has one more.
    """
    prepared = replace(dialect, delimiter=delimiter)
    for start in range(len(lines) - 1, -1, -1):
        text = "".join(lines[start:]).rstrip("\r\n")
        quoting = quoting_of(text, prepared)
        if quoting.cells and not quoting.stray:
            cells = _piecewise(text, dialect, delimiter, width)
            if cells is not None and len(cells) == width:
                return True
    return False


def _leniently(text: str, dialect: Dialect, delimiter: str, most: int = 0) -> list[list[str] | None]:
    """
    Split so that quotes close before a delimiter or at the end only: by single quotes, and by doubled ones too.

    None where that is impossible, or gives more than `most` cells.
    """
    return [_closing_late(text, dialect, delimiter, most, doubled=doubled) for doubled in (False, True)]


def _closing_late(text: str, dialect: Dialect, delimiter: str, most: int, *, doubled: bool) -> list[str] | None:
    opening, closing = _late_patterns(dialect.quote, delimiter)
    cells: list[str] = []
    at = 0
    while True:
        if opened := opening.match(text, at):
            closed = next(
                (
                    found
                    for found in closing.finditer(text, opened.end())
                    if (doubled or len(found[1]) % 2) and not (dialect.escape and text[found.start() - 1] == "\\")
                ),
                None,
            )
            if closed is None:
                return None
            cell = text[opened.end() : closed.end(1) - 1].replace(dialect.quote * 2, dialect.quote)
            at = closed.end()
        else:
            end = text.find(delimiter, at)
            at, begin = len(text) if end < 0 else end, at
            cell = text[begin:at].lstrip(" ") if dialect.blanks else text[begin:at]
            if _LINE_END.search(cell):
                return None
        cells.append(_unescaped(cell) if dialect.escape else cell)
        if at >= len(text):
            return cells
        if len(cells) == most:
            return None
        at += len(delimiter)


def _piecewise(text: str, dialect: Dialect, delimiter: str, most: int) -> list[str] | None:
    """Let quotes have a meaning only in those cells that they enclose as they should."""
    whole = _whole_cell(dialect.quote, delimiter)
    cells: list[str] = []
    at = 0
    while at <= len(text):
        if len(cells) == most:
            return None
        if found := whole.match(text, at):
            cells.append(found[1].replace(dialect.quote * 2, dialect.quote))
            end = found.end()
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            cells.append(text[at:end].lstrip(" ") if dialect.blanks else text[at:end])
            if _LINE_END.search(cells[-1]):
                return None
        at = end + len(delimiter)
    return list(map(_unescaped, cells)) if dialect.escape else cells


@functools.lru_cache(maxsize=64)
def _whole_cell(quote: str, delimiter: str) -> re.Pattern[str]:
    quote, delimiter = re.escape(quote), re.escape(delimiter)
    return re.compile(rf" *+{quote}([^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+){quote} *+(?={delimiter}|\Z)")


@functools.lru_cache(maxsize=64)
def _late_patterns(quote: str, delimiter: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    quote, delimiter = re.escape(quote), re.escape(delimiter)
    return re.compile(rf" *+{quote}"), re.compile(rf"({quote}++) *+(?={delimiter}|\Z)")


def _unquoted(text: str, dialect: Dialect, delimiter: str) -> list[str]:
    cells = [cell.lstrip(" ") for cell in text.split(delimiter)] if dialect.blanks else text.split(delimiter)
    return list(map(_unescaped, cells)) if dialect.escape else cells


def _unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell, flags=re.DOTALL)
