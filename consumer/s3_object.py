"""Objects of an S3 store, and reading exactly the version that was found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO, Final

import aiohttp

from consumer.s3_client import DELAYS, FAILED, S3Client
from consumer.s3_errors import Refusal, translated
from consumer.s3_stream import opened
from consumer.store import UNSTABLE
from handlers.contract import ObjectChanged, ObjectGone, StoredObject, TransientError

if TYPE_CHECKING:
    from consumer.s3_stream import Streams

NOT_FOUND: Final = 404
PARTIAL: Final = 206
CHANGED: Final = frozenset({409, 412, 416})
"""409: of a write under way; 412: not this version; 416: the version there now ends before the byte asked for."""


class S3Object(StoredObject):
    """One version of an object."""

    __slots__ = ("_bucket", "_client", "_streams")

    def __init__(
        self, key: str, etag: str, size: int, modified: int, *, bucket: str, client: S3Client, streams: Streams
    ) -> None:
        super().__init__(key, etag or unnamed(size, modified), size, modified)
        self._bucket = bucket
        self._client = client
        self._streams = streams

    async def open(self) -> BinaryIO:
        """Open the content as a blocking stream, to be read in a thread; it outlives a cut connection."""
        download = Download(self._client, self._bucket, self)
        await download.check()
        return opened(download, self._streams)

    async def read(self) -> bytes:
        """Return the whole content."""
        async with aclosing(Download(self._client, self._bucket, self).chunks()) as chunks:
            return b"".join([chunk async for chunk in chunks])


class Download:
    """The bytes of one version, over as many connections as it takes."""

    def __init__(self, client: S3Client, bucket: str, found: StoredObject) -> None:
        self._client = client
        self._bucket = bucket
        self._found = found
        self._at = 0
        self._answer: aiohttp.ClientResponse | None = None

    async def check(self) -> None:
        """Look whether this version is there. Raises as `chunks` does."""
        try:
            answer = await self._client.send("HEAD", self._bucket, self._found.key)
        except Refusal as refusal:
            raise await self._why(refusal) from refusal
        answer.release()
        if unquoted(answer.headers.get("ETag", "")) != self._found.etag:
            raise self._changed()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """
        Yield the content.

        Raises:
            ObjectChanged, ObjectGone: The store no longer holds this version.
            AccessDenied: It may not be read.
            TransientError: The store did not answer, or cut the connection several times without giving anything.
        """
        failures = 0
        while True:
            self._answer = answer = await self._get()
            try:
                while chunk := await answer.content.readany():
                    failures = 0
                    self._at += len(chunk)
                    yield chunk
                cut = "the connection ended early"
            except FAILED as error:
                cut = f"{type(error).__name__}: {error}"
            finally:
                self.close()
            if self._at == self._found.size:
                return
            if self._at > self._found.size:
                raise self._changed()
            if failures == len(DELAYS):
                raise TransientError(f"{self._name}: cut off at byte {self._at:,} of {self._found.size:,}: {cut}")
            await asyncio.sleep(DELAYS[failures])
            failures += 1

    def close(self) -> None:
        """Let go of the connection, which serves again when everything was read."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    async def _get(self) -> aiohttp.ClientResponse:
        if self._found.etag.startswith(UNSTABLE):
            raise self._changed()
        headers = {"If-Match": quoted(self._found.etag)}
        if self._at:
            headers["Range"] = f"bytes={self._at}-"
        try:
            answer = await self._client.send("GET", self._bucket, self._found.key, headers=headers)
        except Refusal as refusal:
            raise await self._why(refusal) from refusal
        if unquoted(answer.headers.get("ETag", "")) != self._found.etag:  # some stores do not know If-Match
            answer.close()
            raise self._changed()
        if self._at and answer.status != PARTIAL:
            answer.close()
            raise TransientError(f"{self._name}: the store cannot go on at byte {self._at:,}, where it was cut off")
        return answer

    async def _why(self, refusal: Refusal) -> Exception:
        if refusal.status == NOT_FOUND:
            return ObjectGone(f"{self._name} was deleted")
        if refusal.status not in CHANGED:
            return translated(refusal, self._name, (await self._client.connected()).region)
        try:  # SeaweedFS answers 412 for an object that is gone, too
            (await self._client.send("HEAD", self._bucket, self._found.key)).close()
        except Refusal as second:
            if second.status == NOT_FOUND:
                return ObjectGone(f"{self._name} was deleted")
        return self._changed()

    @property
    def _name(self) -> str:
        return f"{self._bucket}/{self._found.key}"

    def _changed(self) -> ObjectChanged:
        return ObjectChanged(f"{self._name} has another version now")


def described(headers: Mapping[str, str]) -> tuple[str, int, int]:
    """Return ETag, bytes and time of writing (epoch milliseconds, whole seconds) as an answer names them."""
    written = headers.get("Last-Modified")
    at = 0 if written is None else int(parsedate_to_datetime(written).timestamp()) * 1000
    return unquoted(headers.get("ETag", "")), int(headers.get("Content-Length", 0)), at


def unnamed(size: int, modified: int) -> str:
    """Return the ETag of an object that the store gives none: it names no content, see `UNSTABLE`."""
    return f"{UNSTABLE}{size}-{modified}"


def unquoted(etag: str) -> str:
    """Return an ETag without its quotes, a weak one as it is."""
    return etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag


def quoted(etag: str) -> str:
    """Return an ETag as HTTP has it."""
    return etag if etag.startswith("W/") else f'"{etag}"'
