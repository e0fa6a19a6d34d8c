"""Leases of periodic tasks, kept in the ledger's file."""

from __future__ import annotations

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger import Ledger
from consumer.ledger_schema import leases


class Leases:
    """Named leases of periodic tasks: one process at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def take(self, name: str, token: str, *, due: bool = True) -> bool:
        """Take a lease that is free; with `due` only when its next time has come."""

        def take(connection: sa.Connection) -> bool:
            now = self._ledger.clock.now(connection)
            clocks = {"now": now, "due": now if due else 1 << 62}
            values = {"name": name, "token": token, "until": now + self._ledger.lease_ms}
            rows = connection.execute(statements.take_lease(connection.dialect.name), {**values, **clocks}).all()
            return [row.token for row in rows] == [token]

        return await self._ledger.write(take)

    async def extend(self, name: str, token: str) -> bool:
        """Hold on to a lease; False when it is lost."""

        def extend(connection: sa.Connection) -> bool:
            mine = sa.update(leases).where(leases.c.name == name, leases.c.token == token)
            until = self._ledger.clock.now(connection) + self._ledger.lease_ms
            return connection.execute(mine.values(until=until)).rowcount == 1

        return await self._ledger.write(extend)

    async def release(self, name: str, token: str, next_at: int | None = None) -> None:
        """Give a lease back; `next_at` (epoch milliseconds) is when it is due again."""
        mine = sa.update(leases).where(leases.c.name == name, leases.c.token == token)
        free = mine.values(token=None, until=None, **({} if next_at is None else {"next_at": next_at}))
        await self._ledger.write(lambda connection: connection.execute(free))
