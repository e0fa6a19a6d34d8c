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

from consumer.folder_search import is_folder
from consumer.folder_walk import is_listed
from consumer.folder_watch import LOST, Noticed, RunBlocking

STEP: Final = 0.01
GROUP: Final = 0.05
"""
Seconds: changes are handed over after a step without any, at the latest after a group. A file that is written tells of
several, and what is announced together is claimed together.
"""

_CHANGED: Final = flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE
_NEW: Final = flags.CREATE | flags.MOVED_TO
_GONE: Final = flags.DELETE | flags.MOVED_FROM
_SELF: Final = flags.DELETE_SELF | flags.MOVE_SELF
_ASKED: Final = _CHANGED | _NEW | _GONE | _SELF | flags.ONLYDIR

_NOT_WATCHED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})
"""A folder that vanished meanwhile, or that this user may not read."""

_LIMITS: Final = {
    errno.ENOSPC: "too many folders: raise fs.inotify.max_user_watches",
    errno.EMFILE: "too many watches or open files: raise fs.inotify.max_user_instances, or the limit of open files",
}


async def watch(
    root: Path, *, run: RunBlocking, stop: asyncio.Event, watching: asyncio.Event
) -> AsyncGenerator[Iterable[Noticed], None]:
    """
    Watch; see `Watch`. What is mounted over a folder later is not seen.

    Raises:
        OSError: The root is missing or cannot be read, or the system lets this user watch no more folders.
    """
    loop = asyncio.get_running_loop()
    bell = asyncio.Event()
    with _Tree(root) as tree:
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _task: bell.set())
        try:
            await run(tree.add, tree.root)
            watching.set()
            while not stop.is_set():
                loop.add_reader(tree, bell.set)
                await bell.wait()
                loop.remove_reader(tree)  # it would ring at every turn until the changes are read
                bell.clear()
                noticed: list[Noticed] = []
                latest = loop.time() + GROUP
                while True:
                    await asyncio.sleep(STEP)
                    more = tree.read()
                    noticed += more
                    if not more or loop.time() >= latest:
                        break
                # Before anybody searches new folders: what comes later is told.
                lost = LOST in noticed
                if tree.new or lost:
                    await run(tree.follow, lost)
                yield reversed(dict.fromkeys(reversed(noticed)))  # the last of equals: a folder may go and come again
        finally:
            loop.remove_reader(tree)
            stopping.cancel()


class _Tree:
    """The watched folders below a root. A folder that links lead to has several paths, and tells under each."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise _explained(error, self.root) from error
        self._paths: dict[int, set[str]] = {}
        """Of the folders, by the number of their watch."""
        self._numbers: dict[str, int] = {}
        self.new: list[str] = []
        """Paths to be watched, too, where they are folders."""

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

        Only links in the root are followed: others are no folders of a bucket.

        Raises:
            OSError: It is the root, and cannot be watched; or there are too many.
        """
        left = [folder]
        while left:
            path = left.pop()
            try:
                self._put(path, self._inotify.add_watch(path, _ASKED))
                left += self._folders_in(path)
            except OSError as error:
                if error.errno not in _NOT_WATCHED or path == self.root:
                    raise _explained(error, path) from error

    def _put(self, path: str, number: int) -> None:
        if self._numbers.get(path) != number:
            self._drop(path)
            self._numbers[path] = number
            self._paths.setdefault(number, set()).add(path)

    def _folders_in(self, path: str) -> list[str]:
        with os.scandir(path) as entries:
            return [
                entry.path
                for entry in entries
                if is_listed(os.fsencode(entry.name))
                and (entry.is_dir(follow_symlinks=False) or (path == self.root and is_folder(entry.path)))
            ]

    def follow(self, lost: bool) -> None:
        """Watch the folders that came; all there are when some may have been missed, or renamed. Blocking."""
        new, self.new = self.new, []
        if lost:
            before = set(self._paths)
            self._paths.clear()
            self._numbers.clear()
            self.add(self.root)
            for number in before - self._paths.keys():
                self._end(number)
        else:
            for path in dict.fromkeys(new):
                self.add(path)

    def read(self) -> list[Noticed]:
        """Return what was told since."""
        noticed: list[Noticed] = []
        for number, mask, _cookie, name in self._inotify.read(timeout=0):
            if mask & flags.Q_OVERFLOW:
                noticed.append(LOST)
                continue
            for folder in tuple(self._paths.get(number, ())):
                if mask & (flags.IGNORED | flags.UNMOUNT | _SELF):
                    self._take_end(folder, mask, noticed)
                elif name:
                    noticed.append(self._take(folder, name, mask))
        return noticed

    def _take_end(self, folder: str, mask: int, noticed: list[Noticed]) -> None:
        """Take up that a watched folder is gone from its place. Of most, its parent tells as well."""
        if folder == self.root:
            noticed.append(Noticed(folder, gone=True))
            return
        in_root = os.path.dirname(folder) == self.root  # noqa: PTH120 (it is asked for every folder)
        if mask & flags.UNMOUNT or (in_root and mask & _SELF):
            noticed.append(Noticed(folder, gone=True, folder=True))
            self.new.append(folder)  # another may be there by now
        elif mask & _SELF:
            return
        self._drop(folder)

    def _take(self, folder: str, name: str, mask: int) -> Noticed:
        """Take up what happened to a name in a folder."""
        path = f"{folder}/{name}"
        gone, new, is_dir = bool(mask & _GONE), bool(mask & _NEW), bool(mask & flags.ISDIR)
        may_be_link = folder == self.root and not is_dir
        if gone and (is_dir or may_be_link):
            self._forget(path, below=may_be_link or bool(mask & flags.MOVED_FROM))
        elif is_dir or may_be_link:
            new = new or path not in self._numbers  # this user may be let in only now
            if new and is_listed(os.fsencode(name)):
                self.new.append(path)
        return Noticed(path, gone, new, None if may_be_link else is_dir)

    def _forget(self, folder: str, *, below: bool) -> None:
        """Leave a folder that is elsewhere now: its changes would be told under its old name."""
        self._drop(folder)
        if below:
            for path in [path for path in self._numbers if path.startswith(f"{folder}/")]:
                self._drop(path)

    def _drop(self, path: str) -> None:
        number = self._numbers.pop(path, None)
        if number is not None:
            paths = self._paths[number]
            paths.discard(path)
            if not paths:
                del self._paths[number]
                self._end(number)

    def _end(self, number: int) -> None:
        try:
            self._inotify.rm_watch(number)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it ended by itself, when its folder was deleted
                raise


def _explained(error: OSError, path: str) -> OSError:
    return OSError(error.errno, _LIMITS.get(error.errno or 0, error.strerror), path)
