"""What is known while a file is compared with a dataset: on disk, for there may be millions of records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

_TABLES: Final = """
CREATE TABLE there (external_id TEXT PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL,
                    others TEXT, annotated INTEGER NOT NULL, suggestions TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nameless (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE seen (external_id TEXT PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE doubts (external_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE steps (number INTEGER PRIMARY KEY, step BLOB NOT NULL);
CREATE TABLE rejects (row INTEGER PRIMARY KEY, external_id TEXT, reason TEXT NOT NULL, content TEXT NOT NULL);
"""


class There(NamedTuple):
    """A record that the dataset has, as digests."""

    external_id: str
    id: str
    text: str
    metadata: str
    """Of the mapping's columns."""
    others: str | None
    """Further metadata, as JSON; None when there is none."""
    annotated: int
    """It has responses."""
    suggestions: str
    """JSON: id and digest, by name of the question."""


class Reject(NamedTuple):
    """A row that is no record."""

    row: int
    """From 1."""
    external_id: str | None
    reason: str
    content: str
    """The row, as JSON."""


class Step(NamedTuple):
    """What is to be done to one record."""

    external_id: str
    row: int
    """0 for records that no row is for."""
    id: str | None = None
    """Of the record there is."""
    fields: dict[str, str] | None = None
    """To be sent before the rest: Argilla compares spans with the text it has, not with the one they come with."""
    item: dict[str, Any] | None = None
    """To be sent; its suggestions name questions."""
    suggestions: Sequence[str] = ()
    """Ids of suggestions to delete."""
    deletes: bool = False
    """The record itself is to go."""
    spares: bool = False
    """Only if it has no responses by then."""


class Scratch:
    """
    The tables of one comparison. Blocks; for one thread at a time.

    Args:
        folder: For the file.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "scratch.db"
        path.unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def put_there(self, records: Iterable[There]) -> None:
        """Remember records of the dataset."""
        self._db.executemany("INSERT OR REPLACE INTO there VALUES (?, ?, ?, ?, ?, ?, ?)", records)

    def put_nameless(self, ids: Iterable[str]) -> None:
        """Remember that the dataset has records without identifiers of ours."""
        self._db.executemany("INSERT OR IGNORE INTO nameless VALUES (?)", ((one,) for one in ids))

    def count_there(self) -> int:
        """Return how many records of the dataset are known."""
        both = "SELECT (SELECT count(*) FROM there) + (SELECT count(*) FROM nameless)"
        return int(self._db.execute(both).fetchone()[0])

    def there(self, external_id: str) -> There | None:
        """Return a record of the dataset."""
        found = self._db.execute("SELECT * FROM there WHERE external_id = ?", (external_id,)).fetchone()
        return None if found is None else There(*found)

    def see(self, external_id: str, row: int) -> int:
        """Remember that the file has a record; return the row it has it in, which is an earlier one if it is again."""
        self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (external_id, row))
        return int(self._db.execute("SELECT row FROM seen WHERE external_id = ?", (external_id,)).fetchone()[0])

    def vanished(self) -> Iterator[There]:
        """Yield the records of the dataset that the file does not have."""
        found = self._db.execute("SELECT * FROM there WHERE external_id NOT IN (SELECT external_id FROM seen)")
        yield from (There(*row) for row in found)

    def put_doubts(self, external_ids: Iterable[str]) -> None:
        """Remember records whose place in the search index is not certain."""
        self._db.executemany("INSERT OR IGNORE INTO doubts VALUES (?)", ((one,) for one in external_ids))

    def is_doubtful(self, external_id: str) -> bool:
        """Tell whether a record may be missing in the search index."""
        return self._db.execute("SELECT 1 FROM doubts WHERE external_id = ?", (external_id,)).fetchone() is not None

    def put_step(self, step: Step) -> None:
        """Append something to do."""
        self._db.execute("INSERT INTO steps (step) VALUES (?)", (orjson.dumps(list(step)),))

    def parcel(self, after: int, rows: int, size: int) -> tuple[list[Step], int]:
        """
        Return the next steps, and the number of the last.

        Args:
            after: Number of the last one done; 0 at first.
            rows: Most steps.
            size: Most bytes; the first is returned however large it is.
        """
        steps: list[Step] = []
        last, total = after, 0
        found = self._db.execute(
            "SELECT number, step FROM steps WHERE number > ? ORDER BY number LIMIT ?", (after, rows)
        )
        for number, step in found:
            total += len(step)
            if steps and total > size:
                break
            steps.append(Step(*orjson.loads(step)))
            last = number
        found.close()
        return steps, last

    def reject(self, one: Reject) -> None:
        """Keep a row that is no record."""
        self._db.execute("INSERT OR REPLACE INTO rejects VALUES (?, ?, ?, ?)", one)

    def rejects(self, limit: int) -> Iterator[Reject]:
        """Yield the first rejected rows."""
        for row in self._db.execute("SELECT * FROM rejects ORDER BY row LIMIT ?", (limit,)):
            yield Reject(*row)

    def count_rejects(self) -> int:
        """Return how many rows are rejected."""
        return int(self._db.execute("SELECT count(*) FROM rejects").fetchone()[0])
