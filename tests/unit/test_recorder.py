"""How outcomes reach a sink's own records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from consumer.held import Settled
from consumer.ledger_leases import Leases
from consumer.protocol import Settlement, Status
from consumer.recorder import Recorder
from consumer.workitem import UnitKey
from handlers.contract import Outcome, PermanentError, Receipt, TransientError
from tests.fakes import FakeHandler
from tests.rig import BUCKET, LEASE, Rig, rig
from tests.virtual_loop import virtual


class Refusing(FakeHandler):
    """Takes no records."""

    asked = 0

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        del outcomes
        self.asked += 1
        raise TransientError("the registry is down")


async def outcome_of(made: Rig, handler: str) -> None:
    """Leave an outcome of another handler in the history."""
    row = await made.ledger.claim(UnitKey(handler, BUCKET, "z"))
    assert row is not None
    entry = {**row.key._asdict(), "at": made.clock(), "event": "failed", "token": row.lease_token, "etag": "a"}
    detail = {"status": "failed", "error_class": "E", "error": "no", "route": "all"}
    await made.ledger.settle(
        Settlement(
            key=row.key,
            token=row.lease_token or "",
            status=Status.FAILED,
            head="a",
            attempts=1,
            history=({**entry, "detail": detail, "recorded": False},),
        )
    )


def heard_by(made: Rig, *recorders: Recorder) -> None:
    """Let recorders hear of what is settled, too."""

    def settled(one: Settled) -> None:
        made._on_settled(one)
        for recorder in recorders:
            recorder.notice(one)

    made.worker._reconciler._settler._on_settled = settled


@asynccontextmanager
async def recording(made: Rig) -> AsyncIterator[None]:
    recorder = Recorder({"fake": made.handler}, made.history, made.schedule)
    heard_by(made, recorder)
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()


async def ingest(made: Rig, key: str, text: str) -> None:
    made.store.put(BUCKET, key, text)
    await made.hint(key)
    await made.until(len(made.settled) + 1)


@virtual
async def test_success_and_failure_are_recorded_soon_and_once() -> None:
    async with rig(handler=FakeHandler(script=[None, PermanentError("no")])) as made, recording(made), made.running():
        await asyncio.sleep(1000)
        await ingest(made, "x", "a")
        await ingest(made, "y", "b")
        await made.hint("x")  # unchanged: no outcome
        await made.until(3)
        await asyncio.sleep(3)
        records = [(record.unit, record.status, record.fingerprint, record.error) for record in made.handler.records]
        assert records == [("x", "success", "a", None), ("y", "failed", "b", "no")]
        assert made.handler.records[0].receipt == Receipt("a", "1", "dictionary", {"objects": 1})
        assert made.handler.records[0].token == made.handler.claims[0].token
        assert {record.route for record in made.handler.records} == {"all"}

        await asyncio.sleep(1000)
        assert len(made.handler.records) == 2


@virtual
async def test_outcomes_another_process_left_are_recorded_after_a_while() -> None:
    async with rig() as made, made.running():
        await ingest(made, "x", "a")
        async with recording(made):
            await ingest(made, "y", "b")
            await asyncio.sleep(40)

        assert [record.unit for record in made.handler.records] == ["x", "y"]


@virtual
async def test_sink_that_takes_no_records_gets_them_later() -> None:
    async with rig(handler=FakeHandler(record_fails=True)) as made, recording(made), made.running():
        await ingest(made, "x", "a")
        await asyncio.sleep(100)
        assert made.handler.records == []
        made.handler.record_fails = False
        await asyncio.sleep(40)

        assert [record.unit for record in made.handler.records] == ["x"]


@virtual
async def test_handler_that_refuses_its_records_keeps_no_other_from_recording() -> None:
    refusing = Refusing(name="another")
    async with rig() as made, made.running():
        await outcome_of(made, "another")
        await ingest(made, "x", "a")
        recorder = Recorder({"another": refusing, "fake": made.handler}, made.history, made.schedule)
        with capture_logs() as lines, pytest.raises(TransientError, match="registry"):
            await recorder.flush()

        assert [record.unit for record in made.handler.records] == ["x"]
        (line,) = [line for line in lines if line["event"] == "record.failed"]
        assert (line["log_level"], line["reason"], line["exc_info"]) == ("warning", "the registry is down", False)


@virtual
async def test_handler_that_refuses_its_records_is_asked_once_in_a_while() -> None:
    refusing = Refusing(name="another")
    async with rig() as made, made.running():
        await outcome_of(made, "another")
        recorder = Recorder({"another": refusing, "fake": made.handler}, made.history, made.schedule, patience=30.0)
        heard_by(made, recorder)
        task = asyncio.create_task(recorder.run())
        for number in range(45):  # its patience ends once meanwhile
            await ingest(made, f"x{number}", "a")
            await asyncio.sleep(1)
        task.cancel()

        assert len(made.handler.records) >= 43
        assert refusing.asked == 2


class Timed(FakeHandler):
    """Notes when records came; more outcomes settle while it writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.3)
        await super().record(outcomes)


@virtual
async def test_outcomes_that_keep_coming_are_recorded_once_a_second() -> None:
    handler = Timed()
    async with rig(handler=handler) as made, recording(made), made.running():
        for number in range(50):
            await ingest(made, f"k{number}", "a")
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        assert len(handler.records) == 50
        assert min(later - earlier for earlier, later in pairwise(handler.times)) >= 1.0


@asynccontextmanager
async def replicas(made: Rig, handler: FakeHandler) -> AsyncIterator[list[Recorder]]:
    """Run two recorders of different processes that both hear of every outcome."""
    recorders = [Recorder({"fake": handler}, made.history, made.schedule) for _ in range(2)]

    heard_by(made, *recorders)
    tasks = [asyncio.create_task(recorder.run()) for recorder in recorders]
    try:
        yield recorders
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@virtual
async def test_outcomes_are_recorded_by_one_process_at_a_time() -> None:
    handler = Timed()
    async with rig(handler=handler) as made, replicas(made, handler), made.running():
        for number in range(50):
            await ingest(made, f"k{number}", "a")
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)

        assert sorted(record.unit for record in handler.records) == sorted(f"k{number}" for number in range(50))
        assert min(round(later - earlier, 6) for earlier, later in pairwise(handler.times)) >= 0.3


@virtual
async def test_process_that_died_recording_keeps_others_from_it_for_one_lease() -> None:
    async with rig() as made, made.running():
        assert await Leases(made.ledger).take("record fake", "of a dead process", due=False)
        async with replicas(made, made.handler) as recorders:
            await ingest(made, "x", "a")
            assert await recorders[0].flush(wait=False) == 0
            await asyncio.sleep(LEASE - 2)
            assert made.handler.records == []
            await asyncio.sleep(4)

            assert [record.unit for record in made.handler.records] == ["x"]


@virtual
async def test_flush_waits_for_the_process_that_is_recording() -> None:
    handler = Timed()
    async with rig(handler=handler) as made, made.running():
        await ingest(made, "x", "a")
        first, second = (Recorder({"fake": handler}, made.history, made.schedule) for _ in range(2))

        assert [*await asyncio.gather(first.flush(), second.flush())] == [1, 0]
        assert [record.unit for record in handler.records] == ["x"]
