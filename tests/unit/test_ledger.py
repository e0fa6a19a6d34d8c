"""Transactions of the ledger, and the file of SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consumer import ledger_schema
from consumer.ledger import Ledger
from consumer.ledger_rows import key_of
from consumer.ledger_schema import units
from consumer.ledger_sqlite import SqliteEngine, sqlite_database
from consumer.ledger_views import Units
from tests.contract.test_ledger import GRACE_MS, KEY, LEASE_MS, done, find, held
from tests.fakes import CountingIds, inline
from tests.virtual_loop import VirtualLoop, virtual


def now() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock()


async def after(seconds: float) -> None:
    await asyncio.sleep(seconds)


@asynccontextmanager
async def opened(database: sa.Engine | None = None, run: Any = inline) -> AsyncIterator[Ledger]:
    ledger = Ledger(
        SqliteEngine(database or sqlite_database(None), run),
        clock=now,
        new_id=CountingIds(),
        lease_ms=LEASE_MS,
        grace_ms=GRACE_MS,
    )
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.aclose()


@virtual
async def test_claim_that_waited_for_its_transaction_counts_from_then() -> None:
    async def slow(function: Any, *arguments: Any) -> Any:
        await asyncio.sleep(5)
        return function(*arguments)

    async with opened(run=slow) as ledger:
        row = await held(ledger)

    assert row.lease_until == row.db_now + LEASE_MS
    assert row.suspect_until == row.db_now + GRACE_MS


@virtual
async def test_statement_of_a_group_takes_no_row_that_lacks_a_parameter() -> None:
    async with opened() as ledger:
        row = {**key_of(KEY), "token": "t", "attempt": 1, "now": 1}
        with pytest.raises(KeyError, match="head"):
            await ledger.write(lambda connection: ledger._begin.run(connection, [row]))


@virtual
async def test_failed_transaction_fails_all_its_calls_and_changes_nothing() -> None:
    down = False

    async def run(function: Any, *arguments: Any) -> Any:
        if down:
            raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))
        return function(*arguments)

    async with opened(run=run) as ledger:
        down = True
        results = await asyncio.gather(ledger.claim(KEY), ledger.claim(KEY._replace(unit="v")), return_exceptions=True)
        down = False
        assert [type(result) for result in results] == [sa.exc.OperationalError] * 2
        assert await Units(ledger).find("b", "u") == []
        await held(ledger)


@virtual
async def test_caller_that_gave_up_does_not_disturb_its_group() -> None:
    async with opened() as ledger:
        leaving = asyncio.ensure_future(ledger.claim(KEY))
        staying = asyncio.ensure_future(ledger.claim(KEY._replace(unit="v")))
        await asyncio.sleep(0)
        leaving.cancel()

        assert await staying is not None
        assert (await find(ledger)).lease_token is not None


@virtual
async def test_groups_survive_a_caller_that_gave_up_before_a_failure() -> None:
    async def run(function: Any, *arguments: Any) -> Any:
        await asyncio.sleep(1)
        if down:
            raise OSError("gone")
        return function(*arguments)

    down = False
    async with opened(run=run) as ledger:
        down = True
        leaving = asyncio.ensure_future(ledger.claim(KEY))
        staying = asyncio.ensure_future(ledger.claim(KEY._replace(unit="v")))
        await asyncio.sleep(0.5)
        leaving.cancel()
        with pytest.raises(OSError, match="gone"):
            await staying
        down = False


@virtual
async def test_callers_of_a_group_that_is_cancelled_do_not_wait_for_ever() -> None:
    async def run(function: Any, *arguments: Any) -> Any:
        await asyncio.sleep(1)
        return function(*arguments)

    async with opened(run=run) as ledger:
        claiming = asyncio.ensure_future(ledger.claim(KEY))
        await asyncio.sleep(0.5)
        assert ledger._gathering._flusher is not None
        ledger._gathering._flusher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        assert await ledger.claim(KEY) is not None


@virtual
async def test_closing_waits_for_the_group_under_way() -> None:
    async def slow(function: Any, *arguments: Any) -> Any:
        await asyncio.sleep(1)
        return function(*arguments)

    async with opened(run=slow) as ledger:
        claiming = asyncio.ensure_future(ledger.claim(KEY))
        await asyncio.sleep(0)
    assert claiming.done()
    assert claiming.result() is not None


# The file


@virtual
async def test_file_is_opened_again_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(sqlite_database(path)) as ledger:
        await ledger.settle(done(await held(ledger), "a"))
    await after(100)
    async with opened(sqlite_database(path)) as ledger:
        assert (await find(ledger)).applied_etag == "a"
        # The grace of new rows counts from when the ledger was made, not from when it was opened.
        assert (await held(ledger, KEY._replace(unit="v"))).suspect_until == now() + GRACE_MS


@virtual
async def test_two_processes_share_a_file_and_one_gets_the_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(sqlite_database(path)) as one, opened(sqlite_database(path)) as two:
        two.new_id = lambda: "two"
        assert await one.claim(KEY) is not None
        assert await two.claim(KEY) is None
        assert (await find(one)).dirty


@virtual
async def test_ledger_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    newer = sa.insert(ledger_schema.migrations).values(number=99, applied_at=0)
    async with opened(sqlite_database(path)) as ledger:
        await ledger.write(lambda connection: connection.execute(newer))
    engine = sqlite_database(path)
    with pytest.raises(RuntimeError, match=r"schema 99.*upgrade lakedrop"):
        async with opened(engine):
            pass
    engine.dispose()


@virtual
async def test_commits_reach_the_disk(tmp_path: Path) -> None:
    async with opened(sqlite_database(tmp_path / "ledger.db")) as ledger:
        synchronous = await ledger.read(lambda connection: connection.exec_driver_sql("PRAGMA synchronous").scalar())
        journal = await ledger.read(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar())

    assert (synchronous, journal) == (2, "wal")


@virtual
async def test_tokens_deadlines_and_leases_are_found_by_index() -> None:
    async with opened() as ledger:

        def plan(connection: sa.Connection) -> list[str]:
            queries = (
                sa.select(units.c.unit).where(units.c.lease_token.in_(["a", "b"])),
                sa.select(units.c.unit).where(units.c.lease_token.is_(None), units.c.wake_at <= 5),
            )
            compiled = [query.compile(connection, compile_kwargs={"literal_binds": True}) for query in queries]
            return [str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()) for query in compiled]

        by_token, by_deadline = await ledger.read(plan)

    assert "units_lease_token" in by_token
    assert "units_wake_at" in by_deadline
