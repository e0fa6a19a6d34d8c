"""Seeding the table from files of a source: all of them in one transaction, in batches. Blocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Self

from handlers.contract import PermanentError, Receipt
from handlers.dataset_catalogue.database import Database
from handlers.dataset_catalogue.descriptions import Description, Seed, gone, seeded
from handlers.dataset_catalogue.unit_notes import received


class Seeding:
    """
    A transaction under way; it may go from thread to thread, one at a time. Nothing of it is kept without `commit`.

    Args:
        source: Whose files these are.
        seed: Their version.
        found: What they tell, in batches; closed with this.
    """

    def __init__(
        self, database: Database, source: str, seed: Seed, found: Iterator[list[Description]], now: datetime
    ) -> None:
        self.processed = 0
        self.inserted = 0
        self.gone = 0
        self._database = database
        self._source = source
        self._seed = seed
        self._found = found
        self._now = now
        self._connection = database.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self) -> bool:
        """Put in a batch; False after the last. Raises as reading the files does, and as `Database.begin`."""
        batch = next(self._found, None)
        if batch is None:
            return False
        with self._database.told():
            self.inserted += seeded(self._connection, self._source, batch, self._seed, self._now)
        self.processed += len(batch)
        return True

    def finish(self) -> None:
        """
        Deactivate what earlier versions told of and this one does not.

        Raises:
            PermanentError: It tells of nothing at all, which no version that is whole does.
        """
        if not self.processed:
            raise PermanentError("The files tell of no dataset.")
        self.deactivate()

    def deactivate(self) -> None:
        """Deactivate what earlier versions told of and this one did not: all of it, before the first batch."""
        with self._database.told():
            self.gone = gone(self._connection, self._source, self._seed)

    def receive(self, bucket: str, unit: str, receipt: Receipt | None) -> None:
        """Note what the table holds of a unit, None: nothing, in the same transaction."""
        with self._database.told():
            received(self._connection, bucket, unit, receipt, round(self._now.timestamp() * 1000))

    def commit(self) -> None:
        """Make it visible, all at once."""
        with self._database.told():
            self._connection.commit()

    def close(self) -> None:
        """Undo what was not committed."""
        self._connection.close()
        if (close := getattr(self._found, "close", None)) is not None:
            close()
