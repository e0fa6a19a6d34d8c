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
from consumer.ledger_schema import KEY, history, migrate
from consumer.protocol import Row, Settlement, Status
from consumer.workitem import UnitKey
from handlers.contract import Receipt

T = TypeVar("T")
Run = Callable[..., Awaitable[Any]]

BUSY_TIMEOUT_MS = 30_000
"""How long a statement waits for another process's transaction on the same home."""


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as the ledger stores it."""
    return {
        "fingerprint": receipt.fingerprint,
        "handler_version": receipt.handler_version,
        "target": receipt.target,
        "counts": dict(receipt.counts),
        "detail": dict(receipt.detail),
    }


def receipt_of(stored: dict[str, Any] | None) -> Receipt | None:
    """Return the receipt that `receipt_json` wrote."""
    return None if stored is None else Receipt(**stored)


def row_of(mapping: sa.RowMapping, receipt: Receipt | None, now: int, *, grace_ms: int = 0) -> Row:
    """Return a row of `units` as the protocol sees it; reading a stored receipt is left to those who need it."""
    return Row(
        key=UnitKey(mapping["handler"], mapping["bucket"], mapping["unit"]),
        status=Status(mapping["status"]),
        applied_etag=mapping["applied_etag"],
        receipt=receipt,
        observed_etag=mapping["observed_etag"],
        open=mapping["open"],
        attempts=mapping["attempts"],
        dirty=mapping["dirty"],
        force=mapping["force"],
        lease_token=mapping["lease_token"],
        lease_until=mapping["lease_until"],
        wake_at=mapping["wake_at"],
        suspect_until=mapping["suspect_until"],
        error_class=mapping["error_class"],
        error=mapping["error"],
        size=mapping["size"],
        modified=mapping["modified"],
        handler_version=mapping["handler_version"],
        updated_at=mapping["updated_at"],
        db_now=now,
        took_over=grace_ms > 0 and mapping["suspect_until"] == now + grace_ms,
    )


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
        self._claim = statements.claim(engine.dialect.name, lease_ms, grace_ms)
        self._settle = statements.settle(lease_ms, grace_ms)

    async def open(self) -> None:
        """Create or migrate the tables."""
        self._created_at = await self.write(lambda connection: migrate(connection, self.clock()))

    async def aclose(self) -> None:
        """Finish the statements under way and close the file."""
        await self._gathering.finished()
        await self._run(self.engine.dispose)

    # The protocol

    async def claim(self, key: UnitKey, *, replay: bool = False) -> Row | None:
        """
        CLAIM, after REPLAY when a person asked for it.

        Returns:
            The row, held under `lease_token`; None when somebody else holds it: it is dirty now, and the hint is done.
        """
        token = {"lease_token": self.new_id()}
        row: Row | None = await self._gathering.call("replay+claim" if replay else "claim", key, token)
        return row

    async def begin(self, key: UnitKey, token: str, head: str, attempt: int) -> int | None:
        """BEGIN; returns the attempts counted, None when the claim is lost."""
        arguments = {"token": token, "head": head, "attempt": attempt}
        attempts: int | None = await self._gathering.call("begin", key, arguments)
        return attempts

    async def settle(self, settlement: Settlement) -> Row | None:
        """
        SETTLE.

        Returns:
            The row: with `lease_token` set a hint came meanwhile, the claim goes on and looks again. None: the claim
            was lost, nothing was written.
        """
        receipt = settlement.receipt
        arguments = {
            "token": settlement.token,
            "new_status": settlement.status.value,
            "new_error_class": settlement.error_class,
            "new_error": settlement.error,
            "new_attempts": settlement.attempts,
            "looked": settlement.head is not None,
            "new_observed_etag": settlement.head,
            "new_size": settlement.size,
            "new_modified": settlement.modified,
            "committed": receipt is not None,
            "new_applied_etag": None if receipt is None else receipt.fingerprint,
            "new_receipt": None if receipt is None else receipt_json(receipt),
            "new_handler_version": None if receipt is None else receipt.handler_version,
            "stop": settlement.stop,
            "wake": settlement.wake_at,
            "suspect": settlement.suspect,
        }
        row: Row | None = await self._gathering.call(
            "settle", settlement.key, arguments, history=settlement.history, receipt=receipt
        )
        return row

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
        _update_each(connection, self._settle, calls, now)
        # A receipt that was just written is known; reading it back would be most of the work.
        told = [call for call in calls if call.receipt is not None]
        others = [call for call in calls if call.receipt is None]
        after = _rows_of(connection, statements.settled_rows, told)
        after |= _rows_of(connection, statements.settled_rows_with_receipts, others)
        results: dict[int, Any] = {}
        entries: list[Mapping[str, Any]] = []
        for call in calls:
            row = after.get(call.key)
            if row is None or row["settled_token"] != call.arguments["token"]:
                results[id(call)] = None
                continue
            receipt = call.receipt or receipt_of(row["receipt"])
            results[id(call)] = row_of(row, receipt, now)
            entries += call.history
        if entries:
            connection.execute(sa.insert(history), entries)
        return results

    def _execute_begins(self, connection: sa.Connection, calls: Sequence[Call], now: int) -> dict[int, Any]:
        _update_each(connection, statements.begin, calls, now)
        after = _rows_of(connection, statements.begun_rows, calls)
        results: dict[int, Any] = {}
        for call in calls:
            row = after.get(call.key)
            hit = row is not None and row["lease_token"] == call.arguments["token"]
            results[id(call)] = row["attempts"] if hit and row is not None else None
        return results

    def _execute_claims(
        self, connection: sa.Connection, plain: Sequence[Call], replays: Sequence[Call], now: int
    ) -> dict[int, Any]:
        """Claim each row once; its further hints of the group are done with it."""
        if replays:
            forced = sorted({call.key for call in replays})
            connection.execute(statements.replay, [{**_pk(key), "now": now} for key in forced])
        calls = [*plain, *replays]
        results: dict[int, Any] = {id(call): None for call in calls}
        first: dict[UnitKey, Call] = {}
        for call in calls:
            first.setdefault(call.key, call)
        if not first:
            return results
        values = [self._new_row(key, now) | first[key].arguments for key in sorted(first)]
        for row in connection.execute(self._claim, values).mappings():
            call = first[UnitKey(*(row[name] for name in KEY))]
            if row["lease_token"] == call.arguments["lease_token"]:
                results[id(call)] = row_of(row, receipt_of(row["receipt"]), now, grace_ms=self._grace_ms)
        return results

    def _new_row(self, key: UnitKey, now: int) -> dict[str, Any]:
        """Return what CLAIM inserts, but for the token."""
        within_grace = now < self._created_at + self._grace_ms
        return {
            **key._asdict(),
            "status": Status.PENDING.value,
            "open": True,
            "attempts": 0,
            "dirty": False,
            "force": False,
            "lease_until": now + self.lease_ms,
            "suspect_until": now + self._grace_ms if within_grace else None,
            "created_at": now,
            "updated_at": now,
        }


def _update_each(connection: sa.Connection, statement: sa.Update, calls: Sequence[Call], now: int) -> None:
    if calls:
        ordered = sorted(calls, key=lambda call: call.key)
        connection.execute(statement, [{**_pk(call.key), **call.arguments, "now": now} for call in ordered])


def _rows_of(connection: sa.Connection, query: sa.Select[Any], calls: Sequence[Call]) -> dict[UnitKey, sa.RowMapping]:
    """Return what the last statements made of their rows; one look-up for each handler and bucket."""
    groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for call in calls:
        groups[call.key.handler, call.key.bucket].add(call.key.unit)
    rows: dict[UnitKey, sa.RowMapping] = {}
    for (handler, bucket), names in groups.items():
        where = {"handler": handler, "bucket": bucket, "units": sorted(names)}
        for row in connection.execute(query, where).mappings():
            rows[UnitKey(handler, bucket, row["unit"])] = row
    return rows


def _pk(key: UnitKey) -> dict[str, str]:
    return {f"pk_{name}": value for name, value in zip(KEY, key, strict=True)}


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
