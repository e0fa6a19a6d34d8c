"""The bridge from a real SeaweedFS."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from consumer.app import wall_clock
from consumer.broker import RabbitBroker
from consumer.event_dialects import decode
from consumer.ids import RandomIds
from consumer.ledger import Ledger
from consumer.ledger_checkpoints import Checkpoints, WantedSweeps
from consumer.ledger_sqlite import sqlite_engine
from consumer.router import Route, Router
from consumer.seaweed import Bridge, path_prefix
from consumer.seaweed_stream import FilerStream
from consumer.workitem import INGRESS
from tests.fakes import inline
from tests.stack.bridging import Broker, until
from tests.stack.weed import Weed

pytestmark = pytest.mark.slow

ODD = "dir x/my file+1 ünï€ 100%&=?#.csv"


class Bridges:
    """Bridges from one server, by way of one ledger."""

    def __init__(self, weed: Weed, bucket: str, folder: Path) -> None:
        self.weed = weed
        self.bucket = bucket
        self.broker = Broker()
        self.router = Router([Route("all", bucket, "", (), "h")])
        self.ledger = Ledger(sqlite_engine(folder / "ledger.db", inline), clock=wall_clock, new_id=RandomIds())
        self.wanted = WantedSweeps(self.ledger)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bridge]:
        bridge = Bridge(
            stream=FilerStream(self.weed.filer, path_prefix=path_prefix(self.router), client_id=1),
            broker=self.broker,
            router=self.router,
            checkpoints=Checkpoints(self.ledger),
            wanted=self.wanted,
            clock=wall_clock,
            new_id=RandomIds(),
        )
        running = asyncio.create_task(bridge.run())
        try:
            await until(lambda: bridge.counts.streams == 1 or running.done())
            yield bridge
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bridge.drain(5)

    async def heard(self, key: str) -> list[tuple[str, str]]:
        """Put an object, wait until it is told of; return what was told of before, as (kind, key), and forget it."""
        async with self.weed.client() as s3:
            await s3.put_object(Bucket=self.bucket, Key=key, Body=b"")
        await until(lambda: f"{self.bucket}/{key}" in self.broker.keys)
        told = [(event.kind, event.key) for event in self.broker.events]
        self.broker.taken.clear()
        return [event for event in told if event[1] != key]


@pytest.fixture
async def bridges(weed: Weed, tmp_path: Path) -> AsyncIterator[Bridges]:
    async for made in _bridges(weed, tmp_path):
        yield made


async def _bridges(weed: Weed, folder: Path) -> AsyncIterator[Bridges]:
    weed.start()
    made = Bridges(weed, await weed.create_bucket(), folder)
    await made.ledger.open()
    try:
        yield made
    finally:
        await made.ledger.aclose()


async def test_each_operation_of_s3_is_told_of_once(bridges: Bridges) -> None:
    bucket = bridges.bucket
    async with bridges.running(), bridges.weed.client() as s3:
        await s3.put_object(Bucket=bucket, Key="a/k.csv", Body=b"1")
        assert await bridges.heard("1") == [("created", "a/k.csv")]

        await s3.put_object(Bucket=bucket, Key=ODD, Body=b"1")
        await s3.put_object(Bucket=bucket, Key="a/k.csv", Body=b"22")
        await s3.put_object(Bucket=bucket, Key="marker/", Body=b"")
        assert await bridges.heard("2") == [("created", ODD), ("created", "a/k.csv")]

        upload = await s3.create_multipart_upload(Bucket=bucket, Key="big.bin")
        parts = [
            await s3.upload_part(
                Bucket=bucket, Key="big.bin", UploadId=upload["UploadId"], PartNumber=number, Body=b"x" * (5 << 20)
            )
            for number in (1, 2)
        ]
        assert await bridges.heard("3") == []
        await s3.complete_multipart_upload(
            Bucket=bucket,
            Key="big.bin",
            UploadId=upload["UploadId"],
            MultipartUpload={"Parts": [{"PartNumber": at, "ETag": part["ETag"]} for at, part in enumerate(parts, 1)]},
        )
        assert await bridges.heard("4") == [("created", "big.bin")]

        await s3.copy_object(Bucket=bucket, Key="copied.csv", CopySource={"Bucket": bucket, "Key": ODD})
        await s3.put_object_tagging(Bucket=bucket, Key="copied.csv", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
        assert await bridges.heard("5") == [("created", "copied.csv"), ("metadata", "copied.csv")]

        await asyncio.to_thread(_move, bridges.weed, f"/buckets/{bucket}/a", f"/buckets/{bucket}/b")
        assert await bridges.heard("6") == [("removed", "a/k.csv"), ("created", "b/k.csv")]

        await s3.delete_object(Bucket=bucket, Key="copied.csv")
        await s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": ODD}, {"Key": "never"}]})
        assert await bridges.heard("7") == [("removed", "copied.csv"), ("removed", ODD)]


def _move(weed: Weed, old: str, new: str) -> None:
    request = urllib.request.Request(f"{weed.filer_http}{quote(new)}?mv.from={quote(old)}", method="POST")  # noqa: S310
    urllib.request.urlopen(request, timeout=120).close()  # noqa: S310 (our own server)


async def test_a_bucket_that_is_removed_as_a_whole_is_swept(bridges: Bridges) -> None:
    async with bridges.running():
        await bridges.heard("before")
        for wanted in await bridges.wanted.pending():
            await bridges.wanted.met(wanted)
        path = f"{bridges.weed.filer_http}/buckets/{bridges.bucket}?recursive=true"
        request = urllib.request.Request(path, method="DELETE")  # noqa: S310 (our own server)
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=120).close())  # noqa: S310

        async def is_asked_for() -> bool:
            return [wanted.reason for wanted in await bridges.wanted.pending()] == ["the bucket was removed or renamed"]

        await until(is_asked_for)


async def test_whoever_looks_when_told_of_a_version_sees_it(bridges: Bridges) -> None:
    """A version exists before it is the latest one: a hint at that moment would find nothing changed."""
    bucket = bridges.bucket
    async with bridges.running(), bridges.weed.client() as s3:
        await s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for number in range(30):
            await s3.put_object(Bucket=bucket, Key="d/v.txt", Body=str(number).encode())
            await until(lambda: bool(bridges.broker.taken))
            (event,) = bridges.broker.events
            bridges.broker.taken.clear()
            seen = await s3.head_object(Bucket=bucket, Key="d/v.txt")
            assert (event.key, event.kind) == ("d/v.txt", "created")
            assert (seen["ETag"].strip('"'), seen["VersionId"]) == (event.etag, event.version_id)

        marker = await s3.delete_object(Bucket=bucket, Key="d/v.txt")
        await until(lambda: bool(bridges.broker.taken))
        assert [(event.kind, event.key, event.version_id) for event in bridges.broker.events] == [
            ("removed", "d/v.txt", marker["VersionId"])
        ]
        bridges.broker.taken.clear()

        await s3.delete_object(Bucket=bucket, Key="d/v.txt", VersionId=marker["VersionId"])
        await until(lambda: bool(bridges.broker.taken))
        assert {event.key for event in bridges.broker.events} == {"d/v.txt"}
        assert (await s3.head_object(Bucket=bucket, Key="d/v.txt"))["ContentLength"] == 2


async def test_what_happened_while_the_bridge_was_away_is_told_of_by_a_real_filer(bridges: Bridges) -> None:
    async with bridges.running():
        await bridges.heard("before")
    async with bridges.weed.client() as s3:
        for number in range(50):
            await s3.put_object(Bucket=bridges.bucket, Key=f"{number}.csv", Body=b"")

    async with bridges.running():
        await until(lambda: len(set(bridges.broker.keys)) >= 50)

    assert set(bridges.broker.keys) >= {f"{bridges.bucket}/{number}.csv" for number in range(50)}


async def test_a_killed_filer_is_followed_again_and_a_sweep_asked_for(
    find_server: Callable[[type[Weed]], Weed], tmp_path: Path
) -> None:
    weed = find_server(Weed)
    await asyncio.to_thread(weed.start)
    async for bridges in _bridges(weed, tmp_path):
        async with bridges.running() as bridge:
            await bridges.heard("before")
            for wanted in await bridges.wanted.pending():
                await bridges.wanted.met(wanted)

            await asyncio.to_thread(weed.kill)
            await asyncio.to_thread(weed.start)
            await until(lambda: bridge.counts.streams == 2)

            assert [wanted.bucket for wanted in await bridges.wanted.pending()] == [bridges.bucket]
            await bridges.heard("after")


async def test_the_command_brings_events_to_rabbitmq_and_ends_in_good_order(
    weed: Weed, vhost: str, tmp_path: Path
) -> None:
    weed.start()
    bucket = await weed.create_bucket()
    (tmp_path / "lakedrop.toml").write_text(f'[[routes]]\nname = "csv"\nbucket = "{bucket}"\n')
    broker = RabbitBroker(vhost)
    log = tmp_path / "bridge.log"
    try:
        consumer = await broker.consume(INGRESS, prefetch=10)
        with log.open("wb") as output:
            words = [sys.executable, "-m", "consumer", "bridge", "seaweedfs", "--filer", weed.filer]
            process = subprocess.Popen(  # noqa: ASYNC220 (it only begins)
                [*words, "--home", str(tmp_path)],
                stdout=output,
                stderr=output,
                env={"LAKEDROP_BROKER_URL": vhost, "PATH": "/usr/bin:/bin"},
            )
        try:
            await until(lambda: '"bridge.following"' in log.read_text() or process.poll() is not None)
            async with weed.client() as s3:
                await s3.put_object(Bucket=bucket, Key=ODD, Body=b"1")
            async with asyncio.timeout(120):
                delivery = await consumer.get()
            (event,) = decode(delivery.message)
            await delivery.ack()
        finally:
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, 180)
    finally:
        await broker.aclose()

    assert (event.bucket, event.key, event.kind, code) == (bucket, ODD, "created", 0), log.read_text()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["event"] == "bridge.ended"
    ledger = Ledger(sqlite_engine(tmp_path / "ledger.db", inline), clock=wall_clock, new_id=RandomIds())
    assert (await Checkpoints(ledger).get(f"seaweedfs {weed.filer}") or 0) // 1_000_000 == event.time
    await ledger.aclose()


@asynccontextmanager
async def process(log: Path, *words: str, **environment: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a command of lakedrop, ended in good order."""
    with log.open("ab") as output:
        running = subprocess.Popen(  # noqa: ASYNC220 (it only begins)
            [sys.executable, "-m", "consumer", *words],
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/bin:/bin", "LAKEDROP_LOG_FORMAT": "json", **environment},
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, 180) == 0, log.read_text()


async def test_what_a_killed_filer_forgot_is_in_its_table_nevertheless(
    find_server: Callable[[type[Weed]], Weed], vhost: str, database: str, tmp_path: Path
) -> None:
    weed = find_server(Weed)
    await asyncio.to_thread(weed.start)
    bucket = await weed.create_bucket()
    environment = {
        "LAKEDROP_HOME": str(tmp_path),
        "LAKEDROP_BROKER_URL": vhost,
        "LAKEDROP_LEDGER_URL": database,
        "LAKEDROP_BRIDGE_FILER": weed.filer,
        "LAKEDROP_SWEEP_SECONDS": "3600",  # only a sweep that was asked for is in time
        "LAKEDROP_STORE": "s3",
        "LAKEDROP_S3_ENDPOINT": weed.url,
        "LAKEDROP_S3_ACCESS_KEY": weed.access_key,
        "LAKEDROP_S3_SECRET_KEY": weed.secret_key,
        "LAKEDROP_LISTEN": "",
        "S3_INGEST_BUCKET": bucket,
    }
    log, told = tmp_path / "service.log", tmp_path / "bridge.log"

    async def put(*names: str) -> None:
        async with weed.client() as s3:
            for name in names:
                await s3.put_object(Bucket=bucket, Key=f"orders/{name}.csv", Body=b"id,n\n1,2\n")

    def done(name: str) -> Callable[[], bool]:
        words = ('"delivery.settled"', f'"orders/{name}.csv"', '"outcome": "done"')
        return lambda: any(all(word in line for word in words) for line in log.read_text().splitlines())

    def swept(times: int) -> Callable[[], bool]:
        return lambda: log.read_text().count('"sweep.finished"') >= times

    def published() -> list[int]:
        """Return what each bridge so far has published."""
        lines = [json.loads(line) for line in told.read_text().splitlines()]
        return [line["published"] for line in lines if line["event"] == "bridge.ended"]

    async with process(log, "run", **environment):
        await until(swept(1))
        async with process(told, "bridge", "seaweedfs", **environment):
            await until(swept(2))  # the one that the bridge asks for, which would find the file too
            await put("heard")
            await until(done("heard"))
        assert published() == [1]

        for name in ("forgotten", "forgotten again", "and again"):
            await put(name)
            await asyncio.to_thread(weed.kill)
            await asyncio.to_thread(weed.start)
            async with process(told, "bridge", "seaweedfs", **environment):
                await until(done(name))
            if published()[-1] == 0:
                break  # nobody told of it; otherwise the filer flushed its log in that very second
        else:
            pytest.fail("the filer forgot nothing, three times")

        async with process(told, "bridge", "seaweedfs", **environment):
            await put("after")
            await until(done("after"))
