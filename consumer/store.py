"""
Stores: buckets with objects, as S3 has them. `folder_store` serves the sub-folders of one folder.

Keys are compared in byte order (UTF-8) everywhere, as S3 lists them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from handlers.contract import StoredObject, TransientError

UNSTABLE: Final = "unstable-"
"""
Begins the ETag of an object that a listing found while it was being written. It names no content: reading under it ends
in `ObjectChanged`, and `head` raises `TransientError` for such an object.
"""


class NoSuchBucket(TransientError):
    """The bucket does not exist; the message names it and says how to make it."""


class AccessDenied(TransientError):
    """The store refuses this user: until a person permits it, trying again changes nothing."""


class ListingDenied(TransientError):
    """The store refuses this user the bucket's whole listing, so nothing can be told from what was not listed."""


class Store(Protocol):
    """The only way to the objects."""

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        """
        Return the current version of one object, None when there is none, nor a bucket for it.

        Raises:
            TransientError: The store did not answer, or the object is being written.
        """
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        """
        Yield the objects below a prefix in byte order of their keys, in constant memory.

        Raises:
            NoSuchBucket: The bucket does not exist.
            AccessDenied: Some of the objects are kept from this user; raised after all others were yielded.
            ListingDenied: All of them are.
            TransientError: The store did not answer.
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
