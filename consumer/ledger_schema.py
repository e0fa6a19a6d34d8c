"""
The ledger's tables and their forward-only, numbered migrations.

One schema for SQLite (embedded) and PostgreSQL (replicas). Text compares in byte order; times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

metadata = sa.MetaData()


def _text(**options: object) -> sa.Text:
    """Text that compares by byte, which SQLite does by itself and PostgreSQL under the collation "C"."""
    return sa.Text(**options).with_variant(sa.Text(collation="C"), "postgresql")  # type: ignore[arg-type]


def _only(rows: sa.ColumnElement[bool]) -> dict[str, Any]:
    """Options of an index of some rows."""
    return {"sqlite_where": rows, "postgresql_where": rows}


#: Row identity everywhere.
KEY = ("handler", "bucket", "unit")

units = sa.Table(
    "units",
    metadata,
    sa.Column("handler", _text(), primary_key=True),
    sa.Column("bucket", _text(), primary_key=True),
    sa.Column("unit", _text(), primary_key=True),
    sa.Column("status", _text(), nullable=False),
    sa.Column("applied_etag", _text()),
    sa.Column("receipt", sa.JSON(none_as_null=True)),
    sa.Column("observed_etag", _text()),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("dirty", sa.Boolean, nullable=False),
    sa.Column("force", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lease_token", _text()),
    sa.Column("lease_until", sa.BigInteger),
    sa.Column("wake_at", sa.BigInteger),
    sa.Column("hinted_at", sa.BigInteger),
    sa.Column("suspect_until", sa.BigInteger),
    # Not part of the protocol: tells a SETTLE that hit its row, now or at an earlier try, from one that came too late.
    sa.Column("settled_token", _text()),
    sa.Column("error_class", _text()),
    sa.Column("error", _text()),
    sa.Column("size", sa.BigInteger),
    sa.Column("modified", sa.BigInteger),
    sa.Column("handler_version", _text()),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)
sa.Index("units_lease_token", units.c.lease_token, **_only(units.c.lease_token.is_not(None)))
sa.Index("units_lease_until", units.c.lease_until, **_only(units.c.lease_token.is_not(None)))
sa.Index("units_wake_at", units.c.wake_at, **_only(units.c.wake_at.is_not(None)))
sa.Index("units_status", units.c.status, units.c.updated_at)

history = sa.Table(
    "history",
    metadata,
    # BIGINT would not be SQLite's self-numbering rowid.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("handler", _text(), nullable=False),
    sa.Column("bucket", _text(), nullable=False),
    sa.Column("unit", _text(), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("event", _text(), nullable=False),
    sa.Column("token", _text()),
    sa.Column("etag", _text()),
    sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
    # NULL: nothing for the sink's own records; false: not there yet; true: there.
    sa.Column("recorded", sa.Boolean),
)
sa.Index("history_unit", history.c.handler, history.c.bucket, history.c.unit, history.c.id)
sa.Index("history_at", history.c.at)
sa.Index("history_recorded", history.c.handler, history.c.id, **_only(history.c.recorded.is_(False)))

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", _text(), primary_key=True),
    sa.Column("token", _text()),
    sa.Column("until", sa.BigInteger),
    sa.Column("next_at", sa.BigInteger),
)

sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("id", _text(), primary_key=True),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
)

folder_etags = sa.Table(
    "folder_etags",
    metadata,
    sa.Column("bucket", _text(), primary_key=True),
    sa.Column("key", _text(), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("ctime_ns", sa.BigInteger, nullable=False),
    sa.Column("inode", sa.BigInteger, nullable=False),
    sa.Column("etag", _text(), nullable=False),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("name", _text(), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

wanted_sweeps = sa.Table(
    "wanted_sweeps",
    metadata,
    sa.Column("bucket", _text(), primary_key=True),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    sa.Column("reason", _text(), nullable=False),
)

sweep_progress = sa.Table(
    "sweep_progress",
    metadata,
    sa.Column("area", _text(), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("ranges", sa.JSON, nullable=False),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("handler", _text(), primary_key=True),
    sa.Column("name", _text(), primary_key=True),
    sa.Column("target", _text(), primary_key=True),
    sa.Column("wanted", _text(), nullable=False),
    sa.Column("done", _text()),
    sa.Column("done_at", sa.BigInteger),
    sa.Column("detail", sa.JSON(none_as_null=True)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error_class", _text()),
    sa.Column("error", _text()),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    # NULL: done, in the version that is wanted.
    sa.Column("next_at", sa.BigInteger),
)

migrations = sa.Table(
    "migrations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("applied_at", sa.BigInteger, nullable=False),
)


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection, tables=[units, history, leases, sweeps, folder_etags])


def _bridge(connection: sa.Connection) -> None:
    metadata.create_all(connection, tables=[checkpoints, wanted_sweeps])


MIGRATING: Final = 0x6C616B6564726F70
"""Key of the lock that lets one process at a time migrate a PostgreSQL database: "lakedrop"."""


def _sweep_progress(connection: sa.Connection) -> None:
    metadata.create_all(connection, tables=[sweep_progress])


def _tasks(connection: sa.Connection) -> None:
    metadata.create_all(connection, tables=[tasks])


#: Migration number = position + 1. Only ever append.
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_create, _bridge, _sweep_progress, _tasks)


def migrate(connection: sa.Connection, now: int) -> int:
    """
    Bring the ledger to this program's schema; return when it was created.

    Raises:
        RuntimeError: A newer program has migrated this ledger already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))  # of a large table, or behind another process's
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
    migrations.create(connection, checkfirst=True)
    rows = connection.execute(sa.select(migrations.c.number, migrations.c.applied_at))
    applied: dict[int, int] = {row.number: row.applied_at for row in rows}
    if applied and max(applied) > len(MIGRATIONS):
        raise RuntimeError(
            f"the ledger has schema {max(applied)}, this program knows {len(MIGRATIONS)}: upgrade lakedrop, or move "
            "ledger.db aside and run `lakedrop ledger rebuild`"
        )
    for number, migration in enumerate(MIGRATIONS, 1):
        if number not in applied:
            migration(connection)
            connection.execute(sa.insert(migrations).values(number=number, applied_at=now))
            applied[number] = now
    return applied[1]
