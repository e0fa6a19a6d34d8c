"""A store whose buckets are folders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from handlers.contract import StoredObject

T = TypeVar("T")


class FileStamp(NamedTuple):
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class EtagCache(Protocol):
    """Remembers the ETags of files, so that unchanged ones are not read again. Losing it costs time only."""

    async def get_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, tuple[FileStamp, str]]:
        """Return stamp and ETag of those keys that are known."""
        ...

    async def put_many(self, bucket: str, etags: Mapping[str, tuple[FileStamp, str]]) -> None:
        """Remember, replacing what was known."""
        ...


class RunBlocking(Protocol):
    """Runs blocking code on a thread other than the event loop's."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Call the function there and return its result."""
        ...


class FolderStore:
    """A `Store` of the folders below `root`."""

    def __init__(
        self,
        root: Path,
        cache: EtagCache,
        *,
        clock: Callable[[], int],
        run: RunBlocking,
        report: Callable[[str, str, str], None],
    ) -> None:
        raise NotImplementedError

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        """Return the current version of one file."""
        raise NotImplementedError

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        """Yield the files below a prefix in byte order of their keys."""
        raise NotImplementedError

    async def buckets(self) -> Sequence[str]:
        """Return the names of the folders."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Raise when the folder of the buckets is missing."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Do nothing: no file stays open."""
        raise NotImplementedError
