"""
The ledger: one row per unit, and the statements of the worker protocol on it.

Calls made in one turn of the event loop run as one transaction on the ledger's thread (`ledger_group`).
`Ledger.read` and `Ledger.write` serve the views in `ledger_views`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.ledger_group import Call, Gathering, Group
from consumer.ledger_many import Many
from consumer.ledger_rows import ENTRY, NEW_ROW, entry_row, key_of, row_of, settling, short_receipt
from consumer.ledger_schema import history, migrate
from consumer.protocol import Row, Settlement
from consumer.workitem import UnitKey

T = TypeVar("T")
Run = Callable[..., Awaitable[Any]]

PARTS = slice(len(statements.ROW), len(statements.ROW) + 4)
"""Where the parts of a receipt stand in a row that was read."""

BUSY_TIMEOUT_MS = 30_000
"""How long a statement waits for another process's transaction on the same home."""


class Ledger:
    """
    The protocol's statements on SQLite, grouped.

    Args:
        engine: Made by `sqlite_engine`.
        run: Runs a blocking function on the ledger's thread: `await run(function, *arguments)`.
        clock: Epoch milliseconds.
        new_id: A random UUID; every claim gets its own.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        run: Run,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        lease_ms: int = 30_000,
        grace_ms: int = 300_000,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.new_id = new_id
        self.lease_ms = lease_ms
        self._grace_ms = grace_ms
        self._run = run
        self._created_at = 0
        self._gathering = Gathering(self.write, self._execute)
        dialect = engine.dialect
        self._claim = Many(statements.claim(dialect.name, lease_ms, grace_ms), dialect, NEW_ROW)
        self._begin = Many(statements.begin, dialect)
        self._settle = Many(statements.settle(lease_ms, grace_ms), dialect)
        self._replay = Many(statements.replay, dialect)
        self._tell = Many(sa.insert(history), dialect, ENTRY)

    async def open(self) -> None:
        """Create or migrate the tables."""
        self._created_at = await self.write(lambda connection: migrate(connection, self.clock()))

    async def aclose(self) -> None:
        """Finish the statements under way and close the file."""
        await self._gathering.finished()
        await self._run(self.engine.dispose)

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
        return self._gathering.call("settle", settlement.key, settlement)

    async def heartbeat(self, tokens: Collection[str]) -> set[str]:
        """HEARTBEAT; returns the tokens that still hold their row."""

        def beat(connection: sa.Connection) -> set[str]:
            until = self.clock() + self.lease_ms
            return set(connection.scalars(statements.heartbeat, {"tokens": list(tokens), "until": until}))

        return await self.write(beat) if tokens else set()

    async def alive(self, tokens: Collection[str]) -> set[str]:
        """CHECK; returns the tokens that still hold their row."""
        if not tokens:
            return set()
        return await self.read(lambda connection: set(connection.scalars(statements.check, {"tokens": list(tokens)})))

    async def wake(self, most: int) -> list[tuple[UnitKey, bool]]:
        """WAKER: units whose deadline has passed, and whether a person forced them; not given again for a minute."""

        def due(connection: sa.Connection) -> list[tuple[UnitKey, bool]]:
            rows = connection.execute(statements.wake, {"now": self.clock(), "most": most})
            return [(UnitKey(*row[:3]), row.force) for row in rows]

        return await self.write(due)

    # Transactions

    async def read(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function in a read transaction on the ledger's thread."""
        result: T = await self._run(self._transact, function, False)
        return result

    async def write(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function in a write transaction on the ledger's thread."""
        result: T = await self._run(self._transact, function, True)
        return result

    def _transact(self, function: Callable[[sa.Connection], T], writes: bool) -> T:
        with self.engine.connect() as connection:
            connection = connection.execution_options(writes=writes)  # noqa: PLW2901 (it is the same connection)
            with connection.begin():
                return function(connection)

    # Groups of statements

    def _execute(self, group: Group, connection: sa.Connection) -> dict[int, Any]:
        """
        Run a group, rows in key order (PostgreSQL would deadlock otherwise); what SETTLE frees, CLAIM may take.

        Raises:
            sqlalchemy.exc.DBAPIError: Nothing of the group happened.
        """
        now = self.clock()
        results = self._execute_settles(connection, group.of("settle"), now)
        results.update(self._execute_begins(connection, group.of("begin"), now))
        results.update(self._execute_claims(connection, group.of("claim"), group.of("replay+claim"), now))
        return results

    def _execute_settles(self, connection: sa.Connection, calls: Sequence[Call], now: int) -> dict[int, Any]:
        """Run SETTLE for each call, and write the timelines of those that hit their rows."""
        self._settle.run(connection, [settling(call.asked, now) for call in _in_order(calls)])
        # A receipt that was just written is known; reading it back would be most of the work.
        told = [call for call in calls if call.asked.receipt is not None]
        others = [call for call in calls if call.asked.receipt is None]
        after = _rows_of(connection, statements.settled_rows, told)
        after |= _rows_of(connection, statements.settled_rows_with_receipts, others)
        results: dict[int, Any] = {}
        entries: list[Mapping[str, Any]] = []
        for call in calls:
            settlement: Settlement = call.asked
            row = after.get(call.key)
            if row is None or row.settled_token != settlement.token:
                results[id(call)] = None
                continue
            results[id(call)] = row_of(row, settlement.receipt or short_receipt(row[PARTS]), now)
            entries += map(entry_row, settlement.history)
        self._tell.run(connection, entries)
        return results

    def _execute_begins(self, connection: sa.Connection, calls: Sequence[Call], now: int) -> dict[int, Any]:
        self._begin.run(connection, [{**key_of(call.key), **call.asked, "now": now} for call in _in_order(calls)])
        after = _rows_of(connection, statements.begun_rows, calls)
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
        after = _rows_of(connection, statements.claimed_rows, list(first.values()))
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


def _rows_of(connection: sa.Connection, query: sa.Select[Any], calls: Sequence[Call]) -> dict[UnitKey, sa.Row[Any]]:
    """Return what the last statements made of their rows; one look-up for each handler and bucket."""
    groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for call in calls:
        groups[call.key.handler, call.key.bucket].add(call.key.unit)
    rows: dict[UnitKey, sa.Row[Any]] = {}
    for (handler, bucket), names in groups.items():
        where = {"handler": handler, "bucket": bucket, "units": sorted(names)}
        for row in connection.execute(query, where):
            rows[UnitKey(handler, bucket, row.unit)] = row
    return rows


def sqlite_engine(path: Path | None) -> sa.Engine:
    """
    Open a ledger file; None keeps it in memory.

    Every commit reaches the disk (`synchronous=FULL`): a SETTLE lost to a power cut after the object changed and
    changed back would leave a row that trusts a sink which holds the version between.
    """
    engine = sa.create_engine(
        "sqlite://" if path is None else f"sqlite:///{path}",
        poolclass=sa.StaticPool,
        connect_args={"check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later is refused while another process writes; take the lock first.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
