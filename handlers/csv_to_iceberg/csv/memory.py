"""What a table remembers about the shape of its files, so that a like file is only checked, not detected again."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.dialect import LIKELY
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import KIB
from handlers.csv_to_iceberg.csv.records import lines_of, records_of

_MOST_LAYOUTS: Final = 64
_LONGEST_HEAD: Final = 64 * KIB
_FEW: Final = 10
"""At most one record was rejected for so many rows."""


class Remembered(NamedTuple):
    """The raw bytes that a file begins with, through its header, and the layout they stand for."""

    head: bytes
    layout: Layout


class Memory:
    """Layouts of one table's UTF-8 files by their heads. Bounded; losing it costs time only."""

    def __init__(self) -> None:
        self._layouts: dict[bytes, Layout] = {}
        self._lengths: tuple[int, ...] = ()

    def recall(self, data: bytes) -> Remembered | None:
        """Return what is known about files that begin like this one."""
        for length in self._lengths:
            head = data[:length]
            # A line end that was cut in two would count as two lines.
            cut_line_end = head.endswith(b"\r") and data.startswith(b"\n", length)
            if (layout := self._layouts.get(head)) and not cut_line_end:
                return Remembered(head, layout)
        return None

    def remember(self, head: bytes, layout: Layout, *, rows: int, rejected: int) -> None:
        """
        Keep the layout of a file, in place of the oldest if need be, if it is beyond doubt.

        A head that is known already keeps its layout: another one was found for a file that contradicts it.
        """
        whole = layout.width > 1 or not any(delimiter.encode() in head for delimiter in LIKELY)
        beyond_doubt = whole and layout.plain and layout.dialect.quote and rows > 0 and rejected * _FEW <= rows
        if not beyond_doubt or not head or len(head) > _LONGEST_HEAD or head in self._layouts:
            return
        if not _names_all(head, layout):
            return
        # Another thread may be recalling: it sees the old state or the new one, each complete.
        layouts = dict(self._layouts)
        if len(layouts) == _MOST_LAYOUTS:
            layouts.pop(next(iter(layouts)))
        reason = f"as in an earlier file that begins like it; {layout.reason}"
        layouts[head] = replace(layout, reason=reason)
        self._layouts = layouts
        self._lengths = tuple(sorted({len(known) for known in layouts}, reverse=True))


def _names_all(head: bytes, layout: Layout) -> bool:
    """Tell whether a header names each column: what an empty name means depends on the rows of each file."""
    *_, header = records_of(lines_of(head.decode("utf-8-sig")), layout.dialect)
    return len(header.cells) == layout.width and all(cell.strip() for cell in header.cells)
