"""A sink that is away: no unit pays for it with attempts, and all are done when it is back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from structlog.testing import capture_logs

from consumer.protocol import Status
from consumer.sink import FRESH, PAUSES, Sink
from consumer.workitem import work_queue
from handlers.contract import Claim, OutcomeUnknown, PermanentError, SinkAway, SinkRefuses, TransientError
from tests.fakes import FakeHandler, Pause
from tests.rig import BUCKET, Rig, rig
from tests.virtual_loop import virtual

HOURS = 5 * 3600.0


@dataclass
class Distant(FakeHandler):
    """Its sink is away while `fault` is set: nothing can be applied then, and a ping says so."""

    fault: Exception | None = field(default_factory=lambda: SinkAway("the catalog does not answer"))
    pings: int = 0
    silent: bool = False
    """A ping gets no answer at all."""

    async def ping(self) -> None:
        self.pings += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault

    def fail(self, error: Exception) -> None:
        async def failing(_claim: Claim) -> None:
            raise error

        self.script.append(failing)


async def put(made: Rig, *names: str) -> None:
    for name in names:
        made.store.put(BUCKET, name, f"text of {name}")
        await made.hint(name)


@virtual
async def test_outage_of_hours_uses_up_no_attempt_and_holds_no_claim() -> None:
    handler = Distant()
    handler.fail(TransientError("no commit succeeded"))
    async with rig(handler=handler) as made, made.running(waker=True):
        await put(made, "x")
        settled = await made.until(1)
        row = await made.row("x")
        assert (settled.step, row.status, row.attempts) == ("sink", Status.RETRYING, 0)
        assert (row.error_class, row.error) == ("SinkAway", "the catalog does not answer")
        assert row.open, "the sink may hold something"

        await asyncio.sleep(HOURS)
        row = await made.row("x")
        assert (row.attempts, row.lease_token, len(handler.claims)) == (0, None, 1)
        assert len(made.settled) == 1, "nothing is begun or written meanwhile"
        assert await made.broker.depth(work_queue("fake")) == 0, "nor are hints piled up"
        assert handler.pings > HOURS / (2 * PAUSES[-1])
        handler.fault = None

        settled = await made.until(2)
        assert (settled.status, len(handler.claims)) == (Status.DONE, 2)


@virtual
async def test_hints_that_come_while_the_sink_is_away_stay_in_their_queue() -> None:
    handler = Distant()
    handler.fail(TransientError("no commit succeeded"))
    async with rig(handler=handler) as made, made.running(waker=True):
        await put(made, "a")
        await made.until(1)
        await put(made, *"bcd")
        await asyncio.sleep(600)
        assert len(handler.claims) == 1
        assert await made.broker.depth(work_queue("fake")) == 3, "one was looked at, and its hint went back too"
        assert not made.worker.in_flight
        made.store.put(BUCKET, "b", "a newer text")
        handler.fault = None

        await made.until(6)
        assert handler.sink == {name: {name: f"text of {name}"} for name in "acd"} | {"b": {"b": "a newer text"}}


@virtual
async def test_failure_of_work_that_an_outage_met_costs_nothing_though_the_sink_is_back() -> None:
    handler = Distant()
    slow = Pause()

    async def failing_late(claim: Claim) -> None:
        await slow(claim)
        raise TransientError("no commit succeeded")

    handler.script.append(failing_late)
    handler.fail(TransientError("no commit succeeded"))
    async with rig(handler=handler) as made, made.running():
        await put(made, "a")
        await slow.reached.wait()
        await put(made, "b")
        await made.until(1)
        handler.fault = None
        await made.sink.back()
        slow.release.set()
        await made.until(2)

        assert ((await made.row("a")).attempts, made.settled[1].step) == (0, "sink")


@virtual
async def test_sink_that_refuses_is_told_of_with_its_reason_and_costs_no_attempt() -> None:
    handler = Distant(fault=SinkRefuses("the catalog does not let us in: wrong password; correct `catalog`"))
    handler.fail(TransientError("no commit succeeded"))
    with capture_logs() as lines:
        async with rig(handler=handler) as made, made.running(waker=True):
            await put(made, "x")
            await made.until(1)
            row = await made.row("x")
            assert (row.error_class, row.attempts) == ("SinkRefuses", 0)
            assert row.error == "the catalog does not let us in: wrong password; correct `catalog`"
            handler.fault = None
            await made.until(2)
    told = [line for line in lines if line["event"] == "sink.away"]
    assert told[0]["log_level"] == "error"
    assert "wrong password" in told[0]["reason"]


@virtual
async def test_failure_with_the_sink_in_its_place_costs_an_attempt() -> None:
    handler = Distant(fault=None)
    handler.fail(TransientError("busy"))
    async with rig(handler=handler) as made, made.running():
        await put(made, "x")
        await made.until(1)
        row = await made.row("x")

        assert (row.status, row.attempts, handler.pings) == (Status.RETRYING, 1, 1)


@virtual
async def test_object_that_cannot_be_ingested_fails_whether_or_not_the_sink_is_there() -> None:
    handler = Distant()
    handler.fail(PermanentError("no rows"))
    async with rig(handler=handler) as made, made.running():
        await put(made, "x")
        await made.until(1)

        assert ((await made.row("x")).status, handler.pings) == (Status.FAILED, 0)


@virtual
async def test_units_that_fail_together_ask_once() -> None:
    handler = Distant(silent=True)
    for _ in range(8):
        handler.fail(TransientError("no commit succeeded"))
    async with rig(handler=handler) as made, made.running():
        await put(made, *"abcdefgh")
        await made.until(8)

        assert handler.pings == 1
        assert {settled.step for settled in made.settled} == {"sink"}


@virtual
async def test_unknown_outcome_on_a_sink_that_is_away_stays_suspect() -> None:
    handler = Distant(fenced=False)
    handler.fail(OutcomeUnknown("no answer to the write"))
    async with rig(handler=handler) as made, made.running():
        await put(made, "x")
        await made.until(1)

        assert (await made.row("x")).suspect_until is not None


@virtual
async def test_command_leaves_units_to_the_service_while_the_sink_is_away() -> None:
    handler = Distant()
    handler.fail(TransientError("no commit succeeded"))
    async with rig(handler=handler) as made:
        made.worker = made.new_worker(waits=False)
        async with made.running():
            await put(made, "a")
            await made.until(1)
            await put(made, "b", "c")
            await made.until(3)
        row = await made.row("c")

        assert (made.settled[2].step, row.status, row.attempts) == ("sink", Status.PENDING, 0)
        assert row.wake_at is not None
        assert len(handler.claims) == 1


@virtual
async def test_sink_is_told_of_when_it_leaves_and_when_it_is_back() -> None:
    handler = Distant()
    sink = Sink("fake", handler.ping, clock=lambda: 0)
    with capture_logs() as lines:
        assert await sink.blamed(0) is not None
        assert sink.away is not None
        handler.fault = None
        await sink.back()
    await sink.aclose()

    assert [line["event"] for line in lines] == ["sink.away", "sink.back"]
    assert lines[0]["reason"] == "the catalog does not answer"


@virtual
async def test_who_only_wants_to_tell_gets_an_answer_that_is_a_little_old() -> None:
    handler = Distant()
    sink = Sink("fake", handler.ping, clock=lambda: 0)
    assert [await sink.told() for _ in range(3)] == ["the catalog does not answer"] * 3
    assert (handler.pings, sink.away) == (1, None)
    handler.fault = None
    await asyncio.sleep(FRESH)
    assert await sink.told() is None
    await sink.aclose()


@virtual
async def test_sink_that_is_known_to_be_away_is_not_asked_by_work_that_fails() -> None:
    handler = Distant()
    sink = Sink("fake", handler.ping, clock=lambda: 0)
    blamed = [str(await sink.blamed(0)) for _ in range(3)]
    await sink.aclose()

    assert (blamed, handler.pings) == (["the catalog does not answer"] * 3, 1)


@virtual
async def test_answer_that_was_under_way_when_work_failed_is_not_the_last_word() -> None:
    pings = 0

    async def ping() -> None:
        nonlocal pings
        pings += 1
        await asyncio.sleep(1)
        if pings == 2:
            raise SinkAway("the catalog does not answer")

    sink = Sink("fake", ping, clock=lambda: 0)
    telling = asyncio.create_task(sink.told())
    await asyncio.sleep(0.5)
    blamed = await sink.blamed(asyncio.get_running_loop().time())
    await sink.aclose()

    assert await telling is None
    assert (str(blamed), pings) == ("the catalog does not answer", 2)


@virtual
async def test_sink_that_others_found_to_be_back_is_asked_no_more() -> None:
    handler = Distant()
    sink = Sink("fake", handler.ping, clock=lambda: 0)
    await sink.blamed(0)
    await asyncio.sleep(100)
    told = handler.pings
    handler.fault = None
    assert await sink.told() is None
    await sink.back()
    await asyncio.sleep(100)
    await sink.aclose()

    assert handler.pings == told + 1
