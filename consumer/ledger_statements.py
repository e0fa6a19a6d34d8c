"""
The protocol's statements, in the words of `docs/protocol.md`. Each takes the clock as a parameter.

Grouped statements run once per row of a group inside one transaction; the rules hold row by row.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from consumer.ledger_schema import KEY, folder_etags, leases, units

now = sa.bindparam("now", type_=sa.BigInteger)

HINT_AGAIN_MS = 60_000
"""A hint of the waker that led to nothing is given again after this long."""


def _is_key() -> sa.ColumnElement[bool]:
    return sa.and_(*(units.c[name] == sa.bindparam(f"pk_{name}") for name in KEY))


def claim(dialect: str, lease_ms: int, grace_ms: int) -> Any:
    """
    CLAIM: take a free row or one whose lease has ended, else mark it dirty, in one statement (R1).

    Right-hand sides see the row as it was. `updated_at` carries the clock into the conflict clause. Afterwards, in the
    same transaction, the row's `lease_token` tells whether this claim has it.
    """
    insert = postgresql_insert(units) if dialect == "postgresql" else sqlite_insert(units)
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
            settled_token=sa.bindparam("token"),
            updated_at=now,
        )
    )


# HEARTBEAT, for all claims of a process at once; a token that does not come back has lost its row.
heartbeat = (
    sa.update(units)
    .where(units.c.lease_token.in_(sa.bindparam("tokens", expanding=True)))
    .values(lease_until=sa.bindparam("until", type_=sa.BigInteger))
    .returning(units.c.lease_token)
)

# CHECK, for a whole commit group in one read.
check = sa.select(units.c.lease_token).where(units.c.lease_token.in_(sa.bindparam("tokens", expanding=True)))

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
_not_hinted = sa.or_(units.c.hinted_at.is_(None), units.c.hinted_at < now - HINT_AGAIN_MS)
_pk = sa.tuple_(*(units.c[name] for name in KEY))

# WAKER: everything whose deadline has passed, oldest first (R8).
wake = (
    sa.update(units)
    .where(
        _pk.in_(
            sa.select(*(units.c[name] for name in KEY))
            .where(_due, _not_hinted)
            .order_by(sa.func.coalesce(units.c.lease_until, units.c.wake_at))
            .limit(sa.bindparam("most", type_=sa.Integer))
        )
    )
    .values(hinted_at=now)
    .returning(*(units.c[name] for name in KEY), units.c.force)
)


def rows_of(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """
    Return the query of some rows of one handler and bucket, by the names of their units.

    SQLite answers a tuple IN a list of tuples by reading the whole table; this one takes a look-up for each name.
    """
    return sa.select(*columns).where(
        units.c.handler == sa.bindparam("handler"),
        units.c.bucket == sa.bindparam("bucket"),
        units.c.unit.in_(sa.bindparam("units", expanding=True)),
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


# What CLAIM, BEGIN and SETTLE made of the rows of a group.
claimed_rows = rows_of(*ROW, *receipt_of(units.c.receipt))
begun_rows = rows_of(units.c.unit, units.c.lease_token, units.c.attempts)
settled_rows = rows_of(*ROW, units.c.settled_token)
settled_rows_with_receipts = rows_of(*ROW, *receipt_of(units.c.receipt), units.c.settled_token)


def put_etags(dialect: str) -> Any:
    """Remember the ETags of files in a folder."""
    insert = postgresql_insert(folder_etags) if dialect == "postgresql" else sqlite_insert(folder_etags)
    names = ("size", "mtime_ns", "ctime_ns", "inode", "etag")
    return insert.on_conflict_do_update(
        index_elements=["bucket", "key"], set_={name: insert.excluded[name] for name in names}
    )


def rebuild(dialect: str) -> Any:
    """REBUILD: tell a ledger without this row what the sink holds; a row that is there knows better."""
    insert = postgresql_insert(units) if dialect == "postgresql" else sqlite_insert(units)
    return insert.on_conflict_do_nothing(index_elements=list(KEY)).returning(units.c.unit)


def take_lease(dialect: str) -> Any:
    """Take a named lease when it is free or has ended; `token` of the returned row tells who has it."""
    insert = postgresql_insert(leases) if dialect == "postgresql" else sqlite_insert(leases)
    free = sa.or_(leases.c.until.is_(None), leases.c.until <= sa.bindparam("now", type_=sa.BigInteger))
    due = sa.or_(leases.c.next_at.is_(None), leases.c.next_at <= sa.bindparam("due", type_=sa.BigInteger))
    return insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"token": insert.excluded.token, "until": insert.excluded.until},
        where=sa.and_(free, due),
    ).returning(leases.c.token)
