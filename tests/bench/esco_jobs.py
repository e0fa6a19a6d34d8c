"""What the part `esco` measures, in a process that loads nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import weaviate
from weaviate.classes.init import Auth

from handlers.contract import Claim, StoredObject, Unit
from handlers.embedders import make_embedder
from handlers.esco_index.handler import EscoIndex, Where
from handlers.esco_index.index import connected
from handlers.esco_index.joins import join
from handlers.esco_index.objects import Objects
from handlers.esco_index.options import Options
from handlers.esco_index.release import REQUIRED
from handlers.esco_index.schema import CLASSES, Place
from tests.bench import memory

T = TypeVar("T")

KEY = "WEAVIATE_API_KEY"


class File(StoredObject):
    """A file of a folder."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        super().__init__(f"esco/1.2/en/{path.name}", str(path.stat().st_mtime_ns), path.stat().st_size, 1)
        self._path = path

    async def open(self) -> BinaryIO:
        return self._path.open("rb")

    async def read(self) -> bytes:
        return self._path.read_bytes()


class Context:
    """Threads and a claim that nobody takes away."""

    def __init__(self, home: Path) -> None:
        self.home = str(home)

    def clock(self) -> int:
        return time.time_ns() // 1_000_000

    def new_id(self) -> str:
        return "id"

    async def alive(self, tokens: Collection[str]) -> set[str]:
        return set(tokens)

    async def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> T:
        del lane
        return await asyncio.to_thread(function, *args)


async def ingested(folder: Path, url: str, grpc_port: int) -> int:
    """Ingest a release as the handler does; return its objects."""
    options = Options(url=url, grpc_port=grpc_port, embedder="wordllama")
    handler = EscoIndex({"esco": Where("esco", "esco/", options)}, Context(folder.parent))
    unit = Unit("esco", "esco/1.2/en/", "esco", "esco/", options)
    objects = [File(path) for path in sorted(folder.glob("*.csv"))]
    receipt = await handler.apply(unit, objects, Claim("token", "print", None))
    return receipt.counts["rows"]


async def made(url: str, grpc_port: int) -> None:
    """Make the classes for the peer."""
    async with connected(url, grpc_port, os.environ[KEY]) as index:
        await index.ensure(Place("", "en"))


def streamed(folder: Path, url: str, grpc_port: int) -> int:
    """
    Put the same into Weaviate by the client's `batch.stream`; return the objects.

    Twice: Weaviate takes no reference to what is not there, and references one by one take twice as long.
    """
    asyncio.run(made(url, grpc_port))
    embedder = make_embedder("wordllama")
    assert embedder is not None
    objects = Objects(join({name: folder / f"{name}_en.csv" for name in REQUIRED}), Place("", "en"), "wordllama")
    whole = {name: range(len(objects.uuids(name))) for name in CLASSES}
    parts = urlsplit(url)
    client = weaviate.connect_to_custom(
        http_host=str(parts.hostname),
        http_port=parts.port or 80,
        http_secure=False,
        grpc_host=str(parts.hostname),
        grpc_port=grpc_port,
        grpc_secure=False,
        auth_credentials=Auth.api_key(os.environ[KEY]),
        skip_init_checks=True,
    )
    with client:
        with client.batch.stream() as batch:
            for name in CLASSES:
                for uuid in objects.uuids(name):
                    batch.add_object(name, {}, uuid=uuid)
        with client.batch.stream() as batch:
            for name, rows in whole.items():
                for some in objects.of(name, rows):
                    for one, vector in zip(some, embedder.embed([one.text for one in some]), strict=True):
                        batch.add_object(name, dict(one.properties), dict(one.references), one.uuid, vector)
        if client.batch.failed_objects:
            raise AssertionError(client.batch.failed_objects[0].message)
    return sum(map(len, whole.values()))


def main(how: str, folder: Path, url: str, grpc_port: int) -> None:
    """Do one of them, and print what it took: seconds, and MB."""
    logging.disable()
    began, worked = time.perf_counter(), time.process_time()
    number = streamed(folder, url, grpc_port) if how == "streamed" else asyncio.run(ingested(folder, url, grpc_port))
    taken = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - worked}
    print(json.dumps({"objects": number, **taken, "memory": memory.peak()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
