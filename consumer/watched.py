"""An object whose reader is watched: how far it got is shown to a person."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, Final, cast

from handlers.contract import StoredObject

_BUFFER: Final = 1 << 20


class Watched(StoredObject):
    """
    An object as the store gave it.

    Args:
        found: The object.
        reading: Called, from the thread that reads, with the object and the bytes read of it so far.
    """

    __slots__ = ("_found", "_reading")

    def __init__(self, found: StoredObject, reading: Callable[[StoredObject, int], None]) -> None:
        super().__init__(found.key, found.etag, found.size, found.modified)
        self._found = found
        self._reading = reading

    async def open(self) -> BinaryIO:
        """Open the content; every block read is told."""
        raw = _WatchedStream(await self._found.open(), lambda size: self._reading(self, size))
        return io.BufferedReader(raw, _BUFFER)

    async def read(self) -> bytes:
        """Return the whole content."""
        content = await self._found.read()
        self._reading(self, len(content))
        return content


class _WatchedStream(io.RawIOBase):
    def __init__(self, stream: BinaryIO, told: Callable[[int], None]) -> None:
        self._stream = stream
        self._told = told
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast("io.BufferedReader", self._stream).readinto(buffer)
        self._size += count
        self._told(self._size)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()
