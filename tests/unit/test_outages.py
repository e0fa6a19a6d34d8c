"""Servers that are away are told of in one line each, and everything goes on when they are back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.broker_port import BrokerUnavailable
from consumer.ledger_again import LedgerUnavailable
from consumer.protocol import Status
from consumer.workitem import Message, dead_queue, work_queue
from handlers.contract import PermanentError
from tests.fakes import FakeHandler, Pause
from tests.rig import BUCKET, LEASE, Rig, rig
from tests.virtual_loop import virtual

AWAY = "the ledger's database does not answer"


def away_once(made: Rig, method: str) -> list[object]:
    """Have the ledger not answer the next call; return a list that gets an entry then."""
    real, fired = getattr(made.ledger, method), list[object]()

    async def away(*arguments: Any, **options: Any) -> Any:
        if not fired:
            fired.append(method)
            raise LedgerUnavailable(AWAY)
        return await real(*arguments, **options)

    setattr(made.ledger, method, away)
    return fired


def refuse_dead_letters(made: Rig) -> None:
    publish = made.broker.publish

    async def refusing(queue: str, message: Message) -> None:
        if queue == dead_queue("fake"):
            raise BrokerUnavailable("the broker is away")
        await publish(queue, message)

    made.broker.publish = refusing  # type: ignore[method-assign]  # takes all but dead letters


def told(lines: Sequence[Any], event: str) -> tuple[str, str]:
    """Return level and reason of the only line of an event, which has no traceback."""
    (line,) = [line for line in lines if line["event"] == event]
    assert not line.get("exc_info")
    return line["log_level"], line["reason"]


@virtual
@pytest.mark.parametrize(
    ("method", "event"),
    [("claim", "ledger.unavailable"), ("begin", "delivery.given_up"), ("settle", "delivery.given_up")],
)
async def test_ledger_that_is_away_for_a_delivery_is_told_in_one_line(method: str, event: str) -> None:
    with capture_logs() as lines:
        async with rig() as made, made.running(waker=True):
            fired = away_once(made, method)
            made.store.put(BUCKET, "x", "a")
            await made.hint("x")

            assert (await made.until(1)).status is Status.DONE
    assert fired
    assert told(lines, event) == ("warning", AWAY)


@virtual
async def test_ledger_that_is_away_for_a_heartbeat_is_told_in_one_line() -> None:
    work = Pause()
    with capture_logs() as lines:
        async with rig(handler=FakeHandler(script=[work])) as made, made.running():
            fired = away_once(made, "heartbeat")
            made.store.put(BUCKET, "x", "a")
            await made.hint("x")
            await work.reached.wait()
            await asyncio.sleep(10 * LEASE)
            work.release.set()

            assert (await made.until(1)).status is Status.DONE
    assert fired
    assert told(lines, "heartbeat.failed") == ("warning", AWAY)


@virtual
async def test_broker_that_takes_no_dead_letter_is_told_in_one_line() -> None:
    with capture_logs() as lines:
        async with rig(handler=FakeHandler(script=[PermanentError("it is broken")])) as made, made.running():
            refuse_dead_letters(made)
            made.store.put(BUCKET, "x", "a")
            await made.hint("x")

            assert (await made.until(1)).status is Status.FAILED
    assert told(lines, "dead_letter.failed") == ("warning", "the broker is away")


@virtual
async def test_broker_that_takes_no_message_that_cannot_be_read_is_told_in_one_line_and_tried_again() -> None:
    with capture_logs() as lines:
        async with rig() as made, made.running():
            publish = made.broker.publish
            refuse_dead_letters(made)
            await made.broker.publish(work_queue("fake"), Message(b"no hint", "text/plain", {}, "id"))
            await asyncio.sleep(0.5)
            made.broker.publish = publish  # type: ignore[method-assign]
            await asyncio.sleep(10)

            assert await made.broker.depth(dead_queue("fake")) == 1
    assert told(lines, "dead_letter.failed") == ("warning", "the broker is away")
