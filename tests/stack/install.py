"""
Install the servers of the test stack: `python -m tests.stack.install [NAME...]`, all of them without a name.

RabbitMQ, PostgreSQL and Redis come from Debian's packages, as root or by sudo; what is written in Go is built from its
pinned version; the Iceberg REST catalog, Trino and OpenSearch come from Maven, Superset and Argilla from their lock
files. What is there already is left alone, so a second run takes seconds.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import click

from tests.stack import argilla, cache, debian, go, maven, opensearch, silo_engine, superset, trino_jars
from tests.stack.cache import CannotInstall
from tests.stack.opensearch import OpenSearch
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.redis import Redis

# The last commit of MinIO's public repository; of its releases the last ones were never offered as a Go module.
MINIO = go.Program("minio", "github.com/minio/minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
VERSITYGW = go.Program(
    "versitygw", "github.com/versity/versitygw/cmd/versitygw", "github.com/versity/versitygw", "v1.8.0"
)
COMPOSE = go.Program(
    "compose-go", "github.com/compose-spec/compose-go/v2/cmd", "github.com/compose-spec/compose-go/v2", "v2.16.2"
)
WEAVIATE = go.Program(
    "weaviate-server", "github.com/weaviate/weaviate/cmd/weaviate-server", "github.com/weaviate/weaviate", "v1.38.11"
)


@dataclass(frozen=True)
class Installation:
    """How one server is installed."""

    is_there: Callable[[], bool]
    build: Callable[[], None]
    compiles: bool = False
    """Most of it is work for the processor; of the others most is waiting for the network, so that both go at once."""


INSTALLATIONS: Mapping[str, Installation] = {
    "rabbitmq": Installation(RabbitMQ.is_installed, lambda: debian.install(["rabbitmq-server"])),
    "postgres": Installation(Postgres.is_installed, lambda: debian.install(["postgresql"])),
    "redis": Installation(Redis.is_installed, lambda: debian.install(["redis-server"])),
    "opensearch": Installation(OpenSearch.is_installed, opensearch.build),
    "rest_catalog": Installation(maven.is_there, maven.build),
    "trino": Installation(trino_jars.is_there, trino_jars.build),
    "superset": Installation(superset.is_there, superset.build),
    "argilla": Installation(argilla.is_there, argilla.build),
    "silo_engine": Installation(silo_engine.is_there, silo_engine.build),
    "versitygw": Installation(VERSITYGW.is_there, VERSITYGW.build, compiles=True),
    "compose-go": Installation(COMPOSE.is_there, COMPOSE.build, compiles=True),
    "minio": Installation(MINIO.is_there, MINIO.build, compiles=True),
    "weaviate": Installation(WEAVIATE.is_there, WEAVIATE.build, compiles=True),
}
"""`weed` and a container engine are installed by nobody here."""


def install(name: str) -> bool:
    """
    Install a server unless it is there, which may take minutes; return whether it was not.

    Raises:
        CannotInstall: something is missing that is not installed here.
    """
    installation = INSTALLATIONS[name]
    if installation.is_there():
        return False
    with _alone("builds" if installation.compiles else "downloads"):
        if installation.is_there():
            return False
        installation.build()
    if not installation.is_there():
        raise CannotInstall(f"{name} was installed, but is not what the tests can use")
    return True


@contextmanager
def _alone(kind: str) -> Iterator[None]:
    """Keep others from installing what is of a kind meanwhile."""
    cache.folder().mkdir(parents=True, exist_ok=True)
    with (cache.folder() / f"lock-{kind}").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(INSTALLATIONS)))
def main(names: tuple[str, ...]) -> None:
    """Install servers for the tests: all that can be, or those named."""
    kinds = [
        [name for name in names or INSTALLATIONS if INSTALLATIONS[name].compiles is compiles]
        for compiles in (False, True)
    ]
    with ThreadPoolExecutor(len(kinds)) as pool:
        succeeded = list(pool.map(_install_each, kinds))
    sys.exit(not all(succeeded))


def _install_each(names: Sequence[str]) -> bool:
    """Install one after the other, and say how it went; return whether all are there."""
    failed = False
    for name in names:
        began = time.monotonic()
        try:
            new = install(name)
        except CannotInstall as reason:
            click.echo(f"{name:14}NOT installed: {reason}")
            failed = True
        else:
            told = f"installed in {time.monotonic() - began:.0f} s" if new else "there"
            click.echo(f"{name:14}{told}")
    return not failed


if __name__ == "__main__":
    main()
