"""Where a ledger is kept: SQLite in the home, or PostgreSQL for several replicas. Both run the same functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa

from consumer.ledger_postgres import PostgresEngine
from consumer.ledger_sqlite import Run, sqlite_engine

T = TypeVar("T")


class LedgerEngine(Protocol):
    """Runs transactions. A function may run again when its first transaction's outcome is not known."""

    @property
    def dialect(self) -> sa.Dialect:
        """SQLAlchemy's words for the database."""
        ...

    async def transact(self, function: Callable[[sa.Connection], T], *, writes: bool) -> T:
        """
        Run a function in a transaction that is committed when it returns.

        Raises:
            LedgerUnavailable: The database did not answer; the transaction may have been committed.
            sqlalchemy.exc.DBAPIError: The database refused; nothing was written.
        """
        ...

    def now(self, connection: sa.Connection) -> int | None:
        """Return the database's own clock in epoch milliseconds, None when it has none."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and files."""
        ...


def open_engine(url: str | None, path: Path, run: Run) -> LedgerEngine:
    """
    Return the engine of a ledger; nothing is connected yet.

    Args:
        url: `postgresql://…`, as libpq reads it; None for SQLite.
        path: SQLite's file.
        run: Runs a blocking function on the ledger's thread; for SQLite.
    """
    return sqlite_engine(path, run) if url is None else PostgresEngine(url)
