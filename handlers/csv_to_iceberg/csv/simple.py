"""Lines of other dialects made such that Arrow reads them: where no quote, escape or comment is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa

from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.tokenise import tokenise

_STAND_IN: Final = b"\x1f"
"""Takes the place of a delimiter that is more than a byte."""
_LONGEST_RUN: Final = 64
"""Blanks beside each other."""


def split_simply(lines: Sequence[str], layout: Layout) -> list[pa.Array] | None:
    """
    Split lines into columns of text, with NULL for empty cells.

    None where it takes more than that: a quote, an escape, a comment, a record of another width, a line of blanks.
    """
    dialect = layout.dialect
    text = _plainly("".join(lines).encode(), dialect)
    if text is None or not text.strip(b"\r\n"):
        return None
    delimiter = dialect.delimiter if len(dialect.delimiter.encode()) == 1 else _STAND_IN.decode()
    tokens = tokenise(text, replace(layout, dialect=Dialect(delimiter, "")))
    if tokens.ragged or tokens.cells.num_rows != len(lines):
        return None
    return [column.combine_chunks() for column in tokens.cells.columns]


def _plainly(text: bytes, dialect: Dialect) -> bytes | None:
    """Write a text with delimiters of one byte and without the blanks beside them."""
    if any(mark and mark.encode() in text for mark in (dialect.quote, dialect.escape, dialect.comment)):
        return None
    delimiter = dialect.delimiter.encode()
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
    if len(delimiter) > 1:
        return None if _STAND_IN in text else text.replace(delimiter, _STAND_IN)
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
