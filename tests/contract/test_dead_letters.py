"""Dead queues in one process and on RabbitMQ: what lies there, what is stale, and what goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.app import App
from consumer.broker_port import Broker
from consumer.dead_letters import DeadLetters
from consumer.workitem import DEAD_INGRESS, INGRESS, Hint, Message, UnitKey, dead_queue, encode
from tests.apps import BUCKET, drop, opened, settle
from tests.rabbit import either_broker

FAKE = "fake"
DEAD = dead_queue(FAKE)


@pytest.fixture(params=["local", "rabbitmq"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    async with either_broker(request, FAKE) as broker:
        yield broker


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as app:
        yield app


def copy_of(key: str, identity: str) -> Message:
    hint = Hint(UnitKey(FAKE, BUCKET, key), "replay", "failed", identity, 0, error=f"{key} is broken")
    return encode(hint)


async def with_letters(app: App, broker: Broker) -> DeadLetters:
    """One unit has failed and has two copies; another is well again; two messages nobody can read."""
    drop(app, "bad", "fail always")
    drop(app, "good", "fine")
    await settle(app)
    for message in (copy_of("bad", "1"), copy_of("good", "2"), copy_of("bad", "3")):
        await broker.publish(DEAD, message)
    await broker.publish(DEAD, Message(b"?", "", {"error": "not JSON"}, "4"))
    await broker.publish(DEAD_INGRESS, Message(b"!", "text/plain", {"error": "no list", "minio-bucket": "b"}, "5"))
    return DeadLetters(broker, app.units, [FAKE])


async def test_letters_stay_and_the_newest_copy_of_a_failed_unit_counts(app: App, broker: Broker) -> None:
    letters = await with_letters(app, broker)

    for _ in range(2):
        found = await letters.letters()

        assert [(letter.message.id, letter.stale, letter.hint is None) for letter in found] == [
            ("5", False, True),
            ("1", True, False),
            ("2", True, False),
            ("3", False, False),
            ("4", False, True),
        ]
        assert [letter.reason for letter in found] == [
            "no list", "bad is broken", "good is broken", "bad is broken", "not JSON",
        ]  # fmt: skip


async def test_prune_takes_what_is_stale_and_unreadable_only_when_asked(app: App, broker: Broker) -> None:
    letters = await with_letters(app, broker)

    pruned = await letters.prune()
    left = [letter.message.id for letter in await letters.letters()]
    pruned_too = await letters.prune(unreadable=True)

    assert (pruned.stale, pruned.unreadable) == (2, 0)
    assert left == ["5", "3", "4"]
    assert (pruned_too.stale, pruned_too.unreadable) == (0, 2)
    assert [letter.message.id for letter in await letters.letters()] == ["3"]


async def test_letters_that_stay_are_there_at_once(app: App, broker: Broker) -> None:
    await broker.publish(DEAD, Message(b"?", "", {}, "1"))
    letters = DeadLetters(broker, app.units, [FAKE])

    for _ in range(20):
        assert [letter.message.id for letter in await letters.letters()] == ["1"]


async def test_letters_pruned_from_among_others_do_not_come_back(app: App, broker: Broker) -> None:
    for number in range(60):
        await broker.publish(DEAD, copy_of("good", f"stale {number}"))
        await broker.publish(DEAD, Message(b"?", "", {}, f"unreadable {number}"))
    letters = DeadLetters(broker, app.units, [FAKE])

    assert (await letters.prune()).stale == 60
    assert [letter.message.id for letter in await letters.letters()] == [f"unreadable {n}" for n in range(60)]


async def test_notifications_go_back_as_they_came(app: App, broker: Broker) -> None:
    letters = await with_letters(app, broker)

    assert await letters.retry_notifications() == 1
    assert await broker.depth(DEAD_INGRESS) == 0
    consumer = await broker.consume(INGRESS, prefetch=1)
    again = (await consumer.get()).message

    assert again == replace(again, body=b"!", content_type="text/plain", headers={"minio-bucket": "b"}, id="5")


async def test_empty_queues_have_no_letters(app: App, broker: Broker) -> None:
    letters = DeadLetters(broker, app.units, [FAKE])

    assert await letters.letters() == []
    assert (await letters.prune(unreadable=True)).stale == 0
    assert await letters.retry_notifications() == 0
