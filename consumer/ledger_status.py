"""What `status` reads from the ledger: how much is under way, and since when."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from consumer.ledger import Ledger
from consumer.ledger_schema import history, units
from consumer.protocol import Status
from consumer.workitem import UnitKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Units of one handler in one bucket that are held, or have a deadline. Times are epoch milliseconds."""

    handler: str
    bucket: str
    held: int
    """Being worked on, or left by a process that died until their leases end."""
    waiting: int
    """Not held, and due at some time."""
    next_wake: int | None
    """The earliest time a waiting one is due."""
    oldest: int | None
    """When the one that is unsettled longest became so."""


class Backlogs:
    """Counts of unsettled rows, and moments of single units."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def all(self) -> list[Backlog]:
        """Return the backlog of every handler and bucket that has rows, in byte order."""
        held = units.c.lease_token.is_not(None)
        waiting = sa.and_(units.c.lease_token.is_(None), units.c.wake_at.is_not(None))
        # A claim or a settlement touches the row; a unit that is retried has waited since its version was written,
        # or became known here, whichever is later.
        written = sa.func.coalesce(units.c.modified, units.c.created_at)
        since = sa.case(
            (units.c.status != Status.RETRYING.value, units.c.updated_at),
            (written > units.c.created_at, written),
            else_=units.c.created_at,
        )
        query = (
            sa.select(
                units.c.handler,
                units.c.bucket,
                sa.func.count(sa.case((held, 1))),
                sa.func.count(sa.case((waiting, 1))),
                sa.func.min(sa.case((waiting, units.c.wake_at))),
                sa.func.min(sa.case((sa.or_(held, waiting), since))),
            )
            .group_by(units.c.handler, units.c.bucket)
            .order_by(units.c.handler, units.c.bucket)
        )
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        names = ("handler", "bucket", "held", "waiting", "next_wake", "oldest")
        return [Backlog(**dict(zip(names, row, strict=True))) for row in rows]

    async def applied_at(self, key: UnitKey, fingerprint: str) -> int | None:
        """Return when a version of a unit last reached its sink, None when the timeline no longer tells."""
        query = sa.select(sa.func.max(history.c.at)).where(
            history.c.handler == key.handler,
            history.c.bucket == key.bucket,
            history.c.unit == key.unit,
            history.c.etag == fingerprint,
            history.c.event == Status.DONE.value,
        )
        found: int | None = await self._ledger.read(lambda connection: connection.scalar(query))
        return found
