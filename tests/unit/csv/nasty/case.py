"""A messy file and the table that a careful person reads from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Case:
    """What a file says, beside the file."""

    text: str
    rows: Sequence[Sequence[str]]
    names: Sequence[str] | None
    """Cells of the header; None when the file has none."""
    delimiter: str = ","
    """Empty: one column, any will do."""
    quote: str = ""
    """Empty: no cell is quoted, any will do."""
    escape: str = ""
    rejected: int | None = field(default=None, kw_only=True)
    """Records that are no rows of the table, where it matters."""


Maker = Callable[[random.Random], Case]
MAKERS: Final[dict[str, Maker]] = {}


def nasty(maker: Maker) -> Maker:
    """Add a kind of file to the corpus."""
    MAKERS[maker.__name__] = maker
    return maker


def corpus(variants: int) -> dict[str, Case]:
    """Make each kind of file several times, always the same."""
    return {
        f"{name}-{variant}": maker(random.Random(f"{name} {variant}"))  # noqa: S311 - nothing secret
        for name, maker in MAKERS.items()
        for variant in range(variants)
    }


def plain(rows: Sequence[Sequence[str]], delimiter: str, end: str = "\n") -> str:
    """Write cells that need no quotes."""
    return "".join(delimiter.join(row) + end for row in rows)


def quoted(cell: str, quote: str = '"') -> str:
    """Quote a cell, quotes in it doubled."""
    return quote + cell.replace(quote, quote * 2) + quote


def minimal(rows: Sequence[Sequence[str]], delimiter: str, quote: str = '"', end: str = "\n") -> str:
    """Quote where needed, as spreadsheets do."""

    def cell(text: str) -> str:
        return quoted(text, quote) if any(mark in text for mark in (delimiter, quote, "\n", "\r")) else text

    return "".join(delimiter.join(map(cell, row)) + end for row in rows)


def wrapped(rows: Sequence[Sequence[str]], delimiter: str, quote: str = '"', end: str = "\n") -> str:
    """Quote every cell."""
    return "".join(delimiter.join(quoted(cell, quote) for cell in row) + end for row in rows)
