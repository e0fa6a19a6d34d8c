"""Timelines of units, and the outcomes in them that sinks' own records wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger import Ledger
from consumer.ledger_many import Many
from consumer.ledger_rows import short_receipt
from consumer.ledger_schema import history
from consumer.workitem import UnitKey
from handlers.contract import Outcome


class Entry(NamedTuple):
    """One line of a unit's timeline."""

    at: int
    event: str
    token: str | None
    etag: str | None
    detail: Mapping[str, Any]


class History:
    """The append-only timeline of units, and the outcomes on their way to the sinks' own records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._recorded = Many(_RECORDED, ledger.engine.dialect)

    async def timeline(self, key: UnitKey, most: int = 200) -> list[Entry]:
        """Return a unit's newest entries, oldest first."""
        columns = (history.c.at, history.c.event, history.c.token, history.c.etag, history.c.detail)
        same = (history.c.handler == key.handler, history.c.bucket == key.bucket, history.c.unit == key.unit)
        query = sa.select(*columns).where(*same).order_by(history.c.id.desc()).limit(most)
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        return [Entry(*row) for row in reversed(rows)]

    async def unrecorded(self, handler: str, most: int) -> list[tuple[int, Outcome]]:
        """Return the oldest outcomes that the sink's own records may lack, with their identity."""
        query = _OUTCOMES.where(history.c.handler == handler).limit(most)
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        return [(row.id, _outcome(row)) for row in rows]

    async def recorded(self, ids: Iterable[int]) -> None:
        """Note that the sink's own records have these outcomes."""
        values = [{"entry": identity} for identity in ids]
        await self._ledger.write(lambda connection: self._recorded.run(connection, values))

    async def prune(self, before: int, most: int = 10_000) -> int:
        """
        Delete entries older than `before` (epoch milliseconds), never one still to be recorded.

        Runs in transactions of at most `most` entries, so that work under way is not held up. Returns how many went.
        """
        old = sa.select(history.c.id).where(history.c.at < before, history.c.recorded.is_not(False)).limit(most)
        drop = sa.delete(history).where(history.c.id.in_(old))
        deleted = 0
        while True:
            some = await self._ledger.write(lambda connection: connection.execute(drop).rowcount)
            deleted += some
            if some < most:
                return deleted


# The database takes the entries apart: most of what is in them is nothing to be recorded.
_OUTCOMES = (
    sa.select(
        *(history.c[name] for name in ("id", "bucket", "unit", "token", "etag", "at")),
        *(history.c.detail[name].as_string().label(name) for name in ("status", "error_class", "error", "route")),
        *statements.receipt_of(history.c.detail["receipt"]),
    )
    .where(history.c.recorded.is_(False))
    .order_by(history.c.id)
)

_RECORDED = sa.update(history).where(history.c.id == sa.bindparam("entry")).values(recorded=True)


def _outcome(row: Sequence[Any]) -> Outcome:
    _, bucket, unit, token, etag, at, status, error_class, error, route, *receipt = row
    return Outcome(bucket, unit, token, etag, status, at, short_receipt(receipt), error_class, error, route)
