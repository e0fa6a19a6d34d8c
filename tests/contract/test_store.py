"""What every store does, the one in a dictionary as well as real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from consumer.folder_store import FolderStore
from consumer.store import NoSuchBucket, Store
from handlers.contract import ObjectChanged, ObjectGone, fingerprint
from tests.etags import MemoryEtagCache
from tests.fakes import MemoryStore

T = TypeVar("T")

BUCKET = "b"

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

    def put(self, key: str, content: bytes) -> None: ...

    def delete(self, key: str) -> None: ...


class FolderBench:
    def __init__(self, root: Path) -> None:
        self._bucket = root / BUCKET
        self._bucket.mkdir(parents=True)
        self.store: Store = FolderStore(
            root, MemoryEtagCache(), clock=lambda: 4_000_000_000_000, run=in_thread, report=lambda *_: None
        )

    def put(self, key: str, content: bytes) -> None:
        path = self._bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.parent / ".new"
        new.write_bytes(content)
        new.replace(path)

    def delete(self, key: str) -> None:
        (self._bucket / key).unlink()


class MemoryBench:
    def __init__(self) -> None:
        self._memory = MemoryStore(BUCKET)
        self.store: Store = self._memory

    def put(self, key: str, content: bytes) -> None:
        self._memory.put(BUCKET, key, content.decode())

    def delete(self, key: str) -> None:
        self._memory.delete(BUCKET, key)


def in_thread(function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
    return asyncio.to_thread(function, *args)


@pytest.fixture(params=["memory", "folder"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    bench: Bench = MemoryBench() if request.param == "memory" else FolderBench(tmp_path / "buckets")
    yield bench
    await bench.store.aclose()


async def keys(bench: Bench, prefix: str = "", start_after: str = "") -> list[str]:
    return [found.key async for found in bench.store.list(BUCKET, prefix, start_after=start_after)]


async def test_listing_is_in_byte_order(bench: Bench) -> None:
    names = ["a/b", "a.csv", "a0", "a-b/c", "a/b.csv", "A", "é", "z", "aé", "a/b/c", "a b"]
    names.remove("a/b")  # a folder has no file and folder of one name
    for name in names:
        bench.put(name, b"x")

    assert await keys(bench) == sorted(names, key=str.encode)


async def test_listing_is_limited_to_the_prefix(bench: Bench) -> None:
    for name in ["a/1", "a/b/2", "ab/3", "b/a/4", "a.5"]:
        bench.put(name, b"x")

    assert await keys(bench, "a/") == ["a/1", "a/b/2"]
    assert await keys(bench, "a") == ["a.5", "a/1", "a/b/2", "ab/3"]
    assert await keys(bench, "a/b") == ["a/b/2"]
    assert await keys(bench, "a/1") == ["a/1"]
    assert await keys(bench, "a/1/") == []
    assert await keys(bench, "nothing/here") == []


async def test_listing_starts_after_a_key(bench: Bench) -> None:
    names = sorted(["a.csv", "a/1", "a/2", "a/b/1", "b/1", "c"], key=str.encode)
    for name in names:
        bench.put(name, b"x")

    for start in [*names, "a", "a/", "a/b", "a/b0", "zzz", "0"]:
        expected = [name for name in names if name.encode() > start.encode()]
        assert await keys(bench, start_after=start) == expected


async def test_listing_of_more_than_a_page_is_complete(bench: Bench) -> None:
    names = sorted(f"{number % 7}/{number}" for number in range(2300))
    for name in names:
        bench.put(name, b"x")

    assert await keys(bench) == names


async def test_objects_of_odd_names_are_listed_found_and_read(bench: Bench) -> None:
    for key in ODD_KEYS:
        bench.put(key, key.encode())

    assert await keys(bench) == sorted(ODD_KEYS, key=str.encode)
    for key in ODD_KEYS:
        found = await bench.store.head(BUCKET, key)
        assert found is not None
        assert (found.key, await found.read()) == (key, key.encode())


async def test_listing_and_looking_agree(bench: Bench) -> None:
    bench.put("small", b"x")
    bench.put("large", b"x" * 3_000_000)
    bench.put("empty", b"")

    listed = {found.key: (found.etag, found.size, found.modified) async for found in bench.store.list(BUCKET)}

    looked = {}
    for key in ("small", "large", "empty"):
        found = await bench.store.head(BUCKET, key)
        assert found is not None
        looked[key] = (found.etag, found.size, found.modified)
    assert listed == looked
    assert [looked[key][1] for key in ("small", "large", "empty")] == [1, 3_000_000, 0]


async def test_etag_changes_with_the_content(bench: Bench) -> None:
    etags = []
    for content in (b"aa", b"bb", b"aa"):
        bench.put("k", content)
        found = await bench.store.head(BUCKET, "k")
        assert found is not None
        etags.append(found.etag)

    assert etags[0] != etags[1]
    assert etags[0] == etags[2]


async def test_absent_object_is_none(bench: Bench) -> None:
    bench.put("a/b", b"x")

    for key in ("b", "a", "a/", "a/b/", "a/b/c", "a//b", "/a/b", "", "x" * 900, "nul\0"):
        assert await bench.store.head(BUCKET, key) is None


async def test_missing_bucket_has_no_objects_and_no_listing(bench: Bench) -> None:
    assert await bench.store.head("nobody", "k") is None
    with pytest.raises(NoSuchBucket, match="nobody"):
        await anext(aiter(bench.store.list("nobody")))


async def test_buckets_are_named(bench: Bench) -> None:
    assert await bench.store.buckets() == [BUCKET]
    await bench.store.ping()


@pytest.mark.parametrize("size", [0, 1, 300_000, 3_000_000])
async def test_content_is_read_whole_and_in_pieces(bench: Bench, size: int) -> None:
    content = NUMBERS[:size]
    bench.put("k", content)
    found = await bench.store.head(BUCKET, "k")
    assert found is not None

    assert await found.read() == content
    with await found.open() as stream:
        assert stream.read() == content
    with await found.open() as stream:
        pieces = list(iter(lambda: stream.read(70_000), b""))
    assert b"".join(pieces) == content


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_version_that_was_replaced_is_not_read(bench: Bench, size: int) -> None:
    bench.put("k", b"a" * size)
    found = await bench.store.head(BUCKET, "k")
    assert found is not None
    bench.put("k", b"b" * size)

    with pytest.raises(ObjectChanged):
        await found.read()
    with pytest.raises(ObjectChanged):
        (await found.open()).read()


async def test_version_that_was_deleted_is_gone(bench: Bench) -> None:
    bench.put("k", b"x")
    found = await bench.store.head(BUCKET, "k")
    assert found is not None
    bench.delete("k")

    with pytest.raises(ObjectGone):
        await found.read()
    with pytest.raises(ObjectGone):
        await found.open()


async def test_version_replaced_while_it_is_read_gives_its_bytes_or_an_error(bench: Bench) -> None:
    bench.put("k", b"a" * 5_000_000)
    found = await bench.store.head(BUCKET, "k")
    assert found is not None
    with await found.open() as stream:
        begun = stream.read(10)
        bench.put("k", b"b" * 5_000_000)
        try:
            content = begun + stream.read()
        except ObjectChanged:
            return
    assert content == b"a" * 5_000_000


async def test_prefix_has_a_fingerprint(bench: Bench) -> None:
    bench.put("u/1", b"x")
    bench.put("u/2", b"y")
    first = fingerprint([found async for found in bench.store.list(BUCKET, "u/")], "u/")
    bench.put("u/2", b"z")

    assert fingerprint([found async for found in bench.store.list(BUCKET, "u/")], "u/") != first
