"""What a folder store remembers about files, so that unchanged ones are not read again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class FileStamp(NamedTuple):
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    """As a signed number of 64 bits, as databases have them."""

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """Take the stamp from a look at the file."""
        # CIFS, FUSE and overlayfs use the highest bit of an inode's number.
        inode = status.st_ino - (1 << 64) if status.st_ino >= 1 << 63 else status.st_ino
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode)


class EtagCache(Protocol):
    """Stamps and ETags of files. Losing it costs time only."""

    async def get_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, tuple[FileStamp, str]]:
        """Return stamp and ETag of those keys that are known."""
        ...

    async def put_many(self, bucket: str, etags: Mapping[str, tuple[FileStamp, str]]) -> None:
        """Remember, replacing what was known."""
        ...

    async def drop_many(self, bucket: str, keys: Sequence[str]) -> None:
        """Forget some keys."""
        ...

    def pages(self, bucket: str) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of a bucket that are known, some at a time; what is dropped meanwhile disturbs nothing."""
        ...
