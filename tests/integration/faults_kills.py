"""`kill -9` of any one part of a lakehouse, in the middle of its work. Each has asserted that it was."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from consumer.upkeep import LEASE
from tests.integration.faults import WORK, Fault, consumer_killed
from tests.integration.faults_load import Load
from tests.integration.faults_world import PATIENCE, World
from tests.stack.process import Process
from tests.stack.server import Server

MOMENT: Final = 40
"""Changes, at most, that the load makes before a kill: its moment is as random as their number."""

DUE: Final = "UPDATE leases SET next_at = 0 WHERE name = $1 AND token IS NULL"


async def catalog_killed(world: World, load: Load) -> None:
    """SIGKILL to the catalog while it owes a replica an answer, and a start right afterwards."""
    assert world.lakehouse is not None
    await _killed_when_asked(world, load, "catalog", world.lakehouse.rest)


async def trino_killed(world: World, load: Load) -> None:
    """SIGKILL to Trino while it works on a statement of a replica, and a start right afterwards."""
    assert world.lakehouse is not None
    async with _turns(world):
        await _killed_when_asked(world, load, "trino", world.lakehouse.trino)


async def store_killed(world: World, load: Load) -> None:
    """SIGKILL to the store while it owes a replica an answer, and a start right afterwards."""
    await _killed_when_asked(world, load, "store", world.store)


async def broker_killed(world: World, load: Load) -> None:
    """SIGKILL to the broker while claims are held and messages pass, and a start right afterwards."""
    proxy = world.proxies["broker"]
    await load.more(world.chance.randrange(MOMENT))
    await world.until_held()
    marks, passed = await world.until_subscribed(WORK), proxy.counts.bytes
    await proxy.until(lambda counts: counts.bytes > passed)
    await asyncio.to_thread(world.rabbitmq.kill)
    _assert_killed(world.rabbitmq)
    await world.until_logged(marks, "consumer.lost", least=len(world.replicas))
    await asyncio.to_thread(world.rabbitmq.start)
    await load.more(5)


async def _killed_when_asked(world: World, load: Load, what: str, server: Server) -> None:
    """Kill a server that answers each request, behind the proxy so named, while a replica waits for its answer."""
    proxy = world.proxies[what]
    await load.more(world.chance.randrange(MOMENT))
    unanswered = proxy.counts.unanswered
    while proxy.counts.unanswered == unanswered:
        await proxy.until(lambda _: proxy.asking > 0, PATIENCE)
        server.kill()  # without leaving the loop, or the answer would come meanwhile
        _assert_killed(server)
        await asyncio.to_thread(server.start)
    await load.more(5)


@asynccontextmanager
async def _turns(world: World) -> AsyncIterator[None]:
    """
    Have tables looked after at random moments, too.

    Where everything is fast, a replica that has just done so is the first to ask again when it is due, time after time.
    One of the two does it without Trino.
    """

    async def make_due() -> None:
        while True:
            await world.claims.query(DUE, LEASE)
            await asyncio.sleep(world.chance.uniform(0.5, 1.5))

    making = asyncio.create_task(make_due(), name="turns")
    try:
        yield
    finally:
        making.cancel()
        await asyncio.wait([making])
        if not making.cancelled():
            making.result()


def _assert_killed(server: Server) -> None:
    assert not server.running
    if isinstance(server.instance, Process):
        assert server.instance.ended_by is signal.SIGKILL


KILLS: Final[tuple[Fault, ...]] = (consumer_killed, catalog_killed, trino_killed, store_killed, broker_killed)
