"""What a bridge leaves in the ledger: how far it has come, and the sweeps it wants."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from consumer.ledger import Ledger
from consumer.ledger_schema import checkpoints, wanted_sweeps
from consumer.ledger_statements import insert_into


class Checkpoints:
    """How far each named stream has been carried over."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def get(self, name: str) -> int | None:
        """Return the position of a stream, None when it was never read."""
        query = sa.select(checkpoints.c.position).where(checkpoints.c.name == name)
        return await self._ledger.read(lambda connection: connection.scalar(query))

    async def ages(self, beginning: str) -> dict[str, int]:
        """Return for the streams whose names begin so how many milliseconds ago each was remembered."""
        query = sa.select(checkpoints.c.name, checkpoints.c.updated_at)
        query = query.where(checkpoints.c.name.startswith(beginning, autoescape=True))

        def ages(connection: sa.Connection) -> dict[str, int]:
            now = self._ledger.clock.now(connection)
            return {name: now - updated_at for name, updated_at in connection.execute(query)}

        return await self._ledger.read(ages)

    async def put(self, name: str, position: int) -> None:
        """Remember the position of a stream."""

        def put(connection: sa.Connection) -> None:
            values = {"name": name, "position": position, "updated_at": self._ledger.clock.now(connection)}
            connection.execute(_upsert(connection, checkpoints, "name"), values)

        await self._ledger.write(put)


class Wanted(NamedTuple):
    """A sweep that was asked for."""

    bucket: str
    asked_at: int
    """Epoch milliseconds of the latest demand."""
    reason: str


class WantedSweeps:
    """
    Buckets whose events were lost somewhere, one row each.

    A demand outlives both processes, and stands until a sweep that began after it has seen the whole bucket.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def ask(self, bucket: str, reason: str) -> None:
        """Want a sweep of a bucket that begins after now."""

        def ask(connection: sa.Connection) -> None:
            values = {"bucket": bucket, "asked_at": self._ledger.clock.now(connection), "reason": reason}
            connection.execute(_upsert(connection, wanted_sweeps, "bucket"), values)

        await self._ledger.write(ask)

    async def pending(self) -> list[Wanted]:
        """Return the demands nobody has met, by bucket."""
        query = sa.select(wanted_sweeps.c.bucket, wanted_sweeps.c.asked_at, wanted_sweeps.c.reason)
        query = query.order_by(wanted_sweeps.c.bucket)
        return await self._ledger.read(lambda connection: [Wanted(*row) for row in connection.execute(query)])

    async def met(self, wanted: Wanted) -> None:
        """Strike a demand off, unless it was made anew."""
        mine = sa.and_(wanted_sweeps.c.bucket == wanted.bucket, wanted_sweeps.c.asked_at == wanted.asked_at)
        await self._ledger.write(lambda connection: connection.execute(sa.delete(wanted_sweeps).where(mine)))


def _upsert(connection: sa.Connection, table: sa.Table, key: str) -> Any:
    insert = insert_into(table, connection.dialect.name)
    others = {column.name: insert.excluded[column.name] for column in table.c if column.name != key}
    return insert.on_conflict_do_update(index_elements=[key], set_=others)
