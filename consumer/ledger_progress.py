"""How far sweeps have come, kept in the ledger so that any process can finish one that was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger import Ledger
from consumer.ledger_schema import sweep_progress


class Progress:
    """Checkpoints of sweeps, by area: a document for each of its key ranges."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def get(self, area: str, most_ms: int) -> Sequence[Mapping[str, Any]] | None:
        """Return the checkpoint of an area, None when there is none that is at most `most_ms` milliseconds old."""

        def get(connection: sa.Connection) -> Sequence[Mapping[str, Any]] | None:
            query = sa.select(sweep_progress.c.ranges).where(
                sweep_progress.c.area == area, sweep_progress.c.at >= self._ledger.clock.now(connection) - most_ms
            )
            found: Sequence[Mapping[str, Any]] | None = connection.scalar(query)
            return found

        return await self._ledger.read(get)

    async def put(self, area: str, ranges: Sequence[Mapping[str, Any]]) -> None:
        """Replace the checkpoint of an area."""

        def put(connection: sa.Connection) -> None:
            values = {"area": area, "at": self._ledger.clock.now(connection), "ranges": ranges}
            connection.execute(statements.keep_progress(connection.dialect.name), values)

        await self._ledger.write(put)

    async def drop(self, area: str) -> None:
        """Forget the checkpoint of an area."""
        mine = sa.delete(sweep_progress).where(sweep_progress.c.area == area)
        await self._ledger.write(lambda connection: connection.execute(mine))
