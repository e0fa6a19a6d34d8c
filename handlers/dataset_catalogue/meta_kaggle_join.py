"""
The rows of Meta Kaggle's files, put together on the disk: whatever their number, this takes the same memory.

DuckDB would sort as well, but takes all the memory that it may before it uses the disk, and fails where that is little.
SQLite finds rows by their number in pages of a file, of which it keeps a few.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

CACHE: Final = 4 << 10
"""kB of the file that are kept in memory."""

TABLES: Final[Mapping[str, Sequence[str]]] = {
    "datasets": ("downloads", "views", "votes", "created", "active"),
    "versions": ("title", "slug", "license", "size", "number", "subtitle"),
    "users": ("name",),
    "organizations": ("name",),
}
"""What is known of each, beside its `id`."""

JOINED: Final = """
    SELECT
        d.id, v.title, v.slug, coalesce(u.name, o.name), v.license, v.size, v.number, v.subtitle,
        d.downloads, d.views, d.votes, d.created, d.active
    FROM datasets d
    LEFT JOIN versions v ON v.id = d.id
    LEFT JOIN users u ON u.id = d.id
    LEFT JOIN organizations o ON o.id = d.id
    ORDER BY d.id
"""


class Join:
    """
    A database that nobody needs afterwards, neither after a crash. It may go from thread to thread, one at a time.

    Args:
        path: Of its file, which is new.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for setting in (
            f"cache_size = -{CACHE}",
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
        ):
            self._database.execute(f"PRAGMA {setting}")
        for table, columns in TABLES.items():
            self._database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {', '.join(columns)})")
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def take(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Take rows of a table, which begin with their id; of two with the same, the last is kept."""
        values = ", ".join("?" * (1 + len(TABLES[table])))
        self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({values})", rows)  # noqa: S608 (a name of TABLES)

    def pages(self, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield so many datasets at a time with what belongs to them, in the order of their ids, each once."""
        found = self._database.execute(JOINED)
        while rows := found.fetchmany(size):
            yield rows
