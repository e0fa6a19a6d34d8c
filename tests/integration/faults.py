"""
What can break in a world, by name. Each fault is over when it returns, and has asserted that it fired.

They are called while the load changes objects, and `World.agree` says afterwards whether all was repaired.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

import psutil

from consumer.workitem import INGRESS, work_queue
from tests.integration.faults_load import Load
from tests.integration.faults_replica import Replica
from tests.integration.faults_tap import tapped
from tests.integration.faults_world import LEASE_SECONDS, World, until
from tests.stack.process import Process
from tests.stack.server import Server

Fault = Callable[[World, Load], Awaitable[None]]

WORK: Final = work_queue("csv_to_iceberg")

AWAY_SECONDS: Final = 3.0
"""How long a server stays away, beyond the seconds that it takes to stop and start."""

SLOW_BYTES: Final = {"broker": 20_000, "store": 50_000, "ledger": 50_000}
"""A second, for each connection and direction: a hundredth of what a bad network has."""


async def broker_killed(world: World, load: Load) -> None:
    """SIGKILL, and a start right afterwards."""
    await _killed(world.rabbitmq, load)


async def broker_stopped(world: World, load: Load, *, seconds: float = AWAY_SECONDS) -> None:
    """A stop in good order, and a start some time later."""
    marks = await world.until_subscribed(WORK)
    await asyncio.to_thread(world.rabbitmq.stop)
    assert not world.rabbitmq.running
    await world.until_logged(marks, "consumer.lost", least=len(world.replicas))
    await asyncio.sleep(seconds)  # the fault is that it takes so long
    await asyncio.to_thread(world.rabbitmq.start)
    await load.more(5)


async def consumer_killed(world: World, load: Load) -> None:
    """SIGKILL to a replica that holds claims, which end by their leases; somebody starts another one a little later."""
    victim = world.chance.choice(world.replicas)
    tokens = await _stopped_at_work(world, victim)
    pid = victim.pid
    await asyncio.to_thread(victim.kill)
    assert not psutil.pid_exists(pid)
    await load.more(20)
    await asyncio.to_thread(victim.start)

    async def over() -> bool:
        return len(await world.claims.taken(tokens)) == len(tokens)

    await until(over, "nobody takes over the claims of a killed replica")
    _outlived(world, tokens)


async def consumer_paused(world: World, load: Load) -> None:
    """SIGSTOP to a replica that holds claims, and SIGCONT when they are somebody else's."""
    victim = world.chance.choice(world.replicas)
    tokens = await _stopped_at_work(world, victim)
    await load.more(20)
    taken = await until(lambda: world.claims.taken(tokens), "nobody takes over a claim of a stopped replica")
    _outlived(world, tokens)
    assert victim.paused
    mark = victim.size
    await asyncio.to_thread(victim.resume)
    assert not victim.paused
    units = {(claim.bucket, claim.unit) for claim in taken}

    async def told() -> bool:
        lost = {(line["bucket"], line["unit"]) for line in victim.lines(mark) if line["event"] == "claim.lost"}
        return units <= lost

    await until(told, f"the log of {victim.name} does not say that it lost its claims of {sorted(units)}")


async def _stopped_at_work(world: World, victim: Replica) -> set[str]:
    """SIGSTOP to a replica; return the tokens of the claims that it holds, of which there are some."""

    async def stopped() -> set[str]:
        await until(lambda: world.claims.held_by(victim.name), f"{victim.name} holds no claim")
        await asyncio.to_thread(victim.pause)
        tokens = await world.claims.held_by(victim.name)
        if not tokens:
            await asyncio.to_thread(victim.resume)
        return tokens

    return await until(stopped, f"{victim.name} holds no claim when it is stopped")


def _outlived(world: World, tokens: set[str]) -> None:
    lost = [world.claims.lost[token] for token in tokens & world.claims.lost.keys()]
    assert lost
    assert [claim for claim in lost if claim.taken_at < claim.lease_until] == [], "taken before its lease was over"


async def store_killed(world: World, load: Load) -> None:
    """SIGKILL while claims are held, and a start right afterwards."""
    await world.until_held()
    await _killed(world.store, load)


async def store_stopped(world: World, load: Load) -> None:
    """A stop in good order while claims are held, and a start some time later."""
    await world.until_held()
    await asyncio.to_thread(world.store.stop)
    assert not world.store.running
    await load.until_refused()
    await asyncio.sleep(AWAY_SECONDS)  # the fault is that it takes so long
    await asyncio.to_thread(world.store.start)
    await load.more(5)


async def ledger_killed(world: World, load: Load) -> None:
    """SIGKILL to the database while claims are held, and a start right afterwards."""
    await world.until_held()
    await _killed(world.postgres, load)


async def ledger_restarted(world: World, load: Load) -> None:
    """A stop of the database in good order while claims are held, and a start some time later."""
    await world.until_held()
    marks = world.marks()
    await asyncio.to_thread(world.postgres.stop)
    assert not world.postgres.running
    await world.until_logged(marks, "ledger.unreachable")
    await asyncio.sleep(AWAY_SECONDS)  # the fault is that it takes so long
    await asyncio.to_thread(world.postgres.start)
    await load.more(5)


async def connections_cut(world: World, load: Load, *, to: str = "") -> None:
    """Every connection broken, five times, with work in between."""
    proxy = world.proxies[to or world.chance.choice(sorted(world.proxies))]

    async def cut() -> int:
        return proxy.cut()

    for _ in range(5):
        assert await until(cut, "there is no connection to cut") > 0
        await load.more(10)


async def connections_slowed(world: World, load: Load, *, to: str = "") -> None:
    """All bytes trickle for a while."""
    where = to or world.chance.choice(sorted(world.proxies))
    proxy = world.proxies[where]
    enough = proxy.counts.slowed_bytes + SLOW_BYTES[where]
    proxy.slow(SLOW_BYTES[where])
    try:
        await load.more(20)
        await proxy.until(lambda counts: counts.slowed_bytes > enough)
    finally:
        proxy.restore()


async def network_broken(world: World, load: Load, *, to: str) -> None:
    """Connections to one server cut, then slowed, then silent."""
    await connections_cut(world, load, to=to)
    await connections_slowed(world, load, to=to)
    await connections_silent(world, load, to=to)


async def connections_silent(world: World, load: Load, *, to: str = "") -> None:
    """Nothing comes through for longer than a lease, and no connection breaks."""
    proxy = world.proxies[to or world.chance.choice(sorted(world.proxies))]
    held = proxy.counts.held
    await world.until_held()
    proxy.blackhole()
    try:
        await proxy.until(lambda counts: counts.held > held)
        await load.more(20)
        await asyncio.sleep(LEASE_SECONDS * 1.2)  # the fault is that it takes so long
    finally:
        proxy.restore()


async def events_doubled_and_reordered(world: World, load: Load) -> None:
    """Each event is told three times, in any order, the last times after newer ones."""
    async with tapped(world.vhost) as tap:
        await tap.until(30)
        await world.until_subscribed(INGRESS)  # after a restart it may have no leader yet, and would take nothing
        again = tap.events * 2
        world.chance.shuffle(again)
        await tap.tell(again)
        assert len(again) >= 60
        await load.more(5)


async def events_dropped(world: World, load: Load) -> None:
    """Of all events a half is lost, the others come in another order."""
    await world.until_subscribed(INGRESS)  # who comes back to it connects it again
    async with tapped(world.vhost) as tap:
        await tap.connect_ingress(connected=False)
        await tap.until(30)
        await tap.connect_ingress(connected=True)
        left = world.chance.sample(tap.events, len(tap.events) // 2)
        await tap.tell(left)
        assert len(tap.events) - len(left) >= 15
        await load.more(5)


async def events_forgotten(world: World, load: Load) -> None:
    """MinIO, told not to keep its events, has them while RabbitMQ is away."""
    await asyncio.to_thread(world.rabbitmq.stop)
    before = set(load.written)
    await load.more(30)
    assert not world.rabbitmq.running
    lost = set(load.written) - before
    await asyncio.to_thread(world.rabbitmq.start)
    async with tapped(world.vhost) as tap:
        await tap.until(10)
    told = {record["s3"]["object"].get("eTag") for event in tap.events for record in json.loads(event.body)["Records"]}
    assert len(lost - told) >= 15


async def queues_deleted(world: World, load: Load) -> None:
    """The queues of notifications and of hints are deleted with all that is in them, under their consumers."""
    for queue in (INGRESS, WORK):
        marks = await world.until_subscribed(INGRESS, WORK)
        path = f"queues/{quote(world.vhost_name, safe='')}/{queue}"
        await asyncio.to_thread(world.rabbitmq.call, "DELETE", path)
        await world.until_logged(marks, "consumer.lost", least=len(world.replicas))
        await load.more(20)
        await world.until_logged(marks, "consumer.back", least=len(world.replicas))


async def _killed(server: Server, load: Load) -> None:
    pid = server.instance.pid if isinstance(server.instance, Process) else None
    await asyncio.to_thread(server.kill)
    assert not server.running
    assert pid is None or not psutil.pid_exists(pid)
    await asyncio.to_thread(server.start)
    await load.more(5)


ALL: Final[tuple[Fault, ...]] = (
    broker_killed,
    broker_stopped,
    consumer_killed,
    consumer_paused,
    store_killed,
    store_stopped,
    ledger_killed,
    ledger_restarted,
    connections_cut,
    connections_slowed,
    connections_silent,
    events_doubled_and_reordered,
    events_dropped,
    events_forgotten,
    queues_deleted,
)
