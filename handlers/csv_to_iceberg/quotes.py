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

import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.layout import Dialect, Layout

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
def _byte_cells(delimiter: str, quote: str) -> re.Pattern[bytes]:
    return re.compile(_pattern(Dialect(delimiter, quote), complete=True).encode(), re.DOTALL)


def _pattern(dialect: Dialect, complete: bool) -> str:
    quote = re.escape(dialect.quote)
    delimiter = "[ \t]" if dialect.blanks == "runs" else re.escape(dialect.delimiter)
    blanks = "[ ]*+" if dialect.blanks else ""
    if "\\" in dialect.escape and dialect.quote in dialect.escaped:
        escapes = r"\\\\|" if "\\" in dialect.escaped else ""
        inside = rf"(?:[^{quote}\\]++|{quote}{quote}|{escapes}\\{quote}|\\)*+"
    else:
        inside = rf"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"
    begin = rf"(?:(?<=[\r\n])|(?<={delimiter})|\A){blanks}{quote}{inside}"
    end = rf"{quote}{blanks}(?={delimiter}|[\r\n]|\Z)"
    return begin + (end if complete else rf"(?:{end}|\Z)")


_GAP: Final = re.compile(rb"(?>\r\n|\n|\r){2,}+[^\r\n]")
"""A blank line that something follows."""


def checked(text: bytes, layout: Layout) -> Layout:
    """Return the layout for all the records of a file, when it was told from their beginning."""
    if not layout.plain:
        return layout
    dialect = layout.dialect
    rest = _without_cells(text, dialect)
    if dialect.quote and dialect.quote.encode() in rest:
        layout = layout.repairing()
    return replace(layout, several=_GAP.search(rest) is not None)


def speaks_against(text: bytes, dialect: Dialect) -> bool:
    """Tell whether records may not be what a remembered plain dialect says: the file must be looked at for itself."""
    delimiter = dialect.delimiter.encode()
    # A single byte is found thirty times as fast as two in a row.
    if dialect.quote == '"' and b"'" in text and (delimiter + b"'" in text or delimiter + b" '" in text):
        return True
    if b"\\" in text and (b"\\" + delimiter in text or b'\\"' in text):
        return True
    if (b"#" in text and b"\n#" in text) or (b"/" in text and b"\n//" in text):
        return True
    rest = _without_cells(text, dialect)
    return dialect.quote.encode() in rest or _GAP.search(rest) is not None


def _without_cells(text: bytes, dialect: Dialect) -> bytes:
    quote = dialect.quote.encode()
    return _byte_cells(dialect.delimiter, dialect.quote).sub(b"", text) if quote and quote in text else text


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
