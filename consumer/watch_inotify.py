"""
Folders watched by inotify, which is Linux'.

It is asked for changes alone. Watchers for every purpose have themselves told of each file that is opened, too: each
time the service opens one to read it, a thread of theirs is woken.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Final, Self

from inotify_simple import INotify, flags

from consumer.folder_walk import is_listed
from consumer.folder_watch import LOST, Noticed, RunBlocking

STEP: Final = 0.01
"""Seconds in which changes gather: a file that is written tells of several."""

_CHANGED: Final = flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE
_NEW: Final = flags.CREATE | flags.MOVED_TO
_GONE: Final = flags.DELETE | flags.MOVED_FROM
_SELF: Final = flags.DELETE_SELF | flags.MOVE_SELF
_ASKED: Final = _CHANGED | _NEW | _GONE | _SELF | flags.ONLYDIR

_NOT_WATCHED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})
"""A folder that vanished meanwhile, or that this user may not read."""


async def watch(
    root: Path, *, run: RunBlocking, stop: asyncio.Event, watching: asyncio.Event
) -> AsyncGenerator[Iterable[Noticed], None]:
    """
    Watch; see `Watch`.

    Raises:
        OSError: The root is missing, or the system lets this user watch no more folders.
    """
    loop = asyncio.get_running_loop()
    bell = asyncio.Event()
    stopping = asyncio.create_task(stop.wait())
    stopping.add_done_callback(lambda _task: bell.set())
    with _Tree(root) as tree:
        try:
            await run(tree.add, tree.root)
            watching.set()
            while not stop.is_set():
                loop.add_reader(tree, bell.set)
                await bell.wait()
                loop.remove_reader(tree)  # it would ring at every turn until the changes are read
                await asyncio.sleep(STEP)
                bell.clear()
                noticed = tree.read()
                for folder in tree.new_folders(noticed):  # before anybody searches them: what comes later is told
                    await run(tree.add, folder)
                yield dict.fromkeys(noticed)
        finally:
            loop.remove_reader(tree)
            stopping.cancel()


class _Tree:
    """The watched folders below a root."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._inotify = INotify(nonblocking=True)
        self._paths: dict[int, str] = {}
        """Of the folders, by the number of their watch."""
        self._added: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._inotify.close()

    def fileno(self) -> int:
        """Return what can be waited for."""
        number: int = self._inotify.fileno()
        return number

    def add(self, folder: str) -> None:
        """
        Watch a folder and all below it. Blocking.

        Only links to folders in the root are followed: others are no folders of a bucket.

        Raises:
            OSError: It is the root, and missing; or there are too many.
        """
        left = [folder]
        while left:
            path = left.pop()
            try:
                number = self._inotify.add_watch(path, _ASKED)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise OSError(errno.ENOSPC, "too many folders: raise fs.inotify.max_user_watches", path) from error
                if error.errno not in _NOT_WATCHED or path == self.root:
                    raise OSError(error.errno, error.strerror, path) from error
                continue
            if self._paths.setdefault(number, path) == path:
                left += self._folders_in(path)

    def _folders_in(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return [
                    entry.path
                    for entry in entries
                    if is_listed(os.fsencode(entry.name)) and entry.is_dir(follow_symlinks=path == self.root)
                ]
        except OSError:
            return []

    def read(self) -> list[Noticed]:
        """Return what was told since."""
        noticed = []
        for number, mask, _cookie, name in self._inotify.read(timeout=0):
            if mask & flags.Q_OVERFLOW:
                noticed.append(LOST)
                continue
            folder = self._paths.get(number)
            if folder is None:  # it was moved away
                continue
            if mask & flags.IGNORED:
                del self._paths[number]
            elif mask & _SELF or not name:
                if mask & _SELF and folder == self.root:
                    noticed.append(Noticed(folder, gone=True))
            else:
                change = Noticed(f"{folder}/{name}", bool(mask & _GONE), bool(mask & _NEW), bool(mask & flags.ISDIR))
                noticed.append(change)
                if change.folder and change.gone:
                    self._forget(change.path)
                elif change.folder and change.new:
                    self._added.append(change.path)
        return noticed

    def _forget(self, folder: str) -> None:
        """End the watches of a folder that is elsewhere now: its changes would be told under its old name."""
        below = f"{folder}/"
        for number, path in list(self._paths.items()):
            if path == folder or path.startswith(below):
                del self._paths[number]
                try:
                    self._inotify.rm_watch(number)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # it was deleted, and its watch with it
                        raise

    def new_folders(self, noticed: Iterable[Noticed]) -> list[str]:
        """Return the folders that are to be watched now; all of them when some may have been missed."""
        added, self._added = self._added, []
        return [self.root] if LOST in noticed else added
