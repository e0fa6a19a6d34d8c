"""The ledger's database: one in memory, emptied between schedules."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

from consumer.ledger_schema import MIGRATIONS, metadata, migrate
from consumer.ledger_sqlite import sqlite_database


@cache
def engine() -> sa.Engine:
    """Return the one ledger in memory that schedules use after each other."""
    made = sqlite_database(None)
    with made.connect() as connection, connection.begin():
        migrate(connection, 0)
    return made


def fresh_engine(now: int) -> sa.Engine:
    """Return a ledger without rows, made just now."""
    made = engine()
    clear(made)
    raw(made).execute("UPDATE migrations SET applied_at = ?", (now,))
    assert len(MIGRATIONS) >= 1
    return made


def clear(made: sa.Engine) -> None:
    """Delete every row."""
    for table in metadata.sorted_tables:
        if table.name != "migrations":
            raw(made).execute(f"DELETE FROM {table.name}")  # names of our own tables


def raw(made: sa.Engine) -> sa.PoolProxiedConnection:
    """Return the database's own connection: the schedule looks without crossing."""
    return made.raw_connection().driver_connection  # type: ignore[return-value]  # sqlite3's
