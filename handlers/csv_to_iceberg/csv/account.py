"""
Every record accounted for: how many there must be, told from the line ends of a text alone.

Line ends that follow each other directly end one record and blank lines, which are none. So a text has as many records
as runs of line ends, but for the runs that stand within quoted cells. Nothing else of the tokenisers goes into this
count: a record that one of them loses is missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LINE_ENDS: Final = (b"\n", b"\r")
_TWO_FEEDS: Final = 0x0A0A
_SLICE: Final = 1 << 16
"""Bytes looked at in one step: what NumPy allocates for them stays in the cache."""


def line_breaks(text: bytes, feeds: int | None = None) -> int:
    """Count runs of line ends; `feeds` is the number of LFs, if it is known."""
    if b"\r" not in text and not _blank_line(text):
        return text.count(b"\n") if feeds is None else feeds
    runs = int(text.startswith(_LINE_ENDS))
    for at in range(0, len(text), _SLICE):
        piece = np.frombuffer(text, np.uint8, min(_SLICE + 1, len(text) - at), at)
        ends = (piece == _LINE_ENDS[0][0]) | (piece == _LINE_ENDS[1][0])
        runs += int(np.count_nonzero(ends[1:] > ends[:-1]))
    return runs


def breaks_within(columns: Iterable[pa.Array]) -> int:
    """Count runs of line ends within cells."""
    found = 0
    for cells in columns:
        content = cells.buffers()[2]
        if content is not None and any(end in memoryview(content).tobytes() for end in _LINE_ENDS):
            found += pc.sum(pc.count_substring_regex(cells, "[\r\n]+")).as_py() or 0
    return found


def _blank_line(text: bytes) -> bool:
    """Tell whether an LF follows another; two by two, as that takes a third of the time of a search."""
    return any(
        bool((np.frombuffer(text, np.uint16, (len(text) - odd) // 2, odd) == _TWO_FEEDS).any())
        for odd in (0, 1)
        if len(text) > odd + 1
    )
