"""
A ledger that is only read: of a home whose service may be running, may be stopped, or never ran.

SQLite itself refuses to write. As any reader of a database in WAL mode it makes the files `-wal` and `-shm` beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from consumer.ledger import BUSY_TIMEOUT_MS, Ledger, Run, sqlite_engine
from consumer.ledger_etags import FolderEtags
from consumer.ledger_schema import MIGRATIONS, migrations


class LedgerReading(Ledger):
    """The ledger of a file, or an empty one in memory where there is none."""

    def __init__(self, path: Path, *, run: Run, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._there = path.is_file()
        engine = _reading_engine(path) if self._there else sqlite_engine(None)
        super().__init__(engine, run=run, clock=clock, new_id=new_id)

    async def open(self) -> None:
        """
        See whether its tables are those of this program.

        Raises:
            RuntimeError: They are another program's.
            sqlalchemy.exc.DBAPIError: It cannot be read.
        """
        if self._there:
            await self.read(_refuse_other_schema)
        else:
            await super().open()


class KnownEtags(FolderEtags):
    """The remembered ETags of folder buckets; none is added or dropped."""

    async def put_many(self, *_: Any) -> None:
        """Remember nothing."""

    async def drop_many(self, *_: Any) -> None:
        """Forget nothing."""


def _reading_engine(path: Path) -> sa.Engine:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        seconds = BUSY_TIMEOUT_MS / 1000
        return sqlite3.connect(uri, uri=True, timeout=seconds, isolation_level=None, check_same_thread=False)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.StaticPool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _refuse_other_schema(connection: sa.Connection) -> None:
    found = connection.scalar(sa.select(sa.func.max(migrations.c.number)))
    if found != len(MIGRATIONS):
        raise RuntimeError(
            f"the ledger has schema {found}, this program reads {len(MIGRATIONS)}: `lakedrop status` of the newer "
            "program brings an older ledger up to date"
        )
