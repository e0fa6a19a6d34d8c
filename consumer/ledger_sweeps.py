"""Reports of past sweeps, kept in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger import Ledger
from consumer.ledger_schema import sweeps


class Sweeps:
    """Reports of past sweeps."""

    KEPT = 500

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def save(self, identity: str, started_at: int, report: Mapping[str, Any]) -> None:
        """Keep a report; the oldest go."""

        def save(connection: sa.Connection) -> None:
            values = {"id": identity, "started_at": started_at, "report": dict(report)}
            connection.execute(statements.keep_report(connection.dialect.name), values)
            kept = sa.select(sweeps.c.id).order_by(sweeps.c.started_at.desc()).limit(self.KEPT)
            connection.execute(sa.delete(sweeps).where(sweeps.c.id.not_in(kept)))

        await self._ledger.write(save)

    async def last(self) -> Mapping[str, Any] | None:
        """Return the newest report."""
        query = sa.select(sweeps.c.report).order_by(sweeps.c.started_at.desc()).limit(1)
        found: Mapping[str, Any] | None = await self._ledger.read(lambda connection: connection.scalar(query))
        return found
