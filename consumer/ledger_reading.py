"""
A ledger that is only read: of a home whose service may be running, may be stopped, or never ran.

The database itself refuses to write. As any reader of a SQLite file in WAL mode it makes the files `-wal` and `-shm`
beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from consumer.ledger import Ledger
from consumer.ledger_etags import FolderEtags
from consumer.ledger_postgres import PostgresEngine
from consumer.ledger_schema import MIGRATIONS, migrations
from consumer.ledger_sqlite import BUSY_TIMEOUT_MS, Run, SqliteEngine, sqlite_engine


async def open_reading(
    url: str | None, path: Path, *, run: Run, clock: Callable[[], int], new_id: Callable[[], str]
) -> Ledger:
    """
    Open a ledger that is there, or an empty one in memory; see `open_engine` for `url`, `path` and `run`.

    Raises:
        RuntimeError: Its tables are another program's.
        LedgerUnavailable, sqlalchemy.exc.DBAPIError: It cannot be read.
    """
    if url is not None:
        ledger = Ledger(PostgresEngine(url, reads_only=True), clock=clock, new_id=new_id)
    elif path.is_file():  # noqa: ASYNC240 (one look at the file that is about to be opened)
        ledger = Ledger(SqliteEngine(_reading(path), run), clock=clock, new_id=new_id)
    else:
        return await _empty(run, clock, new_id)
    try:
        if await ledger.read(_is_of_this_program):
            return ledger
    except BaseException:
        await ledger.aclose()
        raise
    await ledger.aclose()
    return await _empty(run, clock, new_id)


async def _empty(run: Run, clock: Callable[[], int], new_id: Callable[[], str]) -> Ledger:
    ledger = Ledger(sqlite_engine(None, run), clock=clock, new_id=new_id)
    await ledger.open()
    return ledger


class KnownEtags(FolderEtags):
    """The remembered ETags of folder buckets; none is added or dropped."""

    async def put_many(self, *_: Any) -> None:
        """Remember nothing."""

    async def drop_many(self, *_: Any) -> None:
        """Forget nothing."""


def _reading(path: Path) -> sa.Engine:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        seconds = BUSY_TIMEOUT_MS / 1000
        return sqlite3.connect(uri, uri=True, timeout=seconds, isolation_level=None, check_same_thread=False)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.StaticPool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _is_of_this_program(connection: sa.Connection) -> bool:
    """Return whether there are tables at all; those of another program raise."""
    if not sa.inspect(connection).has_table(migrations.name):
        return False
    found = connection.scalar(sa.select(sa.func.max(migrations.c.number)))
    if found != len(MIGRATIONS):
        raise RuntimeError(
            f"the ledger has schema {found}, this program reads {len(MIGRATIONS)}: `lakedrop status` of the newer "
            "program brings an older ledger up to date"
        )
    return True
