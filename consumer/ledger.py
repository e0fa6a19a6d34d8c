"""
The ledger: one row per unit, and the statements of the worker protocol on it.

Calls made in one turn of the event loop run as one transaction on the ledger's thread (`ledger_group`).
`Ledger.read` and `Ledger.write` serve what else is kept: `ledger_views`, `ledger_history`, `ledger_sweeps` and others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger_clock import LedgerClock
from consumer.ledger_engine import LedgerEngine
from consumer.ledger_group import Call, Gathering, Group
from consumer.ledger_many import Lookup, Many
from consumer.ledger_rows import ENTRY, NEW_ROW, entry_row, key_of, row_of, settling, short_receipt
from consumer.ledger_schema import history, migrate
from consumer.protocol import Row, Settlement
from consumer.workitem import UnitKey

T = TypeVar("T")

_TELL = sa.insert(history)

PARTS = slice(len(statements.ROW), len(statements.ROW) + 4)
"""Where the parts of a receipt stand in a row that was read."""


class Ledger:
    """
    The protocol's statements, grouped.

    Args:
        engine: Made by `open_engine`.
        clock: Epoch milliseconds; where the database has a clock, that one counts.
        new_id: A random UUID; every claim gets its own.
    """

    def __init__(
        self,
        engine: LedgerEngine,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        lease_ms: int = 30_000,
        grace_ms: int = 300_000,
    ) -> None:
        self.engine = engine
        self.clock = LedgerClock(clock, engine)
        self.new_id = new_id
        self.lease_ms = lease_ms
        self._grace_ms = grace_ms
        self._created_at = 0
        self._gathering = Gathering(self.write, self._execute)
        dialect = engine.dialect
        name = self._dialect = dialect.name
        self._locked = statements.locked_rows(name)
        self._claim = Many(statements.claim(name, lease_ms, grace_ms), dialect, NEW_ROW)
        self._claimed = Lookup(statements.claimed_rows(name), dialect)
        self._begin = Many(statements.begin, dialect)
        self._begun = Lookup(statements.begun_rows(name), dialect)
        self._settle = Many(statements.settle(lease_ms, grace_ms), dialect)
        self._settled = Lookup(statements.settled_rows(name, receipts=False), dialect)
        self._settled_with_receipts = Lookup(statements.settled_rows(name, receipts=True), dialect)
        self._settled_tokens = Lookup(statements.settled_tokens(name), dialect)
        self._replay = Many(statements.replay, dialect)
        self._tell = Many(_TELL, dialect, ENTRY)

    async def open(self) -> None:
        """Create or migrate the tables."""
        self._created_at = await self.write(lambda connection: migrate(connection, self.clock.now(connection)))

    async def ping(self) -> None:
        """
        See whether the database answers.

        Raises:
            LedgerUnavailable: It does not.
            sqlalchemy.exc.DBAPIError: It refuses.
        """
        await self.read(lambda connection: connection.scalar(sa.select(1)))

    async def aclose(self) -> None:
        """Finish the statements under way and let go of the database."""
        await self._gathering.finished()
        await self.engine.aclose()

    # The protocol

    def claim(self, key: UnitKey, *, replay: bool = False) -> Awaitable[Row | None]:
        """
        CLAIM, after REPLAY when a person asked for it.

        Returns:
            The row, held under `lease_token`; None when somebody else holds it: it is dirty now, and the hint is done.
        """
        return self._gathering.call("replay+claim" if replay else "claim", key, self.new_id())

    def begin(self, key: UnitKey, token: str, head: str, attempt: int) -> Awaitable[int | None]:
        """BEGIN; returns the attempts counted, None when the claim is lost."""
        return self._gathering.call("begin", key, {"token": token, "head": head, "attempt": attempt})

    def settle(self, settlement: Settlement) -> Awaitable[Row | None]:
        """
        SETTLE.

        Returns:
            The row: with `lease_token` set a hint came meanwhile, the claim goes on and looks again. None: the claim
            was lost, nothing was written.
        """
        return self._gathering.call("settle", settlement.key, (settlement, self.new_id()))

    async def heartbeat(self, tokens: Collection[str]) -> set[str]:
        """HEARTBEAT; returns the tokens that still hold their row."""

        def beat(connection: sa.Connection) -> set[str]:
            mine = {"tokens": sorted(tokens)}
            if self._dialect == "postgresql":
                connection.execute(statements.held_rows(self._dialect), mine)
            until = self.clock.now(connection) + self.lease_ms
            return set(connection.scalars(statements.heartbeat(self._dialect), {**mine, "until": until}))

        return await self.write(beat) if tokens else set()

    async def alive(self, tokens: Collection[str]) -> set[str]:
        """CHECK; returns the tokens that still hold their row."""
        query = statements.check(self._dialect)
        if not tokens:
            return set()
        return await self.read(lambda connection: set(connection.scalars(query, {"tokens": sorted(tokens)})))

    async def wake(self, most: int, *, without: Collection[str] = ()) -> list[tuple[UnitKey, bool]]:
        """
        WAKER: units whose deadline has passed, and whether a person forced them; not given again for a minute.

        Args:
            most: How many at once.
            without: Handlers whose units are left as they are, to be given later.
        """
        tried: int | None = None

        def due(connection: sa.Connection) -> list[tuple[UnitKey, bool]]:
            nonlocal tried
            now = self.clock.now(connection)
            # An earlier try whose answer was lost marked its rows, and nobody hinted them.
            bounds = {"now": now, "tried": tried, "most": most, "without": list(without)}
            tried = now
            rows = connection.execute(statements.wake(self._dialect), bounds)
            return [(UnitKey(*row[:3]), row.force) for row in rows]

        return await self.write(due)

    # Transactions

    async def read(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function in a read transaction; again when its answer was lost."""
        return await self.engine.transact(function, writes=False)

    async def write(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function in a write transaction; again when its answer was lost, so it must be harmless twice."""
        return await self.engine.transact(function, writes=True)

    # Groups of statements

    def _execute(self, group: Group, connection: sa.Connection) -> dict[int, Any]:
        """
        Run a group; what SETTLE frees, CLAIM may take.

        Raises:
            sqlalchemy.exc.DBAPIError: Nothing of the group happened.
        """
        group.tries += 1
        if self._dialect == "postgresql" and len(group.calls) > 1:
            # Each kind goes by key; two groups of several kinds would wait for each other.
            for where in _places(call for calls in group.calls.values() for call in calls):
                connection.execute(self._locked, where)
        now = self.clock.now(connection)
        results = self._execute_settles(connection, group.of("settle"), now, again=group.tries > 1)
        results.update(self._execute_begins(connection, group.of("begin"), now))
        results.update(self._execute_claims(connection, group.of("claim"), group.of("replay+claim"), now))
        return results

    def _execute_settles(
        self, connection: sa.Connection, calls: Sequence[Call], now: int, *, again: bool
    ) -> dict[int, Any]:
        """
        Run SETTLE for each call, and write the timelines of those that hit their rows.

        One that landed at an earlier try, whose answer was lost, is left alone: the row is not dirty any more, and the
        second would release it over the hint that came meanwhile.
        """
        before = _rows_of(connection, self._settled_tokens, calls) if again else {}
        landed = {row.settled_token for row in before.values()}
        writing = [call for call in _in_order(calls) if call.asked[1] not in landed]
        self._settle.run(connection, [settling(call.asked[0], call.asked[1], now) for call in writing])
        # A receipt that was just written is known; reading it back would be most of the work.
        told = [call for call in calls if call.asked[0].receipt is not None]
        others = [call for call in calls if call.asked[0].receipt is None]
        after = _rows_of(connection, self._settled, told)
        after |= _rows_of(connection, self._settled_with_receipts, others)
        results: dict[int, Any] = {}
        entries: list[Mapping[str, Any]] = []
        for call in calls:
            settlement, settled_by = call.asked
            row = after.get(call.key)
            if row is None or row.settled_token != settled_by:
                results[id(call)] = None
                continue
            results[id(call)] = row_of(row, settlement.receipt or short_receipt(row[PARTS]), now)
            if settled_by not in landed:
                entries += map(entry_row, settlement.history)
        self._tell.run(connection, entries)
        return results

    def _execute_begins(self, connection: sa.Connection, calls: Sequence[Call], now: int) -> dict[int, Any]:
        self._begin.run(connection, [{**key_of(call.key), **call.asked, "now": now} for call in _in_order(calls)])
        after = _rows_of(connection, self._begun, calls)
        results: dict[int, Any] = {}
        for call in calls:
            row = after.get(call.key)
            results[id(call)] = row.attempts if row is not None and row.lease_token == call.asked["token"] else None
        return results

    def _execute_claims(
        self, connection: sa.Connection, plain: Sequence[Call], replays: Sequence[Call], now: int
    ) -> dict[int, Any]:
        """Claim each row once; its further hints of the group are done with it."""
        forced = sorted({call.key for call in replays})
        self._replay.run(connection, [{**key_of(key), "now": now} for key in forced])
        calls = [*plain, *replays]
        results: dict[int, Any] = {id(call): None for call in calls}
        first: dict[UnitKey, Call] = {}
        for call in calls:
            first.setdefault(call.key, call)
        self._claim.run(connection, [self._new_row(key, first[key].asked, now) for key in sorted(first)])
        after = _rows_of(connection, self._claimed, list(first.values()))
        for key, call in first.items():
            row = after[key]
            if row.lease_token == call.asked:
                results[id(call)] = row_of(row, short_receipt(row[PARTS]), now, grace_ms=self._grace_ms)
        return results

    def _new_row(self, key: UnitKey, token: str, now: int) -> dict[str, Any]:
        """Return what CLAIM inserts."""
        within_grace = now < self._created_at + self._grace_ms
        return {
            **NEW_ROW,
            **key._asdict(),
            "lease_token": token,
            "lease_until": now + self.lease_ms,
            "suspect_until": now + self._grace_ms if within_grace else None,
            "created_at": now,
            "updated_at": now,
        }


def _in_order(calls: Sequence[Call]) -> list[Call]:
    return sorted(calls, key=lambda call: call.key)


def _places(calls: Iterable[Call]) -> list[dict[str, Any]]:
    """Return handler, bucket and units of some calls, one entry for each handler and bucket, all in byte order."""
    groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for call in calls:
        groups[call.key.handler, call.key.bucket].add(call.key.unit)
    return [
        {"handler": handler, "bucket": bucket, "units": sorted(names)}
        for (handler, bucket), names in sorted(groups.items())
    ]


def _rows_of(connection: sa.Connection, lookup: Lookup, calls: Iterable[Call]) -> dict[UnitKey, Any]:
    """Return what the last statements made of their rows; one look-up for each handler and bucket."""
    rows: dict[UnitKey, Any] = {}
    for where in _places(calls):
        for row in lookup.run(connection, where):
            rows[UnitKey(where["handler"], where["bucket"], row.unit)] = row
    return rows
