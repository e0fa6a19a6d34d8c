"""The ledger's clock: the database's own where it has one, as the clocks of replicas differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

    from consumer.ledger_engine import LedgerEngine


class LedgerClock:
    """
    Epoch milliseconds of the ledger.

    Called, it is this process's clock, put right by what the database's said last. In a transaction `now` asks the
    database.

    Args:
        clock: This process's, epoch milliseconds.
        engine: Knows the database's.
    """

    def __init__(self, clock: Callable[[], int], engine: LedgerEngine) -> None:
        self._clock = clock
        self._engine = engine
        self._behind = 0
        """Milliseconds that this process's clock is behind the database's."""

    def __call__(self) -> int:
        """Return the time, without asking anybody."""
        return self._clock() + self._behind

    def now(self, connection: sa.Connection) -> int:
        """
        Return the time, once for all statements of a transaction that compare it.

        It is asked for after the transaction has its locks: a time from before a long wait would grant short leases.
        """
        found = self._engine.now(connection)
        if found is None:
            return self._clock()
        self._behind = found - self._clock()
        return found
