"""
Rounds of random faults: `python -m tests.integration.random_faults --rounds 20 --seed 7`.

Each round breaks something under load, and then waits until each table equals its bucket. In the world `services`, two
replicas on RabbitMQ, PostgreSQL and MinIO, it is one to three of all faults, one after the other. In `lakehouse`, with
a REST catalog and Trino, it is a `kill -9` of one part at work, and Trino must read the same rows as PyIceberg.

Prints a line for each round; the exit code is 1, and the round is named, when one did not end that way.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from tests.integration import faults
from tests.integration.faults import Fault
from tests.integration.faults_kills import KILLS
from tests.integration.faults_lakehouse import Lakehouse
from tests.integration.faults_world import SWEPT, World, opened, telling
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.process import ServerFailed
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.rest_catalog import RestCatalog
from tests.stack.server import Server
from tests.stack.trino import Trino

S = TypeVar("S", bound=Server)


@dataclass(frozen=True)
class Kind:
    """What may break in a kind of world."""

    faults: tuple[Fault, ...]
    most: int
    """In one round."""
    pause: float
    """Seconds between two changes."""


KINDS: Final = {"services": Kind(faults.ALL, 3, 0.01), "lakehouse": Kind(KILLS, 1, 0.3)}


async def rounds(
    world: World,
    number: int,
    seed: int,
    tell: Callable[[str], None] = lambda _line: None,
    *,
    kind: Kind = KINDS["services"],
    first: int = 1,
) -> None:
    """
    Break things, and wait until all is well.

    Args:
        world: sound.
        number: of the last round.
        seed: decides what is broken; what is changed meanwhile also depends on how fast everything is.
        tell: gets a line for each round.
        kind: what may break.
        first: number of the first round.

    Raises:
        AssertionError: it did not come to that, or a fault did not fire.
    """
    world.chance.seed(seed)
    choice = random.Random(seed)  # noqa: S311 (a repeatable test); the load draws from the other as often as it can
    load = world.load(SWEPT)
    for at in range(1, number + 1):
        broken = choice.sample(kind.faults, choice.randint(1, kind.most))
        if at < first:
            continue
        world.sound = False
        names = ", ".join(fault.__name__ for fault in broken)
        changes = load.changes
        try:
            async with load.running(kind.pause):
                await load.more(10)
                for fault in broken:
                    await fault(world, load)
                await load.more(10)
            seconds = await world.agree(SWEPT)
        except (AssertionError, TimeoutError, ServerFailed) as error:
            raise AssertionError(f"round {at}, {names}; seed {seed} breaks the same: {error!r}") from error
        tell(f"round {at}: {names}: {load.changes - changes} changes agreed after {seconds:.1f} s")


@asynccontextmanager
async def lakehouse(rabbitmq: RabbitMQ, postgres: Postgres, trino: Trino, folder: Path) -> AsyncIterator[World]:
    """
    Open a lakehouse, with a store and a catalog of its own.

    Args:
        rabbitmq: runs.
        postgres: runs; gets a database.
        trino: runs; gets a catalog.
        folder: empty, for the others' files.
    """
    async with _told(rabbitmq, folder) as (vhost, store):
        with _found(RestCatalog, folder) as rest:
            rest.keep_in(store)
            await asyncio.to_thread(rest.start)
            there = Lakehouse(rest, trino)
            async with opened(rabbitmq, postgres, store, vhost, folder / "homes", lakehouse=there) as world:
                yield world


@asynccontextmanager
async def _told(rabbitmq: RabbitMQ, folder: Path) -> AsyncIterator[tuple[str, Minio]]:
    """Start a store that tells a vhost of its own of what happens."""
    name = f"faults-{uuid4().hex[:12]}"
    vhost = rabbitmq.create_vhost(name)
    try:
        with _found(Minio, folder) as store:
            await asyncio.to_thread(telling(store, vhost).start)
            yield vhost, store
    finally:
        if rabbitmq.running:  # else a round has failed, and will tell why
            rabbitmq.delete_vhost(name)


@contextmanager
def _found(kind: type[S], folder: Path) -> Iterator[S]:
    """Find a server, not yet started, and end it."""
    own = folder / kind.name
    own.mkdir()
    server = kind.find(own)
    try:
        yield server
    finally:
        server.close()


@asynccontextmanager
async def _opened(kind: str, folder: Path) -> AsyncIterator[World]:
    """Open a world with servers of its own."""
    with _found(RabbitMQ, folder) as rabbitmq, _found(Postgres, folder) as postgres:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in (rabbitmq, postgres)))
        if kind == "services":
            async with (
                _told(rabbitmq, folder) as (vhost, store),
                opened(rabbitmq, postgres, store, vhost, folder / "homes") as world,
            ):
                yield world
        else:
            with _found(Trino, folder) as trino:
                await asyncio.to_thread(trino.start)
                async with lakehouse(rabbitmq, postgres, trino, folder) as world:
                    yield world


async def _main(kind: str, first: int, number: int, seed: int, folder: Path) -> None:
    async with _opened(kind, folder) as world:
        print(f"seed {seed}", flush=True)  # noqa: T201 (it is a command)
        tell = partial(print, flush=True)
        await rounds(world, number, seed, tell, kind=KINDS[kind], first=first)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.random_faults", description=__doc__)
    parser.add_argument("--world", choices=sorted(KINDS), default="services")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; without, another one")
    parser.add_argument(
        "--from", type=int, default=1, dest="first", help="round to begin with: what it breaks is the same"
    )
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 30) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="lakedrop-faults-"))
    try:
        asyncio.run(_main(given.world, given.first, given.rounds, seed, folder))
    except AssertionError as failure:
        sys.stderr.write(f"{failure}\nworld {given.world}, seed {seed}; logs and data are left in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
