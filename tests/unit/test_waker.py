"""Who is hinted when a deadline has passed (R8)."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from structlog.testing import capture_logs

from consumer.broker_port import BrokerUnavailable
from consumer.ledger_again import LedgerUnavailable
from consumer.waker import Waker
from consumer.workitem import bulk_queue, work_queue
from tests.rig import LEASE, rig
from tests.virtual_loop import virtual


@virtual
async def test_r8_due_rows_are_hinted_and_forced_ones_as_bulk() -> None:
    async with rig() as made:
        await made.ledger.claim(made.key("x"))
        await made.ledger.claim(made.key("y"))
        await asyncio.sleep(LEASE)
        await made.change("y", force=True)

        assert await made.waker.wake() == 2
        assert await made.broker.depth(work_queue("fake")) == 1
        assert await made.broker.depth(bulk_queue("fake")) == 1


@virtual
async def test_row_of_a_handler_this_process_lacks_is_left_to_others() -> None:
    async with rig() as made:
        made.waker = Waker(made.ledger, made.hints, handlers=frozenset({"another"}), seconds=2.0)
        await made.ledger.claim(made.key("x"))
        await asyncio.sleep(LEASE)
        await made.waker.wake()

        assert await made.broker.depth(work_queue("fake")) == 0


@virtual
async def test_an_outage_of_the_ledger_is_a_line_of_the_log_without_a_traceback() -> None:
    async with rig() as made:
        wake, calls = made.ledger.wake, 0

        async def away(most: int, **options: Any) -> list[object]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise LedgerUnavailable("the ledger's database does not answer")
            return [*await wake(most, **options)]

        made.ledger.wake = away  # type: ignore[method-assign, assignment]  # a ledger that is away once
        with capture_logs() as lines:
            waking = asyncio.create_task(made.waker.run())
            await asyncio.sleep(LEASE)
            waking.cancel()
            await asyncio.gather(waking, return_exceptions=True)

    assert calls > 1
    (failed,) = [line for line in lines if line["event"] == "waker.failed"]
    assert (failed["log_level"], failed["reason"]) == ("warning", "the ledger's database does not answer")
    assert "exc_info" not in failed


@virtual
async def test_waker_survives_a_ledger_that_does_not_answer() -> None:
    async with rig() as made:
        wake, calls = made.ledger.wake, 0

        async def flaky(most: int, **options: Any) -> list[object]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise sa.exc.OperationalError("UPDATE", {}, Exception("locked"))
            return [*await wake(most, **options)]

        made.ledger.wake = flaky  # type: ignore[method-assign, assignment]  # a ledger that fails once
        made.store.put("drop", "x", "a")
        await made.ledger.claim(made.key("x"))
        async with made.running(waker=True):
            await made.until(1)

        assert calls > 1
        assert made.handler.sink == {"x": {"x": "a"}}


@virtual
async def test_hint_that_the_broker_did_not_take_comes_again() -> None:
    async with rig() as made:
        made.store.put("drop", "x", "a")
        await made.ledger.claim(made.key("x"))
        publish, calls = made.broker.publish, 0

        async def flaky(queue: str, message: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise BrokerUnavailable("gone")
            await publish(queue, message)  # type: ignore[arg-type]  # handed on as it is

        made.broker.publish = flaky  # type: ignore[method-assign]  # a broker that fails once
        async with made.running(waker=True):
            await made.until(1)

        assert calls == 2
