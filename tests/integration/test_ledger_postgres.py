"""The ledger on PostgreSQL: several processes on it, and a server that goes away."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from consumer import ledger_postgres
from consumer.ids import RandomIds
from consumer.ledger import Ledger
from consumer.ledger_again import LedgerUnavailable
from consumer.ledger_leases import Leases
from consumer.ledger_postgres import PostgresEngine
from consumer.ledger_reading import open_reading
from consumer.ledger_schema import MIGRATIONS
from consumer.ledger_views import Units
from consumer.protocol import Settlement, Status
from consumer.schedule import Schedule
from consumer.workitem import UnitKey
from handlers.contract import Receipt
from tests.fakes import inline
from tests.integration import hammering
from tests.stack.postgres import Postgres
from tests.stack.proxy import proxied

KEYS = [UnitKey("h", "b", f"unit-{number:05}") for number in range(300)]


def wall() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def opened(url: str, *, patience: float = 10.0, clock: Callable[[], int] = wall) -> AsyncIterator[Ledger]:
    ledger = Ledger(PostgresEngine(url, patience=patience), clock=clock, new_id=RandomIds())
    try:
        await ledger.open()
        yield ledger
    finally:
        await ledger.aclose()


def settlement(key: UnitKey, token: str, **fields: Any) -> Settlement:
    base: dict[str, Any] = {"key": key, "token": token, "status": Status.DONE, "head": "a", "attempts": 0}
    return Settlement(**base | fields)


async def claimed(ledger: Ledger, keys: list[UnitKey]) -> dict[UnitKey, str]:
    rows = await asyncio.gather(*(ledger.claim(key) for key in keys))
    return {row.key: row.lease_token or "" for row in rows if row is not None}


# Clocks

MINUTES = 600_000
"""Milliseconds: far more than a busy machine needs between two looks at a clock, and far less than an hour."""


async def test_replicas_with_wrong_clocks_agree(database: str) -> None:
    async with (
        opened(database, clock=lambda: wall() - 3_600_000) as slow,
        opened(database, clock=lambda: wall() + 3_600_000) as fast,
    ):
        row = await slow.claim(KEYS[0])
        assert await fast.claim(KEYS[0]) is None
        assert abs(slow.clock() - wall()) < MINUTES
        assert abs(fast.clock() - wall()) < MINUTES

    assert row is not None
    assert row.lease_until == row.db_now + slow.lease_ms
    assert abs(row.db_now - wall()) < MINUTES


# Several processes


async def test_replicas_that_start_at_once_migrate_once(database: str) -> None:
    async with AsyncExitStack() as stack:
        opening = [stack.enter_async_context(opened(database)) for _ in range(6)]
        ledgers = await asyncio.gather(*opening)
        await asyncio.gather(*(ledger.ping() for ledger in ledgers))
        numbers = sa.text("SELECT number FROM migrations ORDER BY number")
        applied = await ledgers[0].read(lambda connection: connection.scalars(numbers).all())

    assert applied == list(range(1, len(MIGRATIONS) + 1))


async def test_wakers_of_several_replicas_hint_each_row_once(database: str) -> None:
    async with opened(database) as one, opened(database) as two:
        tokens = await claimed(one, KEYS)
        due = (settlement(key, token, status=Status.RETRYING, wake_at=1) for key, token in tokens.items())
        await asyncio.gather(*(one.settle(settled) for settled in due))
        woken = await asyncio.gather(*(ledger.wake(40) for ledger in (one, two) * 10))

    hinted = Counter(key for some in woken for key, _ in some)
    assert hinted == Counter(KEYS)


async def test_periodic_work_is_done_by_one_replica_at_a_time(database: str) -> None:
    running, most, done = 0, 0, asyncio.Event()
    times: list[int] = []

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        times.append(wall())
        if len(times) == 3:
            done.set()

    async with opened(database) as one, opened(database) as two:
        schedules = [
            # This machine's clock is the database's; put right by it, it is behind by the time an answer took.
            Schedule(Leases(ledger), clock=wall, new_id=RandomIds(), heartbeat_seconds=1.0)
            for ledger in (one, two, one, two)
        ]
        tasks = [asyncio.create_task(schedule.every("job", 0.2, work)) for schedule in schedules]
        async with asyncio.timeout(120):
            await done.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert most == 1
    assert all(later - earlier >= 200 for earlier, later in itertools.pairwise(times))


async def test_groups_of_all_kinds_in_any_order_never_wait_for_each_other_in_a_circle(database: str) -> None:
    async with opened(database) as one, opened(database) as two:
        halves = (one, KEYS[:150]), (two, KEYS[150:])
        for _ in range(20):
            mine = [(ledger, await claimed(ledger, keys)) for ledger, keys in halves]
            calls: list[Any] = []
            for ledger, tokens in mine:
                calls += [ledger.begin(key, token, "a", 1) for key, token in tokens.items()]
                calls += [ledger.claim(key, replay=key.unit.endswith("7")) for key in reversed(KEYS)]
                calls.append(ledger.heartbeat(tokens.values()))
                for key, token in tokens.items():
                    calls.append(ledger.settle(settlement(key, token, receipt=Receipt("a", "1", "t", {}), stop=True)))
            await asyncio.gather(*calls)
            await one.write(lambda connection: connection.exec_driver_sql("UPDATE units SET lease_token = NULL"))
        await one.write(lambda connection: connection.exec_driver_sql("SELECT pg_stat_force_next_flush()"))
        deadlocks = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert await two.read(lambda connection: connection.scalar(deadlocks)) == 0


async def test_two_processes_on_500_units_hold_none_twice_and_forget_none(database: str) -> None:
    await hammering.prepare(database)
    command = [sys.executable, "-m", "tests.integration.hammering", database]
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            *command, str(seed), "8", cwd=Path(__file__).parents[2], stdout=pipe, stderr=pipe
        )
        for seed in (1, 2)
    ]
    seen: Counter[str] = Counter()
    for process in processes:
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        seen += Counter(json.loads(out))

    assert await hammering.state(database) == []
    assert all(seen[fault] > 0 for fault in hammering.FAULTS), seen


# The server goes away


async def test_nothing_is_lost_when_the_database_is_killed_under_load(postgres: Postgres, database: str) -> None:
    async with opened(database, patience=60.0) as ledger:
        settled: set[str] = set()
        begun = asyncio.Event()

        async def work(key: UnitKey) -> None:
            for version in range(6):
                row = await ledger.claim(key)
                while row is not None and row.lease_token is not None:
                    if version == 1:
                        begun.set()
                    receipt = Receipt(str(version), "1", "t", {})
                    row = await ledger.settle(settlement(key, row.lease_token, head=str(version), receipt=receipt))
                assert row is not None, f"{key.unit} was lost"
            settled.add(key.unit)

        working = [asyncio.create_task(work(key)) for key in KEYS]
        await begun.wait()
        before = len(settled)
        postgres.kill()
        await asyncio.to_thread(postgres.start)
        await asyncio.gather(*working)
        rows = [row async for row in Units(ledger).between("h", "b", "", None)]

    assert before < len(KEYS)
    assert len(settled) == len(KEYS)
    assert {(row.status, row.held, row.wake_at, row.applied_etag) for row in rows} == {("done", False, None, "5")}


async def test_database_that_stays_away_is_said_to_be_unavailable(postgres: Postgres, database: str) -> None:
    async with opened(database, patience=0.3) as ledger:
        await ledger.ping()
        postgres.kill()
        with pytest.raises(LedgerUnavailable, match="database does not answer"):
            await ledger.ping()
        with pytest.raises(LedgerUnavailable):
            await ledger.claim(KEYS[0])
        await asyncio.to_thread(postgres.start)
        assert await ledger.claim(KEYS[0]) is not None


async def test_process_that_was_stopped_within_a_statement_keeps_nobody_from_its_rows(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ledger_postgres.SESSION, "statement_timeout", "1500")
    monkeypatch.setattr(ledger_postgres, "STATEMENT_MS", 1500)
    async with opened(database) as ledger:
        await claimed(ledger, KEYS[:10])
        stopped = await asyncpg.connect(database, server_settings=ledger_postgres.SESSION)
        await stopped.execute("BEGIN; SELECT * FROM units FOR UPDATE")
        await stopped.prepare("SELECT 1 FROM units WHERE unit = $1")  # parsed, and nothing comes after it
        with capture_logs() as logs:
            rows = await claimed(ledger, KEYS[5:15])

        assert set(rows) == set(KEYS[10:15]), "the others are held"
        assert [line["transactions"] for line in logs if line["event"] == "ledger.stopped_ended"] == [1]
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError), match=r"terminating|closed"):
            await stopped.fetch("SELECT 1")


async def test_connections_that_are_cut_are_made_again(database: str) -> None:
    async with proxied(database) as (proxy, url), opened(url) as ledger:
        first = await claimed(ledger, KEYS[:10])
        cutting = asyncio.gather(*(ledger.claim(key) for key in KEYS[10:200]))
        await asyncio.sleep(0)
        assert proxy.cut() > 0
        rows = await cutting

    assert len(first) == 10
    assert all(row is not None for row in rows)
    assert proxy.counts.cut > 0


async def test_database_that_refuses_the_password_is_not_waited_for(database: str) -> None:
    wrong = database.replace("lakedrop:", "nobody:", 1)
    async with asyncio.timeout(300):
        with pytest.raises(Exception, match="password authentication failed"):
            async with opened(wrong, patience=3600.0):
                pass


# Reading only


async def test_ledger_that_is_read_is_not_written_to(database: str, tmp_path: Path) -> None:
    async with opened(database) as ledger:
        await claimed(ledger, KEYS[:3])
    reading = await open_reading(database, tmp_path / "none", run=inline, clock=wall, new_id=RandomIds())
    try:
        assert len([row async for row in Units(reading).between("h", "b", "", None)]) == 3
        with pytest.raises(sa.exc.DBAPIError, match="read-only transaction"):
            await reading.write(lambda connection: connection.exec_driver_sql("DELETE FROM units"))
    finally:
        await reading.aclose()


async def test_database_without_a_ledger_reads_as_an_empty_one(database: str, tmp_path: Path) -> None:
    reading = await open_reading(database, tmp_path / "none", run=inline, clock=wall, new_id=RandomIds())
    assert await Units(reading).unsettled() == []
    await reading.aclose()


# Plans


@contextmanager
def statements_of(ledger: Ledger, seen: list[Any]) -> Iterator[None]:
    """Collect the statements on `units` that run meanwhile, with their parameters."""
    engine = ledger.engine.database.sync_engine  # type: ignore[attr-defined]  # PostgresEngine's

    def note(_connection: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
        if "units" in text:
            seen.append((text, parameters[0] if many else parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    yield
    sa.event.remove(engine, "before_cursor_execute", note)


async def test_no_statement_reads_the_whole_table(database: str) -> None:
    fill = """
    INSERT INTO units (handler, bucket, unit, status, open, attempts, dirty, created_at, updated_at, observed_etag)
    SELECT 'h', 'b', 'k' || lpad(number::text, 6, '0'), 'done', false, 0, false, 1, 1, 'a'
    FROM generate_series(1, 50000) number
    """
    async with opened(database) as ledger:
        connection = await asyncpg.connect(database)
        await connection.execute(fill)
        await connection.execute("ANALYZE")
        seen: list[Any] = []
        with statements_of(ledger, seen):
            tokens = await claimed(ledger, KEYS)
            await asyncio.gather(*(ledger.claim(key, replay=True) for key in KEYS[:5]))
            await asyncio.gather(*(ledger.begin(key, token, "x", 1) for key, token in tokens.items()))
            assert await ledger.heartbeat(tokens.values()) == set(tokens.values())
            assert await ledger.alive(tokens.values()) == set(tokens.values())
            calls = [ledger.settle(settlement(key, token)) for key, token in tokens.items()]
            calls += [ledger.claim(key) for key in KEYS]
            await asyncio.gather(*calls)
            await ledger.wake(10)
            units = Units(ledger)
            async for _ in units.between("h", "b", "k049000", None):
                pass
            assert await units.known("h", "b", ["k000001"])
            await units.unsettled()
        scans = []
        for text, parameters in seen:
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {text}", *parameters))
            if "Seq Scan on units" in plan:
                scans.append(f"{text}\n{plan}")
        await connection.close()

    assert len(seen) > 15
    assert scans == []
