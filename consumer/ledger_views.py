"""What sweep, replay, recorder and people read from the ledger and keep in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger import Ledger
from consumer.ledger_rows import receipt_json, receipt_of, row_of, short_receipt
from consumer.ledger_schema import KEY, history, sweeps, units
from consumer.protocol import Row, Status
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, UNKNOWN, Failure, Outcome, Receipt

PAGE = 10_000
"""Rows of one short read transaction; a long read cursor would keep SQLite's log from being folded in."""


class Seen(NamedTuple):
    """What a sweep and a replay need to know of a row."""

    unit: str
    status: str
    observed_etag: str | None
    held: bool
    wake_at: int | None
    applied_etag: str | None


_SEEN = (
    units.c.unit,
    units.c.status,
    units.c.observed_etag,
    units.c.lease_token.is_not(None).label("held"),
    units.c.wake_at,
    units.c.applied_etag,
)

_ROWS = sa.select(*statements.ROW, units.c.receipt)


class Chosen(NamedTuple):
    """A row that a person meant."""

    unit: str
    modified: int | None
    size: int | None
    error: str | None


class Unsettled(NamedTuple):
    """A row that is held or has a deadline."""

    key: UnitKey
    status: str
    held: bool
    due: int
    """Epoch milliseconds: the end of its lease, or when it is looked at again."""
    attempts: int
    error: str | None


class Entry(NamedTuple):
    """One line of a unit's timeline."""

    at: int
    event: str
    token: str | None
    etag: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows a person means; None leaves a condition out."""

    prefix: str = ""
    since: int | None = None
    """Epoch milliseconds: object modified, or row touched, at or after."""
    status: str | None = None
    error_class: str | None = None
    other_version_than: str | None = None
    """Rows whose sink content was written by another handler version."""


class Units:
    """Rows of units, for sweeps, replays and people."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def find(self, bucket: str, unit: str) -> list[Row]:
        """Return the rows of a unit, one per handler."""
        query = _ROWS.where(units.c.bucket == bucket, units.c.unit == unit).order_by(units.c.handler)
        return await self._ledger.read(lambda connection: self._rows(connection, query))

    async def between(
        self, handler: str, bucket: str, after: str, upto: str | None, prefix: str = ""
    ) -> AsyncIterator[Seen]:
        """Yield the rows with `after` < unit <= `upto` (None: to the end) in byte order, in short transactions."""
        query = sa.select(*_SEEN).where(units.c.handler == handler, units.c.bucket == bucket, units.c.unit > after)
        if upto is not None:
            query = query.where(units.c.unit <= upto)
        async for row in self._pages(query, prefix):
            yield Seen._make(row)

    async def known(self, handler: str, bucket: str, names: Sequence[str]) -> dict[str, Seen]:
        """Return those of some units that have rows; at most some thousands."""
        query = statements.rows_of(*_SEEN)
        where = {"handler": handler, "bucket": bucket, "units": list(names)}
        rows = await self._ledger.read(lambda connection: connection.execute(query, where).all())
        return {row.unit: Seen._make(row) for row in rows}

    async def select(self, handler: str, bucket: str, selection: Selection) -> AsyncIterator[Chosen]:
        """Yield the rows a person means, in byte order."""
        query = sa.select(units.c.unit, units.c.modified, units.c.size, units.c.error).where(
            units.c.handler == handler, units.c.bucket == bucket
        )
        if selection.since is not None:
            query = query.where(sa.func.coalesce(units.c.modified, units.c.updated_at) >= selection.since)
        if selection.status is not None:
            query = query.where(units.c.status == selection.status)
        if selection.error_class is not None:
            query = query.where(units.c.error_class == selection.error_class)
        if selection.other_version_than is not None:
            # A row whose sink content nobody wrote yet has no version, and one whose content was removed holds none.
            query = query.where(
                units.c.handler_version != selection.other_version_than, units.c.applied_etag.is_distinct_from(ABSENT)
            )
        async for row in self._pages(query, selection.prefix):
            yield Chosen._make(row)

    async def _pages(self, query: sa.Select[Any], prefix: str) -> AsyncIterator[sa.Row[Any]]:
        if prefix:
            query = query.where(units.c.unit >= prefix, sa.func.substr(units.c.unit, 1, len(prefix)) == prefix)
        query = query.order_by(units.c.unit).limit(PAGE)
        page = query
        while True:
            rows = await self._ledger.read(_fetch(page))
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            page = query.where(units.c.unit > rows[-1].unit)

    async def counts(self) -> list[tuple[str, str, str, int]]:
        """Return (handler, bucket, state, number); the states are the statuses and "gone"."""
        state = sa.case(
            (sa.and_(units.c.status == Status.DONE.value, units.c.observed_etag == ABSENT), "gone"),
            else_=units.c.status,
        )
        query = sa.select(units.c.handler, units.c.bucket, state, sa.func.count()).group_by(
            units.c.handler, units.c.bucket, state
        )
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        return sorted((row[0], row[1], row[2], row[3]) for row in rows)

    async def failures(self, most: int = 20) -> list[Row]:
        """Return the newest failed rows."""
        query = _ROWS.where(units.c.status == Status.FAILED.value).order_by(units.c.updated_at.desc())
        return await self._ledger.read(lambda connection: self._rows(connection, query.limit(most)))

    async def error_classes(self) -> dict[str, int]:
        """Return how many units are failed now, by error class."""
        query = (
            sa.select(units.c.error_class, sa.func.count())
            .where(units.c.status == Status.FAILED.value)
            .group_by(units.c.error_class)
        )
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        return {row[0] or "": row[1] for row in sorted(rows, key=lambda row: row[0] or "")}

    async def unsettled(self, most: int = 1000) -> list[Unsettled]:
        """Return rows that are held or have a deadline, the earliest deadline first."""
        held, waiting = (
            sa.select(
                *(units.c[name] for name in KEY),
                units.c.status,
                units.c.lease_token.is_not(None).label("held"),
                deadline.label("due"),
                units.c.attempts,
                units.c.error,
            )
            .where(condition, deadline.is_not(None))
            .order_by(deadline)
            .limit(most)
            .subquery()
            for condition, deadline in (
                (units.c.lease_token.is_not(None), units.c.lease_until),
                (units.c.lease_token.is_(None), units.c.wake_at),
            )
        )
        query = sa.union_all(sa.select(held), sa.select(waiting)).order_by("due").limit(most)
        rows = await self._ledger.read(lambda connection: connection.execute(query).all())
        return [Unsettled(UnitKey(*row[:3]), *row[3:]) for row in rows]

    async def rebuild(self, found: Sequence[tuple[UnitKey, Receipt | None, Failure | None]]) -> int:
        """
        REBUILD: insert rows for what a sink says it holds; rows that are there stay as they are.

        A recorded failure makes the row failed for that version, on top of what the sink still holds. A receipt whose
        version nobody can tell (`UNKNOWN`) leaves the row open and without a version, so that the next sweep hints the
        unit and its current version is committed again.

        Returns:
            How many rows were new.
        """
        now = self._ledger.clock()
        values = [self._rebuilt(key, receipt, failure, now) for key, receipt, failure in found]

        def insert(connection: sa.Connection) -> int:
            statement = statements.rebuild(connection.dialect.name)
            return len(connection.execute(statement, values).all()) if values else 0

        return await self._ledger.write(insert)

    @staticmethod
    def _rebuilt(key: UnitKey, receipt: Receipt | None, failure: Failure | None, now: int) -> dict[str, Any]:
        applied = None if receipt is None or receipt.fingerprint == UNKNOWN else receipt.fingerprint
        return {
            **key._asdict(),
            "status": (Status.DONE if failure is None else Status.FAILED).value,
            "applied_etag": applied,
            "receipt": None if receipt is None else receipt_json(receipt),
            "observed_etag": applied if failure is None else failure.fingerprint,
            "open": failure is not None or applied is None,
            "attempts": 0,
            "dirty": False,
            "force": False,
            "error_class": None if failure is None else failure.error_class,
            "error": None if failure is None else failure.message,
            "handler_version": None if receipt is None else receipt.handler_version,
            "created_at": now,
            "updated_at": now,
        }

    def _rows(self, connection: sa.Connection, query: sa.Select[Any]) -> list[Row]:
        now = self._ledger.clock()
        return [row_of(row, receipt_of(row.receipt), now) for row in connection.execute(query)]


def _fetch(query: sa.Select[Any]) -> Callable[[sa.Connection], list[sa.Row[Any]]]:
    return lambda connection: list(connection.execute(query))


class History:
    """The append-only timeline of units, and the outcomes on their way to the sinks' own records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def timeline(self, key: UnitKey, most: int = 200) -> list[Entry]:
        """Return a unit's newest entries, oldest first."""
        columns = (history.c.at, history.c.event, history.c.token, history.c.etag, history.c.detail)
        same = (history.c.handler == key.handler, history.c.bucket == key.bucket, history.c.unit == key.unit)
        query = sa.select(*columns).where(*same).order_by(history.c.id.desc()).limit(most)
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        return [Entry(*row) for row in reversed(rows)]

    async def unrecorded(self, handler: str, most: int) -> list[tuple[int, Outcome]]:
        """Return the oldest outcomes that the sink's own records may lack, with their identity."""
        query = _OUTCOMES.where(history.c.handler == handler).limit(most)
        rows = await self._ledger.read(lambda connection: list(connection.execute(query)))
        return [(row.id, _outcome(row)) for row in rows]

    async def recorded(self, ids: Iterable[int]) -> None:
        """Note that the sink's own records have these outcomes."""
        done = sa.update(history).where(history.c.id == sa.bindparam("entry")).values(recorded=True)
        values = [{"entry": identity} for identity in ids]
        await self._ledger.write(lambda connection: connection.execute(done, values))

    async def prune(self, before: int, most: int = 10_000) -> int:
        """
        Delete entries older than `before` (epoch milliseconds), never one still to be recorded.

        Runs in transactions of at most `most` entries, so that work under way is not held up. Returns how many went.
        """
        old = sa.select(history.c.id).where(history.c.at < before, history.c.recorded.is_not(False)).limit(most)
        drop = sa.delete(history).where(history.c.id.in_(old))
        deleted = 0
        while True:
            some = await self._ledger.write(lambda connection: connection.execute(drop).rowcount)
            deleted += some
            if some < most:
                return deleted


# The database takes the entries apart: what a receipt tells people is most of an entry, and nothing to be recorded.
_OUTCOMES = (
    sa.select(
        *(history.c[name] for name in ("id", "bucket", "unit", "token", "etag", "at")),
        *(history.c.detail[name].as_string().label(name) for name in ("status", "error_class", "error", "route")),
        *statements.receipt_of(history.c.detail["receipt"]),
    )
    .where(history.c.recorded.is_(False))
    .order_by(history.c.id)
)


def _outcome(row: Sequence[Any]) -> Outcome:
    _, bucket, unit, token, etag, at, status, error_class, error, route, *receipt = row
    return Outcome(bucket, unit, token, etag, status, at, short_receipt(receipt), error_class, error, route)


class Sweeps:
    """Reports of past sweeps."""

    KEPT = 500

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def save(self, identity: str, started_at: int, report: Mapping[str, Any]) -> None:
        """Keep a report; the oldest go."""

        def save(connection: sa.Connection) -> None:
            connection.execute(sa.insert(sweeps).values(id=identity, started_at=started_at, report=dict(report)))
            kept = sa.select(sweeps.c.id).order_by(sweeps.c.started_at.desc()).limit(self.KEPT)
            connection.execute(sa.delete(sweeps).where(sweeps.c.id.not_in(kept)))

        await self._ledger.write(save)

    async def last(self) -> Mapping[str, Any] | None:
        """Return the newest report."""
        query = sa.select(sweeps.c.report).order_by(sweeps.c.started_at.desc()).limit(1)
        found: Mapping[str, Any] | None = await self._ledger.read(lambda connection: connection.scalar(query))
        return found
