"""The worker's straight path, step by step, on a real ledger and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from consumer.broker_port import BrokerUnavailable
from consumer.local_broker import LocalBroker
from consumer.protocol import Row, Settlement, Status
from consumer.reconcile import CHANGES
from consumer.router import Router
from consumer.worker import Worker
from consumer.workitem import Hint, Kind, Message, UnitKey, bulk_queue, dead_queue, decode, encode, work_queue
from handlers.contract import (
    ABSENT,
    Claim,
    ClaimLost,
    ObjectChanged,
    OutcomeUnknown,
    PermanentError,
    Receipt,
    Skip,
    StoredObject,
    TransientError,
    Unit,
)
from tests.fakes import FakeHandler, Pause, RouteOptions, store_is_down
from tests.rig import BUCKET, LEASE, Rig, rig, when
from tests.virtual_loop import virtual

REMOVE = RouteOptions(on_delete="remove")


async def dead_letters(made: Rig) -> list[Hint]:
    queue = dead_queue(made.handler.name)
    consumer = await made.broker.consume(queue, prefetch=100)
    hints = [decode((await consumer.get()).message) for _ in range(await made.broker.depth(queue))]
    await consumer.aclose()
    return hints


async def die(made: Rig, unit: str) -> None:
    """Leave a row as a process does that was killed after BEGIN."""
    row = await made.ledger.claim(made.key(unit))
    assert row is not None
    head = made.store.texts.get((BUCKET, unit), ABSENT)
    await made.ledger.begin(row.key, row.lease_token or "", head, row.attempts + 1)
    await asyncio.sleep(LEASE)


# Steps 1 to 6


@virtual
async def test_object_reaches_the_sink_and_the_row_is_settled() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        settled = await made.until(1)
        row = await made.row("x")

        assert made.handler.sink == {"x": {"x": "a"}}
        assert (row.status, row.applied_etag, row.observed_etag, row.open) == (Status.DONE, "a", "a", False)
        assert (row.attempts, row.size, row.error) == (0, 1, None)
        assert row.settled
        assert settled.receipt == Receipt("a", "1", "dictionary", {"objects": 1})
        assert settled.record


class Talkative(FakeHandler):
    """Tells people what it found."""

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        return replace(await super().apply(unit, objects, claim), detail={"columns": ["id"]})


@virtual
async def test_what_a_receipt_tells_people_is_in_the_row_and_not_in_the_timeline_too() -> None:
    async with rig(handler=Talkative()) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        row = await made.row("x")
        (done,) = await made.history.timeline(row.key)

        assert row.receipt is not None
        assert row.receipt.detail == {"columns": ["id"]}
        assert done.detail["receipt"] == {
            "fingerprint": "a",
            "handler_version": "1",
            "target": "dictionary",
            "counts": {"objects": 1},
        }


@virtual
async def test_delivery_is_acked_right_after_the_claim() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await pause.reached.wait()
        (consumer,) = made.broker._consumers
        assert consumer._unsettled == {}
        pause.release.set()
        await made.until(1)


@virtual
async def test_unchanged_object_is_not_applied_again() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        await made.hint("x")
        assert (await made.until(2)).step == "unchanged"

        assert len(made.handler.claims) == 1
        assert await made.events("x") == ["done"]


@virtual
async def test_changed_object_replaces_what_the_sink_holds() -> None:
    async with rig() as made, made.running():
        for number, text in enumerate("ab", 1):
            made.store.put(BUCKET, "x", text)
            await made.hint("x")
            await made.until(number)

        assert made.handler.sink == {"x": {"x": "b"}}
        assert made.handler.claims[1].previous == Receipt("a", "1", "dictionary", {"objects": 1})


@virtual
async def test_deleted_object_stays_in_the_sink_of_a_keeping_route() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        made.store.delete(BUCKET, "x")
        await made.hint("x")
        await made.until(2)
        row = await made.row("x")
        await made.hint("x")
        await made.until(3)

        assert made.handler.sink == {"x": {"x": "a"}}
        assert (row.status, row.applied_etag, row.observed_etag) == (Status.DONE, "a", ABSENT)
        assert row.gone
        assert await made.events("x") == ["done", "done"]  # the third look found nothing new


@virtual
async def test_deleted_object_leaves_the_sink_of_a_following_route() -> None:
    async with rig(options=REMOVE) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        made.store.delete(BUCKET, "x")
        await made.hint("x")
        await made.until(2)

        assert made.handler.sink == {"x": {}}
        assert (await made.row("x")).applied_etag == ABSENT


@virtual
async def test_keeping_route_leaves_an_open_row_open() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        await die(made, "x")
        made.store.delete(BUCKET, "x")
        async with made.running():
            await made.hint("x")
            await made.until(1)
        row = await made.row("x")

        assert (row.status, row.open, row.applied_etag) == (Status.DONE, True, None)


@virtual
async def test_failed_version_is_not_tried_again_until_it_changes() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no rows")])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        await made.hint("x")
        assert (await made.until(2)).step == "still failed"
        row = await made.row("x")
        assert (row.status, row.error_class, row.error) == (Status.FAILED, "PermanentError", "no rows")
        assert len(made.handler.claims) == 1

        made.store.put(BUCKET, "x", "b")
        await made.hint("x")
        await made.until(3)
        row = await made.row("x")
        assert (row.status, row.error_class, row.error) == (Status.DONE, None, None)


@virtual
async def test_failed_version_leaves_the_last_good_one_in_the_sink() -> None:
    async with rig(handler=FakeHandler(script=[None, PermanentError("no")])) as made, made.running():
        for number, text in enumerate("ab", 1):
            made.store.put(BUCKET, "x", text)
            await made.hint("x")
            await made.until(number)
        row = await made.row("x")

        assert made.handler.sink == {"x": {"x": "a"}}
        assert (row.applied_etag, row.observed_etag, row.open) == ("a", "b", True)


@virtual
async def test_skipped_version_is_looked_at_again_when_it_changes() -> None:
    async with rig(handler=FakeHandler(script=[Skip("no folder")])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        assert (await made.until(1)).status is Status.SKIPPED
        await made.hint("x")
        assert (await made.until(2)).step == "still failed"
        made.store.put(BUCKET, "x", "b")
        await made.hint("x")
        assert (await made.until(3)).status is Status.DONE
        assert await dead_letters(made) == []


# Retries


@virtual
async def test_transient_error_is_tried_again_at_its_time() -> None:
    async with rig(handler=FakeHandler(script=[TransientError("busy")])) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        row = await made.row("x")
        assert (row.status, row.attempts, row.error) == (Status.RETRYING, 1, "busy")
        assert row.wake_at == made.clock() + 5000

        await made.until(2)
        row = await made.row("x")
        assert (row.status, row.attempts) == (Status.DONE, 0)
        assert await made.events("x") == ["retrying", "done"]


@virtual
async def test_hint_before_the_time_of_a_retry_changes_nothing() -> None:
    async with rig(handler=FakeHandler(script=[TransientError("busy")])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        before = await made.row("x")
        await made.hint("x")
        assert (await made.until(2)).step == "not yet"
        after = await made.row("x")

        assert (after.status, after.wake_at, after.attempts) == (before.status, before.wake_at, 1)
        assert (after.error_class, after.error) == ("TransientError", "busy")
        assert len(made.handler.claims) == 1


@virtual
async def test_new_version_does_not_wait_for_the_retry_of_the_old_one() -> None:
    async with rig(handler=FakeHandler(script=[TransientError("busy")])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        made.store.put(BUCKET, "x", "b")
        await made.hint("x")
        assert (await made.until(2)).status is Status.DONE


@virtual
async def test_attempts_end_in_failed_with_the_last_error() -> None:
    script: list[Any] = [TransientError(f"busy {number}") for number in (1, 2, 3)]
    async with rig(handler=FakeHandler(script=script)) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(3)
        row = await made.row("x")

        assert (row.status, row.attempts, row.error) == (Status.FAILED, 3, "busy 3")
        assert row.settled
        assert len(made.handler.claims) == 3


@virtual
async def test_error_nobody_expected_is_tried_again() -> None:
    async with rig(handler=FakeHandler(script=[ZeroDivisionError("oops")])) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        row = await made.row("x")
        assert (row.status, row.error_class, row.error) == (
            Status.RETRYING,
            "ZeroDivisionError",
            "ZeroDivisionError: oops",
        )
        assert (await made.until(2)).status is Status.DONE


# Dead letters


@virtual
async def test_failed_unit_leaves_a_copy_for_people_that_replays_it() -> None:
    handler = FakeHandler(script=[PermanentError("no rows"), PermanentError("still none")])
    async with rig(handler=handler) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        (copy,) = await dead_letters(made)
        assert (copy.kind, copy.key, copy.error) == ("replay", made.key("x"), "no rows")

        await made.broker.publish(work_queue("fake"), encode(copy))
        await made.until(2)
        row = await made.row("x")
        assert (row.error, row.attempts, row.force) == ("still none", 1, False)


@virtual
async def test_copy_that_cannot_be_made_does_not_undo_the_failure() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no")])) as made:
        made.worker = made.new_worker(broker=DeafBroker(made.broker))
        async with made.running():
            made.store.put(BUCKET, "x", "a")
            await made.hint("x")
            await made.until(1)
        row = await made.row("x")

        assert row.status is Status.FAILED
        assert row.settled


class DeafBroker:
    """Hands deliveries over and takes no messages, or only after some attempts."""

    def __init__(self, broker: LocalBroker, deaf_for: int = 1_000_000) -> None:
        self._broker = broker
        self._deaf_for = deaf_for
        self.consume = broker.consume

    async def publish(self, queue: str, message: Message) -> None:
        self._deaf_for -= 1
        if self._deaf_for >= 0:
            raise BrokerUnavailable("gone")
        await self._broker.publish(queue, message)


class SlowBroker(DeafBroker):
    """Takes messages after a minute."""

    async def publish(self, queue: str, message: Message) -> None:
        await asyncio.sleep(60)
        await self._broker.publish(queue, message)


@virtual
async def test_claim_is_not_lost_while_its_copy_for_people_is_published() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no")])) as made:
        made.worker = made.new_worker(broker=SlowBroker(made.broker))
        async with made.running():
            made.store.put(BUCKET, "x", "a")
            await made.hint("x")
            await made.until(1)
            await asyncio.sleep(61)  # several heartbeats, which find the row released
            assert len(await dead_letters(made)) == 1


@virtual
async def test_message_that_is_no_hint_goes_to_the_dead_queue_with_the_reason() -> None:
    async with rig() as made, made.running():
        await made.broker.publish(work_queue("fake"), Message(b"{}", "", {"key": "k"}, "id-1"))
        queue = await made.broker.consume(dead_queue("fake"), prefetch=1)
        message = (await queue.get()).message

        assert (message.body, message.id) == (b"{}", "id-1")
        assert message.headers == {"key": "k", "error": "not a CloudEvent of specversion 1.0"}


@virtual
@pytest.mark.parametrize(
    ("handler", "kind", "reason"),
    [
        ("other", "changed", "a hint for handler 'other' in a queue of 'fake': move it there"),
        ("fake", "task", "a task is no hint: nothing of this worker does tasks"),
    ],
)
async def test_hint_that_is_not_for_this_worker_goes_to_the_dead_queue_with_the_reason(
    handler: str, kind: Kind, reason: str
) -> None:
    async with rig() as made, made.running():
        stray = Hint(UnitKey(handler, BUCKET, "x"), kind, "event", "id-1", made.clock())
        await made.broker.publish(work_queue("fake"), encode(stray))
        queue = await made.broker.consume(dead_queue("fake"), prefetch=1)
        message = (await queue.get()).message

        assert message.headers["error"] == reason
        assert await made.units.find(BUCKET, "x") == []


@virtual
async def test_message_that_is_no_hint_is_kept_while_the_broker_takes_nothing() -> None:
    async with rig() as made:
        made.worker = made.new_worker(broker=DeafBroker(made.broker, deaf_for=2))
        async with made.running():
            await made.broker.publish(work_queue("fake"), Message(b"{}", "", {}, "id-1"))
            queue = await made.broker.consume(dead_queue("fake"), prefetch=1)
            assert (await queue.get()).message.id == "id-1"


# Step 4: the object changes under the reader


class Meddler:
    """Changes the store at an operation, once per entry."""

    def __init__(self, made: Rig, operation: str, *changes: Any) -> None:
        self._operation = operation
        self._changes = list(changes)
        made.store.at = self

    async def __call__(self, operation: str) -> None:
        if operation == self._operation and self._changes:
            self._changes.pop(0)()


@virtual
async def test_object_replaced_while_being_read_costs_no_attempt() -> None:
    async with rig(delays=()) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        versions = iter("bcdef")
        Meddler(made, "read", *[lambda: made.store.put(BUCKET, "x", next(versions))] * 5)
        await made.hint("x")
        settled = await made.until(1)

        assert settled.status is Status.DONE
        assert made.handler.sink == {"x": {"x": "f"}}
        assert len(made.handler.claims) == 6


@virtual
async def test_object_replaced_and_restored_while_being_read_costs_no_attempt() -> None:
    async with rig(delays=()) as made, made.running():
        made.store.put(BUCKET, "x", "a")

        async def flicker(operation: str) -> None:
            # Every read finds b, every look a.
            made.store.put(BUCKET, "x", "b" if operation == "read" and len(made.handler.claims) < 5 else "a")

        made.store.at = flicker
        await made.hint("x")
        settled = await made.until(1)

        assert settled.status is Status.DONE
        assert made.handler.sink == {"x": {"x": "a"}}


@virtual
async def test_object_that_keeps_changing_waits_for_its_next_look_without_an_attempt() -> None:
    async with rig(delays=()) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        begun = made.clock()

        async def flicker(operation: str) -> None:
            made.store.put(BUCKET, "x", "b" if operation == "read" and made.clock() < begun + 60_000 else "a")

        made.store.at = flicker
        await made.hint("x")
        assert (await made.until(1)).step == "changing"
        row = await made.row("x")
        assert (row.status, row.attempts, row.lease_token) == (Status.RETRYING, 0, None)
        assert row.wake_at == made.clock() + 10_000
        assert row.error == "The object was replaced while it was being read."
        assert len(made.handler.claims) == CHANGES

        await asyncio.sleep(100)
        assert made.settled[-1].step == "begin"
        assert made.handler.sink == {"x": {"x": "a"}}
        assert (await made.row("x")).attempts == 0


@virtual
async def test_changed_object_and_shutdowns_together_cost_no_attempt() -> None:
    async with rig(delays=()) as made:
        made.store.put(BUCKET, "x", "a")

        async def flicker(operation: str) -> None:
            made.store.put(BUCKET, "x", "b" if operation == "read" else "a")

        made.store.at = flicker
        for number in range(1, 4):
            made.worker = made.new_worker(delays=())
            async with made.running():
                await made.hint("x")
                await made.handler.claimed(number)
                await asyncio.sleep(0.1)  # the pause before the next look
            row = await made.row("x")
            assert (row.status, row.attempts) == (Status.PENDING, 0)


@virtual
async def test_object_deleted_while_being_read_is_noted_and_looked_at_again() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        Meddler(made, "read", lambda: made.store.delete(BUCKET, "x"))
        await made.hint("x")
        await made.until(1)
        row = await made.row("x")
        failed, done = await made.history.timeline(row.key)

        assert (row.status, row.observed_etag, row.attempts) == (Status.DONE, ABSENT, 0)
        assert (failed.event, failed.etag, failed.detail["error"]) == ("failed", "a", "deleted while being read")
        assert done.event == "done"
        ((_, outcome),) = await made.history.unrecorded("fake", 10)
        assert (outcome.status, outcome.fingerprint, outcome.error) == ("failed", "a", "deleted while being read")


# The store does not answer


@virtual
async def test_store_that_does_not_answer_costs_no_attempt() -> None:
    async with rig() as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        made.store.at = store_is_down()
        await made.hint("x")
        await made.until(1)
        row = await made.row("x")
        assert (row.status, row.attempts, row.observed_etag, row.error) == (
            Status.PENDING,
            0,
            None,
            "the store is down",
        )
        assert row.wake_at == made.clock() + 10_000

        made.store.at = None
        assert (await made.until(2)).status is Status.DONE


@virtual
async def test_store_that_asks_for_a_pause_gets_it() -> None:
    async with rig() as made, made.running():

        async def overloaded(_operation: str) -> None:
            raise TransientError("slow down", retry_after=90)

        made.store.at = overloaded
        await made.hint("x")
        await made.until(1)

        assert (await made.row("x")).wake_at == made.clock() + 90_000


@virtual
async def test_store_that_does_not_answer_brings_no_retry_forward() -> None:
    handler = FakeHandler(script=[TransientError("busy")])
    async with rig(handler=handler, delays=(3600.0,)) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        due = (await made.row("x")).wake_at
        made.store.at = store_is_down()
        await made.hint("x")
        await made.until(2)
        made.store.at = None
        row = await made.row("x")
        assert (row.status, row.attempts, row.wake_at) == (Status.RETRYING, 1, due)

        assert (await made.until(3)).status is Status.DONE
        assert made.clock() >= (due or 0)


@virtual
async def test_reason_of_a_failure_survives_a_store_that_does_not_answer() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no rows")])) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        made.store.at = store_is_down()
        await made.hint("x")
        await made.until(2)
        row = await made.row("x")
        assert (row.status, row.error) == (Status.FAILED, "no rows")
        made.store.at = None
        assert (await made.until(3)).step == "still failed"

        row = await made.row("x")
        assert (row.status, row.error_class, row.error) == (Status.FAILED, "PermanentError", "no rows")
        assert len(await dead_letters(made)) == 1
        assert len(await made.history.unrecorded("fake", 10)) == 1


@virtual
async def test_key_without_a_route_is_skipped_with_the_reason() -> None:
    async with rig() as made, made.running():
        await made.hint("x")
        await made.until(1)
        made.looker._router = Router(())
        await made.hint("x")
        await made.until(2)
        row = await made.row("x")

        assert (row.status, row.error) == (Status.SKIPPED, "no route takes this key any more")
        assert row.settled


@virtual
async def test_unit_whose_route_comes_back_is_ingested() -> None:
    async with rig(handler=FakeHandler(script=[TransientError("the sink is down")])) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        made.looker._router = Router(())
        assert (await made.until(2)).status is Status.SKIPPED
        made.looker._router = made.router
        await made.hint("x")

        assert (await made.until(3)).status is Status.DONE
        assert made.handler.sink == {"x": {"x": "a"}}


@virtual
async def test_unit_without_a_route_keeps_what_is_known_of_its_sink() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        before = await made.row("x")
        made.looker._router = Router(())
        for number in (2, 3):
            await made.hint("x")
            await made.until(number)
        row = await made.row("x")
        assert (row.status, row.applied_etag, row.receipt, row.size) == (Status.SKIPPED, "a", before.receipt, 1)
        assert await made.events("x") == ["done", "skipped"]  # the second look found nothing new

        made.looker._router = made.router
        await made.hint("x")
        assert (await made.until(4)).step == "unchanged"
        row = await made.row("x")
        assert (row.status, row.error, row.observed_etag) == (Status.DONE, None, "a")
        assert len(made.handler.claims) == 1


# Hints that come meanwhile


@virtual
async def test_r2_hint_during_the_work_makes_the_same_claim_look_again() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await pause.reached.wait()
        made.store.put(BUCKET, "x", "b")
        await made.hint("x")
        await asyncio.sleep(1)
        assert (await made.row("x")).dirty
        pause.release.set()
        await made.until(2)

        assert made.handler.sink == {"x": {"x": "b"}}
        first, second = made.handler.claims
        assert first.token == second.token
        assert (await made.row("x")).settled


@virtual
async def test_hint_for_a_held_row_is_done_once_it_is_dirty() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x", "x", "x")
        await pause.reached.wait()
        await asyncio.sleep(1)
        assert await made.broker.depth(work_queue("fake")) == 0
        assert made.worker.in_flight == 1
        pause.release.set()
        await made.until(1)


@virtual
async def test_forced_replay_applies_an_unchanged_object_again() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        await made.hints.bulk(made.key("x"), "replay", kind="replay")
        await made.until(2)

        assert len(made.handler.claims) == 2
        assert not (await made.row("x")).force


@virtual
async def test_replay_while_the_last_attempt_begins_is_not_lost() -> None:
    async with rig(delays=()) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await die(made, "x")

        async def replay(operation: str) -> None:
            if operation == "head" and len(made.settled) == 0:
                assert await made.ledger.claim(made.key("x"), replay=True) is None

        made.store.at = replay
        await made.hint("x")
        await made.until(1)

        assert made.handler.sink == {"x": {"x": "a"}}


# Claims that are lost, holders that died


@virtual
async def test_r3_claim_that_was_taken_over_writes_nothing() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await pause.reached.wait()
        await made.change("x", lease_token="other", lease_until=made.clock() + 10**9)
        pause.release.set()
        settled = await made.until(1)
        row = await made.row("x")

        assert settled.row is None
        assert (row.lease_token, row.status, row.applied_etag) == ("other", Status.PENDING, None)
        assert await made.events("x") == []


@virtual
async def test_claim_lost_before_begin_never_reaches_the_handler() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")

        async def steal(_operation: str) -> None:
            await made.change("x", lease_token="other")

        made.store.at = steal
        await made.hint("x")
        await when(lambda: made.worker.in_flight)
        await when(lambda: not made.worker.in_flight)

        assert made.handler.claims == []
        assert made.settled == []


@virtual
async def test_handler_that_finds_its_claim_lost_ends_quietly() -> None:
    async with rig(handler=FakeHandler(script=[ClaimLost()])) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        settled = await made.until(1)  # of the next claim, when the lease has ended

        assert settled.status is Status.DONE
        assert len(made.handler.claims) == 2


@virtual
async def test_heartbeat_keeps_the_lease_of_long_work() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made, made.running(waker=True):
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await pause.reached.wait()
        await asyncio.sleep(10 * LEASE)
        pause.release.set()
        settled = await made.until(1)

        assert settled.row is not None
        assert len(made.handler.claims) == 1


@virtual
async def test_heartbeat_cancels_the_work_of_a_lost_claim() -> None:
    pause = Pause()
    cancelled = asyncio.Event()

    async def wait(claim: Claim) -> None:
        try:
            await pause(claim)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with rig(handler=FakeHandler(script=[wait])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await pause.reached.wait()
        await made.change("x", lease_token="other")
        await cancelled.wait()
        await asyncio.sleep(1)

        assert made.worker.in_flight == 0
        assert (await made.row("x")).lease_token == "other"  # noqa: S105
        assert made.handler.sink == {}


@virtual
async def test_heartbeat_that_fails_is_tried_again() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await pause.reached.wait()
        heartbeat, calls = made.ledger.heartbeat, 0

        async def flaky(tokens: Any) -> set[str]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise OSError("disk")
            return await heartbeat(tokens)

        made.ledger.heartbeat = flaky  # type: ignore[method-assign]  # a ledger that fails once
        await asyncio.sleep(4 * LEASE)
        pause.release.set()

        assert (await made.until(1)).row is not None
        assert calls > 5


@virtual
async def test_row_of_a_dead_process_is_looked_at_again() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        await die(made, "x")
        async with made.running(waker=True):
            await made.until(1)

        (claim,) = made.handler.claims
        assert claim.alone
        assert made.handler.sink == {"x": {"x": "a"}}


@virtual
async def test_unit_whose_holder_died_is_read_alone() -> None:
    pause, lone = Pause(), Pause()
    async with rig(handler=FakeHandler(script=[pause, lone, None])) as made:
        for unit in "xyz":
            made.store.put(BUCKET, unit, "a")
        await die(made, "x")
        async with made.running():
            await made.hint("y")
            await pause.reached.wait()
            await made.hint("x", "z")
            await asyncio.sleep(1)
            assert len(made.handler.claims) == 1  # x waits for y, z for x

            pause.release.set()
            await lone.reached.wait()
            assert [claim.alone for claim in made.handler.claims] == [False, True]
            lone.release.set()
            await made.until(3)
        assert set(made.handler.sink) == {"x", "y", "z"}


@virtual
@pytest.mark.parametrize(("deaths", "alone"), [(1, False), (2, True)])
async def test_unit_whose_holders_keep_dying_stays_alone_until_it_has_settled(deaths: int, alone: bool) -> None:
    committing = Pause()

    async def commit(claim: Claim) -> None:
        claim.staged()
        await committing(claim)

    async with rig(handler=FakeHandler(script=[commit]), delays=(1.0, 1.0, 1.0)) as made:
        made.store.put(BUCKET, "x", "a")
        made.store.put(BUCKET, "y", "a")
        for _ in range(deaths):
            await die(made, "x")
        async with made.running():
            await made.hint("x")
            await committing.reached.wait()
            await made.hint("y")
            await asyncio.sleep(1)
            assert len(made.handler.claims) == (1 if alone else 2)

            committing.release.set()
            await made.until(2)


@virtual
async def test_holder_that_died_before_begin_is_followed_together_with_others() -> None:
    async with rig() as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.ledger.claim(made.key("x"))
        await asyncio.sleep(LEASE)
        await made.hint("x")
        await made.until(1)

        assert [claim.alone for claim in made.handler.claims] == [False]


@virtual
async def test_object_that_kills_its_process_ends_failed() -> None:
    async with rig(delays=(5.0,)) as made:
        made.store.put(BUCKET, "x", "a")
        for _ in range(2):
            await die(made, "x")
        async with made.running():
            await made.hint("x")
            await made.until(1)
            row = await made.row("x")

            assert (row.status, row.error_class) == (Status.FAILED, "AttemptsExhausted")
            assert row.error == "given up after 2 attempts that ended the process or were never settled"
            assert made.handler.claims == []
            assert len(await dead_letters(made)) == 1


@virtual
async def test_forced_replay_is_tried_however_often_it_was_before() -> None:
    async with rig(delays=()) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await die(made, "x")
        await made.hints.bulk(made.key("x"), "replay", kind="replay")
        await made.until(1)

        assert made.handler.sink == {"x": {"x": "a"}}


# Shutdown


@virtual
async def test_shutdown_waits_for_work_under_way() -> None:
    pause = Pause()
    async with rig(handler=FakeHandler(script=[pause])) as made:
        made.store.put(BUCKET, "x", "a")
        running = asyncio.create_task(made.worker.run())
        await made.hint("x")
        await pause.reached.wait()
        running.cancel()
        stopping = asyncio.create_task(made.worker.stop(1000))
        await asyncio.sleep(10 * LEASE)  # the heartbeat goes on
        pause.release.set()
        await stopping

        row = await made.row("x")
        assert row.status is Status.DONE
        assert row.settled


@virtual
async def test_worker_that_never_ran_is_stopped() -> None:
    async with rig() as made:
        await made.worker.stop(1000)


@virtual
async def test_second_signal_ends_the_wait() -> None:
    hurry = asyncio.Event()
    async with rig(handler=FakeHandler(script=[Pause()])) as made:
        made.store.put(BUCKET, "x", "a")
        running = asyncio.create_task(made.worker.run())
        await made.hint("x")
        await when(lambda: made.handler.claims)
        running.cancel()
        stopping = asyncio.create_task(made.worker.stop(1_000_000, hurry=hurry))
        await asyncio.sleep(5)
        assert not stopping.done()
        hurry.set()
        before = made.clock()
        await stopping

        assert made.clock() == before
        assert (await made.row("x")).attempts == 0


@virtual
async def test_shutdown_puts_work_back_without_an_attempt() -> None:
    async with rig(handler=FakeHandler(script=[Pause()])) as made:
        made.store.put(BUCKET, "x", "a")
        async with made.running():
            await made.hint("x")
            await when(lambda: made.handler.claims)
        row = await made.row("x")

        assert (row.status, row.attempts, row.open) == (Status.PENDING, 0, True)
        assert (row.lease_token, row.wake_at) == (None, made.clock())


@virtual
async def test_shutdown_of_a_sink_without_compare_and_swap_leaves_the_row_suspect() -> None:
    async with rig(handler=FakeHandler(script=[Pause()], fenced=False)) as made:
        await asyncio.sleep(1000)  # past the grace of a new ledger
        made.store.put(BUCKET, "x", "a")
        async with made.running():
            await made.hint("x")
            await when(lambda: made.handler.claims)

        assert (await made.row("x")).suspect_until == made.clock() + 300_000


@virtual
async def test_shutdown_while_a_new_version_begins_does_not_fail_it_untried() -> None:
    handler = FakeHandler(script=[PermanentError("no")])
    async with rig(handler=handler) as made:
        made.store.put(BUCKET, "x", "a")
        begin = made.ledger.begin

        async def begin_without_answer(*arguments: Any) -> int | None:
            await begin(*arguments)
            if len(handler.claims) == 1:
                began.set()
                await asyncio.Event().wait()
            return await begin(*arguments)

        began = asyncio.Event()
        made.ledger.begin = begin_without_answer  # type: ignore[method-assign, assignment]  # its answer never comes
        async with made.running():
            await made.hint("x")
            await made.until(1)
            made.store.put(BUCKET, "x", "b")
            await made.hint("x")
            await began.wait()
        row = await made.row("x")
        assert (row.status, row.observed_etag, row.attempts) == (Status.PENDING, "b", 0)

        made.ledger.begin = begin  # type: ignore[method-assign]  # whole again
        made.worker = made.new_worker()
        async with made.running(waker=True):
            assert (await made.until(3)).status is Status.DONE
        assert handler.sink == {"x": {"x": "b"}}


@virtual
async def test_shutdown_of_a_look_leaves_the_row_as_it_was() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no")])) as made:
        made.store.put(BUCKET, "x", "a")
        looking = asyncio.Event()

        async def slow(_operation: str) -> None:
            if made.settled:
                looking.set()
                await asyncio.Event().wait()

        made.store.at = slow
        async with made.running():
            await made.hint("x")
            await made.until(1)
            before = await made.row("x")
            await made.hint("x")
            await looking.wait()
        row = await made.row("x")

        assert (row.status, row.attempts, row.observed_etag, row.size) == (Status.FAILED, 1, "a", before.size)
        assert row.wake_at == made.clock()


@virtual
@pytest.mark.parametrize("error", [PermanentError("no rows"), Skip("no folder")])
async def test_shutdown_of_a_look_keeps_the_reason_of_an_earlier_failure(error: Exception) -> None:
    async with rig(handler=FakeHandler(script=[error])) as made:
        made.store.put(BUCKET, "x", "a")
        looking = asyncio.Event()

        async def slow(operation: str) -> None:
            if made.settled and operation == "head":
                looking.set()
                await asyncio.Event().wait()

        made.store.at = slow
        async with made.running():
            await made.hint("x")
            await made.until(1)
            before = await made.row("x")
            await made.hint("x")
            await looking.wait()
        row = await made.row("x")
        assert (row.status, row.error_class, row.error) == (before.status, before.error_class, str(error))

        made.store.at = None
        made.worker = made.new_worker()
        async with made.running(waker=True):
            assert (await made.until(3)).step == "still failed"
        assert (await made.row("x")).error == str(error)


def slow_settle(made: Rig) -> asyncio.Event:
    """Let the answer to the next SETTLE come a second late; the event says that it has been written."""
    settle, written = made.ledger.settle, asyncio.Event()

    async def slow(settlement: Settlement) -> Row | None:
        made.ledger.settle = settle  # type: ignore[method-assign]  # whole again
        row = await settle(settlement)
        written.set()
        await asyncio.sleep(1)
        return row

    made.ledger.settle = slow  # type: ignore[method-assign]  # a ledger that answers late
    return written


@virtual
async def test_stop_waits_for_the_answer_of_a_settle_under_way() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no rows")])) as made:
        made.store.put(BUCKET, "x", "a")
        written = slow_settle(made)
        async with made.running():
            await made.hint("x")
            await written.wait()
        row = await made.row("x")

        assert (row.status, row.error, row.settled) == (Status.FAILED, "no rows", True)
        assert [(settled.step, settled.status) for settled in made.settled] == [("begin", Status.FAILED)]
        assert await made.events("x") == ["failed"]
        assert len(await dead_letters(made)) == 1


@virtual
async def test_stop_during_a_settle_that_keeps_the_claim_puts_the_row_back() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        written = slow_settle(made)

        async def hinted(operation: str) -> None:
            if operation == "read":
                await made.hint("x")
                await asyncio.sleep(1)  # the row is dirty now

        made.store.at = hinted
        async with made.running():
            await made.hint("x")
            await written.wait()
        row = await made.row("x")

        assert (row.status, row.applied_etag, row.lease_token, row.wake_at) == (Status.DONE, "a", None, made.clock())
        assert [settled.step for settled in made.settled] == ["begin", "stop"]
        assert await made.events("x") == ["done"]
        assert len(made.handler.claims) == 1


@virtual
async def test_stop_while_the_copy_for_people_is_published_writes_nothing_more() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no")])) as made:
        made.worker = made.new_worker(broker=SlowBroker(made.broker))
        made.store.put(BUCKET, "x", "a")
        async with made.running():
            await made.hint("x")
            await made.until(1)
        row = await made.row("x")

        assert (row.status, row.error, row.settled) == (Status.FAILED, "no", True)
        assert [settled.step for settled in made.settled] == ["begin"]
        assert await made.events("x") == ["failed"]


@virtual
@pytest.mark.parametrize("held_by_another", [False, True])
async def test_stop_waits_for_the_answer_of_a_claim_under_way_and_puts_the_row_back(held_by_another: bool) -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        if held_by_another:
            await made.ledger.claim(made.key("x"))
        claim, claimed = made.ledger.claim, asyncio.Event()

        async def slow(*arguments: Any, **options: Any) -> Row | None:
            row = await claim(*arguments, **options)
            claimed.set()
            await asyncio.sleep(1)
            return row

        made.ledger.claim = slow  # type: ignore[method-assign]  # a ledger that answers late
        async with made.running():
            await made.hint("x")
            await claimed.wait()
        row = await made.row("x")

        assert made.handler.claims == []
        if held_by_another:
            assert (row.lease_token, row.dirty) == ("00000001", True)
        else:
            assert (row.status, row.attempts, row.lease_token) == (Status.PENDING, 0, None)
            assert row.wake_at == made.clock()


@virtual
async def test_stop_while_a_claim_fails_leaves_the_delivery() -> None:
    async with rig() as made:

        async def broken(*_arguments: Any, **_options: Any) -> None:
            claiming.set()
            await asyncio.sleep(1)
            raise sa.exc.OperationalError("INSERT", {}, Exception("locked"))

        claiming = asyncio.Event()
        made.ledger.claim = broken  # type: ignore[method-assign]  # a ledger that fails late
        async with made.running():
            await made.hint("x")
            await claiming.wait()

        assert await made.broker.depth(work_queue("fake")) == 1


@virtual
async def test_shutdown_before_the_claim_leaves_the_delivery() -> None:
    async with rig() as made:

        async def never(*_arguments: Any, **_options: Any) -> None:
            claiming.set()
            await asyncio.Event().wait()

        claiming = asyncio.Event()
        made.ledger.claim = never  # type: ignore[method-assign]  # a ledger that does not answer
        async with made.running():
            await made.hint("x")
            await claiming.wait()

        assert await made.broker.depth(work_queue("fake")) == 1


@virtual
async def test_worker_that_is_cancelled_without_a_stop_leaves_its_rows_to_the_waker() -> None:
    async with rig(handler=FakeHandler(script=[Pause()])) as made:
        made.store.put(BUCKET, "x", "a")
        async with made.running():
            await made.hint("x")
            await when(lambda: made.handler.claims)
            (held,) = made.worker._held.values()
            held.task.cancel()
            await when(lambda: not made.worker.in_flight)
            row = await made.row("x")
            assert row.lease_token is not None


# The ledger does not answer


@virtual
async def test_delivery_is_given_back_while_the_ledger_does_not_answer() -> None:
    async with rig() as made, made.running():
        claim, calls = made.ledger.claim, 0

        async def flaky(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls < 4:
                raise sa.exc.OperationalError("INSERT", {}, Exception("locked"))
            return await claim(*arguments, **options)

        made.ledger.claim = flaky  # type: ignore[method-assign]  # a ledger that fails three times
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")

        assert (await made.until(1)).status is Status.DONE


@virtual
async def test_settle_that_could_not_be_written_leaves_the_row_to_the_waker() -> None:
    async with rig() as made, made.running(waker=True):
        settle, calls = made.ledger.settle, 0

        async def flaky(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise sa.exc.OperationalError("UPDATE", {}, Exception("locked"))
            return await settle(*arguments)

        made.ledger.settle = flaky  # type: ignore[method-assign, assignment]  # a ledger that fails once
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")

        assert (await made.until(1)).status is Status.DONE
        assert len(made.handler.claims) == 2


# Sinks without compare-and-swap


@virtual
async def test_suspect_row_waits_and_is_applied_again_afterwards() -> None:
    handler = FakeHandler(script=[OutcomeUnknown("no answer")], fenced=False)
    async with rig(handler=handler) as made, made.running(waker=True):
        await asyncio.sleep(1000)
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        unknown_at = made.clock()
        assert (await made.row("x")).suspect_until == unknown_at + 300_000
        waiting = await made.until(2)
        assert waiting.step == "suspect"
        row = await made.row("x")
        assert (row.status, row.open, row.wake_at) == (Status.RETRYING, True, unknown_at + 300_000)

        assert (await made.until(3)).status is Status.DONE
        assert made.clock() >= unknown_at + 300_000


@virtual
async def test_waiting_for_an_earlier_holder_uses_up_no_attempt_of_a_new_version() -> None:
    handler = FakeHandler(script=[OutcomeUnknown("no answer")], fenced=False)
    async with rig(handler=handler, delays=()) as made, made.running(waker=True):
        await asyncio.sleep(1000)
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        made.store.put(BUCKET, "x", "b")
        await made.hint("x")
        assert (await made.until(2)).step == "suspect"

        assert (await made.until(3)).status is Status.DONE
        assert handler.sink == {"x": {"x": "b"}}


@virtual
async def test_unknown_outcome_of_a_fenced_sink_is_no_reason_to_wait() -> None:
    async with rig(handler=FakeHandler(script=[OutcomeUnknown("no answer")])) as made, made.running(waker=True):
        await asyncio.sleep(1000)
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")
        await made.until(1)
        assert (await made.row("x")).suspect_until is None
        assert (await made.until(2)).status is Status.DONE


# Units of several objects


@virtual
async def test_folder_is_one_unit_with_one_fingerprint() -> None:
    async with rig(options=RouteOptions(on_delete="remove", by_folder=True)) as made, made.running():
        made.store.put(BUCKET, "f/1", "a")
        made.store.put(BUCKET, "f/2", "b")
        made.store.put(BUCKET, "other", "c")
        await made.hint("f/")
        await made.until(1)
        first = await made.row("f/")
        assert made.handler.sink == {"f/": {"f/1": "a", "f/2": "b"}}
        assert (first.size, len(first.applied_etag or "")) == (2, 64)

        made.store.delete(BUCKET, "f/2")
        await made.hint("f/")
        await made.until(2)
        second = await made.row("f/")
        assert made.handler.sink == {"f/": {"f/1": "a"}}
        assert second.applied_etag != first.applied_etag

        made.store.delete(BUCKET, "f/1")
        await made.hint("f/")
        await made.until(3)
        assert (await made.row("f/")).applied_etag == ABSENT
        assert made.handler.sink == {"f/": {}}


@virtual
async def test_folder_that_changes_while_it_is_read_is_looked_at_again() -> None:
    async with rig(options=RouteOptions(by_folder=True)) as made, made.running():
        made.store.put(BUCKET, "f/1", "a")
        made.store.put(BUCKET, "f/2", "b")
        Meddler(made, "read", lambda: made.store.put(BUCKET, "f/2", "c"))
        await made.hint("f/")
        await made.until(1)

        assert made.handler.sink == {"f/": {"f/1": "a", "f/2": "c"}}


# Slots


@virtual
async def test_no_more_units_are_in_flight_than_the_handler_takes() -> None:
    pauses = [Pause() for _ in range(3)]
    async with rig(handler=FakeHandler(script=[*pauses], max_in_flight=2)) as made, made.running():
        for unit in "xyz":
            made.store.put(BUCKET, unit, "a")
        await made.hint("x", "y", "z")
        await pauses[1].reached.wait()
        await asyncio.sleep(1)
        assert (made.worker.in_flight, await made.broker.depth(work_queue("fake"))) == (2, 1)

        for pause in pauses:
            pause.release.set()
        await made.until(3)


@virtual
async def test_live_hints_go_before_bulk_ones() -> None:
    async with rig(handler=FakeHandler(max_in_flight=1)) as made:
        for unit in "xyz":
            made.store.put(BUCKET, unit, "a")
        await made.hints.bulk(made.key("x"), "sweep")
        await made.hint("y", "z")
        async with made.running():
            await made.until(3)

        assert [settled.key.unit for settled in made.settled] == ["y", "z", "x"]
        assert await made.broker.depth(bulk_queue("fake")) == 0


@virtual
async def test_finished_work_frees_its_slot() -> None:
    async with rig(handler=FakeHandler(max_in_flight=1)) as made, made.running():
        for number, text in enumerate("abc", 1):
            made.store.put(BUCKET, "x", text)
            await made.hint("x")
            await made.until(number)
        await when(lambda: not made.worker.in_flight)


@virtual
async def test_worker_needs_nobody_who_listens() -> None:
    async with rig() as made:
        made.worker = Worker(
            made.handler,
            ledger=made.ledger,
            looker=made.looker,
            broker=made.broker,
            policy=made.worker._reconciler._policy,
            gate=made.gate,
            sink=made.sink,
        )
        made.store.put(BUCKET, "x", "a")
        async with made.running():
            await made.hint("x")
            await when(lambda: "x" in made.handler.sink and not made.worker.in_flight)
            assert (await made.row("x")).settled


@virtual
async def test_changed_object_of_a_claim_with_a_changed_version_is_not_charged() -> None:
    async with rig(handler=FakeHandler(script=[ObjectChanged(), None]), delays=()) as made, made.running():
        made.store.put(BUCKET, "x", "a")
        await made.hint("x")

        assert (await made.until(1)).status is Status.DONE
        assert len(made.handler.claims) == 2
