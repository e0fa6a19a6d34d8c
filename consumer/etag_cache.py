"""What a folder store remembers about files, so that unchanged ones are not read again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class FileStamp(NamedTuple):
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """Take the stamp from a look at the file."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class EtagCache(Protocol):
    """Stamps and ETags of files. Losing it costs time only."""

    async def get_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, tuple[FileStamp, str]]:
        """Return stamp and ETag of those keys that are known."""
        ...

    async def put_many(self, bucket: str, etags: Mapping[str, tuple[FileStamp, str]]) -> None:
        """Remember, replacing what was known."""
        ...
