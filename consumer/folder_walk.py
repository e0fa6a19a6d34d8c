"""
Files of a folder as keys of a bucket. Blocking.

A key is the path of a file below its bucket, in UTF-8, unchanged. Not listed, and not found either: names that begin
with a dot or end in `.part` or `.tmp` (uploads under way), links to folders (they may lead in circles), links that lead
out of the bucket, names that are not UTF-8, and whatever is not a regular file. Paths are bytes throughout, so the
locale of the process does not matter.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeGuard

from consumer.etag_cache import FileStamp
from consumer.store import AccessDenied
from handlers.contract import TransientError

UPLOAD_SUFFIXES: Final = (b".part", b".tmp")

_PATH: Final = frozenset(b"/\0")
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})

Report = Callable[[bytes, str], None]
"""Takes a path that is left out although somebody may have meant it, and why."""


class FoundFile(NamedTuple):
    """A file at one moment."""

    key: str
    path: bytes
    stamp: FileStamp


def is_listed(name: bytes) -> bool:
    """Say whether a file or folder of this name counts: neither hidden, nor an upload under way, nor a path."""
    return (
        bool(name)
        and not name.startswith(b".")
        and not name.lower().endswith(UPLOAD_SUFFIXES)
        and _PATH.isdisjoint(name)
    )


def is_utf8(name: str) -> bool:
    """Say whether a name, as Python tells those of the system, is UTF-8; other bytes are half surrogate pairs in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def find(bucket: bytes, key: str) -> FoundFile | None:
    """
    Return the file a key names, None when there is none.

    Raises:
        TransientError: The system did not let us look.
    """
    try:
        *parents, name = key.encode().split(b"/")
    except UnicodeEncodeError:
        return None
    folder = _folder(bucket, parents)
    if folder is None or not is_listed(name):
        return None
    path = folder + b"/" + name
    status = _status(path)
    if status is not None and stat.S_ISLNK(status.st_mode):
        status = _status(path, follow=True) if _stays_inside(bucket, path) else None
    return FoundFile(key, path, FileStamp.of(status)) if _is_file(status) else None


def walk(
    bucket: bytes, prefix: str, start_after: str, report: Report, deny: Callable[[AccessDenied], None]
) -> Iterator[FoundFile]:
    """
    Yield the files whose keys begin with `prefix` and come after `start_after`, in byte order of their keys.

    Holds the names of one folder per level. What vanishes meanwhile is left out. So is what this user may not look at,
    and `deny` is told: those who take absence for deletion must know.

    Raises:
        AccessDenied: This user may not look at the folder that the prefix names.
        TransientError: The disk failed; leaving a folder out would make its files look deleted.
    """
    try:
        wanted, after = prefix.encode(), start_after.encode()
    except UnicodeEncodeError:
        return
    start = _folder(bucket, wanted.split(b"/")[:-1])
    levels = [] if start is None else [_entries(bucket, start, wanted, after, report)]
    while levels:
        path = next(levels[-1], None)
        try:
            if path is None:
                levels.pop()
            elif path.endswith(b"/"):
                levels.append(_entries(bucket, path[:-1], wanted, after, report))
            elif _is_file(status := _status(path, follow=True)):
                yield FoundFile(path[len(bucket) + 1 :].decode(), path, FileStamp.of(status))
        except AccessDenied as error:
            deny(error)


def _entries(bucket: bytes, folder: bytes, wanted: bytes, after: bytes, report: Report) -> Iterator[bytes]:
    """Return the paths in a folder that may matter, sub-folders with a trailing slash, in byte order of their keys."""
    base = len(bucket) + 1
    paths = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_listed(entry.name):
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                path = entry.path + b"/" if is_folder else entry.path
                key = path[base:]
                if not _matters(key, wanted, after, is_folder=is_folder):
                    continue
                fault = _fault(bucket, entry)
                if fault:
                    report(entry.path, fault)
                else:
                    paths.append(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise _unreadable(error) from error
    paths.sort()
    return iter(paths)


def _matters(key: bytes, wanted: bytes, after: bytes, *, is_folder: bool) -> bool:
    if is_folder:
        return (key.startswith(wanted) or wanted.startswith(key)) and (key > after or after.startswith(key))
    return key.startswith(wanted) and key > after


def _fault(bucket: bytes, entry: os.DirEntry[bytes]) -> str | None:
    try:
        entry.name.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8: rename it"
    if not entry.is_symlink():
        return None
    if not _stays_inside(bucket, entry.path):
        return "it is a link that leads out of the bucket: copy the file instead"
    if os.path.isdir(entry.path):  # noqa: PTH112 (pathlib has no bytes; `entry.is_dir` raises where this user may not look)
        return "it is a link to a folder: copy the folder instead"
    return None


def _folder(bucket: bytes, segments: list[bytes]) -> bytes | None:
    """Return the path of a folder in the bucket, None when a segment is not listed or not a folder."""
    path = bucket
    for segment in segments:
        path += b"/" + segment
        status = _status(path) if is_listed(segment) else None
        if status is None or not stat.S_ISDIR(status.st_mode):
            return None
    return path


def _is_file(status: os.stat_result | None) -> TypeGuard[os.stat_result]:
    return status is not None and stat.S_ISREG(status.st_mode)


def _status(path: bytes, *, follow: bool = False) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow)  # noqa: PTH116 (pathlib has no bytes)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _unreadable(error) from error


def _stays_inside(bucket: bytes, path: bytes) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(bucket) + b"/")


def _unreadable(error: OSError) -> TransientError:
    message = f"{error.filename.decode(errors='backslashreplace')}: {error.strerror}: let this user read it"
    return AccessDenied(message) if error.errno in _DENIED else TransientError(message)
