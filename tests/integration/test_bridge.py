"""The bridge from a SeaweedFS filer, against one that keeps to its protocol where it hurts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer import seaweed
from consumer.event_dialects import decode
from consumer.events import ObjectEvent
from consumer.ids import RandomIds
from consumer.ledger import Ledger
from consumer.ledger_checkpoints import Checkpoints, WantedSweeps
from consumer.ledger_sqlite import sqlite_engine
from consumer.router import Route, Router
from consumer.seaweed import Bridge, path_prefix
from consumer.seaweed_progress import OVERLAP_NS, WINDOW
from consumer.seaweed_stream import FilerStream
from tests.captured import responses
from tests.fakes import inline
from tests.stack.bridging import Broker, until
from tests.stack.fake_filer import FakeFiler

ROUTER = Router([Route("csv", "evt", "", ("*.csv",), "h"), Route("v", "evtv", "d/", ("*",), "h")])


class World:
    """A filer, a broker, a ledger, and bridges between them."""

    def __init__(self, filer: FakeFiler, ledger: Ledger) -> None:
        self.filer = filer
        self.broker = Broker()
        self.checkpoints = Checkpoints(ledger)
        self.wanted = WantedSweeps(ledger)

    @asynccontextmanager
    async def bridge(self, *, silent_seconds: float = 30.0, client_id: int = 7) -> AsyncIterator[Bridge]:
        stream = FilerStream(
            self.filer.address,
            path_prefix=path_prefix(ROUTER),
            client_id=client_id,
            silent_seconds=silent_seconds,
        )
        bridge = Bridge(
            stream=stream,
            broker=self.broker,
            router=ROUTER,
            checkpoints=self.checkpoints,
            wanted=self.wanted,
            clock=lambda: self.filer.now // 1_000_000,
            new_id=RandomIds(),
        )
        running = asyncio.create_task(bridge.run())
        try:
            yield bridge
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bridge.drain(5)

    async def position(self) -> int | None:
        return await self.checkpoints.get(f"seaweedfs {self.filer.address}")

    async def sweeps(self) -> dict[str, str]:
        """Return the demands, with their reasons, and meet them."""
        pending = await self.wanted.pending()
        for wanted in pending:
            await self.wanted.met(wanted)
        return {wanted.bucket: wanted.reason for wanted in pending}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for long."""
    monkeypatch.setattr(seaweed, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(seaweed, "LONGEST_DELAY", 0.05)
    monkeypatch.setattr(seaweed, "SAVE_SECONDS", 0.02)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    filer = FakeFiler()
    ledger = Ledger(
        sqlite_engine(tmp_path / "ledger.db", inline), clock=lambda: filer.now // 1_000_000, new_id=RandomIds()
    )
    await ledger.open()
    await filer.start()
    try:
        yield World(filer, ledger)
    finally:
        await filer.stop()
        await ledger.aclose()


async def test_a_file_becomes_a_notification_that_a_person_can_read(world: World) -> None:
    async with world.bridge():
        change = await world.filer.put("/buckets/evt/dir x/q+1.csv", etag="abc")
        await until(lambda: bool(world.broker.taken))

    (message,) = world.broker.taken
    assert message.headers == {"key": "evt/dir x/q+1.csv", "reason": "seaweedfs"}
    assert message.content_type == "application/json"
    assert json.loads(message.body)["Records"][0]["eventSource"] == "lakedrop:seaweedfs"
    assert decode(message) == [
        ObjectEvent("evt", "dir x/q+1.csv", "created", change.ts_ns // 1_000_000, etag="abc", size=3)
    ]


async def test_only_what_a_route_takes_is_published(world: World) -> None:
    async with world.bridge():
        for path in (
            "evt/a.bin",
            "evtx/a.csv",
            "other/a.csv",
            "evtv/a",
            "evtv/d/a",
            "evt/.uploads/1/1.csv",
            "evt/a.csv",
        ):
            await world.filer.put(f"/buckets/{path}")
        await until(lambda: len(world.broker.taken) == 2)

    assert world.broker.keys == ["evtv/d/a", "evt/a.csv"]


@pytest.mark.parametrize(
    ("operation", "keys"),
    [
        ("put", ["evt/dir/plain.csv"]),
        ("copy", ["evt/dir/copied.csv"]),
        ("rename_filer_mv", ["evt/dir/plain.csv", "evt/dir/moved.csv"]),
        ("versioned_put", ["evtv/d/v.txt"]),
        ("versioned_overwrite", ["evtv/d/v.txt"]),
        ("versioned_delete_marker", ["evtv/d/v.txt"]),
        ("multipart_aborted", []),
    ],
)
async def test_captured_operations_come_through(world: World, operation: str, keys: list[str]) -> None:
    world.filer.log += responses(f"seaweedfs/{operation}")
    async with world.bridge():
        await world.filer.put("/buckets/evt/the end.csv")
        await until(lambda: "evt/the end.csv" in world.broker.keys)

    assert world.broker.keys == [*keys, "evt/the end.csv"]


async def test_batched_changes_are_unpacked(world: World) -> None:
    world.filer.batches = True
    for number in range(5):
        await world.filer.put(f"/buckets/evt/{number}.csv")
    async with world.bridge():
        await until(lambda: len(world.broker.taken) == 5)

    assert world.broker.keys == [f"evt/{number}.csv" for number in range(5)]


async def test_a_stream_that_begins_asks_for_a_sweep_of_every_routed_bucket(world: World) -> None:
    async with world.bridge() as bridge:
        await until(lambda: bridge.counts.streams == 1)
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        assert set(await world.sweeps()) == {"evt", "evtv"}

        await world.filer.break_streams()
        await until(lambda: bridge.counts.streams == 2)
        await world.filer.put("/buckets/evt/b.csv")
        await until(lambda: len(world.broker.taken) == 2)

        assert set(await world.sweeps()) == {"evt", "evtv"}


async def test_a_filer_that_cannot_be_reached_asks_for_nothing(world: World) -> None:
    await world.filer.stop()
    async with world.bridge() as bridge:
        await asyncio.sleep(0.2)
        assert bridge.counts.streams == 0
        assert await world.sweeps() == {}

        await world.filer.start()
        await until(lambda: bridge.counts.streams == 1)


async def test_what_happened_while_the_bridge_was_away_is_told_of(world: World) -> None:
    async with world.bridge():
        await world.filer.put("/buckets/evt/before.csv")
        await until(lambda: bool(world.broker.taken))
    world.broker.taken.clear()
    world.filer.now += 10 * OVERLAP_NS
    for number in range(100):
        await world.filer.put(f"/buckets/evt/{number}.csv")

    expected = {f"evt/{number}.csv" for number in range(100)} | {"evt/before.csv"}
    async with world.bridge():
        await until(lambda: expected <= set(world.broker.keys))

    assert set(world.broker.keys) == expected


async def test_the_moment_of_the_checkpoint_is_told_of_again_and_published_once(world: World) -> None:
    """`since_ns` is inclusive in memory."""
    async with world.bridge() as bridge:
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        await world.filer.break_streams()
        await until(lambda: bridge.counts.repeated == 1)
        await world.filer.put("/buckets/evt/b.csv")
        await until(lambda: len(world.broker.taken) == 2)

    assert world.broker.keys == ["evt/a.csv", "evt/b.csv"]


async def test_two_files_of_one_moment_are_two_changes(world: World) -> None:
    async with world.bridge():
        await world.filer.put("/buckets/evt/a.csv")
        await world.filer.put("/buckets/evt/b.csv", late_ns=1000)
        await until(lambda: len(world.broker.taken) == 2)

    assert world.filer.log[0].ts_ns == world.filer.log[1].ts_ns


async def test_a_change_that_comes_late_across_a_break_is_not_passed_over(world: World) -> None:
    async with world.bridge() as bridge:
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        world.filer.holding = True
        late = await world.filer.put("/buckets/evt/late.csv", late_ns=24_000_000)
        await world.filer.break_streams()
        world.filer.holding = False
        await until(lambda: bridge.counts.streams == 2)
        await until(lambda: len(world.broker.taken) == 2)

    assert late.ts_ns < world.filer.log[0].ts_ns
    assert world.broker.keys == ["evt/a.csv", "evt/late.csv"]


async def test_what_a_killed_filer_forgot_is_left_to_the_sweep_it_asks_for(world: World) -> None:
    async with world.bridge() as bridge:
        await world.filer.put("/buckets/evt/flushed.csv")
        await until(lambda: bool(world.broker.taken))
        await world.sweeps()
        world.filer.flushed = 1
        world.filer.holding = True
        await world.filer.put("/buckets/evt/forgotten.csv")
        await world.filer.kill()
        world.filer.holding = False
        await world.filer.start()
        await until(lambda: bridge.counts.streams == 2)
        await world.filer.put("/buckets/evt/heard.csv")
        await until(lambda: len(world.broker.taken) == 2)

        assert world.filer.lost == 1
        assert world.broker.keys == ["evt/flushed.csv", "evt/heard.csv"]
        assert set(await world.sweeps()) == {"evt", "evtv"}


async def test_each_subscription_has_a_grown_epoch(world: World) -> None:
    async with world.bridge() as bridge:
        await until(lambda: bridge.counts.streams == 1)
        await world.filer.break_streams()
        await until(lambda: bridge.counts.streams == 2)
        await world.filer.break_streams()
        await until(lambda: bridge.counts.streams == 3)

    epochs = [request.client_epoch for request in world.filer.requests]
    assert epochs == sorted(set(epochs))
    assert world.filer.refused == 0
    assert {request.path_prefix for request in world.filer.requests} == {"/buckets/evt"}


async def test_a_stream_that_falls_silent_is_begun_anew(world: World) -> None:
    async with world.bridge(silent_seconds=1.0) as bridge:
        await until(lambda: bridge.counts.streams > 0 and world.filer.beats > 2)
        world.filer.heartbeats = False
        begun, asked = bridge.counts.streams, len(world.filer.requests)
        await until(lambda: len(world.filer.requests) > asked)
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))

    assert bridge.counts.streams > begun


async def test_a_filer_without_heartbeats_is_not_taken_for_dead(world: World) -> None:
    world.filer.heartbeats = False
    async with world.bridge(silent_seconds=0.05) as bridge:
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        await asyncio.sleep(0.3)
        await world.filer.put("/buckets/evt/b.csv")
        await until(lambda: len(world.broker.taken) == 2)

    assert (bridge.counts.streams, len(world.filer.requests)) == (1, 1)


async def test_heartbeats_do_not_move_the_checkpoint(world: World) -> None:
    async with world.bridge():
        change = await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        before = world.filer.beats
        await until(lambda: world.filer.beats >= before + 3)  # with times far ahead

    assert await world.position() == change.ts_ns


async def test_a_bridge_that_follows_leaves_a_beat_though_nothing_happens(world: World) -> None:
    minute = 60_000_000_000

    async def age() -> int:
        return (await world.checkpoints.ages("seaweedfs "))[f"seaweedfs {world.filer.address}"]

    async def saved() -> bool:
        return await world.position() is not None

    with capture_logs() as lines:
        async with world.bridge() as bridge:
            await until(lambda: bridge.counts.streams == 1)
            await until(saved)
            position = await world.position()
            world.filer.now += minute
            await until(lambda: _is(age, 0))

            await world.filer.stop()
            await until(lambda: "bridge.stream_broken" in [line["event"] for line in lines])
            world.filer.now += minute
            await asyncio.sleep(0.2)  # ten times the checkpoint could be written
            assert await age() == minute // 1_000_000
            assert await world.position() == position


async def test_the_checkpoint_follows_the_confirms_in_the_order_told(world: World) -> None:
    async with world.bridge():
        first = await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        await until(lambda: _is(world.position, first.ts_ns))
        world.broker.hold = asyncio.Event()
        await world.filer.put("/buckets/evt/b.csv")
        await world.filer.put("/buckets/evt/unrouted")  # nothing to publish, but behind what is
        await asyncio.sleep(0.2)
        assert await world.position() == first.ts_ns

        world.broker.hold.set()
        await until(lambda: _is(world.position, world.filer.log[-1].ts_ns))


async def _is(position: Callable[[], Awaitable[int | None]], value: int) -> bool:
    return await position() == value


async def test_unrouted_changes_move_the_checkpoint(world: World) -> None:
    async with world.bridge():
        change = await world.filer.put("/buckets/evt/a.bin")
        await until(lambda: _is(world.position, change.ts_ns))

    assert world.broker.taken == []


async def test_a_broker_that_is_away_is_waited_for_and_nothing_is_lost(world: World) -> None:
    async with world.bridge():
        world.broker.away = True
        for number in range(WINDOW + 50):
            await world.filer.put(f"/buckets/evt/{number}.csv")
        await until(lambda: world.broker.refused > WINDOW)
        assert world.broker.taken == []
        assert (await world.position() or 0) < world.filer.log[0].ts_ns

        world.broker.away = False
        await until(lambda: len(world.broker.taken) == WINDOW + 50)

    assert world.broker.refused > WINDOW
    assert sorted(world.broker.keys) == sorted(f"evt/{number}.csv" for number in range(WINDOW + 50))
    assert await world.position() == world.filer.log[-1].ts_ns


async def test_a_bridge_that_stops_before_the_confirm_tells_again(world: World) -> None:
    world.broker.hold = asyncio.Event()
    async with world.bridge() as bridge:
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bridge.counts.changes == 1)
        await bridge.drain(0)
    world.broker.hold = None
    assert world.broker.taken == []

    async with world.bridge():
        await until(lambda: bool(world.broker.taken))

    assert world.broker.keys == ["evt/a.csv"]


async def test_a_removed_bucket_is_swept_as_its_objects_are_not_told_of(world: World) -> None:
    async with world.bridge() as bridge:
        await until(lambda: bridge.counts.streams == 1)
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: bool(world.broker.taken))
        await world.sweeps()
        await world.filer.delete("/buckets/evt", is_directory=True)
        await world.filer.delete("/buckets/evtother", is_directory=True)
        await world.filer.put("/buckets/evt/b.csv")
        await until(lambda: len(world.broker.taken) == 2)

        assert await world.sweeps() == {"evt": "the bucket was removed or renamed"}


async def test_two_bridges_double_the_notifications_and_disturb_each_other_in_nothing_else(world: World) -> None:
    async with world.bridge(client_id=1), world.bridge(client_id=2):
        await until(lambda: len(world.filer.requests) == 2)
        await world.filer.put("/buckets/evt/a.csv")
        await until(lambda: len(world.broker.taken) == 2)

    assert (world.filer.refused, len(world.filer.requests)) == (0, 2)


async def test_a_first_start_reaches_back_for_a_filer_whose_clock_is_behind(world: World) -> None:
    async with world.bridge() as bridge:
        await until(lambda: bridge.counts.streams == 1)

    ours = world.filer.now
    assert 590 < (ours - world.filer.requests[0].since_ns) / 1e9 < 610


async def test_a_change_larger_than_grpc_allows_by_default_comes_through(world: World) -> None:
    change = await world.filer.put("/buckets/evt/big.csv")
    change.event_notification.new_entry.content = b"x" * 5_000_000
    async with world.bridge():
        await until(lambda: bool(world.broker.taken))

    assert world.broker.events[0].size == 5_000_000
