"""
A store whose buckets are folders: the sub-folders of one folder, which may be links to folders elsewhere.

`folder_walk` says what is a key, `folder_file` what is an ETag.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from consumer.etag_cache import EtagCache
from consumer.folder_file import (
    SMALL_FILE,
    UNREADABLE,
    ExactReader,
    Unstable,
    hash_file,
    provisional_etag,
    read_exactly,
)
from consumer.folder_walk import FoundFile, find, is_listed, walk
from consumer.folder_watch import RunBlocking
from consumer.known_etags import Etag, KnownEtags
from consumer.store import UNSTABLE, AccessDenied, NoSuchBucket
from handlers.contract import StoredObject, TransientError

T = TypeVar("T")

PAGE: Final = 1000
"""Keys per look into the cache and per trip to the thread."""
READ_BUFFER: Final = 1 << 20
UNSTABLE_RETRY: Final = 1.0
"""Seconds until a file that is being written is looked at again."""


class FolderObject(StoredObject):
    """One version of a file."""

    __slots__ = ("_doubt", "_path", "_run", "_stamp")

    def __init__(self, file: FoundFile, etag: str, run: RunBlocking, doubt: Callable[[], None]) -> None:
        super().__init__(file.key, etag, file.stamp.size, file.stamp.mtime_ns // 1_000_000)
        self._path = file.path
        self._stamp = file.stamp
        self._run = run
        self._doubt = doubt

    async def open(self) -> BinaryIO:
        """Open the file as a blocking stream that checks what it reads."""
        return io.BufferedReader(self._reader(), READ_BUFFER)

    async def read(self) -> bytes:
        """Return the whole content."""
        if self.size <= SMALL_FILE:
            return read_exactly(self._path, self._stamp, self.etag, self._doubt)
        return await self._run(self._content)

    def _reader(self) -> ExactReader:
        return ExactReader(self._path, self._stamp, self.etag, doubt=self._doubt)

    def _content(self) -> bytes:
        with self._reader() as reader:
            return reader.readall()


class FolderStore:
    """
    A `Store` of the folders below `root`.

    Args:
        root: Folder whose sub-folders are the buckets.
        cache: ETags of files that have not changed for a while.
        clock: Epoch milliseconds.
        run: Where large files are hashed and folders are listed.
        report: Called once with bucket, path and reason for each file that somebody may miss in a listing.
    """

    def __init__(
        self,
        root: Path,
        cache: EtagCache,
        *,
        clock: Callable[[], int],
        run: RunBlocking,
        report: Callable[[str, str, str], None],
    ) -> None:
        self._root = os.fsencode(root.absolute())
        self._etags = KnownEtags(cache)
        self._clock = clock
        self._run = run
        self._report = report
        self._reported: set[bytes] = set()

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        """
        Return the current version of one file; None also when there is no such bucket, as S3 answers.

        Raises:
            TransientError: The file is being written, or the system did not let us look.
        """
        file = find(self._path(bucket), key) if is_bucket_name(bucket) else None
        if file is None:
            return None
        found: Found | None = self._etags.latest(bucket, file)
        if found is None:
            # A small file is hashed in less time than the cache needs to answer.
            found = _hash(file) if file.stamp.size <= SMALL_FILE else await self._cached_or_hashed(bucket, file)
        if isinstance(found, Unstable):
            raise TransientError(f"{bucket}/{key} is being written", retry_after=UNSTABLE_RETRY) from found
        return self._object(bucket, file, found)

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        """
        Yield the files below a prefix in byte order of their keys.

        A file that is being written is listed under a provisional ETag (`store.UNSTABLE`): it is there, and what
        it will be is not known yet.

        Raises:
            NoSuchBucket: The folder is missing.
            AccessDenied: This user may not look at some files or folders; raised after all others were yielded.
            TransientError: The disk failed.
        """
        denied = _Denied()
        files = walk(self._existing(bucket), prefix, start_after, partial(self._report_once, bucket), denied.note)
        while page := await self._run(_take, files):
            known = await self._etags.of(bucket, page)
            small = [file for file in page if file.key not in known and file.stamp.size <= SMALL_FILE]
            hashed_at = self._clock()
            hashed = await self._run(_hash_all, small) if small else {}
            await self._remember(bucket, hashed, hashed_at)
            for file in page:
                found = known.get(file.key) or hashed.get(file.key) or await self._hashed(bucket, file)
                item = self._object(bucket, file, found)
                if item is not None:
                    yield item
        denied.raise_if_any()

    async def buckets(self) -> Sequence[str]:
        """Return the names of the folders, in byte order."""
        try:
            with os.scandir(self._root) as entries:
                folders = [entry.name.decode(errors="surrogateescape") for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []
        return sorted(filter(is_bucket_name, folders), key=str.encode)

    async def ping(self) -> None:
        """
        Look at the folder of the buckets.

        Raises:
            TransientError: It is missing or cannot be read.
        """
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise TransientError(f"{os.fsdecode(self._root)}: {error.strerror}: make it a folder of buckets") from error

    async def prune(self) -> None:
        """Forget the ETags of files that are gone."""
        for bucket in await self.buckets():
            await self._etags.prune(bucket, partial(self._run, _gone, self._path(bucket)))

    async def aclose(self) -> None:
        """Do nothing: only objects under way hold files, and whoever opened them closes them."""

    def _path(self, bucket: str) -> bytes:
        return self._root + b"/" + bucket.encode()

    def _existing(self, bucket: str) -> bytes:
        if not is_bucket_name(bucket):
            raise NoSuchBucket(f"{bucket!r} cannot be a bucket: its name must not be hidden, a path or an upload's")
        path = self._path(bucket)
        if not os.path.isdir(path):  # noqa: PTH112 (pathlib has no bytes)
            raise NoSuchBucket(f"no bucket `{bucket}`: create the folder {os.fsdecode(path)}")
        return path

    def _object(self, bucket: str, file: FoundFile, found: Found) -> FolderObject | None:
        doubt = partial(self._etags.doubt, bucket, file.key)
        match found:
            case stamp, etag:
                return FolderObject(FoundFile(file.key, file.path, stamp), etag, self._run, doubt)
            case FileNotFoundError() | NotADirectoryError():
                return None
            case Unstable():
                return FolderObject(file, provisional_etag(UNSTABLE, file.stamp), self._run, doubt)
            case _:
                return FolderObject(file, provisional_etag(UNREADABLE, file.stamp), self._run, doubt)

    async def _cached_or_hashed(self, bucket: str, file: FoundFile) -> Found:
        return (await self._etags.of(bucket, [file])).get(file.key) or await self._hashed(bucket, file)

    async def _hashed(self, bucket: str, file: FoundFile) -> Found:
        hashed_at = self._clock()
        found = await self._run(_hash, file)
        await self._remember(bucket, {file.key: found}, hashed_at)
        return found

    async def _remember(self, bucket: str, found: Mapping[str, Found], hashed_at: int) -> None:
        hashed = {key: entry for key, entry in found.items() if isinstance(entry, tuple)}
        await self._etags.remember(bucket, hashed, hashed_at=hashed_at)

    def _report_once(self, bucket: str, path: bytes, reason: str) -> None:
        if path not in self._reported:
            self._reported.add(path)
            self._report(bucket, path.decode(errors="backslashreplace"), reason)


class _Denied:
    """What a listing had to leave out: the first in words, the others counted."""

    def __init__(self) -> None:
        self._first = ""
        self._number = 0

    def note(self, error: AccessDenied) -> None:
        self._first = self._first or error.message
        self._number += 1

    def raise_if_any(self) -> None:
        if self._number:
            raise AccessDenied(self._first + (f" (and {self._number - 1:,} more)" if self._number > 1 else ""))


Found = Etag | Unstable | OSError
"""What hashing a file came to."""


def is_bucket_name(name: str) -> bool:
    """Say whether a bucket can have this name: a folder's that counts, in UTF-8."""
    try:
        return is_listed(name.encode())
    except UnicodeEncodeError:
        return False


def _take(files: Iterator[FoundFile]) -> Sequence[FoundFile]:
    return list(islice(files, PAGE))


def _gone(bucket: bytes, keys: Sequence[str]) -> Sequence[str]:
    return [key for key in keys if not os.path.lexists(bucket + b"/" + key.encode())]


def _hash(file: FoundFile) -> Found:
    try:
        return hash_file(file.path)
    except (Unstable, OSError) as error:
        return error


def _hash_all(files: Sequence[FoundFile]) -> dict[str, Found]:
    return {file.key: _hash(file) for file in files}
