r"""
Quotes: whether they enclose whole cells, as they should.

A well-formed quoted cell begins at the beginning of a line or behind a delimiter, ends before a delimiter or at the end
of a line, and doubles (or escapes) the quotes in it. All patterns are possessive: no text makes them go back.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.options import KIB

CELL: Final = "\ufdd1"
"""Stands for a quoted cell; a noncharacter, which no text has (Unicode 16, section 23.7)."""


class Quoting(NamedTuple):
    """What the quotes of a text enclose."""

    cells: int
    """Whole cells."""
    stray: int
    """Quotes that enclose none."""
    rest: str
    """The text with `CELL` in the place of each quoted cell."""


def quoting_of(text: str, dialect: Dialect, *, complete: bool = True) -> Quoting:
    """Tell the quotes of a text apart. Unless it is `complete`, its last cell may stay open."""
    if not dialect.quote or dialect.quote not in text:
        return Quoting(0, 0, text)
    rest, cells = _cells(dialect, complete).subn(CELL, text)
    return Quoting(cells, rest.count(dialect.quote), rest)


def well_formed(text: str, dialect: Dialect, *, complete: bool = True) -> bool:
    """Tell whether all quotes enclose whole cells."""
    return not quoting_of(text, dialect, complete=complete).stray


@functools.lru_cache(maxsize=256)
def _cells(dialect: Dialect, complete: bool) -> re.Pattern[str]:
    return re.compile(_pattern(dialect, complete), re.DOTALL)


@functools.lru_cache(maxsize=64)
def _byte_cells(dialect: Dialect) -> re.Pattern[bytes]:
    return re.compile(_pattern(dialect, complete=True).encode(), re.DOTALL)


def _pattern(dialect: Dialect, complete: bool) -> str:
    quote = re.escape(dialect.quote)
    delimiter = "[ \t]" if dialect.blanks == "runs" else re.escape(dialect.delimiter)
    blanks = "[ ]*+" if dialect.blanks else ""
    if "\\" in dialect.escape and dialect.quote in dialect.escaped:
        escapes = r"\\\\|" if "\\" in dialect.escaped else ""
        inside = rf"(?:[^{quote}\\]++|{quote}{quote}|{escapes}\\{quote}|\\)*+"
    else:
        inside = rf"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"
    # A pattern that begins with a plain character is searched for at the speed of memory.
    begin = (
        rf"(?:(?<=[\r\n])|(?<={delimiter})|\A){blanks}{quote}"
        if blanks
        else rf"{quote}(?:(?<=[\r\n]{quote})|(?<={delimiter}{quote})|(?<=\A{quote}))"
    )
    end = rf"{quote}{blanks}(?={delimiter}|[\r\n]|\Z)"
    return begin + inside + (end if complete else rf"(?:{end}|\Z)")


_GAP: Final = re.compile(rb"(?>\r\n|\n|\r){2,}+[^\r\n]")
"""A blank line that something follows."""


def checked(text: bytes, layout: Layout) -> Layout:
    """Return the layout for all the records of a file, when it was told from their beginning."""
    if not layout.plain:
        return layout
    dialect = layout.dialect
    if not _well_formed(text, dialect):
        layout = layout.repairing()
    return replace(layout, several=_has_gap(text, dialect))


def speaks_against(text: bytes, dialect: Dialect) -> bool:
    """Tell whether records may not be what a remembered plain dialect says: the file must be looked at for itself."""
    # A single byte is found thirty times as fast as two in a row.
    if any(first in text and pattern.search(text) for first, pattern in _suspicions(dialect)):
        return True
    if _may_be_spaced(text, dialect.delimiter.encode()):
        return True
    return not _well_formed(text, dialect) or _has_gap(text, dialect)


def _may_be_spaced(text: bytes, delimiter: bytes) -> bool:
    """Tell whether blanks stand beside so many delimiters that they may belong to no cell."""
    beginning = text[:KIB]
    spaced = max((delimiter + b" ", b" " + delimiter), key=beginning.count)
    return spaced in beginning and text.count(spaced) * 2 > text.count(delimiter)


@functools.lru_cache(maxsize=64)
def _suspicions(dialect: Dialect) -> list[tuple[bytes, re.Pattern[bytes]]]:
    """Return what finds other quotes, escapes and comments, each with the character it begins with."""
    delimiter = re.escape(dialect.delimiter)
    found = [rf"\\[{delimiter}{dialect.quote}]", r"#(?<=\n#)", r"/(?<=\n/)/"]
    if dialect.quote == '"':
        found.append(rf"'(?:(?<={delimiter}')|(?<={delimiter} '))")
    return [(pattern[:1].encode(), re.compile(pattern.encode())) for pattern in found]


def _well_formed(text: bytes, dialect: Dialect) -> bool:
    """
    Do what `well_formed` does, a hundred times as fast, with UTF-8 of a plain dialect.

    Counted from 0, the quotes of even number open cells and those of odd number close them. The two of a doubled quote
    do neither; they stand beside each other.
    """
    quote = dialect.quote.encode()
    if not quote or quote not in text:
        return True
    # A line end on both sides: every quote has a neighbour.
    characters = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    at = np.flatnonzero(characters == quote[0])
    if len(at) % 2:
        return False
    ends = np.zeros(256, bool)
    ends[[ord("\n"), ord("\r"), ord(dialect.delimiter)]] = True
    opened = ends[characters[at[::2] - 1]]
    closed = ends[characters[at[1::2] + 1]]
    doubled = at[2::2] == at[1:-1:2] + 1
    return bool(opened[0] and closed[-1] and (opened[1:] | doubled).all() and (closed[:-1] | doubled).all())


def _has_gap(text: bytes, dialect: Dialect) -> bool:
    """Tell whether a blank line stands between records, not within a quoted cell."""
    ends = (b"\n\r", b"\r\r", b"\n\n") if b"\r" in text else (b"\n\n",)
    if not any(end in text for end in ends) or not _GAP.search(text):
        return False
    rest = _byte_cells(dialect).sub(b"x", text) if dialect.quote else text
    return _GAP.search(rest) is not None


def may_have_swallowed_lines(batch: pa.RecordBatch, quote: str) -> bool:
    """
    Tell whether a stray quote may have made one cell of several lines.

    Such a cell ends where the next quote opened, so it holds a line end and an odd number of quotes.
    """
    for cells in batch.columns if quote else ():
        content = cells.buffers()[2]
        if content is not None and b"\n" in memoryview(content).tobytes():
            broken = cells.filter(pc.match_substring(cells, "\n"))
            if pc.any(pc.equal(pc.bit_wise_and(pc.count_substring(broken, quote), 1), 1)).as_py():
                return True
    return False
