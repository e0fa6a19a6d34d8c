"""
Events of the folders that serve as buckets.

A change is announced once the file has rested, a deletion at once. What the system's notifications cannot tell in full
(a renamed folder, thousands of changes at once, a watcher that died) becomes a request for a sweep of the bucket.
What happens below a folder that this user may not read is not seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from consumer.etag_cache import FileStamp
from consumer.events import ObjectEvent
from consumer.folder_search import bucket_names, is_folder, search
from consumer.folder_walk import find, is_listed, is_utf8
from consumer.folder_watch import LOST, Noticed, RunBlocking, Watch
from handlers.contract import TransientError

if sys.platform == "linux":
    from consumer.watch_inotify import watch
else:
    from consumer.watch_anywhere import watch

SYSTEM_WATCH: Final[Watch] = watch
"""What suits this system."""
REST: Final = 0.1
"""Seconds that size and modification time of a file must hold before it is announced."""
BURST: Final = 1000
"""Changes of a bucket under way at once that a sweep handles better than events do."""
CALM: Final = 0.3
"""Seconds without a change that end a burst."""
LONGEST_BURST: Final = 5.0
"""Seconds after which the sweep is asked for although changes go on."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds until a watcher that died is started again; doubled each time."""
HEALTHY_AFTER: Final = 60.0
"""Seconds after which a watcher that dies is not the same trouble again."""

log = structlog.get_logger()


class _Resting(NamedTuple):
    stamp: FileStamp
    until: float
    """Loop time."""


@dataclass(slots=True)
class _Bucket:
    """Changes of one bucket that were seen and not announced yet."""

    resting: dict[str, _Resting] = field(default_factory=dict)
    """By key, the earliest first."""
    gone: dict[str, None] = field(default_factory=dict)
    sweep_at: float | None = None
    """Loop time; while set, changes need no announcement of their own."""
    sweep_latest: float = 0.0
    sweep_reason: str = ""

    def due(self) -> float | None:
        if self.gone:
            return 0.0
        if self.resting:
            return next(iter(self.resting.values())).until
        return self.sweep_at


class FolderEvents:
    """
    Watches the folders below `root`.

    Args:
        root: Folder whose sub-folders are the buckets; must exist.
        emit: Takes each event; may wait.
        sweep: Takes a bucket and the reason why it should be swept; must return at once.
        clock: Epoch milliseconds.
        run: Where folders are searched.
        watch: What tells of changes.
    """

    def __init__(
        self,
        root: Path,
        *,
        emit: Callable[[ObjectEvent], Awaitable[None]],
        sweep: Callable[[str, str], None],
        clock: Callable[[], int],
        run: RunBlocking,
        watch: Watch = SYSTEM_WATCH,
    ) -> None:
        self.ready = asyncio.Event()
        """
        Set when the watch is in place: later changes are announced, a listing begun now covers the earlier ones. Set
        also when it cannot be put in place: listings must not wait for it, and a sweep is asked for once it is.
        """
        self._root = root.absolute()
        self._below = f"{self._root}/"
        self._emit = emit
        self._sweep = sweep
        self._clock = clock
        self._run = run
        self._changes = watch
        self._buckets: dict[str, _Bucket] = {}
        self._folders: set[str] = set()
        """Paths of known folders, `bucket/...`: not every system says what was deleted."""
        self._bell = asyncio.Event()
        self._missed = False
        """Changes may have been missed, and no sweep was asked for since."""

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            announcing = tasks.create_task(self._announce_all())
            await self._keep_watching(stop)
            announcing.cancel()

    # Watching

    async def _keep_watching(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not stop.is_set():
            started = loop.time()
            try:
                await self._watch(stop)
            except Exception as error:  # noqa: BLE001 (whatever it died of, it must live again)
                if loop.time() - started >= HEALTHY_AFTER:
                    pause = FIRST_PAUSE
                self.ready.set()
                if self._missed:  # it died before `_started` could ask; it may never live that long
                    await self._ask_for_all("the watcher keeps dying")
                self._missed = True
                reason = _innermost(error)
                log.error("folder_events.watcher_died", error=reason, restart_in_seconds=pause)  # noqa: TRY400 (not our stack)
                try:
                    async with asyncio.timeout(pause):
                        await stop.wait()
                except TimeoutError:
                    pause = min(pause * 2, LONGEST_PAUSE)

    async def _watch(self, stop: asyncio.Event) -> None:
        watching = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(self._started(watching))
            changes = self._changes(self._root, run=self._run, stop=stop, watching=watching)
            async with contextlib.aclosing(changes):
                async for some in changes:
                    for noticed in some:
                        await self._note(noticed)
            starting.cancel()

    async def _started(self, watching: asyncio.Event) -> None:
        """Learn the folders; after a restart, have everything swept that may have been missed."""
        await watching.wait()
        self.ready.set()
        if self._missed:
            await self._ask_for_all("the watcher was restarted")
        for bucket in await self._run(bucket_names, self._root):
            found = await self._run(search, self._root, bucket, BURST)
            self._folders.update(found.folders)

    async def _ask_for_all(self, reason: str) -> None:
        with contextlib.suppress(OSError):  # without the root there is nothing to sweep
            for bucket in await self._run(bucket_names, self._root):
                self._ask_for_sweep(bucket, reason)
        self._missed = False

    async def _note(self, noticed: Noticed) -> None:
        """Take up a change; what counts is what is there now, the notification may be old."""
        path = noticed.path
        name = path.removeprefix(self._below)
        if name == path:
            if noticed is LOST:
                await self._ask_for_all("more changes at once than the system tells of")
            elif noticed.gone:
                raise FileNotFoundError(f"{path} was deleted: create it again")
            return
        if not all(is_listed(os.fsencode(segment)) for segment in name.split("/")):
            return
        bucket, _, key = name.partition("/")
        if not is_utf8(name):
            if noticed.new and is_utf8(bucket):
                self._ask_for_sweep(bucket, f"names in {bucket} are not UTF-8")
        elif noticed.gone and (noticed.folder or name in self._folders):
            self._folders.discard(name)
            self._ask_for_sweep(bucket, f"the folder {name} vanished")
        elif not noticed.gone and (is_folder(path) if noticed.folder is None else noticed.folder):
            await self._note_folder(bucket, name, new=noticed.new)
        elif key:
            self._look(bucket, key)

    async def _note_folder(self, bucket: str, name: str, *, new: bool) -> None:
        """Take up what lies in a new folder: it may have come before the watch reached it, or with the folder."""
        if not new and name in self._folders:
            return
        found = await self._run(search, self._root, name, BURST)
        self._folders.update(found.folders)
        for file in found.files:
            self._look(bucket, file.partition("/")[2])
        if found.odd_names:
            self._ask_for_sweep(bucket, f"names below {name} are not UTF-8")

    def _look(self, bucket: str, key: str) -> None:
        """Let a file rest, or remember that it is gone."""
        now = asyncio.get_running_loop().time()
        changes = self._buckets.setdefault(bucket, _Bucket())
        self._bell.set()
        if changes.sweep_at is not None:
            changes.sweep_at = min(now + CALM, changes.sweep_latest)
            return
        changes.resting.pop(key, None)
        stamp = self._stamp(bucket, key)
        if stamp is None:
            changes.gone[key] = None
        else:
            changes.gone.pop(key, None)
            changes.resting[key] = _Resting(stamp, now + REST)
        if len(changes.resting) + len(changes.gone) >= BURST:
            self._ask_for_sweep(bucket, f"{BURST} changes at once")

    def _ask_for_sweep(self, bucket: str, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        changes = self._buckets.setdefault(bucket, _Bucket())
        changes.resting.clear()
        changes.gone.clear()
        if changes.sweep_at is None:
            changes.sweep_latest = now + LONGEST_BURST
            changes.sweep_reason = reason
        changes.sweep_at = min(now + CALM, changes.sweep_latest)
        self._bell.set()

    # Announcing

    async def _announce_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for bucket, changes in list(self._buckets.items()):
                try:
                    await self._announce(bucket, changes, loop.time())
                except TransientError as error:
                    log.warning("folder_events.not_announced", bucket=bucket, error=error.message, next_step="sweep")
                    self._ask_for_sweep(bucket, "an event could not be announced")
            self._buckets = {bucket: changes for bucket, changes in self._buckets.items() if changes.due() is not None}
            try:
                async with asyncio.timeout_at(
                    min((changes.due() or 0.0 for changes in self._buckets.values()), default=None)
                ):
                    await self._bell.wait()
            except TimeoutError:
                continue
            self._bell.clear()

    async def _announce(self, bucket: str, changes: _Bucket, now: float) -> None:
        while changes.gone:
            key = next(iter(changes.gone))
            del changes.gone[key]
            await self._emit(ObjectEvent(bucket, key, "removed", self._clock()))
        while changes.resting:
            key, resting = next(iter(changes.resting.items()))
            if resting.until > now:
                break
            del changes.resting[key]
            stamp = self._stamp(bucket, key)
            if stamp == resting.stamp:
                await self._emit(ObjectEvent(bucket, key, "created", self._clock(), size=stamp.size))
            else:
                self._look(bucket, key)
        if changes.sweep_at is not None and changes.sweep_at <= now:
            changes.sweep_at = None
            self._sweep(bucket, changes.sweep_reason)

    def _stamp(self, bucket: str, key: str) -> FileStamp | None:
        try:
            file = find(os.fsencode(self._below + bucket), key)
        except TransientError:
            return _UNKNOWN  # it is there; whoever looks at the unit finds out what is wrong with it
        return None if file is None else file.stamp


_UNKNOWN: Final = FileStamp(0, 0, 0, 0)


def _innermost(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
