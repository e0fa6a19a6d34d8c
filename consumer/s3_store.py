"""A store that speaks S3: Amazon's, MinIO, SeaweedFS, versitygw and whatever else does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Self

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from consumer.s3_access import S3Access
from consumer.s3_client import S3Client
from consumer.s3_errors import Refusal, translated, unanswered
from consumer.s3_listing import Listings
from consumer.s3_object import NOT_FOUND, S3Object, described
from consumer.s3_page import Page, page_query, parsed
from consumer.s3_stream import Streams
from consumer.settings import Settings
from consumer.store import AccessDenied, ListingDenied, NoSuchBucket
from handlers.contract import HandlerError, StoredObject, TransientError

log = structlog.get_logger("lakedrop.store")

NUL: Final = "\0"
MAX_KEY: Final = 1024
"""Bytes of the longest key."""

BAD_REQUEST: Final = 400

NAME_CODES: Final = frozenset({"NoSuchKey", "KeyTooLongError", "InvalidObjectName", "XMinioInvalidObjectName"})
"""What stores answer when asked for an object whose name they would not take."""


class S3Store:
    """
    A `Store`. It connects when it is first asked something.

    The names of buckets are the store's own. Of a versioned bucket the current versions are all there is.
    """

    def __init__(self, access: S3Access) -> None:
        self._client = S3Client(access)
        self._streams = Streams()
        self._listings: dict[str, Listings] = {}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the store that the settings name."""
        return cls(S3Access.of(settings))

    @property
    def is_seaweed(self) -> bool:
        """Whether it was SeaweedFS that answered last: its events come by a bridge."""
        return self._client.is_seaweed

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        """
        Return the current version of one object, None when there is none, nor a bucket for it.

        Raises:
            AccessDenied: The store refuses this user.
            TransientError: The store did not answer.
        """
        if not is_key(key):
            return None
        try:
            answer = await self._client.send("HEAD", bucket, key)
        except NoSuchBucket:
            return None
        except Refusal as refusal:
            if refusal.status == NOT_FOUND or (refusal.status == BAD_REQUEST and await self._is_no_key(bucket, key)):
                return None
            raise await told(self._client, refusal, f"{bucket}/{key}") from refusal
        answer.release()
        etag, size, modified = described(answer.headers)
        if is_path(key) and not await self._is_listed(bucket, key):
            return None
        if not etag:
            raise TransientError(f"{bucket}/{key}: the store gives it no ETag; write it through S3")
        return self._object(bucket, key, etag, size, modified)

    async def _is_no_key(self, bucket: str, key: str) -> bool:
        """
        Tell whether the store refused to look because no object can have this name.

        A HEAD's answer has no body, and status 400 may as well speak of keys of ours that have run out.
        """
        try:
            (await self._client.send("GET", bucket, key)).close()
        except Refusal as refusal:
            return refusal.code in NAME_CODES
        return False

    async def _is_listed(self, bucket: str, key: str) -> bool:
        if self._client.is_seaweed and "//" in key:  # it keeps `a//b` as `a/b`, and lists it under either name
            return False
        page = await _Pages(self._client, bucket).page(key, "", "")
        return any(entry.key == key for entry in page.entries)

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[StoredObject]:
        """
        Yield the objects below a prefix in byte order of their keys.

        Raises:
            NoSuchBucket: The bucket does not exist.
            ListingDenied: This user may not list it.
            TransientError: The store did not answer.
        """
        if start_after and start_after > prefix and not start_after.startswith(prefix):
            return
        listings = self._listings.get(bucket)
        if listings is None:
            listings = self._listings[bucket] = Listings(bucket, _Pages(self._client, bucket))
        async with aclosing(listings.pages(prefix, start_after)) as pages:
            async for page in pages:
                for key, etag, size, modified in page:
                    if NUL in key:
                        log.warning("object.unlisted", bucket=bucket, key=key, reason="no ledger can hold its name")
                        continue
                    yield self._object(bucket, key, etag, size, modified)

    def _object(self, bucket: str, key: str, etag: str, size: int, modified: int) -> S3Object:
        return S3Object(key, etag, size, modified, bucket=bucket, client=self._client, streams=self._streams)

    async def buckets(self) -> Sequence[str]:
        """Return the names of the buckets, in byte order. Raises as `ping`, and when this user may not list them."""
        try:
            found = await (await self._client.connected()).aio.list_buckets()
        except ClientError as error:
            raise await told(self._client, _refusal(error), "the list of buckets") from error
        except (BotoCoreError, OSError) as error:
            raise unanswered(error) from error
        return sorted((bucket["Name"] for bucket in found.get("Buckets", ())), key=str.encode)

    async def ping(self) -> None:
        """
        Ask for the buckets: a user who may not list them is one the store knows.

        Raises:
            AccessDenied: There are no keys, or the store does not know them.
            TransientError: The store did not answer.
        """
        try:
            await self.buckets()
        except AccessDenied as error:
            cause = error.__cause__
            if not (isinstance(cause, ClientError) and _refusal(cause).code == "AccessDenied"):
                raise

    async def aclose(self) -> None:
        """End open streams and close all connections."""
        await self._streams.aclose()
        await self._client.aclose()


class _Pages:
    """The pages of one bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def page(self, prefix: str, after: str, token: str, *, folders: bool = False) -> Page:
        """Fetch a page. Raises as `S3Store.list` does."""
        query = page_query(prefix, after, token, folders=folders)
        try:
            return parsed(await self._client.fetch(self._bucket, query=query), self._bucket)
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                reason = f"no bucket `{self._bucket}`: create it in the store, or correct the route"
                raise NoSuchBucket(reason) from refusal
            error = await told(self._client, refusal, f"bucket {self._bucket}")
            if isinstance(error, AccessDenied):
                raise ListingDenied(error.message) from refusal
            raise error from refusal

    @property
    def is_a_tree(self) -> bool:
        """Whether it is SeaweedFS that answers."""
        return self._client.is_seaweed


async def told(client: S3Client, refusal: Refusal, what: str) -> HandlerError:
    """Return the error of the contract for a refusal."""
    return translated(refusal, what, (await client.connected()).region)


def is_key(key: str) -> bool:
    """Say whether objects have keys like this here: 1 to 1,024 bytes of UTF-8, and no NUL, which PostgreSQL refuses."""
    try:
        return 0 < len(key.encode()) <= MAX_KEY and NUL not in key
    except UnicodeEncodeError:
        return False


def is_path(key: str) -> bool:
    """Say whether a store that takes keys for paths may find something else by it: MinIO finds `a/b` by `/a/b`."""
    return not {"", ".", ".."}.isdisjoint(key.split("/"))


def _refusal(error: ClientError) -> Refusal:
    answer = error.response
    meta = answer.get("ResponseMetadata", {})
    told = answer.get("Error", {})
    return Refusal(
        meta.get("HTTPStatusCode", 0), told.get("Code", ""), told.get("Message", ""), meta.get("HTTPHeaders", {})
    )
