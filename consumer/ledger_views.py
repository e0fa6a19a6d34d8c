"""Rows of the ledger as sweeps, replays and people read them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger import Ledger
from consumer.ledger_rows import receipt_json, receipt_of, row_of, storable, storable_document
from consumer.ledger_schema import KEY, units
from consumer.protocol import Row, Status
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, UNKNOWN, Failure, Receipt

PAGE = 10_000
"""Rows of one short read transaction; a long read cursor would keep SQLite's log from being folded in."""

LEAST_PART = 10_000
"""Rows that a key range is worth listing by itself for."""


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


class Swept(NamedTuple):
    """What a sweep needs to know of a row."""

    unit: str
    observed_etag: str | None
    lease_token: str | None
    wake_at: int | None


class Told(NamedTuple):
    """What a certificate says of a row."""

    unit: str
    status: str
    observed_etag: str | None
    applied_etag: str | None
    lease_token: str | None
    wake_at: int | None
    error_class: str | None
    error: str | None
    target: str | None
    """Where the sink holds it."""


_TOLD = (
    *(units.c[name] for name in Told._fields if name != "target"),
    units.c.receipt["target"].as_string().label("target"),
)

_SWEPT = tuple(units.c[name] for name in Swept._fields)

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


def _fetch(query: sa.Select[Any]) -> Callable[[sa.Connection], list[sa.Row[Any]]]:
    return lambda connection: list(connection.execute(query))


def _fetch_plain(query: sa.Select[Any]) -> Callable[[sa.Connection], Sequence[Sequence[Any]]]:
    """Fetch what the driver gives, of columns that need no conversion: a row takes 0.4 microseconds more."""

    def fetch(connection: sa.Connection) -> Sequence[Sequence[Any]]:
        with connection.execute(query) as result:
            rows: Sequence[Sequence[Any]] = result.cursor.fetchall()
            return rows

    return fetch


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
        async for rows in self._pages(_of(handler, bucket, upto), after, prefix):
            for row in rows:
                yield Seen._make(row)

    async def pages(
        self, handler: str, bucket: str, after: str, upto: str | None
    ) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """Yield the fields of `Swept` of the same rows, some rows at a time: for sweeps of millions."""
        query = _of(handler, bucket, upto).with_only_columns(*_SWEPT)
        async for rows in self._pages(query, after, fetch=_fetch_plain):
            yield rows

    async def splits(
        self, handlers: Sequence[str], bucket: str, after: str, upto: str | None, parts: int
    ) -> Sequence[str]:
        """
        Return the units between which some handler's rows fall into parts of one size, as `between` counts them.

        It is the handler with the most rows; none when they are too few to divide.
        """

        def splits(connection: sa.Connection) -> Sequence[str]:
            most, chosen = 0, None
            for handler in handlers:
                query = _of(handler, bucket, upto)
                counted = sa.select(sa.func.count()).select_from(query.where(units.c.unit > after).subquery())
                number = connection.scalar(counted) or 0
                if number > most:
                    most, chosen = number, query
            if chosen is None or most < parts * LEAST_PART:
                return []
            found: list[str] = []
            behind = 0
            for part in range(1, parts):
                # From the one before on: no statement reads more than a part, for each has only so much time.
                part_of = chosen.with_only_columns(units.c.unit).where(units.c.unit > (found[-1] if found else after))
                index = most * part // parts
                found.append(connection.scalars(part_of.order_by(units.c.unit).offset(index - behind).limit(1)).one())
                behind = index + 1
            return found

        return await self._ledger.read(splits)

    async def known(self, handler: str, bucket: str, names: Sequence[str]) -> dict[str, Seen]:
        """Return those of some units that have rows; at most some thousands."""
        query = statements.rows_of(self._ledger.engine.dialect.name, *_SEEN)
        where = {"handler": handler, "bucket": bucket, "units": list(names)}
        rows = await self._ledger.read(lambda connection: connection.execute(query, where).all())
        return {row.unit: Seen._make(row) for row in rows}

    async def told(self, handler: str, bucket: str, names: Sequence[str]) -> list[Told]:
        """Return what a certificate says of some units that have rows; at most some thousands."""
        query = statements.rows_of(self._ledger.engine.dialect.name, *_TOLD)
        where = {"handler": handler, "bucket": bucket, "units": list(names)}
        rows = await self._ledger.read(lambda connection: connection.execute(query, where).all())
        return [Told._make(row) for row in rows]

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
        async for rows in self._pages(query, "", selection.prefix):
            for row in rows:
                yield Chosen._make(row)

    async def _pages(
        self,
        query: sa.Select[Any],
        after: str,
        prefix: str = "",
        fetch: Callable[[sa.Select[Any]], Callable[[sa.Connection], Sequence[Any]]] = _fetch,
    ) -> AsyncIterator[Sequence[Any]]:
        """Yield rows behind a unit, which begin with theirs, some at a time."""
        if prefix:
            query = query.where(sa.func.substr(units.c.unit, 1, len(prefix)) == prefix)
        query = query.order_by(units.c.unit).limit(PAGE)
        # Never two lower bounds: SQLite goes by the first, and reads again what lies between them.
        page = query.where(units.c.unit >= prefix if prefix > after else units.c.unit > after)
        while True:
            rows = await self._ledger.read(fetch(page))
            yield rows
            if len(rows) < PAGE:
                return
            page = query.where(units.c.unit > rows[-1][0])

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
            "receipt": None if receipt is None else storable_document(receipt_json(receipt)),
            "observed_etag": applied if failure is None else failure.fingerprint,
            "open": failure is not None or applied is None,
            "attempts": 0,
            "dirty": False,
            "force": False,
            "error_class": None if failure is None else failure.error_class,
            "error": None if failure is None else storable(failure.message),
            "handler_version": None if receipt is None else receipt.handler_version,
            "created_at": now,
            "updated_at": now,
        }

    def _rows(self, connection: sa.Connection, query: sa.Select[Any]) -> list[Row]:
        now = self._ledger.clock()
        return [row_of(row, receipt_of(row.receipt), now) for row in connection.execute(query)]


def _of(handler: str, bucket: str, upto: str | None) -> sa.Select[Any]:
    query = sa.select(*_SEEN).where(units.c.handler == handler, units.c.bucket == bucket)
    return query if upto is None else query.where(units.c.unit <= upto)
