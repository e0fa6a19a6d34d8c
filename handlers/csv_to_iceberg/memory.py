"""What a table remembers about the shape of its files, so that a like file is only checked, not detected again."""

from __future__ import annotations

from typing import Final, NamedTuple

from handlers.csv_to_iceberg.layout import Layout
from handlers.csv_to_iceberg.options import KIB

_MOST_LAYOUTS: Final = 64
_LONGEST_HEAD: Final = 64 * KIB


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
            if layout := self._layouts.get(head):
                return Remembered(head, layout)
        return None

    def remember(self, head: bytes, layout: Layout) -> None:
        """Keep the layout of a file that was read well, in place of the oldest if need be."""
        if not head or len(head) > _LONGEST_HEAD:
            return
        # Another thread may be recalling: it sees the old state or the new one, each complete.
        layouts = dict(self._layouts)
        layouts.pop(head, None)
        if len(layouts) == _MOST_LAYOUTS:
            layouts.pop(next(iter(layouts)))
        layouts[head] = layout
        self._layouts = layouts
        self._lengths = tuple(sorted({len(known) for known in layouts}, reverse=True))
