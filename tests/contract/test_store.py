"""What every store does, the one in a dictionary as well as real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar

import pytest

from consumer.folder_store import FolderStore
from consumer.s3_store import S3Store
from consumer.store import NoSuchBucket, Store
from handlers.contract import ObjectChanged, ObjectGone, StoredObject, fingerprint
from tests.etags import MemoryEtagCache
from tests.fakes import MemoryStore
from tests.s3 import access_of, many
from tests.stack.s3 import S3Server

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

NUMBERS = b"".join(b"%d\n" % number for number in range(500_000))

ODD_KEYS = [
    "space in name.csv",
    "plus+and%20percent%.csv",
    "new\nline.csv",
    "emoji 🦆/ünï€.csv",
    "quote'\"&<>?#=;\\.csv",
    " lead and trail ",
    "tilde~/-dash/_under",
    "/".join(["n" * 224] * 4),
]


class Bench(Protocol):
    """A store and the other side of it."""

    store: Store
    bucket: str
    changes: str
    """What the store takes for another character, so that it has no place in a key."""

    async def put(self, key: str, content: bytes) -> None: ...

    async def delete(self, key: str) -> None: ...


class FolderBench:
    bucket = "b"
    changes = "\0"

    def __init__(self, root: Path) -> None:
        self._bucket = root / self.bucket
        self._bucket.mkdir(parents=True)
        self.store: Store = FolderStore(
            root, MemoryEtagCache(), clock=lambda: 4_000_000_000_000, run=in_thread, report=lambda *_: None
        )

    async def put(self, key: str, content: bytes) -> None:
        path = self._bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.parent / ".new"
        new.write_bytes(content)
        new.replace(path)

    async def delete(self, key: str) -> None:
        (self._bucket / key).unlink()


class MemoryBench:
    bucket = "b"
    changes = "\0"

    def __init__(self) -> None:
        self._memory = MemoryStore(self.bucket)
        self.store: Store = self._memory

    async def put(self, key: str, content: bytes) -> None:
        self._memory.put(self.bucket, key, content.decode())

    async def delete(self, key: str) -> None:
        self._memory.delete(self.bucket, key)


class S3Bench:
    def __init__(self, server: S3Server, bucket: str, client: S3Client) -> None:
        self.bucket = bucket
        self.changes = "\\" if server.name == "weed" else "\0"  # SeaweedFS: a slash
        self._client = client
        self.store: Store = S3Store(access_of(server))

    async def put(self, key: str, content: bytes) -> None:
        await self._client.put_object(Bucket=self.bucket, Key=key, Body=content)

    async def delete(self, key: str) -> None:
        await self._client.delete_object(Bucket=self.bucket, Key=key)


def in_thread(function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
    return asyncio.to_thread(function, *args)


@pytest.fixture(params=["memory", "folder", "minio", "versitygw", "weed"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    match request.param:
        case "memory" | "folder":
            bench: Bench = MemoryBench() if request.param == "memory" else FolderBench(tmp_path / "buckets")
            yield bench
            await bench.store.aclose()
        case _:
            server: S3Server = request.getfixturevalue(request.param)
            async with server.client() as client:
                bench = S3Bench(server, await server.create_bucket(), client)
                yield bench
                await bench.store.aclose()


async def whole(found: StoredObject, size: int = -1) -> bytes:
    """Read a stream where it may block: whole, or in pieces."""

    def read(stream: BinaryIO) -> bytes:
        with stream:
            return b"".join(iter(lambda: stream.read(size), b""))

    return await asyncio.to_thread(read, await found.open())


async def keys(bench: Bench, prefix: str = "", start_after: str = "") -> list[str]:
    return [found.key async for found in bench.store.list(bench.bucket, prefix, start_after=start_after)]


async def test_listing_is_in_byte_order(bench: Bench) -> None:
    names = ["a/b", "a.csv", "a0", "a-b/c", "a/b.csv", "A", "é", "z", "aé", "a/b/c", "a b"]
    names.remove("a/b")  # a folder has no file and folder of one name
    for name in names:
        await bench.put(name, b"x")

    assert await keys(bench) == sorted(names, key=str.encode)


async def test_listing_is_limited_to_the_prefix(bench: Bench) -> None:
    for name in ["a/1", "a/b/2", "ab/3", "b/a/4", "a.5"]:
        await bench.put(name, b"x")

    assert await keys(bench, "a/") == ["a/1", "a/b/2"]
    assert await keys(bench, "a") == ["a.5", "a/1", "a/b/2", "ab/3"]
    assert await keys(bench, "a/b") == ["a/b/2"]
    assert await keys(bench, "a/1") == ["a/1"]
    assert await keys(bench, "a/1/") == []
    assert await keys(bench, "nothing/here") == []


async def test_listing_starts_after_a_key(bench: Bench) -> None:
    names = sorted(["a.csv", "a/1", "a/2", "a/b/1", "b/1", "c"], key=str.encode)
    for name in names:
        await bench.put(name, b"x")

    for start in [*names, "a", "a/", "a/b", "a/b0", "zzz", "0"]:
        expected = [name for name in names if name.encode() > start.encode()]
        assert await keys(bench, start_after=start) == expected


async def test_listing_of_more_than_a_page_is_complete(bench: Bench) -> None:
    names = sorted(f"{number % 7}/{number}" for number in range(2300))
    await many(bench.put(name, b"x") for name in names)

    assert await keys(bench) == names


async def test_objects_of_odd_names_are_listed_found_and_read(bench: Bench) -> None:
    odd = [key.replace(bench.changes, "") for key in ODD_KEYS]
    for key in odd:
        await bench.put(key, key.encode())

    assert await keys(bench) == sorted(odd, key=str.encode)
    for key in odd:
        found = await bench.store.head(bench.bucket, key)
        assert found is not None
        assert (found.key, await found.read()) == (key, key.encode())


async def test_listing_and_looking_agree(bench: Bench) -> None:
    await bench.put("small", b"x")
    await bench.put("large", b"x" * 3_000_000)
    await bench.put("empty", b"")

    listed = {found.key: (found.etag, found.size, found.modified) async for found in bench.store.list(bench.bucket)}

    looked = {}
    for key in ("small", "large", "empty"):
        found = await bench.store.head(bench.bucket, key)
        assert found is not None
        looked[key] = (found.etag, found.size, found.modified)
    assert listed == looked
    assert [looked[key][1] for key in ("small", "large", "empty")] == [1, 3_000_000, 0]


async def test_etag_changes_with_the_content(bench: Bench) -> None:
    etags = []
    for content in (b"aa", b"bb", b"aa"):
        await bench.put("k", content)
        found = await bench.store.head(bench.bucket, "k")
        assert found is not None
        etags.append(found.etag)

    assert etags[0] != etags[1]
    assert etags[0] == etags[2]


async def test_absent_object_is_none(bench: Bench) -> None:
    await bench.put("a/b", b"x")

    for key in ("b", "a", "a/", "a/b/", "a/b/c", "a//b", "/a/b", "", "x" * 900, "nul\0"):
        assert await bench.store.head(bench.bucket, key) is None


async def test_missing_bucket_has_no_objects_and_no_listing(bench: Bench) -> None:
    assert await bench.store.head("nobody", "k") is None
    with pytest.raises(NoSuchBucket, match="nobody"):
        await anext(aiter(bench.store.list("nobody")))


async def test_buckets_are_named(bench: Bench) -> None:
    assert bench.bucket in await bench.store.buckets()
    await bench.store.ping()


@pytest.mark.parametrize("size", [0, 1, 300_000, 3_000_000])
async def test_content_is_read_whole_and_in_pieces(bench: Bench, size: int) -> None:
    content = NUMBERS[:size]
    await bench.put("k", content)
    found = await bench.store.head(bench.bucket, "k")
    assert found is not None

    assert await found.read() == content
    assert await whole(found) == content
    assert await whole(found, 70_000) == content


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_version_that_was_replaced_is_not_read(bench: Bench, size: int) -> None:
    await bench.put("k", b"a" * size)
    found = await bench.store.head(bench.bucket, "k")
    assert found is not None
    await bench.put("k", b"b" * size)

    with pytest.raises(ObjectChanged):
        await found.read()
    with pytest.raises(ObjectChanged):
        await whole(found)


async def test_version_that_was_deleted_is_gone(bench: Bench) -> None:
    await bench.put("k", b"x")
    found = await bench.store.head(bench.bucket, "k")
    assert found is not None
    await bench.delete("k")

    with pytest.raises(ObjectGone):
        await found.read()
    with pytest.raises(ObjectGone):
        await found.open()


async def test_version_replaced_while_it_is_read_gives_its_bytes_or_an_error(bench: Bench) -> None:
    await bench.put("k", b"a" * 5_000_000)
    found = await bench.store.head(bench.bucket, "k")
    assert found is not None
    with await found.open() as stream:
        begun = await asyncio.to_thread(stream.read, 10)
        await bench.put("k", b"b" * 5_000_000)
        try:
            content = begun + await asyncio.to_thread(stream.read)
        except ObjectChanged:
            return
    assert content == b"a" * 5_000_000


async def test_prefix_has_a_fingerprint(bench: Bench) -> None:
    await bench.put("u/1", b"x")
    await bench.put("u/2", b"y")
    first = fingerprint([found async for found in bench.store.list(bench.bucket, "u/")], "u/")
    await bench.put("u/2", b"z")

    assert fingerprint([found async for found in bench.store.list(bench.bucket, "u/")], "u/") != first
