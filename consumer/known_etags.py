"""What a folder store may rely on of its cache: ETags of files that have not changed for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import structlog

from consumer.etag_cache import EtagCache, FileStamp
from consumer.folder_walk import FoundFile

T = TypeVar("T")

log = structlog.get_logger("lakedrop.store")

SETTLED_AFTER_NS: Final = 2_000_000_000
"""A stamp says nothing about writes within one tick of the file system's clock: 10 ms at best, 2 s on FAT."""

LATEST: Final = 10_000
"""ETags kept in memory, some 5 MB: what a listing hashed is looked at next, and need not be hashed again."""

Etag = tuple[FileStamp, str]

_NOTHING: Final = (None, "")


class KnownEtags:
    """
    The ETags in a cache, but for those a reader found to be wrong.

    Losing the cache costs time only, so a cache that fails is logged and never fails a look.
    """

    def __init__(self, cache: EtagCache) -> None:
        self._cache = cache
        self._wrong: set[tuple[str, str]] = set()
        self._latest: dict[tuple[str, str], Etag] = {}
        """Those remembered last, the oldest first."""

    def doubt(self, bucket: str, key: str) -> None:
        """
        Take an ETag for wrong: the content is another although the stamp is the same. Any thread may say so.

        A write through a memory map changes no time until the system writes the page back.
        """
        self._wrong.add((bucket, key))

    async def of(self, bucket: str, files: Sequence[FoundFile]) -> dict[str, Etag]:
        """Return what is known about these very versions."""
        await self._forget(bucket, [file.key for file in files if (bucket, file.key) in self._wrong])
        entries = await self._tried(self._cache.get_many(bucket, [file.key for file in files])) or {}
        return {
            file.key: entries[file.key]
            for file in files
            if entries.get(file.key, _NOTHING)[0] == file.stamp and (bucket, file.key) not in self._wrong
        }

    def latest(self, bucket: str, file: FoundFile) -> Etag | None:
        """Return what is known about this very version if it is among the last that were remembered."""
        found = self._latest.get((bucket, file.key), _NOTHING)
        return found if found[0] == file.stamp and (bucket, file.key) not in self._wrong else None

    async def remember(self, bucket: str, found: Mapping[str, Etag], *, hashed_at: int) -> None:
        """Keep the ETags of those files that had not changed for a while when they were hashed, epoch milliseconds."""
        settled_before = hashed_at * 1_000_000 - SETTLED_AFTER_NS
        settled = {
            key: entry for key, entry in found.items() if max(entry[0].mtime_ns, entry[0].ctime_ns) <= settled_before
        }
        if settled:
            self._keep(bucket, settled)
            await self._tried(self._cache.put_many(bucket, settled))

    def _keep(self, bucket: str, settled: Mapping[str, Etag]) -> None:
        for key, entry in settled.items():
            self._latest.pop((bucket, key), None)
            self._latest[bucket, key] = entry
        for name in list(islice(self._latest, max(0, len(self._latest) - LATEST))):
            del self._latest[name]

    async def _forget(self, bucket: str, keys: Sequence[str]) -> None:
        """Drop wrong entries; those that cannot be dropped stay wrong."""
        if not keys:
            return
        wrong = {(bucket, key) for key in keys}
        for name in wrong:
            self._latest.pop(name, None)
        self._wrong -= wrong
        try:
            await self._cache.drop_many(bucket, keys)
        except Exception as error:  # noqa: BLE001 (a cache may fail in any way; no look does for it)
            self._wrong |= wrong
            _failed(error)

    async def prune(self, bucket: str, gone: Callable[[Sequence[str]], Awaitable[Sequence[str]]]) -> None:
        """Forget files; `gone` says which of some keys name none any more."""
        async for keys in self._cache.pages(bucket):
            await self._cache.drop_many(bucket, await gone(keys))

    @staticmethod
    async def _tried(answer: Awaitable[T]) -> T | None:
        try:
            return await answer
        except Exception as error:  # noqa: BLE001 (a cache may fail in any way; no look does for it)
            _failed(error)
            return None


def _failed(error: Exception) -> None:
    reason = f"{type(error).__name__}: {getattr(error, 'orig', error)}"  # SQLAlchemy's own text repeats the statement
    log.warning("etag_cache.failed", reason=reason, next_step="files are read again; look after the disk of ledger.db")
