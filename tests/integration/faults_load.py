"""CSV files that are written, replaced and deleted in a bucket while things break."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import md5
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from tests.stack.s3 import S3Server
from tests.waits import PATIENCE

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

Rows = Counter[tuple[str, str, int, int]]
"""Key, ETag, id and version of each row, with its number."""

CHANGED = ("alpha", "beta", "gamma")
"""Tables whose files a load changes by itself."""
TABLES = (*CHANGED, "contested")
FILES = 30
"""Of each table."""


class Load:
    """
    Changes the objects of one bucket.

    Args:
        chance: decides what is changed.
    """

    def __init__(self, store: S3Server, bucket: str, chance: random.Random) -> None:
        self.bucket = bucket
        self._store = store
        self._chance = chance
        self.written: dict[str, str] = {}
        """Text of each version that was perhaps written, by its ETag, the newest last."""
        self._news = asyncio.Event()
        self.changes = 0
        """That the store took."""
        self.refused = 0
        """That it did not take, or not say so."""
        self.pause = 0.0
        """Mean seconds between two changes; may be changed while it runs."""

    @asynccontextmanager
    async def running(self, pause: float = 0.01) -> AsyncIterator[None]:
        """Change something again and again."""
        self.pause = pause
        task = asyncio.create_task(self._run(), name="load")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _run(self) -> None:
        async with self._store.client() as client:
            while True:
                await self._change(client)
                await asyncio.sleep(self._chance.random() * 2 * self.pause)

    async def more(self, changes: int) -> None:
        """Wait until so many more have been made."""
        wanted = self.changes + changes
        async with asyncio.timeout(PATIENCE):
            while self.changes < wanted:
                self._news.clear()
                await self._news.wait()

    async def until_refused(self) -> None:
        """Wait until the store refuses one from now on."""
        before = self.refused
        async with asyncio.timeout(PATIENCE):
            while self.refused == before:
                self._news.clear()
                await self._news.wait()

    async def put_all(self, keys: list[str]) -> None:
        """Write one new version of each, several at once."""
        async with self._store.client() as client:
            await asyncio.gather(*(self._put(client, key) for key in keys))

    async def _change(self, client: S3Client) -> None:
        key = f"{self._chance.choice(CHANGED)}/{self._chance.randrange(FILES):03}.csv"
        try:
            if self._chance.random() < 0.2:
                await client.delete_object(Bucket=self.bucket, Key=key)
            else:
                await self._put(client, key)
            self.changes += 1
        except (ClientError, BotoCoreError):
            self.refused += 1
            await asyncio.sleep(0.1)
        self._news.set()

    async def _put(self, client: S3Client, key: str) -> None:
        version = self._chance.randrange(1 << 30)
        text = "id,version\n" + "".join(f"{number},{version}\n" for number in range(self._chance.choice((1, 5, 50))))
        body = text.encode()
        self.written[md5(body, usedforsecurity=False).hexdigest()] = text
        await client.put_object(Bucket=self.bucket, Key=key, Body=body)

    async def objects(self) -> dict[str, str]:
        """Return the ETag of each object there is now."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._store.client())
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
            return {
                found["Key"]: found["ETag"].strip('"') async for page in pages for found in page.get("Contents", ())
            }

    def rows(self, objects: dict[str, str]) -> Rows:
        """Return what the tables should hold of these objects."""
        found: Rows = Counter()
        for key, etag in objects.items():
            lines = csv.DictReader(io.StringIO(self.written[etag]))
            found.update((key, etag, int(row["id"]), int(row["version"])) for row in lines)
        return found
