"""
The protocol's statements, in the words of `docs/protocol.md`. Each takes the ledger's clock as a parameter.

On PostgreSQL several processes run them at once, READ COMMITTED: rows are locked in the order of their keys, so that
none waits for another in a circle.

Grouped statements run once per row of a group inside one transaction; the rules hold row by row.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from consumer.ledger_schema import KEY, folder_etags, leases, sweep_progress, sweeps, units

now = sa.bindparam("now", type_=sa.BigInteger)

HINT_AGAIN_MS = 60_000
"""A hint of the waker that led to nothing is given again after this long."""


def _is_key() -> sa.ColumnElement[bool]:
    return sa.and_(*(units.c[name] == sa.bindparam(f"pk_{name}") for name in KEY))


def among(column: sa.Column[Any], parameter: str, dialect: str) -> sa.ColumnElement[bool]:
    """Compare with any value of a list that is one parameter: each length of a list would be another statement."""
    if dialect == "postgresql":
        return column == sa.any_(sa.bindparam(parameter, type_=ARRAY(sa.Text)))
    return column.in_(
        sa.select(sa.func.json_each(sa.bindparam(parameter, type_=sa.JSON)).table_valued("value").c.value)
    )


def insert_into(table: sa.Table, dialect: str) -> Any:
    """Return an INSERT that can be told what to do about a row that is there, which both databases write alike."""
    return postgresql_insert(table) if dialect == "postgresql" else sqlite_insert(table)


@cache
def claim(dialect: str, lease_ms: int, grace_ms: int) -> Any:
    """
    CLAIM: take a free row or one whose lease has ended, else mark it dirty, in one statement (R1).

    Right-hand sides see the row as it was. `updated_at` carries the clock into the conflict clause. Afterwards, in the
    same transaction, the row's `lease_token` tells whether this claim has it.
    """
    insert = insert_into(units, dialect)
    new = insert.excluded
    clock = new.updated_at
    held = units.c.lease_until > clock
    return insert.on_conflict_do_update(
        index_elements=list(KEY),
        set_={
            "dirty": sa.case((held, sa.true()), else_=sa.false()),
            "suspect_until": sa.case((units.c.lease_until <= clock, clock + grace_ms), else_=units.c.suspect_until),
            "lease_token": sa.case((held, units.c.lease_token), else_=new.lease_token),
            "lease_until": sa.case((held, units.c.lease_until), else_=clock + lease_ms),
            "hinted_at": None,
            # A SETTLE under an earlier token that comes now must not take its own last one for this one.
            "settled_token": sa.case((held, units.c.settled_token), else_=sa.null()),
            "updated_at": clock,
        },
    )


# BEGIN: count the attempt and open the row before any work (R4). `attempt` is absolute: safe to repeat.
begin = (
    sa.update(units)
    .where(_is_key(), units.c.lease_token == sa.bindparam("token"))
    .values(
        attempts=sa.case(
            (sa.or_(units.c.force, units.c.observed_etag.is_distinct_from(sa.bindparam("head"))), 1),
            else_=sa.bindparam("attempt", type_=sa.Integer),
        ),
        observed_etag=sa.bindparam("head"),
        open=True,
        status="pending",
        force=False,
        updated_at=now,
    )
)


@cache
def settle(lease_ms: int, grace_ms: int) -> sa.Update:
    """SETTLE: the only way a claim ends; releases only if no hint came meanwhile (R2), under its token (R3)."""
    stop = sa.bindparam("stop", type_=sa.Boolean)
    wake = sa.bindparam("wake", type_=sa.BigInteger)
    committed = sa.bindparam("committed", type_=sa.Boolean)
    looked = sa.bindparam("looked", type_=sa.Boolean)
    keep_lease = sa.and_(units.c.dirty, sa.not_(stop))

    def when(condition: sa.ColumnElement[bool], name: str) -> sa.ColumnElement[Any]:
        return sa.case((condition, sa.bindparam(f"new_{name}", type_=units.c[name].type)), else_=units.c[name])

    return (
        sa.update(units)
        .where(_is_key(), units.c.lease_token == sa.bindparam("token"))
        .values(
            status=sa.bindparam("new_status"),
            error_class=sa.bindparam("new_error_class"),
            error=sa.bindparam("new_error"),
            attempts=sa.bindparam("new_attempts"),
            observed_etag=when(looked, "observed_etag"),
            size=when(looked, "size"),
            modified=when(looked, "modified"),
            applied_etag=when(committed, "applied_etag"),
            receipt=when(committed, "receipt"),
            handler_version=when(committed, "handler_version"),
            open=sa.case((committed, sa.false()), else_=units.c.open),
            wake_at=sa.case((sa.and_(units.c.dirty, sa.or_(stop, wake.is_(None))), now), else_=wake),
            suspect_until=sa.case(
                (sa.bindparam("suspect", type_=sa.Boolean), now + grace_ms), else_=units.c.suspect_until
            ),
            lease_token=sa.case((keep_lease, units.c.lease_token), else_=sa.null()),
            lease_until=sa.case((keep_lease, now + lease_ms), else_=sa.null()),
            dirty=False,
            settled_token=sa.bindparam("settling", type_=sa.Text),
            updated_at=now,
        )
    )


@cache
def heartbeat(dialect: str) -> sa.Update:
    """HEARTBEAT, for all claims of a process at once; a token that does not come back has lost its row."""
    return (
        sa.update(units)
        .where(among(units.c.lease_token, "tokens", dialect))
        .values(lease_until=sa.bindparam("until", type_=sa.BigInteger))
        .returning(units.c.lease_token)
    )


@cache
def held_rows(dialect: str) -> sa.Select[Any]:
    """Lock what HEARTBEAT is about to change."""
    mine = sa.select(units.c.unit).where(among(units.c.lease_token, "tokens", dialect))
    return mine.order_by(*(units.c[name] for name in KEY)).with_for_update()


@cache
def check(dialect: str) -> sa.Select[Any]:
    """CHECK, for a whole commit group in one read."""
    return sa.select(units.c.lease_token).where(among(units.c.lease_token, "tokens", dialect))


# REPLAY, in the transaction of the CLAIM that follows it.
replay = (
    sa.update(units)
    .where(_is_key())
    .values(force=True, attempts=0, wake_at=now, dirty=units.c.lease_token.is_not(None), updated_at=now)
)

_due = sa.or_(
    sa.and_(units.c.lease_token.is_(None), units.c.wake_at <= now),
    sa.and_(units.c.lease_token.is_not(None), units.c.lease_until <= now),
)
_not_hinted = sa.or_(
    units.c.hinted_at.is_(None),
    units.c.hinted_at < now - HINT_AGAIN_MS,
    units.c.hinted_at == sa.bindparam("tried", type_=sa.BigInteger),
)


@cache
def wake(dialect: str) -> sa.Update:
    """WAKER: everything whose deadline has passed, oldest first (R8). What somebody has locked is being seen to."""
    pk = tuple(units.c[name] for name in KEY)
    due: Any = (
        sa.select(*pk)
        .where(_due, _not_hinted, sa.not_(among(units.c.handler, "without", dialect)))
        .order_by(sa.func.coalesce(units.c.lease_until, units.c.wake_at))
        .limit(sa.bindparam("most", type_=sa.Integer))
    )
    if dialect == "postgresql":  # as a CTE it runs once; a plan may run a subquery, and its limit, for each row
        due = sa.select(due.with_for_update(skip_locked=True).cte("due"))
    return sa.update(units).where(sa.tuple_(*pk).in_(due)).values(hinted_at=now).returning(*pk, units.c.force)


def rows_of(dialect: str, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """
    Return the query of some rows of one handler and bucket, by the names of their units.

    SQLite answers a tuple IN a list of tuples by reading the whole table; this one takes a look-up for each name.
    """
    return sa.select(*columns).where(
        units.c.handler == sa.bindparam("handler"),
        units.c.bucket == sa.bindparam("bucket"),
        among(units.c.unit, "units", dialect),
    )


# A row as the protocol sees it, in the order of `ledger_rows.row_of`.
ROW = tuple(
    units.c[name]
    for name in (
        *KEY,
        "status",
        "applied_etag",
        "observed_etag",
        "open",
        "attempts",
        "dirty",
        "force",
        "lease_token",
        "lease_until",
        "wake_at",
        "suspect_until",
        "error_class",
        "error",
        "size",
        "modified",
        "handler_version",
        "updated_at",
    )
)


def receipt_of(document: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], ...]:
    """
    Return the parts of a receipt in a JSON document, in the order of `Receipt`'s fields, but for its detail.

    The detail is for people; reading it would cost more than all the rest of a row.
    """
    names = ("fingerprint", "handler_version", "target")
    return (*(document[name].as_string().label(name) for name in names), document["counts"].as_json().label("counts"))


@cache
def locked_rows(dialect: str) -> sa.Select[Any]:
    """Lock the rows of a group that is of several kinds, one bucket after the other."""
    return rows_of(dialect, units.c.unit).order_by(units.c.unit).with_for_update()


@cache
def claimed_rows(dialect: str) -> sa.Select[Any]:
    """Return what CLAIM made of the rows of a group."""
    return rows_of(dialect, *ROW, *receipt_of(units.c.receipt))


@cache
def begun_rows(dialect: str) -> sa.Select[Any]:
    """Return what BEGIN made of the rows of a group."""
    return rows_of(dialect, units.c.unit, units.c.lease_token, units.c.attempts)


@cache
def settled_rows(dialect: str, *, receipts: bool) -> sa.Select[Any]:
    """Return what SETTLE made of the rows of a group."""
    parts = receipt_of(units.c.receipt) if receipts else ()
    return rows_of(dialect, *ROW, *parts, units.c.settled_token)


@cache
def settled_tokens(dialect: str) -> sa.Select[Any]:
    """Return which SETTLE was the last of the rows of a group."""
    return rows_of(dialect, units.c.unit, units.c.settled_token)


def _files(dialect: str) -> sa.ColumnElement[bool]:
    return sa.and_(folder_etags.c.bucket == sa.bindparam("bucket"), among(folder_etags.c.key, "keys", dialect))


@cache
def known_etags(dialect: str) -> sa.Select[Any]:
    """Return what is remembered of some files in a folder."""
    return sa.select(folder_etags).where(_files(dialect))


@cache
def drop_etags(dialect: str) -> sa.Delete:
    """Forget files in a folder."""
    return sa.delete(folder_etags).where(_files(dialect))


@cache
def put_etags(dialect: str) -> Any:
    """Remember the ETags of files in a folder."""
    insert = insert_into(folder_etags, dialect)
    names = ("size", "mtime_ns", "ctime_ns", "inode", "etag")
    return insert.on_conflict_do_update(
        index_elements=["bucket", "key"], set_={name: insert.excluded[name] for name in names}
    )


def rebuild(dialect: str) -> Any:
    """REBUILD: tell a ledger without this row what the sink holds; a row that is there knows better."""
    insert = insert_into(units, dialect)
    return insert.on_conflict_do_nothing(index_elements=list(KEY)).returning(units.c.unit)


def keep_report(dialect: str) -> Any:
    """Keep the report of a sweep, once."""
    insert = insert_into(sweeps, dialect)
    return insert.on_conflict_do_nothing(index_elements=["id"])


def keep_progress(dialect: str) -> Any:
    """Replace how far a sweep of an area has come."""
    insert = insert_into(sweep_progress, dialect)
    return insert.on_conflict_do_update(
        index_elements=["area"], set_={"at": insert.excluded["at"], "ranges": insert.excluded.ranges}
    )


def take_lease(dialect: str) -> Any:
    """Take a named lease when it is free or has ended; `token` of the returned row tells who has it."""
    insert = insert_into(leases, dialect)
    mine = leases.c.token == insert.excluded.token  # the answer to an earlier try was lost
    free = sa.or_(leases.c.until.is_(None), leases.c.until <= sa.bindparam("now", type_=sa.BigInteger), mine)
    due = sa.or_(leases.c.next_at.is_(None), leases.c.next_at <= sa.bindparam("due", type_=sa.BigInteger))
    return insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"token": insert.excluded.token, "until": insert.excluded.until},
        where=sa.and_(free, due),
    ).returning(leases.c.token)
