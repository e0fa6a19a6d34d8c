"""What tests of S3 share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from pydantic import SecretStr

from consumer.s3_access import S3Access
from tests.stack.s3 import S3Server

AT_ONCE = 16


def access_of(server: S3Server, *, url: str | None = None, secret_key: str | None = None) -> S3Access:
    """Return the way to a server, or to what stands before it at another address."""
    return S3Access(
        url or server.url,
        access_key=SecretStr(server.access_key),
        secret_key=SecretStr(server.secret_key if secret_key is None else secret_key),
    )


async def many(calls: Iterable[Awaitable[object]]) -> None:
    """Await calls, some at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[object]) -> None:
        async with gate:
            await call

    await asyncio.gather(*map(one, calls))
