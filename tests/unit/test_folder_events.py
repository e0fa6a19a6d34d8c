"""Announcements of a real folder; each test waits for what is announced, never for time."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from inotify_simple import Event, INotify, flags

from consumer import folder_events, folder_search, watch_anywhere
from consumer.broker_port import BrokerUnavailable
from consumer.events import ObjectEvent
from consumer.folder_events import FolderEvents
from consumer.folder_walk import walk
from consumer.folder_watch import Watch
from handlers.contract import TransientError

T = TypeVar("T")

WATCHES: dict[str, Watch] = {"system": folder_events.SYSTEM_WATCH, "anywhere": watch_anywhere.watch}


def only_linux(test: Callable[..., Any]) -> Any:
    """Run a test with inotify alone."""
    chosen = pytest.mark.parametrize("watch", ["system"], indirect=True)(test)
    return pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux'")(chosen)


NOW = 1_795_218_843_114

HOUR = 3600.0
"""Seconds; what rests for so long ends only when a test lets the time pass, however long the test takes."""


def in_thread(function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
    return asyncio.to_thread(function, *args)


class Watched:
    """A folder of buckets under watch, and what was announced of it: (kind, bucket/key) or ("sweep", bucket)."""

    def __init__(self, root: Path, watch: Watch) -> None:
        self.root = root
        self.bucket = root / "b"
        self.bucket.mkdir(parents=True)
        self.announced: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.events: list[ObjectEvent] = []
        self.reasons: list[str] = []
        self.fault: Exception | None = None
        self.stop = asyncio.Event()
        self.watcher = FolderEvents(
            root, emit=self.emit, sweep=self.sweep, clock=lambda: NOW, run=in_thread, watch=watch
        )
        self.running: asyncio.Task[None] | None = None
        loop, self._ahead = asyncio.get_running_loop(), 0.0
        time = loop.time
        loop.time = lambda: time() + self._ahead  # type: ignore[method-assign]  # a loop of this test alone

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, and what is due by then be done."""
        self._ahead += seconds
        for _ in range(20):
            await asyncio.sleep(0)

    async def until_rests(self, key: str, size: int) -> None:
        """Wait until the watcher has seen a file with so many bytes."""

        def rests() -> bool:
            bucket = self.watcher._buckets.get("b")
            return bucket is not None and key in bucket.resting and bucket.resting[key].stamp.size == size

        await self.until_so(rests)

    async def until_so(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 (the watcher tells nobody)
                await asyncio.sleep(0.005)

    async def start(self) -> None:
        self.running = asyncio.create_task(self.watcher.run(self.stop))
        async with asyncio.timeout(60):
            await self.watcher.ready.wait()

    async def end(self) -> None:
        """Stop, and see that it ends well."""
        self.stop.set()
        assert self.running is not None
        async with asyncio.timeout(60):
            await self.running

    async def emit(self, event: ObjectEvent) -> None:
        if self.fault:
            raise self.fault
        self.events.append(event)
        self.announced.put_nowait((event.kind, f"{event.bucket}/{event.key}"))

    def sweep(self, bucket: str, reason: str) -> None:
        self.reasons.append(reason)
        self.announced.put_nowait(("sweep", bucket))

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(60):
            return await self.announced.get()

    async def until(self, expected: tuple[str, str]) -> list[tuple[str, str]]:
        """Return what was announced before `expected`."""
        before = []
        while (announced := await self.next()) != expected:
            before.append(announced)
        return before


@pytest.fixture(params=WATCHES)
def watch(request: pytest.FixtureRequest) -> Watch:
    found: Watch = WATCHES[request.param]
    return found


@pytest.fixture
async def watched(tmp_path: Path, watch: Watch) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "buckets", watch)
    await watched.start()
    yield watched
    await watched.end()


async def test_new_file_is_announced_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_events, "REST", HOUR)
    key = "dir x/ünï€ +%🦆\n.csv"
    (watched.bucket / "dir x").mkdir()
    (watched.bucket / key).write_bytes(b"abc")
    await watched.until_rests(key, 3)
    (watched.bucket / "later").touch()
    await watched.until_rests("later", 0)  # all that the system tells of the first came before
    await watched.pass_by(HOUR)

    assert {await watched.next(), await watched.next()} == {("created", f"b/{key}"), ("created", "b/later")}
    assert ObjectEvent("b", key, "created", NOW, size=3) in watched.events
    assert watched.announced.empty()


async def test_changed_file_is_announced_again(watched: Watched) -> None:
    path = watched.bucket / "k"
    for content in ("a", "b"):
        path.write_text(content)

        assert await watched.next() == ("created", "b/k")


async def test_growing_file_is_announced_when_it_rests(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_events, "REST", HOUR)
    with (watched.bucket / "k").open("wb", buffering=0) as file:
        for size in range(1, 21):
            file.write(b"x")
            await watched.until_rests("k", size)
            await watched.pass_by(HOUR / 2)  # a slow upload, that in all takes longer than a rest
            assert watched.announced.empty()

    await watched.pass_by(HOUR)
    assert await watched.next() == ("created", "b/k")
    assert watched.events[0].size == 20


async def test_deletion_is_announced(watched: Watched) -> None:
    path = watched.bucket / "k"
    path.touch()
    await watched.until(("created", "b/k"))
    path.unlink()

    assert await watched.next() == ("removed", "b/k")


async def test_file_deleted_while_it_rests_is_announced_as_removed(watched: Watched) -> None:
    path = watched.bucket / "k"
    path.touch()
    path.unlink()

    assert await watched.next() == ("removed", "b/k")


async def test_renamed_file_is_removed_and_created(watched: Watched) -> None:
    (watched.bucket / "old").touch()
    await watched.until(("created", "b/old"))
    (watched.bucket / "old").rename(watched.bucket / "new")

    assert await watched.next() == ("removed", "b/old")
    assert await watched.next() == ("created", "b/new")


async def test_finished_upload_is_announced_under_its_name(watched: Watched) -> None:
    (watched.bucket / "k.csv.part").write_text("x")
    (watched.bucket / ".k.csv.tmp").write_text("x")
    (watched.bucket / "k.csv.part").rename(watched.bucket / "k.csv")

    assert await watched.next() == ("created", "b/k.csv")


async def test_files_outside_of_buckets_and_links_out_are_not_announced(watched: Watched, tmp_path: Path) -> None:
    (watched.root / "file").touch()
    (tmp_path / "secret").touch()
    (watched.bucket / "link").symlink_to(tmp_path / "secret")
    (watched.bucket / ".git").mkdir()
    (watched.bucket / ".git/k").touch()
    (watched.bucket / "k").touch()

    announced = {await watched.next() for _ in range(2)}

    assert announced == {("removed", "b/link"), ("created", "b/k")}


async def test_files_that_come_with_their_folders_are_announced(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "in/deep/.hidden").mkdir(parents=True)
    for name in ("1", "deep/2", "deep/.hidden/3", "deep/.4"):
        (tmp_path / "in" / name).touch()
    (tmp_path / "in").rename(watched.bucket / "in")

    assert {await watched.next(), await watched.next()} == {("created", "b/in/1"), ("created", "b/in/deep/2")}


async def test_name_that_is_not_utf8_in_a_moved_folder_asks_for_a_sweep_and_the_watch_goes_on(
    watched: Watched, tmp_path: Path
) -> None:
    """A listing reports such names."""
    (tmp_path / "in").mkdir()
    for name in (b"in/k", b"in/\xff.csv"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (tmp_path / "in").rename(watched.bucket / "in")

    assert await watched.until(("sweep", "b")) == []
    assert watched.reasons == ["names below b/in are not UTF-8"]
    (watched.bucket / "in/later").touch()
    assert await watched.next() == ("created", "b/in/later")


async def test_moved_folder_whose_name_is_not_utf8_is_left_to_sweeps(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/in/\xff")  # noqa: PTH102 (pathlib has no bytes)
    (tmp_path / "in").rename(watched.bucket / "in")

    await watched.until(("sweep", "b"))
    assert watched.running is not None
    assert not watched.running.done()
    assert watched.events == []


def test_bucket_whose_name_is_not_utf8_is_no_bucket(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")  # noqa: PTH102 (pathlib has no bytes)

    assert folder_search.bucket_names(tmp_path) == ["b"]


@pytest.mark.needs("unprivileged user")
async def test_folder_that_cannot_be_read_does_not_end_the_watch(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    for name in "abcd":
        (watched.bucket / name).mkdir()
    (watched.bucket / "b").chmod(0)
    await watched.start()
    for name in "acd":
        (watched.bucket / name / "k").touch()
    (watched.bucket / "b").chmod(0o700)

    assert {await watched.next() for _ in "acd"} == {("created", f"b/{name}/k") for name in "acd"}
    assert "watcher_died" not in capsys.readouterr().out
    await watched.end()


def test_everything_beside_a_folder_that_cannot_be_read_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/in/denied", "b/in/x/y", "b/z", "c/d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b/file").touch()
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if os.fspath(path).endswith("/denied"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    assert folder_search.to_watch(tmp_path) == [str(tmp_path)]
    monkeypatch.setattr(os, "scandir", refused)

    assert folder_search.to_watch(tmp_path) == [
        str(tmp_path / name) for name in ("", "b", "b/in", "b/in/x", "b/z", "c")
    ]


async def test_new_bucket_is_watched(watched: Watched) -> None:
    (watched.root / "c/d").mkdir(parents=True)
    (watched.root / "c/d/k").touch()

    assert await watched.next() == ("created", "c/d/k")


async def test_linked_bucket_is_watched(tmp_path: Path, watch: Watch) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    (tmp_path / "elsewhere").mkdir()
    (watched.root / "linked").symlink_to(tmp_path / "elsewhere")
    await watched.start()
    (tmp_path / "elsewhere/k").touch()

    assert await watched.next() == ("created", "linked/k")
    await watched.end()


def move_in(watched: Watched, folder: Path) -> None:
    """Have a folder `d` with a file `k` come at once: made there, the system might tell of the file twice."""
    (folder / "d").mkdir()
    (folder / "d/k").touch()
    (folder / "d").rename(watched.bucket / "d")


async def test_vanished_folder_asks_for_a_sweep(watched: Watched, tmp_path: Path) -> None:
    move_in(watched, tmp_path)
    await watched.until(("created", "b/d/k"))
    (watched.bucket / "d").rename(tmp_path / "out")

    assert await watched.next() == ("sweep", "b")
    assert watched.reasons == ["the folder b/d vanished"]


async def test_folder_known_from_before_that_vanishes_asks_for_a_sweep(tmp_path: Path, watch: Watch) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    (watched.bucket / "d/e").mkdir(parents=True)
    await watched.start()
    await watched.until_so(lambda: "b/d/e" in watched.watcher._folders)
    (watched.bucket / "d/e").rename(tmp_path / "out")

    assert await watched.next() == ("sweep", "b")
    await watched.end()


async def test_touched_folder_is_not_announced(watched: Watched, tmp_path: Path) -> None:
    move_in(watched, tmp_path)
    await watched.until(("created", "b/d/k"))
    (watched.bucket / "d").chmod(0o700)
    (watched.bucket / "later").touch()

    assert await watched.next() == ("created", "b/later")


async def test_burst_asks_for_one_sweep_instead(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_events, "BURST", 50)
    monkeypatch.setattr(folder_events, "REST", HOUR)  # the system may tell of fewer at first
    for number in range(500):
        (watched.bucket / str(number)).touch()

    assert await watched.until(("sweep", "b")) == []
    assert watched.reasons == ["50 changes at once"]
    (watched.bucket / "later").touch()
    await watched.until_rests("later", 0)
    await watched.pass_by(HOUR)
    assert await watched.next() == ("created", "b/later")


async def test_folder_with_a_burst_of_files_asks_for_a_sweep(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_events, "BURST", 50)
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(60):
            (tmp_path / "in" / name / str(number)).touch()
    (tmp_path / "in").rename(watched.bucket / "in")

    assert await watched.until(("sweep", "b")) == []


async def test_endless_burst_is_swept_in_between(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_events, "BURST", 10)
    monkeypatch.setattr(folder_events, "LONGEST_BURST", 0.3)

    async def write() -> None:
        for number in range(1_000_000):
            (watched.bucket / str(number % 20)).write_text(str(number))
            await asyncio.sleep(0.001)  # yields to the watcher

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        await watched.until(("sweep", "b"))
        await watched.until(("sweep", "b"))
        writing.cancel()


async def test_event_that_cannot_be_announced_becomes_a_sweep(watched: Watched) -> None:
    watched.fault = BrokerUnavailable("down")
    (watched.bucket / "k").touch()

    assert await watched.next() == ("sweep", "b")
    assert watched.reasons == ["an event could not be announced"]


async def test_file_that_cannot_be_looked_at_is_announced(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise TransientError("Permission denied")

    monkeypatch.setattr(folder_events, "find", refused)
    (watched.bucket / "k").touch()

    assert await watched.next() == ("created", "b/k")


@pytest.mark.parametrize("watch", ["anywhere"], indirect=True)
async def test_watcher_that_dies_is_restarted_and_asks_for_sweeps(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is not UTF-8 kills it."""
    (watched.root / "c").mkdir()
    Path(os.fsdecode(os.fsencode(watched.bucket) + b"/\xff")).touch()

    assert {await watched.next(), await watched.next()} == {("sweep", "b"), ("sweep", "c")}
    assert set(watched.reasons) == {"the watcher was restarted"}
    assert "watcher_died" in capsys.readouterr().out
    (watched.bucket / "k").touch()
    assert await watched.next() == ("created", "b/k")


@only_linux
async def test_file_whose_name_is_not_utf8_asks_for_a_sweep_which_reports_it(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(os.fsdecode(os.fsencode(watched.bucket) + b"/\xff")).touch()

    assert await watched.next() == ("sweep", "b")
    assert watched.reasons == ["names in b are not UTF-8"]
    assert "watcher_died" not in capsys.readouterr().out
    (watched.bucket / "k").touch()
    assert await watched.next() == ("created", "b/k")


def lose(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have the next changes lost, and another that is made meanwhile, as when the queue of the system ran over."""
    read = INotify.read

    def overflow(inotify: INotify, timeout: int) -> list[Event]:
        monkeypatch.setattr(INotify, "read", read)
        change()
        read(inotify, timeout)
        return [Event(-1, flags.Q_OVERFLOW, 0, "")]

    monkeypatch.setattr(INotify, "read", overflow)


@only_linux
async def test_more_changes_than_the_system_tells_of_ask_for_sweeps_and_nothing_goes_unwatched(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folder nor its file is told of."""

    def make() -> None:
        (watched.bucket / "d").mkdir()
        (watched.bucket / "d/k").touch()

    lose(monkeypatch, make)
    (watched.bucket / "k").touch()

    assert await watched.next() == ("sweep", "b")
    assert watched.reasons == ["more changes at once than the system tells of"]
    (watched.bucket / "d/later").touch()
    assert await watched.next() == ("created", "b/d/later")


@only_linux
async def test_folder_renamed_while_changes_were_lost_is_told_of_under_its_new_name(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_in(watched, tmp_path)
    await watched.until(("created", "b/d/k"))
    lose(monkeypatch, lambda: (watched.bucket / "d").rename(watched.bucket / "e"))
    (watched.bucket / "k").touch()
    assert await watched.next() == ("sweep", "b")
    (watched.bucket / "e/later").touch()

    assert await watched.next() == ("created", "b/e/later")
    (watched.bucket / "e").rename(tmp_path / "out")
    assert await watched.next() == ("sweep", "b")


@only_linux
async def test_folder_moved_into_one_that_is_not_watched_yet_stays_watched(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_in(watched, tmp_path)
    await watched.until(("created", "b/d/k"))
    add_watch = INotify.add_watch

    def late(inotify: INotify, path: str, mask: int) -> int:
        if path.endswith("/new"):
            monkeypatch.setattr(INotify, "add_watch", add_watch)
            (watched.bucket / "d").rename(watched.bucket / "new/d")
        number: int = add_watch(inotify, path, mask)
        return number

    monkeypatch.setattr(INotify, "add_watch", late)
    (watched.bucket / "new").mkdir()
    await watched.until(("sweep", "b"))
    (watched.bucket / "new/d/later").touch()

    await watched.until(("created", "b/new/d/later"))
    assert INotify.add_watch is add_watch


@only_linux
async def test_folder_remade_at_once_and_then_moved_out_asks_for_a_sweep(watched: Watched, tmp_path: Path) -> None:
    folder = watched.bucket / "d"
    folder.mkdir()
    folder.rmdir()
    folder.mkdir()
    await watched.until(("sweep", "b"))
    (folder / "k").touch()
    await watched.until(("created", "b/d/k"))
    folder.rename(tmp_path / "out")

    assert await watched.next() == ("sweep", "b")


@only_linux
async def test_link_in_a_circle_keeps_nothing_from_being_watched(tmp_path: Path, watch: Watch) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    (watched.root / "circle").symlink_to(watched.root / "circle")
    (watched.root / "all").symlink_to(watched.root)
    await watched.start()
    (watched.bucket / "k").touch()

    assert {await watched.next(), await watched.next()} == {("created", "b/k"), ("created", "all/b/k")}
    await watched.end()


@only_linux
async def test_folder_that_cannot_be_searched_is_told_and_tried_again(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    scandir = os.scandir

    def full(path: Any) -> Any:
        if path == str(watched.root):
            monkeypatch.setattr(os, "scandir", scandir)
            raise OSError(errno.EMFILE, "Too many open files")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", full)
    await watched.start()

    assert await watched.next() == ("sweep", "b")
    assert "raise fs.inotify.max_user_instances" in capsys.readouterr().out
    (watched.bucket / "k").touch()
    await watched.until(("created", "b/k"))
    await watched.end()


@only_linux
@pytest.mark.parametrize("name", ["", "b"])
async def test_folder_that_is_unmounted_asks_for_a_sweep_and_is_watched_again(
    tmp_path: Path, watch: Watch, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    numbers: dict[str, int] = {}
    add_watch, read = INotify.add_watch, INotify.read

    def noting(inotify: INotify, path: str, mask: int) -> int:
        numbers[path] = add_watch(inotify, path, mask)
        return numbers[path]

    def unmounted(inotify: INotify, timeout: int) -> list[Event]:
        monkeypatch.setattr(INotify, "read", read)
        read(inotify, timeout)
        number = numbers[str(watched.root / name)]
        return [Event(number, flags.UNMOUNT, 0, ""), Event(number, flags.IGNORED, 0, "")]

    monkeypatch.setattr(INotify, "add_watch", noting)
    await watched.start()
    monkeypatch.setattr(INotify, "read", unmounted)
    (watched.bucket / "k").touch()

    assert await watched.next() == ("sweep", "b")
    (watched.bucket / "later").touch()
    await watched.until(("created", "b/later"))
    await watched.end()


@only_linux
async def test_bucket_that_is_linked_in_is_watched(watched: Watched, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (watched.root / "linked").symlink_to(tmp_path / name)
        (tmp_path / name / "k").touch()
        await watched.until(("created", "linked/k"))
        (watched.root / "linked").unlink()
        await watched.until(("sweep", "linked"))


@only_linux
async def test_folder_that_this_user_may_read_from_now_on_is_watched(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_watch = INotify.add_watch
    refused: list[str] = []

    def refuse(inotify: INotify, path: str, mask: int) -> int:
        if path.endswith("/d") and not refused:
            refused.append(path)
            raise PermissionError(errno.EACCES, "Permission denied")
        number: int = add_watch(inotify, path, mask)
        return number

    monkeypatch.setattr(INotify, "add_watch", refuse)
    (watched.bucket / "d").mkdir()
    await watched.until_so(lambda: bool(refused) and "b/d" in watched.watcher._folders)
    (watched.bucket / "d").chmod(0o700)
    (watched.bucket / "d/k").touch()

    assert await watched.next() == ("created", "b/d/k")


@only_linux
async def test_writing_to_a_file_whose_name_is_not_utf8_asks_for_no_second_sweep(watched: Watched) -> None:
    path = Path(os.fsdecode(os.fsencode(watched.bucket) + b"/\xff"))
    path.touch()
    assert await watched.next() == ("sweep", "b")
    path.write_text("more")
    (watched.bucket / "k").touch()

    assert await watched.next() == ("created", "b/k")


@only_linux
async def test_files_that_are_only_read_are_not_told_of(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    read = INotify.read

    def note(inotify: INotify, timeout: int) -> list[Event]:
        found: list[Event] = read(inotify, timeout)
        told.extend(found)
        return found

    monkeypatch.setattr(INotify, "read", note)
    (watched.bucket / "k").write_text("x")
    await watched.until(("created", "b/k"))
    assert told
    told.clear()
    (watched.bucket / "k").read_text()
    (watched.bucket / "later").touch()
    await watched.until(("created", "b/later"))

    assert {event.name for event in told} == {"later"}


@only_linux
async def test_folder_moved_within_the_bucket_is_told_of_under_its_new_name_alone(
    watched: Watched, tmp_path: Path
) -> None:
    move_in(watched, tmp_path)
    await watched.until(("created", "b/d/k"))
    (watched.bucket / "d").rename(watched.bucket / "e")
    assert await watched.next() == ("sweep", "b")
    (watched.bucket / "e/later").touch()

    assert await watched.next() == ("created", "b/e/later")


@only_linux
async def test_too_many_folders_are_told_with_what_to_do(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(INotify, "add_watch", full)
    watched = Watched(tmp_path / "buckets", watch)
    await watched.start()

    assert "raise fs.inotify.max_user_watches" in capsys.readouterr().out
    await watched.end()


async def test_root_that_is_deleted_is_watched_again_once_it_is_back(watched: Watched) -> None:
    shutil.rmtree(watched.root)
    watched.bucket.mkdir(parents=True)

    while "the watcher was restarted" not in watched.reasons:
        await watched.until(("sweep", "b"))
    (watched.bucket / "k").touch()
    await watched.until(("created", "b/k"))


async def test_watch_that_cannot_begin_holds_nobody_up(tmp_path: Path, watch: Watch) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    shutil.rmtree(watched.root)
    await watched.start()
    watched.bucket.mkdir(parents=True)

    assert await watched.next() == ("sweep", "b")
    await watched.end()


@pytest.mark.parametrize(
    ("healthy_after", "expected"), [(60.0, [0.001, 0.002, 0.004, 0.004]), (0.0, [0.001, 0.001, 0.001, 0.001])]
)
async def test_pause_grows_while_the_watcher_keeps_dying_soon(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, healthy_after: float, expected: list[float]
) -> None:
    monkeypatch.setattr(folder_events, "HEALTHY_AFTER", healthy_after)
    monkeypatch.setattr(folder_events, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(folder_events, "LONGEST_PAUSE", 0.004)
    pauses: asyncio.Queue[float] = asyncio.Queue()

    class Log:
        def error(self, _event: str, *, error: str, restart_in_seconds: float) -> None:
            assert "FileNotFoundError" in error
            pauses.put_nowait(restart_in_seconds)

    monkeypatch.setattr(folder_events, "log", Log())
    watched = Watched(tmp_path / "buckets", watch)
    shutil.rmtree(watched.root)
    running = asyncio.create_task(watched.watcher.run(watched.stop))
    async with asyncio.timeout(60):
        assert [await pauses.get() for _ in range(4)] == expected
        watched.stop.set()
        await running


async def test_stop_ends_the_pause(watched: Watched) -> None:
    shutil.rmtree(watched.root)
    watched.stop.set()


async def test_cancelling_ends_the_watch(tmp_path: Path, watch: Watch) -> None:
    watched = Watched(tmp_path / "buckets", watch)
    await watched.start()
    assert watched.running is not None
    watched.running.cancel()

    async with asyncio.timeout(60):
        await asyncio.gather(watched.running, return_exceptions=True)
    assert watched.running.cancelled()
    assert not watched.stop.is_set()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_is_announced_or_swept(
    tmp_path: Path, watch: Watch, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who does what it is told, and nothing else, knows every file."""
    monkeypatch.setattr(folder_events, "BURST", 30)
    watched = Watched(tmp_path / "buckets", watch)
    known: dict[str, int | None] = {}

    def files() -> dict[str, int | None]:
        found = walk(os.fsencode(watched.bucket), "", "", lambda *_: None, lambda *_: None)
        return {file.key: file.stamp.mtime_ns for file in found}

    async def emit(event: ObjectEvent) -> None:
        known.pop(event.key, None)
        path = watched.bucket / event.key
        if path.is_file():
            known[event.key] = path.stat().st_mtime_ns
        settled.set()

    def sweep(_bucket: str, _reason: str) -> None:
        known.clear()
        known.update(files())
        settled.set()

    settled = asyncio.Event()
    watched.watcher = FolderEvents(watched.root, emit=emit, sweep=sweep, clock=lambda: NOW, run=in_thread, watch=watch)
    await watched.start()
    chance = random.Random(seed)  # noqa: S311 (no secret)
    for _ in range(150):
        _disturb(watched.bucket, chance)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.choice([0, 0.01, 0.12]))  # falls between the steps of the watcher

    async with asyncio.timeout(60):
        while known != files():
            settled.clear()
            await settled.wait()
    watched.stop.set()
    assert watched.running is not None
    await watched.running


def _disturb(bucket: Path, chance: random.Random) -> None:
    folder = bucket.joinpath(*(chance.choice("ab") for _ in range(chance.randrange(3))))
    path = folder / chance.choice("wxyz")
    other = bucket / chance.choice("abcd") / chance.choice("ab")
    match chance.choice(["write", "write", "write", "delete", "rename", "move folder", "delete folder"]):
        case "write":
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(str(chance.random()))
        case "delete":
            path.unlink(missing_ok=True)
        case "rename" if path.exists():
            path.rename(folder / chance.choice("uv"))
        case "move folder" if folder != bucket and folder.exists() and not other.exists():
            other.parent.mkdir(exist_ok=True)
            if not other.is_relative_to(folder):
                folder.rename(other)
        case "delete folder" if folder != bucket:
            shutil.rmtree(folder, ignore_errors=True)
