"""The ledger on PostgreSQL, through asyncpg: for several replicas, or a home that is not to keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import create_async_engine

from consumer.ledger_again import PATIENCE, Trouble, again_until_done

T = TypeVar("T")

log = structlog.get_logger("lakedrop.ledger")

POOL: Final = 5
"""Connections of a process: groups of statements run one after the other, reads and heartbeats beside them."""

CONNECT_SECONDS: Final = 5.0
STATEMENT_MS: Final = 30_000
"""A lease: whatever takes longer is of no use to its claim."""
COMMAND_SECONDS: Final = 35.0
"""Past `STATEMENT_MS` and still no answer: the connection is dead, though nobody said so."""

SESSION: Final = {
    "application_name": "lakedrop",
    "timezone": "UTC",
    # The statements were made for it; a stricter one would only refuse more of them.
    "default_transaction_isolation": "read committed",
    # A SETTLE that is lost may leave a row which trusts a sink that holds another version, as with SQLite.
    "synchronous_commit": "on",
    "statement_timeout": str(STATEMENT_MS),
    # A process that was stopped in a transaction keeps nobody from its rows.
    "idle_in_transaction_session_timeout": str(STATEMENT_MS),
    # Compiling a statement takes longer than any of these.
    "jit": "off",
}

CANCELLED: Final = "57014"
"""SQLSTATE of a statement that took longer than it may: mostly it waited for somebody's lock."""

END_STOPPED: Final = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = :name AND datname = current_database() AND usename = current_user "
    "AND state <> 'idle' AND wait_event = 'ClientRead' "
    "AND state_change < clock_timestamp() - :milliseconds * interval '1 millisecond'"
)
"""
Ends transactions of processes that were stopped, or lost with their machine, between two messages of one statement.

asyncpg has a statement parsed, and sends its values when it has the answer. Until they come PostgreSQL neither takes
the transaction for idle nor cancels anything (`DoingCommandRead`; seen with 15): its locks stay with the connection.
"""

CLOCK: Final = sa.text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")

CONFLICTS: Final = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and of a deadlock."""

UNREACHABLE: Final = frozenset({"25P03", "53300", "57014", "57P01", "57P02", "57P03", "57P05"})
"""
SQLSTATE of: a transaction idle too long, too many connections, a statement cancelled (by its timeout), shut down,
crashed, starting, a session idle too long. Class 08 is about connections.
"""


class PostgresEngine:
    """
    Transactions on PostgreSQL.

    Args:
        url: As libpq reads it: `postgresql://user:password@host:5432/database?sslmode=require`.
        reads_only: The database refuses to write.
        patience: Seconds that a transaction waits for a database which cannot be reached.
    """

    def __init__(self, url: str, *, reads_only: bool = False, patience: float = PATIENCE) -> None:
        session = {**SESSION, "default_transaction_read_only": "on" if reads_only else "off"}

        async def connect() -> Any:
            return await asyncpg.connect(
                url, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS, server_settings=session
            )

        self.database = create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, pool_size=POOL, max_overflow=0, pool_timeout=COMMAND_SECONDS
        )
        self.dialect = self.database.dialect
        self._patience = patience

    async def transact(self, function: Callable[[sa.Connection], T], *, writes: bool) -> T:
        """Run a function in a transaction; again after a deadlock, and when the connection was lost."""

        async def once() -> T:
            try:
                async with self.database.connect() as connection:
                    await connection.execution_options(postgresql_readonly=not writes)
                    async with connection.begin():
                        return await connection.run_sync(function)
            except sa.exc.DBAPIError as error:
                if CANCELLED in _states(error):
                    await self._end_stopped()
                raise

        return await again_until_done(once, trouble_of, patience=self._patience)

    async def _end_stopped(self) -> None:
        values = {"name": SESSION["application_name"], "milliseconds": STATEMENT_MS}
        with suppress(sa.exc.SQLAlchemyError, OSError):  # the next try of the transaction tells what is wrong
            async with self.database.connect() as connection:
                if ended := len((await connection.execute(END_STOPPED, values)).all()):
                    log.warning("ledger.stopped_ended", transactions=ended)

    def now(self, connection: sa.Connection) -> int | None:
        """Return the server's clock: replicas' own differ."""
        found: int | None = connection.scalar(CLOCK)
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        await self.database.dispose()


def trouble_of(error: BaseException) -> Trouble | None:
    """Tell what an error means; None for one that the statement or its values are to blame for."""
    for cause in _causes(error):
        state = str(getattr(cause, "sqlstate", None) or "")
        if state in CONFLICTS:
            return Trouble.CONFLICT
        if state in UNREACHABLE or state.startswith("08"):
            return Trouble.UNREACHABLE
        if isinstance(cause, OSError | TimeoutError) or getattr(cause, "connection_invalidated", False):
            return Trouble.UNREACHABLE
    return None


def is_refusal(error: BaseException) -> bool:
    """Tell whether the server answered, and does not know this user, password (class 28) or database (3D000)."""
    states = [str(getattr(cause, "sqlstate", None) or "") for cause in _causes(error)]
    return any(state.startswith("28") or state == "3D000" for state in states)


def _states(error: BaseException) -> set[str]:
    return {str(getattr(cause, "sqlstate", None) or "") for cause in _causes(error)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what SQLAlchemy wraps in it, and what it was raised from."""
    while error is not None:
        yield error
        error = getattr(error, "orig", None) or error.__cause__
