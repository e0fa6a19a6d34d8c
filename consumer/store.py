"""
Stores: buckets with objects, as S3 has them. `folder_store` serves the sub-folders of one folder.

Keys are compared in byte order (UTF-8) everywhere, as S3 lists them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from handlers.contract import StoredObject, TransientError


class NoSuchBucket(TransientError):
    """The bucket does not exist; the message names it and says how to make it."""


class Store(Protocol):
    """The only way to the objects."""

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        """
        Return the current version of one object, None when there is none.

        Raises:
            TransientError: The store did not answer.
        """
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        """
        Yield the objects below a prefix in byte order of their keys, in constant memory.

        A missing bucket raises `NoSuchBucket`.
        """
        ...

    async def buckets(self) -> Sequence[str]:
        """Return the names of the buckets, in byte order."""
        ...

    async def ping(self) -> None:
        """Raise with a reason when the store cannot be used."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and files."""
        ...
