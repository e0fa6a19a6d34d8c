"""An `EtagCache` in a dictionary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from consumer.etag_cache import FileStamp


class MemoryEtagCache:
    def __init__(self) -> None:
        self._etags: dict[tuple[str, str], tuple[FileStamp, str]] = {}

    async def get_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, tuple[FileStamp, str]]:
        return {key: self._etags[bucket, key] for key in keys if (bucket, key) in self._etags}

    async def put_many(self, bucket: str, etags: Mapping[str, tuple[FileStamp, str]]) -> None:
        self._etags.update({(bucket, key): entry for key, entry in etags.items()})

    async def drop_many(self, bucket: str, keys: Sequence[str]) -> None:
        for key in keys:
            self._etags.pop((bucket, key), None)

    async def pages(self, bucket: str) -> AsyncIterator[Sequence[str]]:
        yield sorted(key for of, key in self._etags if of == bucket)
