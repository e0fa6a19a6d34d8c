"""
Signed requests to an S3 store, for what is asked often: looking, reading, listing.

aiobotocore finds keys, region and addresses, and botocore signs; what goes over the wire is aiohttp's. Measured, a HEAD
costs a third of aiobotocore's own in CPU time, a GET a fourth, a page of a listing a tenth. Signatures travel in
headers, never in an address that somebody may log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from aiobotocore.session import AioSession
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies
from yarl import URL

from consumer.s3_access import CONNECT_SECONDS, S3Access, credentials_of
from consumer.s3_errors import Refusal, described, unanswered
from consumer.store import NoSuchBucket
from handlers.contract import TransientError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client as AioS3Client

T = TypeVar("T")

CONNECTIONS: Final = 64
REFUSED: Final = 300
"""The first status that brings nothing; nobody is followed elsewhere with a signature for here."""

DELAYS: Final = (0.1, 0.5, 2.0)
"""Seconds before each further try: a listing of a thousand pages must outlive one that fails."""

FAILED: Final = (aiohttp.ClientError, TimeoutError, OSError)
"""What a connection that does not hold raises."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An opened way to the store."""

    session: AioSession
    aio: AioS3Client
    http: aiohttp.ClientSession
    credentials: Any
    region: str
    proxy: str | None


class S3Client:
    """Sends requests to one store; connects when it is first asked."""

    def __init__(self, access: S3Access) -> None:
        self._access = access
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._addresses: dict[str, str] = {}
        self.is_seaweed = False
        """The store is SeaweedFS; known once it has answered, and for good."""

    async def connected(self) -> Connection:
        """
        Return the connection, opened.

        Raises:
            AccessDenied: There are no keys.
            TransientError: The keys could not be fetched from where they are, or the settings name no usable address.
        """
        if self._connection is None:
            async with self._opening:
                if self._connection is None:
                    try:
                        self._connection = await self._connect()
                    except (BotoCoreError, ValueError, OSError) as error:
                        raise TransientError(f"the store cannot be reached: {described(error)}") from error
        return self._connection

    async def _connect(self) -> Connection:
        access = self._access
        session = access.session()
        credentials = await credentials_of(session)
        trust = await asyncio.to_thread(access.trust, session)
        aio = await access.client(session, self._stack)
        http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trust),
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=access.silence_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        )
        # Not `trust_env`: for each request it has a thread of the loop look for a file of passwords, and readers
        # of streams may hold all of these threads while they wait for just this request.
        where = aio.meta.endpoint_url
        proxy = get_environ_proxies(where).get(urlsplit(where).scheme)
        return Connection(session, aio, http, credentials, access.region_of(session), proxy)

    async def address_of(self, bucket: str) -> str:
        """
        Return the URL of a bucket, without a slash at its end.

        Raises:
            NoSuchBucket: No bucket can have this name.
        """
        address = self._addresses.get(bucket)
        if address is None:
            aio = (await self.connected()).aio
            try:
                # The address alone is wanted: the rules of host names, regions and paths are many.
                signed = await aio.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket})
            except BotoCoreError as error:
                raise NoSuchBucket(f"{bucket!r} cannot be a bucket: {described(error)}") from error
            address = self._addresses[bucket] = signed.partition("?")[0].rstrip("/")
        return address

    async def send(
        self, method: str, bucket: str, key: str = "", *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """
        Send a request and return the answer, its body still to be read.

        Raises:
            Refusal: The store answered with an error, and sending the request again would not change that.
            TransientError: It did not answer as it should, several times.
            AccessDenied: There are no keys.
            NoSuchBucket: No bucket can have this name.
        """
        url = await self._url(bucket, key, query)
        return await self._tried(method, url, headers or {}, _unread)

    async def fetch(self, bucket: str, *, query: str) -> bytes:
        """Return what a bucket answers to a GET, whole. Raises as `send` does."""
        return await self._tried("GET", await self._url(bucket, "", query), {}, _read)

    async def _url(self, bucket: str, key: str, query: str) -> str:
        return f"{await self.address_of(bucket)}/{quote(key, safe='/~')}" + (f"?{query}" if query else "")

    async def _tried(
        self, method: str, url: str, headers: Mapping[str, str], take: Callable[[aiohttp.ClientResponse], Awaitable[T]]
    ) -> T:
        for delay in (*DELAYS, None):
            try:
                answer = await self._sent(method, url, headers)
                if answer.status < REFUSED:
                    return await take(answer)
                refusal = Refusal.of(answer.status, await answer.read(), answer.headers)
            except aiohttp.ClientSSLError as error:
                raise unanswered(error) from error
            except FAILED as error:
                if delay is None:
                    raise unanswered(error) from error
            else:
                if not refusal.passing:
                    raise refusal
                if delay is None:
                    raise TransientError(f"the store answers {refusal}", retry_after=refusal.retry_after)
            await asyncio.sleep(delay)
        raise AssertionError

    async def _sent(self, method: str, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        connection = await self.connected()
        request = AWSRequest(method=method, url=url)
        signer = S3SigV4Auth(await connection.credentials.get_frozen_credentials(), "s3", connection.region)
        signer.add_auth(request)
        # Not signed: whoever stands between may change it.
        sent = {**dict(request.headers.items()), **headers, "Accept-Encoding": "identity"}
        answer = await connection.http.request(
            method, URL(url, encoded=True), headers=sent, allow_redirects=False, proxy=connection.proxy
        )
        if is_seaweed(answer.headers.get("Server", "")):  # an error page of a proxy says nothing of the store behind it
            self.is_seaweed = True
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        await self._stack.aclose()


async def _unread(answer: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    return answer


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    return await answer.read()


def is_seaweed(server: str) -> bool:
    """Say by the header `Server` of its answers whether a store is SeaweedFS."""
    return server.startswith("SeaweedFS")
