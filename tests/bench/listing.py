"""
Listing a bucket: the S3 store against the paginator of aiobotocore, each in a process of its own.

The pages of the large bucket come from a server on this machine that has them ready, so that the client is what counts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import web
from pydantic import SecretStr

from consumer.s3_access import S3Access
from consumer.s3_client import S3Client
from consumer.s3_store import S3Store
from tests.bench import memory
from tests.bench.bench import Bench, megabytes
from tests.bench.report import Section
from tests.s3 import many
from tests.stack.minio import Minio
from tests.stack.s3 import ACCESS_KEY, REGION, SECRET_KEY
from tests.stack.server import Missing

CANNED: Final = 1_000_000
STORED: Final = 50_000
PAGE: Final = 1000
BUCKET: Final = "bench"

ENTRY: Final = (
    "<Contents><Key>orders/2026/PAGENUMBER/file-{:06}.csv</Key><LastModified>2026-11-21T09:00:00.123Z</LastModified>"
    "<ETag>&#34;{:032x}&#34;</ETag><Size>{}</Size><Owner><ID>02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66"
    "bdbf4</ID><DisplayName>bench</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>"
)


def listing(bench: Bench) -> Section:
    """A million keys from pages that are ready, and some on a real MinIO."""
    section = Section(
        "listing",
        "Listing a bucket",
        "Keys of 35 characters in pages of 1,000. CPU is the client's own: it is what limits both. The peer is the "
        "paginator of aiobotocore, which gives dictionaries; the S3 store gives objects, checked to be in order.",
        ("keys", "lakedrop, keys per CPU-second", "aiobotocore", "ratio", "seconds", "peak memory"),
    )
    keys = bench.of(CANNED, PAGE) // PAGE * PAGE
    with canned(keys) as url:
        _compare(section, f"{keys:,}, pages at hand", url, keys)
    keys = bench.of(STORED, PAGE)
    try:
        server = Minio.find(bench.folder)
    except Missing:
        section.observations.append("Without MinIO on this machine, `make stack` installs it.")
        return section
    try:
        server.start()
        asyncio.run(_fill(server, keys))
        _compare(section, f"{keys:,} on MinIO", server.url, keys)
    finally:
        server.close()
    return section


def _compare(section: Section, what: str, url: str, keys: int) -> None:
    ours, peer = (_measured(client, url, keys) for client in ("lakedrop", "aiobotocore"))
    section.note(
        what,
        f"{keys / ours['cpu']:,.0f}",
        f"{keys / peer['cpu']:,.0f}",
        f"{peer['cpu'] / ours['cpu']:.1f}",
        f"{ours['seconds']:.1f}, {peer['seconds']:.1f}",
        f"{megabytes(ours['memory'])}, {megabytes(peer['memory'])}",
    )


def _measured(client: str, url: str, keys: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.listing", client, url]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if found.pop("keys") != keys:
        raise RuntimeError(f"{client} did not list all keys of {url}")
    return found


async def _fill(server: Minio, keys: int) -> None:
    async with server.client() as client:
        await client.create_bucket(Bucket=BUCKET)
    sender = S3Client(_access(server.url))

    async def put(key: str) -> None:
        (await sender.send("PUT", BUCKET, key)).release()

    await many(put(f"orders/2026/{number // PAGE:010}/file-{number % PAGE:06}.csv") for number in range(keys))
    await sender.aclose()


def _access(url: str) -> S3Access:
    return S3Access(url, REGION, access_key=SecretStr(ACCESS_KEY), secret_key=SecretStr(SECRET_KEY))


# What runs in processes of their own


@contextmanager
def canned(keys: int) -> Iterator[str]:
    """Serve the pages of a bucket; yield the address."""
    command = [sys.executable, "-m", "tests.bench.listing", "serve", str(keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


async def serve(keys: int) -> None:
    """Answer every listing with the page that its token names, for ever."""
    entries = "".join(ENTRY.format(number, number * 7919, number) for number in range(PAGE))
    pages = keys // PAGE

    async def answer(request: web.Request) -> web.Response:
        number = int(request.query.get("continuation-token", "0"))
        more = number + 1 < pages
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix></Prefix><MaxKeys>{PAGE}</MaxKeys><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated><NextContinuationToken>{number + 1}</NextContinuationToken>"
            + entries.replace("PAGENUMBER", f"{number:010}")
            + "</ListBucketResult>"
        )
        return web.Response(body=body.encode(), content_type="application/xml")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


@asynccontextmanager
async def _ours(url: str) -> AsyncIterator[AsyncIterator[Any]]:
    store = S3Store(_access(url))
    await store._client.connected()  # as the peer is, before it is measured
    yield store.list(BUCKET)
    await store.aclose()


@asynccontextmanager
async def _peer(url: str) -> AsyncIterator[AsyncIterator[Any]]:
    async with get_session().create_client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=AioConfig(s3={"addressing_style": "path"}),
    ) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        yield (entry async for page in pages for entry in page.get("Contents", ()))


async def measure(client: str, url: str) -> None:
    """List the bucket once; print what it took."""
    async with (_ours if client == "lakedrop" else _peer)(url) as found:
        begun, used = time.monotonic(), time.process_time()
        keys = 0
        async for _ in found:
            keys += 1
        taken = {
            "keys": keys,
            "seconds": time.monotonic() - begun,
            "cpu": time.process_time() - used,
            "memory": memory.peak(),
        }
    print(json.dumps(taken))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[2])) if sys.argv[1] == "serve" else measure(sys.argv[1], sys.argv[2]))
