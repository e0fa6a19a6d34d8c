"""
Lines of other dialects rewritten such that Arrow reads them: wherever their quotes and escapes leave no doubt.

What is rewritten depends on which quotes enclose cells, and that is checked afterwards: in a text whose quotes all
open behind a delimiter or a line end and close before one, a character is within a quoted cell exactly if an odd number
of quotes stands before it. If anything does not fit, nothing is split here, and `records.py` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.quotes import enclose_cells
from handlers.csv_to_iceberg.csv.tokenise import tokenise

_Flags = npt.NDArray[np.bool_]

_STAND_IN: Final = b"\x1f"
"""Takes the place of a delimiter that is more than a byte."""
_ESCAPED_QUOTE: Final = b"\x1e\x1e"
"""Takes the place of a quote behind a backslash: as long, and not counted."""
_ESCAPED_BACKSLASH: Final = b"\x1d"
_LONGEST_RUN: Final = 64
"""Blanks beside each other."""
_LF, _CR, _BLANK, _BACKSLASH = b"\n\r \\"


class Simple(NamedTuple):
    """Lines that were split."""

    columns: list[pa.Array]
    """Text, with NULL for empty cells."""
    lines: int
    """How many of those given: the last record may go on in later ones."""


def split_simply(lines: Sequence[str], layout: Layout) -> Simple | None:
    """
    Split lines, of which the first begins a record, into columns.

    None where it takes more than that: damaged quotes, escapes outside of quotes, a comment, a record of another
    width, a line of blanks.
    """
    text = "".join(lines).encode()
    dialect = layout.dialect
    comment = dialect.comment.encode()
    if b"\0" in text or (comment and (text.startswith(comment) or b"\n" + comment in text or b"\r" + comment in text)):
        return None
    if any(mark and mark.encode() in text for mark in (dialect.quote, dialect.escape)):
        return _quoted(text, layout)
    plain = _plainly(text, dialect)
    if plain is None or not plain.strip(b"\r\n"):
        return None
    delimiter = dialect.delimiter if len(dialect.delimiter.encode()) == 1 else _STAND_IN.decode()
    columns = _columns(plain, replace(layout, dialect=Dialect(delimiter, "")), len(lines))
    return None if columns is None else Simple(columns, len(lines))


def _columns(text: bytes, layout: Layout, rows: int) -> list[pa.Array] | None:
    tokens = tokenise(text, layout)
    if tokens.ragged or tokens.cells.num_rows != rows:
        return None
    return [column.combine_chunks() for column in tokens.cells.columns]


def _quoted(text: bytes, layout: Layout) -> Simple | None:
    dialect = layout.dialect
    # A line of blanks and tabs alone is no record; of more than one column it would have another width.
    if dialect.blanks == "runs" or dialect.lines_quoted or (layout.width == 1 and dialect.blanks) or not dialect.quote:
        return None
    delimiter = dialect.delimiter.encode()
    if len(delimiter) > 1:
        if _STAND_IN in text:
            return None
        text, delimiter = text.replace(delimiter, _STAND_IN), _STAND_IN
    hidden = _without_escapes(text, dialect)
    if hidden is None:
        return None
    found = _rewritten(hidden, dialect, delimiter)
    if found is None:
        return None
    plain = Dialect(delimiter.decode(), dialect.quote)
    columns = _columns(found.text, replace(layout, dialect=plain), found.rows)
    if columns is None:
        return None
    if dialect.delimiter != plain.delimiter and found.text.count(delimiter) > found.rows * (layout.width - 1):
        columns = [pc.replace_substring(column, plain.delimiter, dialect.delimiter) for column in columns]
    return Simple(columns, found.lines)


def _without_escapes(text: bytes, dialect: Dialect) -> bytes | None:
    """Put stand-ins for escaped quotes and backslashes; None where a text has these itself."""
    if not dialect.escape:
        return text
    if _ESCAPED_BACKSLASH in text or _ESCAPED_QUOTE[:1] in text:
        return None
    if "\\" in dialect.escaped:
        # Of backslashes in a row, each second one is escaped by the one before it.
        text = text.replace(b"\\\\", _ESCAPED_BACKSLASH)
    return text.replace(b"\\" + dialect.quote.encode(), _ESCAPED_QUOTE)


class _Rewritten(NamedTuple):
    text: bytes
    rows: int
    lines: int


def _rewritten(text: bytes, dialect: Dialect, delimiter: bytes) -> _Rewritten | None:
    """Write the whole records of a text with doubled quotes, and without blanks beside delimiters."""
    characters = np.frombuffer(text, np.uint8)
    quotes = characters == ord(dialect.quote)
    inside: _Flags = np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(np.bool_)
    ends = characters == _LF
    if b"\r" in text:
        # Of CR and LF the LF ends the line.
        returns = characters == _CR
        returns[:-1] &= ~ends[1:]
        ends |= returns
    of_records = np.flatnonzero(ends & ~inside)
    if not len(of_records):
        return None
    size = int(of_records[-1]) + 1
    characters, inside, ends = characters[:size], inside[:size], ends[:size]
    lines = int(np.count_nonzero(ends))
    if dialect.escape and ((characters == _ESCAPED_QUOTE[0]) & ~inside).any():
        return None
    escaping = dialect.escape != "" and dialect.delimiter in dialect.escaped
    # Without the blank behind it, a backslash would escape the delimiter behind that.
    escapable = (characters == delimiter[0]) | ((characters == _BLANK) & bool(dialect.blanks))
    if escaping and ((characters[:-1] == _BACKSLASH) & escapable[1:] & ~inside[:-1]).any():
        return None
    if dialect.blanks:
        borders = (characters == delimiter[0]) | ends | (characters == _CR)
        dropped = _beside(borders, (characters == _BLANK) & ~inside, both=dialect.blanks == "around")
        if dropped is None:
            return None
        text = characters[~dropped].tobytes()
    else:
        text = text[:size]
    if not enclose_cells(text, dialect.quote.encode(), delimiter):
        return None
    if dialect.escape:
        text = text.replace(b"\\" + delimiter, delimiter) if escaping else text
        text = text.replace(_ESCAPED_QUOTE, 2 * dialect.quote.encode()).replace(_ESCAPED_BACKSLASH, b"\\")
    return _Rewritten(text, len(of_records), lines)


def _beside(borders: _Flags, blanks: _Flags, *, both: bool) -> _Flags | None:
    """Find the blanks in runs behind a border or the beginning, and in those before a border too if it says `both`."""
    found = np.zeros(len(blanks), np.bool_)
    for _ in range(_LONGEST_RUN):
        behind = borders | found
        more = blanks & ~found
        again = more.copy()
        again[1:] &= behind[:-1]
        if both:
            before = more.copy()
            before[:-1] &= behind[1:]
            before[-1] = False
            again |= before
        if not again.any():
            return found
        found |= again
    return None


def _plainly(text: bytes, dialect: Dialect) -> bytes | None:
    """Write a text without quotes with delimiters of one byte and without the blanks beside them."""
    delimiter = dialect.delimiter.encode()
    if len(delimiter) > 1:
        # First: of the marks in `||| ` the last belongs to no delimiter, and the blank behind it to a cell.
        if _STAND_IN in text:
            return None
        text, delimiter = text.replace(delimiter, _STAND_IN), _STAND_IN
    if dialect.blanks == "runs":
        text = text.replace(b"\t", b" ")
    elif b"\t" in text and dialect.blanks:
        # A line of them alone is blank.
        return None
    for _ in range(_LONGEST_RUN):
        before = len(text)
        for blanks, instead in _superfluous(delimiter, dialect.blanks):
            text = text.replace(blanks, instead)
        if len(text) == before:
            break
    else:
        return None
    if dialect.blanks:
        text = text.lstrip(b" ") if dialect.blanks == "after" else text.strip(b" ")
    return text


def _superfluous(delimiter: bytes, blanks: str) -> list[tuple[bytes, bytes]]:
    if not blanks:
        return []
    begins = [(b"\n ", b"\n"), (b"\r ", b"\r")]
    ends = [(b" \n", b"\n"), (b" \r", b"\r")]
    if blanks == "runs":
        return [(b"  ", b" "), *begins, *ends]
    after = [(delimiter + b" ", delimiter), *begins]
    return after if blanks == "after" else [*after, (b" " + delimiter, delimiter), *ends]
