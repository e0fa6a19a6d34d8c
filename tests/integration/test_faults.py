"""
Faults of every part under load, and what is there afterwards.

Two replicas serve a bucket whose objects are written, replaced and deleted; something breaks; and without anybody's
help each table comes to equal its bucket, with nothing unsettled, failed or dead. Where events cannot be lost only
events tell of the bucket; where they can, a sweep does so every few seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from consumer.broker_topology import EVENTS
from consumer.workitem import INGRESS
from tests.integration import faults
from tests.integration.faults import Fault
from tests.integration.faults_tap import tapped
from tests.integration.faults_world import KEPT, ON_STORE, SWEPT, World, opened, telling, until
from tests.integration.random_faults import rounds
from tests.needs import SMALL_DISK, UNMOUNT, skip_without
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.versitygw import Versitygw

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("faults")]


class Worlds:
    """One world for all tests, and another after a test that left it unsound."""

    def __init__(self, rabbitmq: RabbitMQ, postgres: Postgres, factory: pytest.TempPathFactory) -> None:
        self.rabbitmq = rabbitmq
        self.postgres = postgres
        self._factory = factory
        self._stack = AsyncExitStack()
        self._world: World | None = None

    async def sound(self) -> World:
        if self._world is None or not self._world.sound:
            await self.aclose()
            self._world = await self._stack.enter_async_context(self.another())
        return self._world

    @asynccontextmanager
    async def another(self, kind: type[Minio | Versitygw] = Minio, warehouse: str = ON_STORE) -> AsyncIterator[World]:
        """Open a world with a store of its own."""
        async with AsyncExitStack() as stack:
            name = f"test-{uuid4().hex[:12]}"
            vhost = self.rabbitmq.create_vhost(name)
            stack.callback(self.rabbitmq.delete_vhost, name)
            store = kind.find(self._factory.mktemp(kind.name))
            stack.callback(store.close)
            if isinstance(store, Minio):
                telling(store, vhost)
            else:
                # It stays silent once it told of something to an exchange that is not there.
                self.rabbitmq.call("PUT", f"exchanges/{name}/{EVENTS}", type="topic", durable=True)
                store.send_events(vhost)
            await asyncio.to_thread(store.start)
            folder = self._factory.mktemp("world")
            yield await stack.enter_async_context(
                opened(self.rabbitmq, self.postgres, store, vhost, folder, warehouse=warehouse)
            )

    async def aclose(self) -> None:
        await self._stack.aclose()
        self._world = None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds(
    rabbitmq: RabbitMQ, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Worlds]:
    skip_without("minio")
    worlds = Worlds(rabbitmq, postgres, tmp_path_factory)
    yield worlds
    await worlds.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def world(worlds: Worlds) -> World:
    return await worlds.sound()


async def survives(world: World, bucket: str, fault: Fault) -> None:
    load = world.load(bucket)
    world.sound = False
    async with load.running():
        await load.more(20)
        await fault(world, load)
        await load.more(20)
    await world.agree(bucket)


@pytest.mark.parametrize(
    "fault",
    [
        faults.broker_killed,
        faults.consumer_killed,
        faults.consumer_paused,
        faults.ledger_killed,
        faults.ledger_restarted,
        faults.events_doubled_and_reordered,
    ],
)
async def test_tables_equal_their_bucket_by_events_alone_after(world: World, fault: Fault) -> None:
    await survives(world, KEPT, fault)


async def test_tables_equal_their_bucket_by_events_alone_after_a_broker_was_away_for_30_seconds(world: World) -> None:
    await survives(world, KEPT, partial(faults.broker_stopped, seconds=30.0))


@pytest.mark.parametrize("to", ["broker", "store", "ledger"])
async def test_tables_equal_their_bucket_by_events_alone_after_trouble_with_the_network(world: World, to: str) -> None:
    await survives(world, KEPT, partial(faults.network_broken, to=to))


@pytest.mark.parametrize(
    "fault",
    [
        # MinIO forgets the event of an object that it has just written when it is stopped, also with a queue on disk.
        faults.store_killed,
        faults.store_stopped,
        faults.events_dropped,
        faults.events_forgotten,
        faults.queues_deleted,
    ],
)
async def test_sweep_makes_tables_equal_their_bucket_after(world: World, fault: Fault) -> None:
    await survives(world, SWEPT, fault)


async def test_sweep_makes_tables_equal_their_bucket_when_versitygw_fell_silent(worlds: Worlds) -> None:
    skip_without("versitygw")
    async with worlds.another(Versitygw) as world:
        load = world.load(SWEPT)
        async with load.running():
            await faults.broker_killed(world, load)
            async with tapped(world.vhost) as tap:
                await load.more(30)
        assert tap.events == []
        await world.agree()


@pytest.mark.needs("mounts")
async def test_tables_equal_their_bucket_after_the_disk_of_the_warehouse_was_full(
    worlds: Worlds, small_disk: Path
) -> None:
    async with worlds.another(warehouse=f"file://{small_disk}/warehouse") as world:
        load = world.load(KEPT)
        async with load.running():
            await load.more(20)
            marks = world.marks()
            ballast = small_disk / "ballast"
            with pytest.raises(OSError, match="No space left"):
                fill(ballast)

            async def told() -> bool:
                return "No space left" in str(world.logged(marks, "commit.failed", "window.not_staged"))

            await until(told, "nobody tells that the disk is full")
            await load.more(20)
            ballast.unlink()
            await load.more(20)
        await world.agree()


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run([*SMALL_DISK, disk], check=True)
    yield disk
    subprocess.run([UNMOUNT, disk], check=True)


async def test_two_replicas_that_are_told_of_500_keys_again_and_again_do_each_once(world: World) -> None:
    load = world.load(KEPT)
    world.sound = False
    marks = await world.until_subscribed(INGRESS, faults.WORK)
    keys = {f"contested/{number:03}.csv" for number in range(500)}
    wanted = {"event": "delivery.settled", "bucket": KEPT, "step": "begin", "outcome": "done"}
    done: list[list[str]] = []

    async def told() -> bool:
        done[:] = [
            [line["unit"] for line in replica.lines(mark) if wanted.items() <= line.items() and line["unit"] in keys]
            for replica, mark in zip(world.replicas, marks, strict=True)
        ]
        return {*done[0], *done[1]} == keys

    times = 0
    async with tapped(world.vhost) as tap:
        # Whoever is slower loses to the other what comes again: on a busy machine it takes more than two times.
        while times < 2 or (min(map(len, done)) <= 50 and times < 10):
            times += 1
            await load.put_all(sorted(keys))
            await tap.until(500 * times)
            again = tap.events[-500:] * 2
            world.chance.shuffle(again)
            await tap.tell(again)
            if times > 1:
                await world.agree(KEPT)
                await until(told, "the logs do not tell of every key")

    assert min(map(len, done)) > 50, "both had their share"
    assert len(done[0]) + len(done[1]) <= times * len(keys), "no version was done twice"


async def test_tables_equal_their_bucket_after_rounds_of_random_faults(world: World) -> None:
    await rounds(world, 2, seed=world.chance.randrange(1 << 30))
