"""Receipts of the ledger, as they are counted back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from consumer.ledger import Ledger
from consumer.ledger_schema import units
from consumer.ledger_statements import receipt_of
from handlers.contract import Receipt

PAGE: Final = 5000
"""Receipts of one short read transaction, and of one count."""


class Receipts:
    """What sinks are said to hold."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def buckets(self, handler: str) -> Sequence[str]:
        """Return the buckets that a handler has units of."""
        query = sa.select(units.c.bucket).where(units.c.handler == handler).distinct().order_by(units.c.bucket)
        return await self._ledger.read(lambda connection: connection.scalars(query).all())

    async def pages(
        self, handler: str, bucket: str, prefix: str = "", target: str | None = None
    ) -> AsyncIterator[Mapping[str, Receipt]]:
        """Yield receipts by unit, without their details, in byte order, some at a time."""
        target_of = units.c.receipt["target"].as_string()
        query = (
            sa.select(units.c.unit, *receipt_of(units.c.receipt))
            .where(units.c.handler == handler, units.c.bucket == bucket, target_of.is_not(None))
            .order_by(units.c.unit)
            .limit(PAGE)
        )
        if prefix:
            query = query.where(units.c.unit >= prefix, sa.func.substr(units.c.unit, 1, len(prefix)) == prefix)
        if target is not None:
            query = query.where(target_of == target)
        page = query
        while True:
            rows = await self._ledger.read(_all(page))
            if rows:
                yield {unit: Receipt(*parts) for unit, parts in ((row[0], tuple(row)[1:]) for row in rows)}
            if len(rows) < PAGE:
                return
            page = query.where(units.c.unit > rows[-1][0])


def _all(query: sa.Select[Any]) -> Callable[[sa.Connection], Sequence[sa.Row[Any]]]:
    return lambda connection: connection.execute(query).all()
