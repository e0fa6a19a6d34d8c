"""Objects of a bucket, in memory."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from handlers.contract import StoredObject


class BytesObject(StoredObject):
    """One version of an object; `error` is what reading it ends in."""

    __slots__ = ("_content", "_error")

    def __init__(self, key: str, content: bytes, error: Exception | None = None) -> None:
        super().__init__(key, hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content), 1)
        self._content = content
        self._error = error

    async def open(self) -> BinaryIO:
        return io.BytesIO(await self.read())

    async def read(self) -> bytes:
        if self._error is not None:
            raise self._error
        return self._content
