"""What a table remembers about the shape of its files, so that a like file is only checked, not detected again."""

from __future__ import annotations


class Memory:
    """Layouts of one table's files by their raw header bytes. Bounded; losing it costs time only."""
