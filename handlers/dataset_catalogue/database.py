"""Where the catalogue is kept: SQLite in the home, or PostgreSQL. Blocks; used on threads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from handlers.contract import SinkAway
from handlers.dataset_catalogue.tables import metadata

FILE: Final = "catalogue.db"

BUSY_SECONDS: Final = 120
"""How long a transaction waits for another process's: a seed of all of Kaggle is one."""

CONNECT_SECONDS: Final = 5

MAKING: Final = 0x636174616C6F67
"""Key of the lock that lets one process at a time make the tables in PostgreSQL: "catalog"."""

UNESCAPED: Final = partial(json.dumps, ensure_ascii=False)
"""Writes JSON whose letters are found by who looks for them in its text."""

READS: Final = "catalogue_reads"
"""Execution option of a connection that writes nothing."""


class Database:
    """
    Transactions on the catalogue.

    Args:
        url: `postgresql://…` as libpq reads it; None for SQLite.
        path: SQLite's file.
    """

    def __init__(self, url: str | None, path: Path) -> None:
        self.place = str(path) if url is None else sa.make_url(url).render_as_string(hide_password=True)
        self._path = path
        if url is None:
            self._engine = sa.create_engine(
                f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS}, json_serializer=UNESCAPED
            )
            sa.event.listen(self._engine, "connect", _prepare)
            sa.event.listen(self._engine, "begin", _begin)
        else:
            self._engine = sa.create_engine(
                sa.make_url(url).set(drivername="postgresql+psycopg2"),
                connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "lakedrop catalogue"},
                pool_pre_ping=True,
                json_serializer=UNESCAPED,
            )

    @property
    def dialect(self) -> str:
        """Name of SQLAlchemy's dialect."""
        return self._engine.dialect.name

    def make(self) -> None:
        """Make the tables that are missing; raises as `begin` does."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self.begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING)))
            metadata.create_all(connection)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """
        Open a transaction that writes, committed at the end of the block; on PostgreSQL it is read committed.

        Raises:
            SinkAway: The database does not answer, or does not let us in.
        """
        with self.told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that waits for nobody who writes; raises as `begin` does."""
        with self.told(), self._engine.connect().execution_options(**{READS: True}) as connection:
            yield connection

    def connect(self) -> sa.Connection:
        """Return a connection for a transaction that is longer than a block; raises as `begin` does."""
        with self.told():
            return self._engine.connect()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise what the driver raises in the block as `begin` does."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._fault(error) or error from error

    def _fault(self, error: sa.exc.DBAPIError) -> SinkAway | None:
        """
        Tell what an error means; None for one that the statement or its values are to blame for.

        The driver gives no SQLSTATE of a connection that was not made, so nobody can tell a wrong password from a
        server that is away: both wait for somebody, and the message says which.
        """
        if not isinstance(error, sa.exc.OperationalError | sa.exc.InternalError) and not error.connection_invalidated:
            return None
        return SinkAway(f"{self.place}: {str(error.orig).strip()}")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _begin(connection: sa.Connection) -> None:
    """The driver begins no transaction for a SELECT: what was read would be stale when it is written."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READS) else "BEGIN IMMEDIATE")


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's BEGIN is the only one
    connection.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own knows A to Z
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()
