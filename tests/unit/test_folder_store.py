"""What only folders do; the rest is in tests/contract/test_store.py."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from xxhash import xxh3_128

from consumer import folder_file, folder_store, folder_walk, known_etags, ledger_etags
from consumer.etag_cache import FileStamp
from consumer.folder_store import FolderStore
from consumer.ledger import Ledger
from consumer.ledger_etags import FolderEtags
from consumer.ledger_sqlite import sqlite_engine
from consumer.store import UNSTABLE, AccessDenied, NoSuchBucket
from handlers.contract import ObjectChanged, ObjectGone, PermanentError, StoredObject, TransientError
from tests.etags import MemoryEtagCache

T = TypeVar("T")

LARGE = folder_file.SMALL_FILE + 1
LATER = 3_600_000
"""Milliseconds after which every file of a test counts as settled, however long the test takes."""


async def inline(function: Callable[..., T], /, *args: Any) -> T:
    return function(*args)


class Folder:
    """A store on a folder, with everything it is given within reach."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bucket = root / "b"
        self.bucket.mkdir(parents=True)
        self.cache = MemoryEtagCache()
        self.reported: list[tuple[str, str, str]] = []
        self.now = time.time_ns() // 1_000_000 + LATER
        self.store = self.opened()

    def opened(self) -> FolderStore:
        """Return the store as a new process has it."""
        return FolderStore(self.root, self.cache, clock=lambda: self.now, run=self.run, report=self.report)

    def run(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return inline(function, *args)

    def report(self, bucket: str, path: str, reason: str) -> None:
        self.reported.append((bucket, path, reason))

    def put(self, key: str, content: bytes = b"x") -> Path:
        path = self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    async def keys(self, prefix: str = "") -> list[str]:
        return [found.key async for found in self.store.list("b", prefix)]

    async def head(self, key: str) -> StoredObject:
        found = await self.store.head("b", key)
        assert found is not None
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "buckets")


async def test_etag_is_the_xxh3_of_the_content(folder: Folder) -> None:
    for content in (b"", b"abc", b"x" * LARGE, b"y" * 3_000_000):
        folder.put("k", content)

        assert (await folder.head("k")).etag == xxh3_128(content).hexdigest()
        assert [found.etag async for found in folder.store.list("b")] == [xxh3_128(content).hexdigest()]


async def test_hidden_and_unfinished_names_are_no_objects(folder: Folder) -> None:
    for key in (".hidden", ".dir/k", "a/.b/k", "k.part", "k.TMP", "part.tmp/k"):
        folder.put(key)

        assert await folder.store.head("b", key) is None
        assert await folder.keys(key) == []
    folder.put("part")
    assert await folder.keys() == ["part"]


@pytest.mark.parametrize("key", ["../b/k", "a/../k", "./k", "..", ".", "/k", "a//k", "k\0", "k\ud800", "a/\ud800/k"])
async def test_path_that_is_no_key_finds_nothing(folder: Folder, key: str) -> None:
    folder.put("k")
    folder.put("a/k")

    assert await folder.store.head("b", key) is None
    assert await folder.keys(key) == []


@pytest.mark.parametrize("bucket", ["", ".", "..", "b/a", "../buckets/b", ".hidden", "b\0", "b\ud800", "x.part"])
async def test_path_that_is_no_bucket_is_none(folder: Folder, bucket: str) -> None:
    folder.put("k")

    assert await folder.store.head(bucket, "k") is None
    with pytest.raises(NoSuchBucket):
        await anext(aiter(folder.store.list(bucket)))


async def test_missing_bucket_is_told_with_what_to_do(folder: Folder) -> None:
    with pytest.raises(NoSuchBucket, match=r"no bucket `c`: create the folder .*/buckets/c"):
        await anext(aiter(folder.store.list("c")))


async def test_file_is_no_bucket(folder: Folder) -> None:
    (folder.root / "file").write_bytes(b"x")
    (folder.root / ".hidden").mkdir()
    (folder.root / "ä").mkdir()
    (folder.root / "Z").mkdir()
    Path(os.fsdecode(os.fsencode(folder.root) + b"/\xff")).mkdir()

    assert await folder.store.buckets() == ["Z", "b", "ä"]


async def test_missing_root_has_no_buckets_and_no_ping(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "none", MemoryEtagCache(), clock=int, run=inline, report=print)

    assert await store.buckets() == []
    with pytest.raises(TransientError, match="/none: No such file or directory: make it a folder of buckets"):
        await store.ping()


async def test_bucket_may_be_a_link(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/a").mkdir(parents=True)
    (tmp_path / "elsewhere/a/k").write_bytes(b"x")
    (tmp_path / "elsewhere/alias").symlink_to(tmp_path / "elsewhere/a/k")
    (folder.root / "linked").symlink_to(tmp_path / "elsewhere")

    assert await folder.store.buckets() == ["b", "linked"]
    assert [found.key async for found in folder.store.list("linked")] == ["a/k", "alias"]
    assert await folder.store.head("linked", "alias") is not None


async def test_link_within_the_bucket_is_an_object(folder: Folder) -> None:
    folder.put("a/k", b"abc")
    (folder.bucket / "alias").symlink_to("a/k")

    assert await folder.keys() == ["a/k", "alias"]
    assert await (await folder.head("alias")).read() == b"abc"


async def test_links_out_of_the_bucket_and_to_folders_are_left_out_and_reported_once(folder: Folder) -> None:
    secret = folder.root.parent / "secret"
    secret.write_bytes(b"x")
    folder.put("a/k")
    (folder.bucket / "out").symlink_to(secret)
    (folder.bucket / "circle").symlink_to(folder.bucket)
    (folder.bucket / "loop").symlink_to("a")
    (folder.bucket / "broken").symlink_to("nothing")

    for _ in range(2):
        assert await folder.keys() == ["a/k"]
    for key in ("out", "circle/a/k", "loop/k", "broken"):
        assert await folder.store.head("b", key) is None
    assert sorted((Path(path).name, reason.split(":")[0]) for _, path, reason in folder.reported) == [
        ("circle", "it is a link that leads out of the bucket"),
        ("loop", "it is a link to a folder"),
        ("out", "it is a link that leads out of the bucket"),
    ]


async def test_name_that_is_not_utf8_is_reported_once(folder: Folder) -> None:
    folder.put("k")
    Path(os.fsdecode(os.fsencode(folder.bucket) + b"/caf\xe9.csv")).write_bytes(b"x")

    for _ in range(2):
        assert await folder.keys() == ["k"]
    ((bucket, path, reason),) = folder.reported
    assert bucket == "b"
    assert path.endswith("/buckets/b/caf\\xe9.csv")
    assert reason == "its name is not UTF-8: rename it"


async def test_pipe_is_no_object(folder: Folder) -> None:
    os.mkfifo(folder.bucket / "pipe")

    assert await folder.keys() == []
    assert await folder.store.head("b", "pipe") is None


async def test_listing_goes_on_when_files_and_folders_vanish(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a/1", "b/1", "c", "d"):
        folder.put(key)
    monkeypatch.setattr(folder_store, "PAGE", 1)
    listing = folder.store.list("b")
    first = await anext(listing)
    (folder.bucket / "b/1").unlink()
    (folder.bucket / "b").rmdir()
    (folder.bucket / "c").unlink()

    assert [first.key] + [found.key async for found in listing] == ["a/1", "d"]


async def test_file_that_vanishes_before_it_is_hashed_is_not_listed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("k")
    folder.put("z")
    monkeypatch.setattr(folder, "run", _removing(folder.bucket / "k"))
    store = FolderStore(folder.root, folder.cache, clock=lambda: folder.now, run=folder.run, report=folder.report)

    assert [found.key async for found in store.list("b")] == ["z"]


def _removing(path: Path) -> Callable[..., Awaitable[Any]]:
    async def run(function: Callable[..., T], /, *args: Any) -> T:
        if function is folder_store._hash_all:
            path.unlink(missing_ok=True)
        return function(*args)

    return run


# Remembered ETags


async def remembered(folder: Folder, key: str) -> tuple[FileStamp, str] | None:
    return (await folder.cache.get_many("b", [key])).get(key)


@pytest.mark.parametrize("size", [1, LARGE])
async def test_listing_trusts_a_remembered_etag(folder: Folder, size: int) -> None:
    stamp = FileStamp.of(folder.put("k", b"x" * size).stat())
    await folder.cache.put_many("b", {"k": (stamp, "remembered")})

    assert [found.etag async for found in folder.store.list("b")] == ["remembered"]


async def test_look_trusts_a_remembered_etag_of_a_large_file_only(folder: Folder) -> None:
    for key, size in (("small", 1), ("large", LARGE)):
        stamp = FileStamp.of(folder.put(key, b"x" * size).stat())
        await folder.cache.put_many("b", {key: (stamp, "remembered")})

    assert (await folder.head("large")).etag == "remembered"
    assert (await folder.head("small")).etag == xxh3_128(b"x").hexdigest()


async def test_look_after_a_listing_hashes_only_files_that_had_not_settled(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []

    def noting(path: bytes) -> tuple[FileStamp, str]:
        hashed.append(path)
        return folder_file.hash_file(path)

    monkeypatch.setattr(folder_store, "hash_file", noting)
    path = folder.put("k")
    for age, looks in ((1999, 2), (2001, 1)):
        folder.now = path.stat().st_ctime_ns // 1_000_000 + age
        await folder.keys()
        assert (await folder.head("k")).etag == xxh3_128(b"x").hexdigest()

        assert len(hashed) == looks
        hashed.clear()


async def test_look_after_a_listing_sees_a_file_replaced_since(folder: Folder) -> None:
    folder.put("k", b"x")
    await folder.keys()
    folder.put("new", b"y").rename(folder.bucket / "k")

    assert (await folder.head("k")).etag == xxh3_128(b"y").hexdigest()


async def list_and_change(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """List a file `k` with content `x`, and make it `y` behind its stamp."""
    path = folder.put("k", b"x")
    stamp = FileStamp.of(path.stat())
    monkeypatch.setattr(FileStamp, "of", lambda _status: stamp)
    await folder.keys()
    path.write_bytes(b"y")


async def test_look_trusts_no_listing_that_a_reader_has_found_wrong(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write through a memory map changes no stamp until the page is written back."""
    await list_and_change(folder, monkeypatch)
    found = await folder.head("k")
    assert found.etag == xxh3_128(b"x").hexdigest()

    with pytest.raises(ObjectChanged):
        await found.read()

    assert (await folder.head("k")).etag == xxh3_128(b"y").hexdigest()


async def test_look_trusts_no_listing_found_wrong_although_the_next_could_not_hash(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await list_and_change(folder, monkeypatch)
    with pytest.raises(ObjectChanged):
        await (await folder.head("k")).read()

    def failing(_path: bytes) -> tuple[FileStamp, str]:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(folder_store, "hash_file", failing)
        await folder.keys()

    assert (await folder.head("k")).etag == xxh3_128(b"y").hexdigest()


async def test_only_the_last_files_of_a_listing_are_kept_in_memory(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_etags, "LATEST", 3)
    for name in "abcde":
        folder.put(name)
    await folder.keys()

    assert [key for _bucket, key in folder.store._etags._latest] == ["c", "d", "e"]


async def test_file_that_settles_while_others_are_hashed_is_not_trusted(folder: Folder) -> None:
    """What was read of it may be from the tick of its last change, however long the page took."""
    path = folder.put("k")
    folder.now = path.stat().st_ctime_ns // 1_000_000 + 1
    hurry = folder.run

    def slow(function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        folder.now += LATER
        return hurry(function, *args)

    folder.store._run = slow
    folder.now -= LATER  # the listing itself takes one such turn before any is hashed
    await folder.keys()

    assert await remembered(folder, "k") is None


async def test_etags_are_remembered_once_the_file_has_settled(folder: Folder) -> None:
    path = folder.put("k", b"x" * LARGE)
    folder.now = path.stat().st_mtime_ns // 1_000_000 + 1999
    await folder.head("k")
    await folder.keys()
    assert await remembered(folder, "k") is None

    folder.now += 2
    await folder.head("k")

    assert await remembered(folder, "k") == (FileStamp.of(path.stat()), xxh3_128(b"x" * LARGE).hexdigest())


async def test_file_copied_with_an_old_time_settles_no_sooner(folder: Folder) -> None:
    path = folder.put("k", b"x" * LARGE)
    os.utime(path, ns=(0, 0))
    folder.now = path.stat().st_ctime_ns // 1_000_000 + 1999
    await folder.keys()

    assert await remembered(folder, "k") is None


async def test_changed_file_is_hashed_anew(folder: Folder) -> None:
    before = folder.put("k", b"x" * LARGE).stat().st_mtime_ns
    await folder.keys()
    os.utime(folder.put("k", b"y" * LARGE), ns=(before + 1_000_000,) * 2)  # both may be of one tick

    assert (await folder.head("k")).etag == xxh3_128(b"y" * LARGE).hexdigest()
    assert [found.etag async for found in folder.store.list("b")] == [xxh3_128(b"y" * LARGE).hexdigest()]


# Files in motion


def write_while_hashing(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> None:
    left = times
    hash_rest = folder_file._update_from

    def update_from(file: Any, digest: Any) -> None:
        nonlocal left
        hash_rest(file, digest)
        if left:
            left -= 1
            with path.open("ab") as more:
                more.write(b"more")

    monkeypatch.setattr(folder_file, "_update_from", update_from)


async def test_file_written_to_while_it_is_hashed_is_hashed_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.put("k", b"x" * LARGE)
    write_while_hashing(monkeypatch, path, times=1)
    found = await folder.head("k")

    assert await found.read() == b"x" * LARGE + b"more"


async def test_file_that_keeps_changing_is_looked_at_later(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.put("k", b"x" * LARGE)
    write_while_hashing(monkeypatch, path, times=2)

    with pytest.raises(TransientError, match="b/k is being written") as caught:
        await folder.head("k")

    assert caught.value.retry_after == 1.0


async def test_file_that_keeps_changing_is_listed_but_cannot_be_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.put("k", b"x" * LARGE)
    write_while_hashing(monkeypatch, path, times=2)
    (found,) = [found async for found in folder.store.list("b")]

    assert found.etag.startswith(UNSTABLE)
    assert await remembered(folder, "k") is None
    with pytest.raises(ObjectChanged):
        await found.read()


async def test_file_appended_to_while_it_is_read_is_noticed(folder: Folder) -> None:
    path = folder.put("k", b"x" * 3_000_000)
    found = await folder.head("k")
    with await found.open() as stream:
        stream.read(10)
        with path.open("ab") as more:
            more.write(b"y")
        with pytest.raises(ObjectChanged, match="was changed while it was being read"):
            stream.read()


async def test_file_overwritten_in_place_behind_its_stamp_is_noticed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one tick of the file system's clock leave the stamp as it was."""
    path = folder.put("k", b"x" * 3_000_000)
    found = await folder.head("k")
    stamp = FileStamp(3_000_000, 0, 0, 0)
    monkeypatch.setattr(FileStamp, "of", lambda _status: stamp)
    found._stamp = stamp  # type: ignore[attr-defined]
    with path.open("r+b") as file:
        file.seek(2_999_999)
        file.write(b"y")

    with await found.open() as stream, pytest.raises(ObjectChanged):
        stream.read()


async def test_wrong_etag_in_the_cache_is_dropped_once_a_reader_has_found_it_out(folder: Folder) -> None:
    """A write through a memory map changes no stamp until the page is written back."""
    folder.put("k", b"x" * LARGE)
    right = (await folder.head("k")).etag
    (stamp, _etag), wrong = folder.cache._etags["b", "k"], "0" * 32
    folder.cache._etags["b", "k"] = (stamp, wrong)
    for listed in (False, True):
        folder.cache._etags["b", "k"] = (stamp, wrong)
        folder.store = folder.opened()
        found = await (anext(folder.store.list("b")) if listed else folder.head("k"))
        assert found.etag == wrong
        with pytest.raises(ObjectChanged):
            await found.read()

        assert [item.etag async for item in folder.store.list("b")] == [right]
        assert (await folder.head("k")).etag == right


async def test_file_that_really_changed_is_no_fault_of_the_cache(folder: Folder) -> None:
    path = folder.put("k", b"x" * LARGE)
    found = await folder.head("k")
    before = path.stat().st_mtime_ns
    path.write_bytes(b"y" * LARGE)
    os.utime(path, ns=(before + 1_000_000,) * 2)  # both may be of one tick
    with pytest.raises(ObjectChanged):
        await found.read()

    assert folder.store._etags._wrong == set()


async def test_cache_that_fails_fails_no_look(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("k", b"x" * LARGE)
    found = await folder.head("k")
    folder.store._etags.doubt("b", "k")

    async def fail(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "disk full")

    for name in ("get_many", "put_many", "drop_many"):
        monkeypatch.setattr(folder.cache, name, fail)

    assert (await folder.head("k")).etag == found.etag
    assert [item.etag async for item in folder.store.list("b")] == [found.etag]
    assert folder.store._etags._wrong == {("b", "k")}


async def test_etags_of_files_that_are_gone_are_forgotten(folder: Folder) -> None:
    gone, _kept = folder.put("d/gone"), folder.put("d/kept")
    await folder.keys()
    gone.unlink()

    await folder.store.prune()

    assert list(folder.cache._etags) == [("b", "d/kept")]


@pytest.mark.parametrize("inode", [(1 << 63) + 5, (1 << 64) - 1, 1 << 62])
async def test_inode_of_64_bits_is_kept_in_the_ledger(inode: int) -> None:
    status = os.stat_result((0o100644, inode, 1, 1, 0, 0, 3, 0, 0, 0), {"st_mtime_ns": 1, "st_ctime_ns": 1})
    stamp = FileStamp.of(status)
    ledger = Ledger(sqlite_engine(None, inline), clock=lambda: 1, new_id=lambda: "id")
    await ledger.open()
    etags = FolderEtags(ledger)
    await etags.put_many("b", {"k": (stamp, "e"), "l": (stamp, "f")})
    assert await etags.get_many("b", ["k"]) == {"k": (stamp, "e")}
    await etags.drop_many("b", ["k"])
    assert [keys async for keys in etags.pages("b")] == [["l"]]
    await ledger.aclose()


async def test_keys_of_a_large_bucket_are_told_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_etags, "PAGE", 2)
    ledger = Ledger(sqlite_engine(None, inline), clock=lambda: 1, new_id=lambda: "id")
    await ledger.open()
    etags = FolderEtags(ledger)
    stamp = FileStamp(1, 1, 1, 1)
    await etags.put_many("b", dict.fromkeys("cadb", (stamp, "e")))
    seen = []
    async for keys in etags.pages("b"):
        seen.append(list(keys))
        await etags.drop_many("b", keys)
    await ledger.aclose()

    assert seen == [["a", "b"], ["c", "d"]]


async def test_file_cut_short_while_it_is_read_is_noticed(folder: Folder) -> None:
    path = folder.put("k", b"x" * 3_000_000)
    found = await folder.head("k")
    with await found.open() as stream:
        stream.read(10)
        os.truncate(path, 20)
        with pytest.raises(ObjectChanged):
            stream.read()


async def test_file_deleted_while_it_is_read_is_gone(folder: Folder) -> None:
    path = folder.put("k", b"x" * 3_000_000)
    found = await folder.head("k")
    with await found.open() as stream:
        stream.read(10)
        path.unlink()
        with pytest.raises(ObjectGone, match="was deleted while it was being read"):
            stream.read()


async def test_reader_gives_no_end_twice_and_takes_no_empty_buffer(folder: Folder) -> None:
    folder.put("k", b"abc")
    stream: Any = await (await folder.head("k")).open()
    with stream:
        assert stream.raw.readable()
        assert stream.raw.readinto(bytearray()) == 0
        assert stream.read() == b"abc"
        assert stream.read() == b""
        assert stream.raw.readall() == b""


# What the system refuses


def refuse(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def refused(path: bytes, *_: Any, **__: Any) -> Any:
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(folder_file, "_opened", refused)
    monkeypatch.setattr(folder_file, "open", refused, raising=False)


async def test_file_this_user_may_not_read_is_there_and_fails(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.put("k")
    with monkeypatch.context() as patch:
        refuse(patch, errno.EACCES)
        found = await folder.head("k")
        listed = [item.etag async for item in folder.store.list("b")]
        with pytest.raises(PermanentError, match="Permission denied: let the user of this service read it"):
            await found.read()
    assert found.etag.startswith(folder_file.UNREADABLE)
    assert listed == [found.etag]

    path.chmod(0o600)

    assert (await folder.head("k")).etag == xxh3_128(b"x").hexdigest()


async def test_disk_that_fails_is_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("k")
    found = await folder.head("k")
    refuse(monkeypatch, errno.EIO)

    with pytest.raises(TransientError, match="Input/output error"):
        await found.open()


@pytest.mark.parametrize("method", ["readinto", "readall"])
async def test_disk_that_fails_while_reading_is_tried_again(folder: Folder, method: str) -> None:
    folder.put("k", b"abc")
    stream: Any = await (await folder.head("k")).open()

    class Failing:
        def readinto(self, *_: Any) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        readall = readinto

        def close(self) -> None: ...

    stream.raw._file.close()
    stream.raw._file = Failing()
    with stream, pytest.raises(TransientError, match="Input/output error"):
        stream.raw.readinto(bytearray(1)) if method == "readinto" else stream.raw.readall()


async def test_file_that_vanishes_before_it_is_hashed_is_none(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("k")
    refuse(monkeypatch, errno.ENOENT)

    assert await folder.store.head("b", "k") is None


def refuse_folder(monkeypatch: pytest.MonkeyPatch, folder: Path, code: int) -> None:
    """Neither list a folder nor tell about what is in it, as the system does where this user may not read it."""
    scandir, stat, denied = os.scandir, os.stat, os.fsencode(folder)

    def refused_scandir(path: bytes) -> Any:
        if path == denied:
            raise OSError(code, os.strerror(code), path)
        return scandir(path)

    def refused_stat(path: Any, **options: Any) -> Any:
        if isinstance(path, bytes) and path.startswith(denied + b"/"):
            raise OSError(code, os.strerror(code), path)
        return stat(path, **options)

    monkeypatch.setattr(os, "scandir", refused_scandir)
    monkeypatch.setattr(os, "stat", refused_stat)


async def listed_until_denied(folder: Folder, prefix: str = "") -> tuple[list[str], str]:
    """Return the keys that were listed, and the error at the end."""
    keys: list[str] = []
    try:
        async for found in folder.store.list("b", prefix):
            keys.append(found.key)  # noqa: PERF401 (what comes before the error counts)
    except AccessDenied as error:
        return keys, error.message
    raise AssertionError("nothing was denied")


async def test_folder_that_this_user_may_not_read_is_told_after_everything_else(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("1", "a/k", "b/k", "c/k"):
        folder.put(key)
    refuse_folder(monkeypatch, folder.bucket / "b", errno.EACCES)

    keys, error = await listed_until_denied(folder)

    assert keys == ["1", "a/k", "c/k"]
    assert error == f"{folder.bucket}/b: Permission denied: let this user read it"
    assert await listed_until_denied(folder, "b/") == ([], error)
    assert await folder.keys("a/") == ["a/k"]


async def test_file_below_a_folder_that_this_user_may_not_read_is_not_gone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("b/k")
    refuse_folder(monkeypatch, folder.bucket / "b", errno.EACCES)

    with pytest.raises(AccessDenied, match="/b/b/k: Permission denied"):
        await folder.store.head("b", "b/k")


@pytest.mark.needs("unprivileged user")
@pytest.mark.parametrize("mode", [0o000, 0o600], ids=["neither list nor enter", "list, but not enter"])
async def test_listing_goes_around_a_folder_without_permission(folder: Folder, mode: int) -> None:
    for key in ("a/k", "b/1", "b/2", "c/k"):
        folder.put(key)
    (folder.bucket / "b").chmod(mode)

    keys, error = await listed_until_denied(folder)
    with pytest.raises(AccessDenied):
        await folder.store.head("b", "b/1")
    (folder.bucket / "b").chmod(0o700)

    assert keys == ["a/k", "c/k"]
    assert error.endswith("let this user read it" + (" (and 1 more)" if mode else ""))


async def test_disk_that_fails_ends_a_listing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("a/k")
    refuse_folder(monkeypatch, folder.bucket / "a", errno.EIO)

    with pytest.raises(TransientError, match=r"/b/a: Input/output error") as caught:
        await folder.keys()
    assert not isinstance(caught.value, AccessDenied)


async def test_look_the_system_refuses_is_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.fsencode(folder.put("a/k"))

    def refused(path: bytes, **_: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refused)
        with pytest.raises(TransientError, match="Permission denied"):
            folder_walk.find(os.path.dirname(path), "k")  # noqa: PTH120 (bytes)
