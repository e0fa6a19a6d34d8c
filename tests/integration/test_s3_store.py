"""The S3 store on a real MinIO, and what becomes of reading and listing when something goes wrong."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from aiohttp import web

from consumer.s3_access import S3Access
from consumer.s3_store import S3Store
from consumer.store import UNSTABLE, AccessDenied, ListingDenied, NoSuchBucket
from handlers.contract import ObjectChanged, ObjectGone, StoredObject, TransientError
from tests.s3 import access_of
from tests.stack.minio import Minio
from tests.stack.ports import LOOPBACK
from tests.stack.proxy import Proxy, proxied

LARGE = b"".join(b"%d\n" % number for number in range(4_000_000))
"""31 MB: more than is read ahead and than the buffers of the connections hold."""

ODD = ["+", "%2B", "\n", "\t", "\x01", "é", "🦆", "<&>\"'", "\\", "#?", "~", "=;:@$,", " ", "%", "*()!", "\x7f"]


@pytest.fixture
async def store(minio: Minio) -> AsyncIterator[S3Store]:
    store = S3Store(access_of(minio))
    yield store
    await store.aclose()


@asynccontextmanager
async def through_proxy(minio: Minio, *, silence_seconds: float = 30.0) -> AsyncIterator[tuple[Proxy, S3Store]]:
    async with proxied(minio.url) as (proxy, url):
        store = S3Store(replace(access_of(minio, url=url), silence_seconds=silence_seconds))
        try:
            yield proxy, store
        finally:
            await store.aclose()


async def put(minio: Minio, bucket: str, key: str, content: bytes) -> None:
    async with minio.client() as client:
        await client.put_object(Bucket=bucket, Key=key, Body=content)


async def found(store: S3Store, bucket: str, key: str) -> StoredObject:
    looked = await store.head(bucket, key)
    assert looked is not None
    return looked


async def keys(store: S3Store, bucket: str, prefix: str = "", start_after: str = "") -> list[str]:
    return [entry.key async for entry in store.list(bucket, prefix, start_after=start_after)]


async def rest_of(stream: BinaryIO) -> bytes:
    return await asyncio.to_thread(stream.read)


# Listing


@pytest.mark.slow
async def test_20000_keys_of_odd_names_are_listed_in_order_again_and_from_anywhere(
    store: S3Store, minio: Minio, bucket: str
) -> None:
    names = sorted(f"{ODD[number % len(ODD)]}{number % 50}/{ODD[number % 7]}{number}" for number in range(20_000))
    async with minio.client() as client:
        unpacked = {"snowball-auto-extract": "true"}  # MinIO makes the objects of one archive
        await client.put_object(Bucket=bucket, Key="all.tar", Body=packed(names), Metadata=unpacked)

    assert await keys(store, bucket) == names
    assert await keys(store, bucket) == names  # in ranges
    for start in (names[0], names[9_999], names[-2], "%2B30", "\x01", "🦆"):
        assert await keys(store, bucket, start_after=start) == [name for name in names if name > start]
    for prefix in ("+0/", "🦆", "\n", "%2B1", names[5]):
        assert await keys(store, bucket, prefix) == [name for name in names if name.startswith(prefix)]


def packed(names: Iterable[str]) -> bytes:
    """Return an archive of empty files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return content.getvalue()


async def test_current_versions_are_all_there_is(store: S3Store, minio: Minio, bucket: str) -> None:
    async with minio.client() as client:
        await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for content in (b"1", b"22"):
            await client.put_object(Bucket=bucket, Key="k", Body=content)
        await client.put_object(Bucket=bucket, Key="gone", Body=b"x")
        await client.delete_object(Bucket=bucket, Key="gone")

    assert [(entry.key, entry.size) async for entry in store.list(bucket)] == [("k", 2)]
    assert await (await found(store, bucket, "k")).read() == b"22"
    assert await store.head(bucket, "gone") is None


# Reading


async def test_a_stream_goes_on_where_its_connection_was_cut(minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", LARGE)
    async with through_proxy(minio) as (proxy, store):
        with await (await found(store, bucket, "k")).open() as stream:
            content = await asyncio.to_thread(stream.read, 1_000_000)
            for _ in range(3):
                assert proxy.cut() > 0
                content += await asyncio.to_thread(stream.read, 8_000_000)
            content += await rest_of(stream)

    assert content == LARGE


@pytest.mark.parametrize("size", [None, 0])
async def test_a_version_replaced_while_its_connection_is_cut_is_told_apart(
    minio: Minio, bucket: str, size: int | None
) -> None:
    await put(minio, bucket, "k", LARGE)
    async with through_proxy(minio) as (proxy, store):
        with await (await found(store, bucket, "k")).open() as stream:
            await asyncio.to_thread(stream.read, 1_000_000)
            proxy.refuse()
            assert proxy.cut() > 0  # MinIO replaces nothing that somebody is reading
            await put(minio, bucket, "k", LARGE[1:] + b"x" if size is None else b"")
            proxy.restore()
            with pytest.raises(ObjectChanged, match=f"{bucket}/k has another version now") as error:
                await rest_of(stream)
            assert not isinstance(error.value, ObjectGone)


async def test_a_version_deleted_while_its_connection_is_cut_is_gone(minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", LARGE)
    async with through_proxy(minio) as (proxy, store):
        with await (await found(store, bucket, "k")).open() as stream:
            await asyncio.to_thread(stream.read, 1_000_000)
            proxy.refuse()
            assert proxy.cut() > 0
            async with minio.client() as client:
                await client.delete_object(Bucket=bucket, Key="k")
            proxy.restore()
            with pytest.raises(ObjectGone):
                await rest_of(stream)


async def test_a_slow_store_is_waited_for_and_a_silent_one_is_not(minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", LARGE[:2_000_000])
    async with through_proxy(minio, silence_seconds=0.5) as (proxy, store):
        slow = await found(store, bucket, "k")
        proxy.slow(1_000_000)
        assert await slow.read() == LARGE[:2_000_000]
        assert proxy.counts.slowed_bytes > 2_000_000
        proxy.restore()

        with await (await found(store, bucket, "k")).open() as stream:
            proxy.blackhole()
            with pytest.raises(TransientError, match=r"does not answer|cut off at byte"):
                await rest_of(stream)
            assert proxy.counts.held > 0
        proxy.restore()


async def test_a_store_that_is_down_is_asked_again_later(minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", b"x")
    async with through_proxy(minio) as (proxy, store):
        looked = await found(store, bucket, "k")
        proxy.refuse()
        proxy.cut()
        for asked in (store.head(bucket, "k"), looked.read(), looked.open(), keys(store, bucket)):
            with pytest.raises(TransientError, match="the store does not answer"):
                await asked
        with pytest.raises(TransientError):
            await store.ping()
        assert proxy.counts.refused > 10
        proxy.restore()

        assert await looked.read() == b"x"
        await store.ping()


async def test_a_stream_left_early_lets_go_of_its_connection(store: S3Store, minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", LARGE)
    looked = await found(store, bucket, "k")
    streams = [await looked.open() for _ in range(100)]  # more than there are connections

    async def first_of(stream: BinaryIO) -> bytes:
        with stream:
            return await asyncio.to_thread(stream.read, 10)

    assert await asyncio.gather(*map(first_of, streams)) == [LARGE[:10]] * 100


async def test_a_store_that_is_closed_ends_its_streams(minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", LARGE)
    store = S3Store(access_of(minio))
    stream = await (await found(store, bucket, "k")).open()
    await asyncio.to_thread(stream.read, 10)

    reading = asyncio.create_task(rest_of(stream))
    await store.aclose()

    with pytest.raises(TransientError, match="the store was closed"):
        await reading
    stream.close()


def test_a_reader_does_not_wait_for_a_loop_that_has_stopped(minio: Minio) -> None:
    async def opened() -> tuple[S3Store, BinaryIO]:
        bucket = await minio.create_bucket()
        await put(minio, bucket, "k", LARGE)
        store = S3Store(access_of(minio))
        return store, await (await found(store, bucket, "k")).open()

    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
        store, stream = runner.run(opened())

        with pytest.raises(TransientError, match="the event loop has stopped"):
            thread.submit(stream.read).result(180)
        stream.close()
        runner.run(store.aclose())


async def test_reading_where_it_would_wait_for_itself_is_refused(store: S3Store, minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", LARGE)
    with await (await found(store, bucket, "k")).open() as stream, pytest.raises(RuntimeError, match="in a thread"):
        stream.read()


# Who may


async def test_wrong_keys_are_denied_and_shown_to_nobody(minio: Minio, bucket: str) -> None:
    await put(minio, bucket, "k", b"x")
    store = S3Store(access_of(minio, secret_key="wrong-and-secret"))
    try:
        for kind, asked in (
            (AccessDenied, store.head(bucket, "k")),
            (ListingDenied, keys(store, bucket)),
            (AccessDenied, store.buckets()),
            (AccessDenied, store.ping()),
        ):
            with pytest.raises(kind, match="403") as error:
                await asked
            assert "wrong-and-secret" not in repr(error.value) + str(error.value.__cause__)
    finally:
        await store.aclose()
    assert "wrong-and-secret" not in repr(access_of(minio, secret_key="wrong-and-secret"))


async def test_a_missing_bucket_is_no_empty_one(store: S3Store) -> None:
    with pytest.raises(NoSuchBucket, match="no bucket `nowhere`: create it in the store"):
        await keys(store, "nowhere")
    with pytest.raises(NoSuchBucket, match="cannot be a bucket"):
        await keys(store, "no bucket/at all")
    assert await store.head("no bucket/at all", "k") is None


async def test_keys_are_found_in_environment_profile_and_container(
    minio: Minio, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reachable() -> bool:
        store = S3Store(S3Access(minio.url))
        try:
            return await keys(store, bucket) == []
        finally:
            await store.aclose()

    async def container(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "AccessKeyId": minio.access_key,
                "SecretAccessKey": minio.secret_key,
                "Token": "",
                "Expiration": "2099-01-01T00:00:00Z",
            }
        )

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(AccessDenied, match="set s3_access_key and s3_secret_key"):
        await reachable()

    with monkeypatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", minio.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", minio.secret_key)
        assert await reachable()

    (tmp_path / "credentials").write_text(
        f"[other]\naws_access_key_id = {minio.access_key}\naws_secret_access_key = {minio.secret_key}\n"
    )
    with monkeypatch.context() as environment:
        environment.setenv("AWS_PROFILE", "other")
        assert await reachable()

    (tmp_path / "credentials").unlink()
    async with served(container) as url, asyncio.timeout(120):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        assert await reachable()


# What other stores say


@asynccontextmanager
async def served(answer: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """Answer every request in one way."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(minio: Minio, answer: Callable[[web.Request], object]) -> AsyncIterator[S3Store]:
    async with served(answer) as url:
        store = S3Store(access_of(minio, url=url))
        try:
            yield store
        finally:
            await store.aclose()


async def test_a_busy_store_is_asked_again_and_then_left_the_time_it_wants(minio: Minio) -> None:
    asked = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(request.method)
        if len(asked) == 3:
            return web.Response(headers={"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 09:00:00 GMT"})
        return web.Response(status=503, headers={"Retry-After": "7"}, body=b"<Error><Code>SlowDown</Code></Error>")

    async with answering(minio, busy) as store:
        looked = await found(store, "bucket", "k")
        assert (looked.etag, looked.modified, asked) == ("e", 1_795_251_600_000, ["HEAD"] * 3)
        with pytest.raises(TransientError, match="503 SlowDown") as error:
            await keys(store, "bucket")
        assert error.value.retry_after == 7


async def test_keys_that_have_run_out_do_not_make_an_object_gone(minio: Minio) -> None:
    async def expired(request: web.Request) -> web.Response:
        body = b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"
        return web.Response(status=400, body=b"" if request.method == "HEAD" else body)

    async with answering(minio, expired) as store:
        with pytest.raises(TransientError, match="bucket/k: the store answers 400"):
            await store.head("bucket", "k")
        with pytest.raises(ListingDenied, match="ExpiredToken: The token has expired"):
            await keys(store, "bucket")


async def test_a_bucket_elsewhere_says_where(minio: Minio) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=301, headers={"x-amz-bucket-region": "eu-north-1"})

    async with answering(minio, elsewhere) as store:
        with pytest.raises(TransientError, match="in region eu-north-1, not us-east-1: set s3_region"):
            await store.head("bucket", "k")


async def test_a_store_that_knows_no_if_match_gives_no_other_version(minio: Minio) -> None:
    version = ["1"]

    async def careless(_: web.Request) -> web.Response:
        return web.Response(
            body=b"x", headers={"ETag": f'"{version[0]}"', "Last-Modified": "Sat, 21 Nov 2026 09:00:00 GMT"}
        )

    async with answering(minio, careless) as store:
        looked = await found(store, "bucket", "k")
        assert await looked.read() == b"x"
        version[0] = "2"
        with pytest.raises(ObjectChanged):
            await looked.read()


async def test_an_object_without_etag_is_there_and_not_read(minio: Minio) -> None:
    async def bare(request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response(headers={"Last-Modified": "Sat, 21 Nov 2026 09:00:00 GMT"})
        return web.Response(
            body=b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>5</Size>"
            b"<LastModified>2026-11-21T09:00:00.123Z</LastModified></Contents></ListBucketResult>"
        )

    async with answering(minio, bare) as store:
        (listed,) = [entry async for entry in store.list("bucket")]
        assert (listed.key, listed.size, listed.modified) == ("k", 5, 1_795_251_600_000)
        assert listed.etag.startswith(UNSTABLE)
        with pytest.raises(ObjectChanged):
            await listed.read()
        with pytest.raises(TransientError, match="gives it no ETag"):
            await store.head("bucket", "k")


@pytest.mark.parametrize("body", [b"", b"<html>", b"<a><IsTruncated>true</IsTruncated></a>"])
async def test_a_listing_that_cannot_be_read_is_no_empty_one(minio: Minio, body: bytes) -> None:
    async def wrong(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async with answering(minio, wrong) as store:
        with pytest.raises(TransientError, match="bucket bucket: the store's listing"):
            await keys(store, "bucket")
