"""
The bytes of a column's texts as NumPy sees them.

What a regular expression tells of a cell in a microsecond is told here of all cells for a few nanoseconds each.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

ZERO: Final = ord("0")
NINE: Final = ord("9")
PLUS: Final = ord("+")
MINUS: Final = ord("-")
POINT: Final = ord(".")
COMMA: Final = ord(",")

_BEYOND: Final = np.zeros(40, dtype=np.uint8)
"""Readers may look this many bytes past the end of a text without asking where it ends."""


class Letters:
    """
    Where the texts of a string array begin and end, in bytes.

    A NULL has no length worth relying on: callers leave its slot out of their answer.
    """

    def __init__(self, texts: pa.Array) -> None:
        _, offsets, data = texts.buffers()
        # Arrow gives an empty array no offsets at all.
        ends = np.frombuffer(offsets, np.int32) if len(texts) else np.zeros(texts.offset + 1, np.int32)
        ends = ends[texts.offset : texts.offset + len(texts) + 1]
        first, last = int(ends[0]), int(ends[-1])
        own = np.frombuffer(data, np.uint8)[first:last] if last > first else _BEYOND[:0]
        self.data: Bytes = np.concatenate([own, _BEYOND])
        """All texts, one after the other, then zeros."""
        bounds = ends.astype(np.int64) - first
        self.starts: Positions = bounds[:-1]
        self.ends: Positions = bounds[1:]

    def at(self, places: Positions) -> Bytes:
        """Return the letters at places in `data`, which must not lie beyond it."""
        # Without a check of each index, which costs as much as the rest.
        return self.data.take(places, mode="clip")

    @property
    def lengths(self) -> Positions:
        """Bytes of each text."""
        return self.ends - self.starts

    def rewritten(self, texts: pa.Array, data: Bytes) -> pa.Array:
        """Return the texts with other letters in the same places; `data` may be of any shape."""
        offsets = np.append(self.starts, self.ends[-1:]).astype(np.int32)
        validity = texts.is_valid().buffers()[1] if texts.null_count else None
        buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.string(), len(texts), buffers)

    def counts(self, mask: Mask) -> Positions:
        """Count the bytes of each text that a mask over `data` marks."""
        sums = np.zeros(len(mask) + 1, np.int64)
        np.cumsum(mask, out=sums[1:])
        return sums[self.ends] - sums[self.starts]


def is_digit(letters: Bytes) -> Mask:
    """Tell for each byte whether it is 0 to 9."""
    return letters - np.uint8(ZERO) <= NINE - ZERO
