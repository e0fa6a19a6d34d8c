"""The protocol's statements and their rules, on every database a ledger can be kept in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from consumer import ledger_views
from consumer.ledger import Ledger
from consumer.ledger_engine import LedgerEngine
from consumer.ledger_group import GROUP
from consumer.ledger_history import History
from consumer.ledger_leases import Leases
from consumer.ledger_postgres import PostgresEngine
from consumer.ledger_progress import Progress
from consumer.ledger_sqlite import sqlite_engine
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_views import Units
from consumer.protocol import Row, Settlement, Status
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, Failure, Receipt
from tests.fakes import CountingIds, inline
from tests.stack.postgres import Postgres
from tests.virtual_loop import EPOCH_MS

KEY = UnitKey("h", "b", "u")
LEASE_MS = 30_000
GRACE_MS = 300_000


class Place:
    """Where the ledgers of a test are kept, and what time it is there."""

    url: str | None = None
    """None: in memory."""
    time = EPOCH_MS


place = Place()


@pytest.fixture(scope="module")
def shared_database(postgres: Postgres) -> str:
    """A database for all tests: making one takes longer than a test."""
    return asyncio.run(postgres.create_database("ledger-contract"))


@pytest.fixture(params=["sqlite", "postgres"], autouse=True)
def place_of_ledgers(request: pytest.FixtureRequest) -> None:
    place.url = None if request.param == "sqlite" else request.getfixturevalue("shared_database")
    place.time = EPOCH_MS


class TimedPostgres(PostgresEngine):
    """PostgreSQL whose clock the test sets."""

    def now(self, _connection: sa.Connection) -> int | None:
        return now()


def now() -> int:
    return place.time


async def after(seconds: float) -> None:
    place.time += round(seconds * 1000)


@asynccontextmanager
async def opened() -> AsyncIterator[Ledger]:
    engine = sqlite_engine(None, inline) if place.url is None else TimedPostgres(place.url)
    ledger = Ledger(engine, clock=now, new_id=CountingIds(), lease_ms=LEASE_MS, grace_ms=GRACE_MS)
    if place.url is not None:
        await ledger.write(lambda connection: connection.exec_driver_sql("DROP SCHEMA public CASCADE"))
        await ledger.write(lambda connection: connection.exec_driver_sql("CREATE SCHEMA public"))
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.aclose()


def database_of(ledger: Ledger) -> sa.Engine:
    """Return SQLAlchemy's engine, to listen to it."""
    database: Any = ledger.engine.database  # type: ignore[attr-defined]  # of both engines
    return getattr(database, "sync_engine", database)  # type: ignore[no-any-return]  # of an AsyncEngine


async def held(ledger: Ledger, key: UnitKey = KEY, *, replay: bool = False) -> Row:
    row = await ledger.claim(key, replay=replay)
    assert row is not None
    return row


def done(row: Row, etag: str, **fields: Any) -> Settlement:
    receipt = Receipt(etag, "1", "t", {"rows": 1})
    return settlement(row, status=Status.DONE, head=etag, receipt=receipt, **fields)


def settlement(row: Row, **fields: Any) -> Settlement:
    base: dict[str, Any] = {"key": row.key, "token": row.lease_token, "head": row.observed_etag, "attempts": 0}
    return Settlement(**base | fields)


async def find(ledger: Ledger, key: UnitKey = KEY) -> Row:
    (row,) = await Units(ledger).find(key.bucket, key.unit)
    return row


def entry(row: Row, event: str) -> dict[str, Any]:
    return {
        **row.key._asdict(),
        "at": now(),
        "event": event,
        "token": row.lease_token,
        "etag": "a",
        "detail": {},
        "recorded": None,
    }


# CLAIM


async def test_new_row_is_open_pending_and_held() -> None:
    async with opened() as ledger:
        row = await held(ledger)

    assert (row.status, row.open, row.attempts, row.dirty, row.force) == (Status.PENDING, True, 0, False, False)
    assert (row.applied_etag, row.observed_etag, row.wake_at) == (None, None, None)
    assert row.lease_until == now() + LEASE_MS


async def test_r1_claim_or_mark_dirty_is_one_statement() -> None:
    statements: list[str] = []
    async with opened() as ledger:
        first = await held(ledger)

        @sa.event.listens_for(database_of(ledger), "before_cursor_execute")
        def note(*arguments: Any) -> None:
            statements.append(arguments[2])

        assert await ledger.claim(KEY) is None
        row = await find(ledger)

    assert (row.lease_token, row.lease_until, row.dirty) == (first.lease_token, first.lease_until, True)
    writes = [statement for statement in statements if "units" in statement and not statement.startswith("SELECT")]
    assert len(writes) == 1
    assert "ON CONFLICT" in writes[0]


async def test_every_claim_has_its_own_token() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        await ledger.settle(done(first, "a"))
        second = await held(ledger)

    assert first.lease_token != second.lease_token


async def test_lease_that_ended_is_taken_over_clean() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        assert await ledger.claim(KEY) is None
        await after(30)
        second = await held(ledger)

    assert second.took_over
    assert second.lease_token != first.lease_token
    assert (second.dirty, second.suspect_until) == (False, now() + GRACE_MS)


async def test_free_row_is_not_taken_over() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        await after(1)
        row = await held(ledger)

    assert not row.took_over


async def test_row_made_soon_after_the_ledger_is_suspect() -> None:
    async with opened() as ledger:
        young = await held(ledger)
        await after(GRACE_MS / 1000)
        old = await held(ledger, KEY._replace(unit="later"))

    assert young.suspect_until == EPOCH_MS + GRACE_MS
    assert old.suspect_until is None


async def test_claims_of_one_turn_take_each_row_once() -> None:
    async with opened() as ledger:
        keys = [KEY._replace(unit=unit) for unit in ("b", "a", "b", "c", "b")]
        rows = await asyncio.gather(*(ledger.claim(key) for key in keys))
        twice = await find(ledger, keys[0])

    assert [row is not None for row in rows] == [True, True, False, True, False]
    assert not twice.dirty


async def test_row_settled_and_hinted_in_one_turn_is_claimed_again() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        settled, again = await asyncio.gather(ledger.settle(done(first, "a")), ledger.claim(KEY))

    assert settled is not None
    assert settled.lease_token is None
    assert again is not None
    assert again.applied_etag == "a"


async def test_a_call_ends_when_its_transaction_is_cancelled_before_it_began() -> None:
    async with opened() as ledger:
        claiming = asyncio.ensure_future(ledger.claim(KEY))
        (flusher,) = (task for task in asyncio.all_tasks() if task.get_name() == "ledger")
        flusher.cancel()

        await asyncio.wait([claiming])

        assert isinstance(claiming.exception(), asyncio.CancelledError)
        assert (await held(ledger)).lease_token is not None


async def test_more_calls_than_a_group_holds_are_all_answered() -> None:
    async with opened() as ledger:
        rows = await asyncio.gather(*(ledger.claim(KEY._replace(unit=str(number))) for number in range(GROUP + 5)))

    assert len({row.lease_token for row in rows if row is not None}) == GROUP + 5


# BEGIN


async def test_r4_begin_counts_the_attempt_and_opens_the_row_before_any_work() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        row = await held(ledger)
        assert await ledger.begin(KEY, row.lease_token or "", "b", 1) == 1
        begun = await find(ledger)

    assert (begun.open, begun.observed_etag, begun.status, begun.applied_etag) == (True, "b", Status.PENDING, "a")


async def test_begin_of_the_same_version_counts_on() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        token = row.lease_token or ""
        await ledger.begin(KEY, token, "a", 1)

        assert await ledger.begin(KEY, token, "a", 2) == 2


async def test_begin_repeated_after_a_lost_answer_counts_once() -> None:
    async with opened() as ledger:
        token = (await held(ledger)).lease_token or ""

        assert [await ledger.begin(KEY, token, "a", 1) for _ in range(3)] == [1, 1, 1]


async def test_new_version_starts_afresh() -> None:
    async with opened() as ledger:
        token = (await held(ledger)).lease_token or ""
        await ledger.begin(KEY, token, "a", 5)

        assert await ledger.begin(KEY, token, "b", 6) == 1


async def test_begin_of_a_forced_row_starts_afresh_and_uses_the_force_up() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        await ledger.begin(KEY, first.lease_token or "", "a", 6)
        await ledger.settle(settlement(first, status=Status.FAILED, head="a", attempts=6))
        row = await held(ledger, replay=True)
        assert (row.force, row.attempts) == (True, 0)

        assert await ledger.begin(KEY, row.lease_token or "", "a", 7) == 1
        assert not (await find(ledger)).force


# SETTLE


async def test_r2_settle_keeps_the_lease_of_a_dirty_row_and_clears_dirty() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        assert await ledger.claim(KEY) is None
        await after(1)

        again = await ledger.settle(done(first, "a"))
        assert again is not None
        assert (again.lease_token, again.dirty, again.wake_at) == (first.lease_token, False, now())
        assert again.lease_until == now() + LEASE_MS

        released = await ledger.settle(done(again, "a"))
        assert released is not None
        assert (released.lease_token, released.lease_until, released.wake_at) == (None, None, None)
        assert released.settled


@pytest.mark.parametrize("status", [Status.RETRYING, Status.FAILED, Status.SKIPPED, Status.PENDING])
async def test_r2_every_kind_of_settle_looks_at_dirty(status: Status) -> None:
    async with opened() as ledger:
        first = await held(ledger)
        await ledger.claim(KEY)
        again = await ledger.settle(settlement(first, status=status, head="a"))

    assert again is not None
    assert again.lease_token == first.lease_token


async def test_dirty_row_keeps_the_time_of_its_retry() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        await ledger.claim(KEY)
        again = await ledger.settle(settlement(first, status=Status.RETRYING, head="a", wake_at=now() + 5000))

    assert again is not None
    assert again.wake_at == now() + 5000


async def test_stop_releases_even_a_dirty_row_and_leaves_it_due() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        await ledger.claim(KEY)
        put_back = await ledger.settle(settlement(first, status=Status.PENDING, stop=True, wake_at=now() + 99))

    assert put_back is not None
    assert (put_back.lease_token, put_back.dirty, put_back.wake_at) == (None, False, now())
    assert put_back.open


async def test_only_a_commit_changes_what_the_sink_holds_and_closes_the_row() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        row = await held(ledger)
        await ledger.begin(KEY, row.lease_token or "", "b", 1)
        failed = await ledger.settle(settlement(row, status=Status.FAILED, head="b", attempts=1, error="no"))
        assert failed is not None
        assert (failed.applied_etag, failed.open, failed.error) == ("a", True, "no")
        assert failed.receipt == Receipt("a", "1", "t", {"rows": 1})

        row = await held(ledger, replay=True)
        removed = await ledger.settle(done(row, ABSENT))

    assert removed is not None
    assert (removed.applied_etag, removed.open, removed.gone) == (ABSENT, False, True)


async def test_settle_without_a_look_leaves_the_version_observed() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.begin(KEY, row.lease_token or "", "a", 1)
        settled = await ledger.settle(settlement(row, status=Status.RETRYING, head=None, wake_at=now() + 1))

    assert settled is not None
    assert settled.observed_etag == "a"


async def test_unknown_outcome_makes_the_row_suspect() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        settled = await ledger.settle(settlement(row, status=Status.RETRYING, wake_at=now(), suspect=True))

    assert settled is not None
    assert settled.suspect_until == now() + GRACE_MS


# R3: every write names the token


async def test_r3_holder_whose_lease_was_taken_over_writes_nothing() -> None:
    async with opened() as ledger:
        old = await held(ledger)
        await after(31)
        new = await held(ledger)
        before = await find(ledger)

        assert await ledger.begin(KEY, old.lease_token or "", "b", 1) is None
        assert await ledger.settle(done(old, "b", history=(entry(old, "late"),))) is None
        assert await ledger.heartbeat([old.lease_token or ""]) == set()
        assert await find(ledger) == before
        assert before.lease_token == new.lease_token
        assert await History(ledger).timeline(KEY) == []


async def test_r3_holder_that_settled_before_does_not_mistake_its_successors_row_for_its_own() -> None:
    async with opened() as ledger:
        old = await held(ledger)
        await ledger.claim(KEY)
        again = await ledger.settle(done(old, "a"))
        assert again is not None
        assert again.lease_token == old.lease_token
        await after(31)
        await held(ledger)

        late = done(again, "b", history=(entry(old, "late"),))
        assert await ledger.settle(late) is None
        assert await History(ledger).timeline(KEY) == []


async def test_r3_token_is_gone_once_the_row_is_released() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.settle(done(row, "a"))

        assert await ledger.begin(KEY, row.lease_token or "", "b", 1) is None
        assert (await find(ledger)).observed_etag == "a"


async def test_settles_of_one_turn_hit_only_their_own_rows() -> None:
    async with opened() as ledger:
        old = await held(ledger)
        await after(31)
        new, other = await held(ledger), await held(ledger, KEY._replace(unit="v"))
        results = await asyncio.gather(
            *(ledger.settle(done(row, etag)) for row, etag in ((old, "x"), (new, "y"), (other, "z")))
        )

    assert [row and row.applied_etag for row in results] == [None, "y", "z"]


# CHECK and HEARTBEAT


async def test_r6_check_tells_which_claims_of_a_group_hold() -> None:
    async with opened() as ledger:
        old = (await held(ledger)).lease_token or ""
        await after(31)
        assert await ledger.alive([old]) == {old}  # ended, but nobody else has the row

        new = (await held(ledger)).lease_token or ""
        assert await ledger.alive([old, new, "never"]) == {new}
        assert await ledger.alive([]) == set()


async def test_heartbeat_extends_the_leases_that_hold() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        token = row.lease_token or ""
        await after(20)
        assert await ledger.heartbeat([token, "never"]) == {token}
        await after(20)
        assert await ledger.claim(KEY) is None
        assert await ledger.heartbeat([]) == set()


# WAKER


async def test_r8_row_is_woken_when_its_deadline_has_passed() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.settle(settlement(row, status=Status.RETRYING, head="a", wake_at=now() + 5000))
        assert await ledger.wake(10) == []
        await after(5)

        assert await ledger.wake(10) == [(KEY, False)]


async def test_r8_row_of_a_dead_holder_is_woken_when_its_lease_ends() -> None:
    async with opened() as ledger:
        await held(ledger)
        await after(29)
        assert await ledger.wake(10) == []
        await after(1)

        assert await ledger.wake(10) == [(KEY, False)]


async def test_hint_that_led_to_nothing_is_given_again_after_a_minute() -> None:
    async with opened() as ledger:
        await held(ledger)
        await after(30)
        await ledger.wake(10)
        await after(60)
        assert await ledger.wake(10) == []
        await after(1)

        assert await ledger.wake(10) == [(KEY, False)]


async def test_claim_forgets_the_last_hint() -> None:
    async with opened() as ledger:
        await held(ledger)
        await after(30)
        await ledger.wake(10)
        row = await held(ledger)
        await ledger.settle(settlement(row, status=Status.PENDING, stop=True, wake_at=now()))

        assert await ledger.wake(10) == [(KEY, False)]


async def test_oldest_deadlines_are_woken_first() -> None:
    async with opened() as ledger:
        for wait in (3, 1, 2):
            row = await held(ledger, KEY._replace(unit=str(wait)))
            await ledger.settle(settlement(row, status=Status.RETRYING, wake_at=now() + wait))
        await after(1)

        assert sorted(key.unit for key, _ in await ledger.wake(2)) == ["1", "2"]
        assert [key.unit for key, _ in await ledger.wake(2)] == ["3"]


async def test_settled_row_is_never_woken() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        await after(1_000_000)

        assert await ledger.wake(10) == []


# REPLAY


async def test_replay_forces_a_free_row_in_the_transaction_of_its_claim() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        row = await held(ledger, replay=True)

    assert (row.force, row.attempts, row.wake_at) == (True, 0, now())


async def test_replay_of_a_held_row_marks_it_dirty_and_forces_it() -> None:
    async with opened() as ledger:
        first = await held(ledger)
        assert await ledger.claim(KEY, replay=True) is None
        again = await ledger.settle(done(first, "a"))

    assert again is not None
    assert (again.lease_token, again.force) == (first.lease_token, True)


async def test_replay_of_an_unknown_unit_is_a_plain_claim() -> None:
    async with opened() as ledger:
        row = await held(ledger, replay=True)

    assert (row.force, row.open) == (False, True)


async def test_waker_tells_which_rows_a_person_forced() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        row = await held(ledger, replay=True)
        await ledger.settle(settlement(row, status=Status.DONE, stop=True, wake_at=now()))

        assert await ledger.wake(10) == [(KEY, True)]


# REBUILD


async def test_rebuild_leaves_rows_that_are_there_as_they_are() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        other = KEY._replace(unit="v")
        receipt = Receipt("x", "1", "t", {})
        assert await Units(ledger).rebuild([(KEY, receipt, None), (other, receipt, None)]) == 1
        assert (await find(ledger)).lease_token == row.lease_token
        rebuilt = await find(ledger, other)

    assert (rebuilt.status, rebuilt.applied_etag, rebuilt.observed_etag, rebuilt.open) == (Status.DONE, "x", "x", False)
    assert rebuilt.settled


async def test_rebuilt_failure_is_failed_for_its_version_and_open() -> None:
    async with opened() as ledger:
        failure = Failure("bad", "CsvError", "no rows")
        await Units(ledger).rebuild([(KEY, Receipt("good", "1", "t", {}), failure)])
        row = await find(ledger)

    assert (row.status, row.observed_etag, row.applied_etag, row.open) == (Status.FAILED, "bad", "good", True)
    assert (row.error_class, row.error) == ("CsvError", "no rows")


async def test_rebuilt_unit_of_unknown_version_is_looked_at_again() -> None:
    async with opened() as ledger:
        await Units(ledger).rebuild([(KEY, Receipt("?", "1", "t", {"rows": 2}), None)])
        row = await find(ledger)

    assert (row.observed_etag, row.applied_etag, row.open) == (None, None, True)
    assert row.receipt == Receipt("?", "1", "t", {"rows": 2})


async def test_rebuilt_failure_on_top_of_an_unknown_version_trusts_nothing_of_the_sink() -> None:
    async with opened() as ledger:
        await Units(ledger).rebuild([(KEY, Receipt("?", "1", "t", {}), Failure("bad", "CsvError", "no rows"))])
        row = await find(ledger)

    assert (row.status, row.observed_etag, row.applied_etag, row.open) == (Status.FAILED, "bad", None, True)


async def test_rebuilt_unit_that_the_sink_holds_nothing_of_is_gone() -> None:
    async with opened() as ledger:
        await Units(ledger).rebuild([(KEY, Receipt(ABSENT, "1", "t", {}), None)])
        row = await find(ledger)

    assert row.gone
    assert (row.applied_etag, row.open) == (ABSENT, False)


# Views


async def test_unsettled_rows_come_by_deadline_held_or_not() -> None:
    async with opened() as ledger:
        for unit, wait in (("soon", 10_000), ("late", 90_000)):
            row = await held(ledger, KEY._replace(unit=unit))
            await ledger.settle(settlement(row, status=Status.RETRYING, wake_at=now() + wait, error="down"))
        await ledger.settle(done(await held(ledger, KEY._replace(unit="settled")), "a"))
        await held(ledger, KEY._replace(unit="held"))
        units = Units(ledger)
        found = await units.unsettled()
        first = await units.unsettled(1)

    assert [(row.key.unit, row.held, row.due - now(), row.error) for row in found] == [
        ("soon", False, 10_000, "down"),
        ("held", True, LEASE_MS, None),
        ("late", False, 90_000, "down"),
    ]
    assert first == found[:1]


async def test_history_past_its_time_goes_however_much_it_is() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.settle(done(row, "a", history=[entry(row, str(number)) for number in range(7)]))
        waiting = {**entry(row, "to be recorded"), "recorded": False}
        row = await held(ledger)
        await ledger.settle(done(row, "a", history=[waiting]))
        await after(1)

        assert await History(ledger).prune(now(), most=3) == 7
        assert [line.event for line in await History(ledger).timeline(KEY)] == ["to be recorded"]


async def test_claim_has_the_receipt_that_is_stored_without_its_detail_which_people_still_get() -> None:
    full = Receipt("a", "1", "t", {"rows": 1}, {"columns": [["id", "INTEGER"]]})
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.settle(settlement(row, status=Status.DONE, head="a", receipt=full))
        again = await held(ledger)
        (shown,) = await Units(ledger).find(KEY.bucket, KEY.unit)

    assert again.receipt == Receipt("a", "1", "t", {"rows": 1})
    assert shown.receipt == full


async def test_settled_row_has_the_receipt_that_is_stored() -> None:
    async with opened() as ledger:
        applied = await ledger.settle(done(await held(ledger), "a"))
        looked = await ledger.settle(settlement(await held(ledger), status=Status.DONE, head="a"))

    assert applied is not None
    assert looked is not None
    assert applied.receipt == looked.receipt == Receipt("a", "1", "t", {"rows": 1})


async def test_history_is_written_with_the_settle_it_belongs_to() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.settle(done(row, "a", history=(entry(row, "one"), entry(row, "two"))))

        assert [line.event for line in await History(ledger).timeline(KEY)] == ["one", "two"]


# Answers that were lost: a transaction that landed is run again


class Twice:
    """An engine that never learns of the first commit of a transaction."""

    def __init__(self, engine: LedgerEngine) -> None:
        self._engine = engine
        self.dialect = engine.dialect
        self.now, self.aclose = engine.now, engine.aclose

    async def transact(self, function: Callable[[sa.Connection], Any], *, writes: bool) -> Any:
        await self._engine.transact(function, writes=writes)
        return await self._engine.transact(function, writes=writes)


@contextmanager
def answers_lost(ledger: Ledger) -> Iterator[None]:
    engine = ledger.engine
    ledger.engine = Twice(engine)
    try:
        yield
    finally:
        ledger.engine = engine


async def test_claim_whose_answer_was_lost_is_held() -> None:
    async with opened() as ledger:
        with answers_lost(ledger):
            row = await held(ledger)
        assert await ledger.alive([row.lease_token or ""]) == {row.lease_token}
        assert await ledger.claim(KEY) is None


async def test_begin_whose_answer_was_lost_counts_once() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        with answers_lost(ledger):
            assert await ledger.begin(KEY, row.lease_token or "", "a", 1) == 1


async def test_settle_whose_answer_was_lost_does_not_release_over_a_hint() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        assert await ledger.claim(KEY) is None
        with answers_lost(ledger):
            again = await ledger.settle(done(row, "a"))
        assert again is not None
        assert again.lease_token == row.lease_token
        assert await ledger.alive([row.lease_token or ""]) == {row.lease_token}


async def test_settle_whose_answer_was_lost_is_told_once() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        with answers_lost(ledger):
            settled = await ledger.settle(done(row, "a", history=(entry(row, "one"),)))
        assert settled is not None
        assert settled.settled
        assert [line.event for line in await History(ledger).timeline(KEY)] == ["one"]


async def test_due_rows_are_told_of_though_the_answer_was_lost() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        await ledger.settle(settlement(row, status=Status.RETRYING, wake_at=now()))
        with answers_lost(ledger):
            assert await ledger.wake(10) == [(KEY, False)]
        assert await ledger.wake(10) == []


async def test_second_settle_of_a_claim_is_not_taken_for_the_first() -> None:
    async with opened() as ledger:
        row = await held(ledger)
        assert await ledger.claim(KEY) is None
        again = await ledger.settle(done(row, "a"))
        assert again is not None
        with answers_lost(ledger):
            released = await ledger.settle(done(again, "b"))
        assert released is not None
        assert (released.settled, released.applied_etag) == (True, "b")


async def test_lease_whose_answer_was_lost_is_had_and_given_back() -> None:
    async with opened() as ledger:
        leases = Leases(ledger)
        with answers_lost(ledger):
            assert await leases.take("job", "one")
            assert not await leases.take("job", "two")
            assert await leases.extend("job", "one")
            await leases.release("job", "one", next_at=now() + 1000)
            assert not await leases.take("job", "two")
            assert await leases.take("job", "two", due=False)


async def test_report_whose_answer_was_lost_is_kept_once() -> None:
    async with opened() as ledger:
        sweeps = Sweeps(ledger)
        with answers_lost(ledger):
            await sweeps.save("one", now(), {"listed": 1})
        assert await sweeps.last() == {"listed": 1}


# Odd texts


@pytest.mark.parametrize("odd", ["\0", "\ud83d", "a\\u0000"])
async def test_text_for_people_that_no_database_takes_is_kept_without_its_odd_characters(odd: str) -> None:
    async with opened() as ledger:
        row = await held(ledger)
        receipt = Receipt("a", "1", "t", {"rows": 1}, {"rejects": [{"text": f"x{odd}y"}]})
        note = entry(row, "done") | {"detail": {"error": odd}}
        settled = settlement(row, status=Status.DONE, head="a", receipt=receipt, error=f"no {odd}", history=(note,))
        await ledger.settle(settled)
        found = await find(ledger)
        again = await held(ledger)

    kept = odd if odd.isprintable() else "\N{REPLACEMENT CHARACTER}"
    assert found.receipt is not None
    assert found.receipt.detail == {"rejects": [{"text": f"x{kept}y"}]}
    assert found.error == f"no {kept}"
    assert again.receipt == Receipt("a", "1", "t", {"rows": 1})


async def test_unit_whose_name_the_database_does_not_take_harms_no_other_of_its_group() -> None:
    async with opened() as ledger:
        odd, even = KEY._replace(unit="half \ud83d"), KEY._replace(unit="whole")
        bad, good = await asyncio.gather(ledger.claim(odd), ledger.claim(even), return_exceptions=True)

    assert isinstance(bad, Exception)
    assert isinstance(good, Row)


async def test_units_are_in_byte_order_whatever_the_database_sorts_by() -> None:
    names = ["Z", "a", "a/", "a0", "é", "\ue000", "\U0001f600"]
    async with opened() as ledger:
        for name in reversed(names):
            await held(ledger, KEY._replace(unit=name))
        found = [row.unit async for row in Units(ledger).between("h", "b", "", None)]
        some = [row.unit async for row in Units(ledger).between("h", "b", "a", "é")]

    assert found == names
    assert some == ["a/", "a0", "é"]


async def test_database_that_answers_is_pinged() -> None:
    async with opened() as ledger:
        await ledger.ping()


# What sweeps read and keep


async def test_rows_are_divided_into_parts_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as ledger:
        await asyncio.gather(*(ledger.claim(KEY._replace(unit=f"k{number:02}")) for number in range(40)))
        await ledger.claim(KEY._replace(handler="other", unit="a"))
        rows = Units(ledger)
        few = await rows.splits(["h", "other"], "b", "", None, 4)
        monkeypatch.setattr(ledger_views, "LEAST_PART", 10)
        splits = await rows.splits(["h", "other"], "b", "", None, 4)
        part = await rows.splits(["h"], "b", "k09", "k29", 2)

    assert few == []
    assert splits == ["k10", "k20", "k30"]
    assert part == ["k20"]


async def test_fields_that_sweeps_compare_come_in_pages_and_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_views, "PAGE", 2)
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger, KEY._replace(unit="a")), "1"))
        row = await held(ledger, KEY._replace(unit="b"))
        waiting = await held(ledger, KEY._replace(unit="c"))
        settled = await ledger.settle(settlement(waiting, status=Status.RETRYING, head="3", wake_at=now() + 5000))
        await held(ledger, KEY._replace(unit="d"))
        assert settled is not None
        pages = [[tuple(fields) for fields in page] async for page in Units(ledger).pages("h", "b", "", "c")]

    assert pages == [
        [("a", "1", None, None), ("b", None, row.lease_token, None)],
        [("c", "3", None, settled.wake_at)],
    ]
    assert settled.wake_at is not None


async def test_progress_of_a_sweep_is_kept_until_it_is_old_or_dropped() -> None:
    async with opened() as ledger:
        progress = Progress(ledger)
        assert await progress.get("b", 1000) is None
        await progress.put("b", [{"after": "a"}])
        await progress.put("b", [{"after": "b"}, {"after": "y"}])
        assert await progress.get("b", 1000) == [{"after": "b"}, {"after": "y"}]
        await after(2)
        assert await progress.get("b", 1000) is None
        assert await progress.get("b", 3000) is not None
        await progress.drop("b")
        assert await progress.get("b", 3000) is None


async def test_what_a_certificate_says_of_a_row_has_its_target() -> None:
    async with opened() as ledger:
        await ledger.settle(done(await held(ledger), "a"))
        await ledger.claim(KEY._replace(unit="new"))
        told = await Units(ledger).told("h", "b", ["new", "never", "u"])

    assert {(row.unit, row.status, row.applied_etag, row.target) for row in told} == {
        ("u", "done", "a", "t"),
        ("new", "pending", None, None),
    }
