"""How outcomes reach a sink's own records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from consumer.protocol import Settlement, Status
from consumer.recorder import Recorder
from consumer.workitem import UnitKey
from handlers.contract import Outcome, PermanentError, Receipt, TransientError
from tests.fakes import FakeHandler
from tests.rig import BUCKET, Rig, rig
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


@asynccontextmanager
async def recording(made: Rig) -> AsyncIterator[None]:
    recorder = Recorder({"fake": made.handler}, made.history)
    made.worker._reconciler._on_settled = lambda settled: (made._on_settled(settled), recorder.notice(settled))  # type: ignore[assignment, func-returns-value]  # both listen
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
        recorder = Recorder({"another": refusing, "fake": made.handler}, made.history)
        with pytest.raises(TransientError, match="registry"):
            await recorder.flush()

        assert [record.unit for record in made.handler.records] == ["x"]


@virtual
async def test_handler_that_refuses_its_records_is_asked_once_in_a_while() -> None:
    refusing = Refusing(name="another")
    async with rig() as made, made.running():
        await outcome_of(made, "another")
        recorder = Recorder({"another": refusing, "fake": made.handler}, made.history, patience=30.0)
        made.worker._reconciler._on_settled = lambda settled: (made._on_settled(settled), recorder.notice(settled))  # type: ignore[assignment, func-returns-value]  # both listen
        task = asyncio.create_task(recorder.run())
        for number in range(60):
            await ingest(made, f"x{number}", "a")
            await asyncio.sleep(1)
        task.cancel()

        assert len(made.handler.records) >= 58
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
