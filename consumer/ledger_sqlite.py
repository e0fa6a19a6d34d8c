"""The ledger in a file of SQLite, on a thread of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Run = Callable[..., Awaitable[Any]]

BUSY_TIMEOUT_MS = 30_000
"""How long a statement waits for another process's transaction on the same home."""


class SqliteEngine:
    """
    Transactions on SQLite.

    Args:
        database: Made by `sqlite_database`.
        run: Runs a blocking function on the ledger's thread: `await run(function, *arguments)`.
    """

    def __init__(self, database: sa.Engine, run: Run) -> None:
        self.database = database
        self.dialect = database.dialect
        self._run = run

    async def transact(self, function: Callable[[sa.Connection], T], *, writes: bool) -> T:
        """Run a function in a transaction on the ledger's thread."""
        result: T = await self._run(self._transact, function, writes)
        return result

    def now(self, _connection: sa.Connection) -> int | None:
        """SQLite has no clock that all processes share but the machine's."""
        return None

    async def aclose(self) -> None:
        """Close the file."""
        await self._run(self.database.dispose)

    def _transact(self, function: Callable[[sa.Connection], T], writes: bool) -> T:
        with self.database.connect() as connection:
            connection = connection.execution_options(writes=writes)  # noqa: PLW2901 (it is the same connection)
            with connection.begin():
                return function(connection)


def sqlite_engine(path: Path | None, run: Run) -> SqliteEngine:
    """Return the engine of a ledger file; None keeps it in memory."""
    return SqliteEngine(sqlite_database(path), run)


def sqlite_database(path: Path | None) -> sa.Engine:
    """
    Open a ledger file; None keeps it in memory.

    Every commit reaches the disk (`synchronous=FULL`): a SETTLE lost to a power cut after the object changed and
    changed back would leave a row that trusts a sink which holds the version between.
    """
    database = sa.create_engine(
        "sqlite://" if path is None else f"sqlite:///{path}",
        poolclass=sa.StaticPool,
        connect_args={"check_same_thread": False},
    )

    @sa.event.listens_for(database, "connect")
    def prepare(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(database, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later is refused while another process writes; take the lock first.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return database
