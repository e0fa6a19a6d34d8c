r"""
Quotes: whether they enclose whole cells, as they should.

A well-formed quoted cell begins at the beginning of a line or behind a delimiter, ends before a delimiter or at the end
of a line, and doubles (or escapes) the quotes in it. All patterns are possessive: no text makes them go back.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.cells import look_of
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.options import KIB
from handlers.csv_to_iceberg.csv.tokenise import ends_line

CELL: Final = "\ufdd1"
"""Stands for a quoted cell; a noncharacter, which no text has (Unicode 16, section 23.7)."""


_LINE_END: Final = re.compile(r"[\r\n]")
_AS_ONE: Final = 32
"""Texts looked at as one: enough that each costs little, and few enough to look at again when one of them is odd."""


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


def cells_across_records(text: str, dialect: Dialect, quoting: Quoting) -> int:
    """
    Count cells that go on over lines which split as most lines do without them: the quotes close by chance.

    Those lines begin alike, as records do. Where every cell is quoted, none of them is.

    Args:
        text: With quotes.
        dialect: How they are read.
        quoting: What they enclose then.
    """
    if not quoting.rest.replace(CELL, "").replace(dialect.delimiter, "").strip():
        return 0
    counts = [line.count(dialect.delimiter) for line in _LINE_END.split(quoting.rest) if line]
    usual = max(set(counts), key=counts.count, default=0)
    found = 0
    for cell in _cells(dialect, complete=True).finditer(text) if usual else ():
        if "\n" in cell[0] or "\r" in cell[0]:
            begin = max(text.rfind("\n", 0, cell.start()), text.rfind("\r", 0, cell.start())) + 1
            end = _LINE_END.search(text, cell.end())
            lines = [line for line in _LINE_END.split(text[begin : end.start() if end else None]) if line]
            alike = len({look_of(line.split(dialect.delimiter)[0]) for line in lines}) == 1
            found += alike and all(line.count(dialect.delimiter) == usual for line in lines)
    return found


@functools.lru_cache(maxsize=256)
def _cells(dialect: Dialect, complete: bool) -> re.Pattern[str]:
    return re.compile(_pattern(dialect, complete), re.DOTALL)


@functools.lru_cache(maxsize=64)
def _byte_cells(dialect: Dialect) -> re.Pattern[bytes]:
    return re.compile(_pattern(dialect, complete=True).encode(), re.DOTALL)


def _pattern(dialect: Dialect, complete: bool) -> str:
    quote = re.escape(dialect.quote)
    delimiter = "[ \t]" if dialect.blanks == "runs" else re.escape(dialect.delimiter)
    # A blank that is a delimiter is needed to end the cell.
    blanks = "[ ]*+" if dialect.blanks and dialect.delimiter != " " else ""
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


_LF, _CR = b"\n\r"
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


def speaks_against(texts: Sequence[bytes], dialect: Dialect) -> list[bool]:
    """
    Tell of each text whether its records may not be what a remembered plain dialect says.

    Such a file must be looked at for itself. Hardly any is like that, so that some are looked at as one.
    """
    found: list[bool] = []
    for start in range(0, len(texts), _AS_ONE):
        some = texts[start : start + _AS_ONE]
        odd = _speaks_against_any(some, dialect)
        found += [odd and _speaks_against_any([text], dialect) for text in some]
    return found


def _speaks_against_any(texts: Sequence[bytes], dialect: Dialect) -> bool:
    """Tell whether something speaks against one of some texts, or seems to because they stand below each other."""
    quote, delimiter = dialect.quote.encode(), dialect.delimiter.encode()
    # Behind a text with an odd number of quotes, those that open would be taken for those that close.
    if any(text.count(quote) % 2 or _may_be_spaced(text, delimiter) for text in texts):
        return True
    text = b"".join([text if ends_line(text) else text + b"\n" for text in texts])
    # A single byte is found thirty times as fast as two in a row.
    if any(first in text and pattern.search(text) for first, pattern in _suspicions(dialect)):
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
    """Do what `well_formed` does, a hundred times as fast, with UTF-8 of a plain dialect."""
    return enclose_cells(text, dialect.quote.encode(), dialect.delimiter.encode())


def enclose_cells(text: bytes, quote: bytes, delimiter: bytes) -> bool:
    """
    Tell whether all quotes of a text enclose whole cells; delimiter and quote are one byte each, or there is no quote.

    Counted from 0, the quotes of even number open cells and those of odd number close them. The two of a doubled quote
    do neither; they stand beside each other.
    """
    if not quote or quote not in text:
        return True
    # A line end on both sides: every quote has a neighbour.
    characters = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    at = np.flatnonzero(characters == quote[0])
    if len(at) % 2:
        return False
    ends = np.zeros(256, bool)
    ends[[ord("\n"), ord("\r"), ord(delimiter)]] = True
    opened = ends[characters[at[::2] - 1]]
    closed = ends[characters[at[1::2] + 1]]
    doubled = at[2::2] == at[1:-1:2] + 1
    return bool(opened[0] and closed[-1] and (opened[1:] | doubled).all() and (closed[:-1] | doubled).all())


def _has_gap(text: bytes, dialect: Dialect) -> bool:
    """Tell whether a blank line stands between records, not within a quoted cell."""
    # Two bytes in a row are found ten times as fast like this as by a search for them.
    characters = np.frombuffer(text, np.uint8)
    feeds = characters == _LF
    pairs = feeds[:-1] & feeds[1:]
    if b"\r" in text:
        returns = characters == _CR
        pairs |= (feeds | returns)[:-1] & returns[1:]
    if not pairs.any() or not _GAP.search(text):
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
