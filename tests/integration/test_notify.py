"""`lakedrop notify` on real stores, and the events that come of it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from consumer import cli_notify, exits
from consumer.broker import RabbitBroker
from consumer.cli import main
from consumer.event_dialects import decode
from consumer.s3_admin import S3Admin, UnknownTarget
from consumer.workitem import INGRESS
from tests.stack.minio import TARGET, Minio
from tests.stack.s3 import S3Server
from tests.stack.versitygw import Versitygw
from tests.stack.weed import Weed

pytestmark = pytest.mark.slow

INFRA = Path(__file__).parents[2] / "infra" / "minio-notify"

ODD = "in/dir x/my file+1 ünï€ 100%&=?#.csv"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


class Installation:
    """Settings of a service on a store, and the commands run with them."""

    def __init__(self, folder: Path, store: S3Server) -> None:
        self.bucket = f"in-{uuid4().hex[:12]}"
        self.store = store
        self._folder = folder
        self.configure("in/", ["**"])

    def configure(self, prefix: str, match: list[str]) -> None:
        (self._folder / "lakedrop.toml").write_text(
            f"""
            store = "s3"
            s3_endpoint = "{self.store.url}"
            s3_access_key = "{self.store.access_key}"
            s3_secret_key = "{self.store.secret_key}"
            [[routes]]
            name = "in"
            bucket = "{self.bucket}"
            prefix = {json.dumps(prefix)}
            match = {json.dumps(match)}
            """
        )

    async def notify(self, *words: str) -> Done:
        """Run a command in a thread of its own: it has an event loop of its own."""
        return await asyncio.to_thread(self._run, words)

    def _run(self, words: tuple[str, ...]) -> Done:
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            code = main(["notify", *words, "--home", str(self._folder)])
        return Done(code, out.getvalue(), error.getvalue())


@asynccontextmanager
async def heard(vhost: str) -> AsyncIterator[Callable[[], Any]]:
    """Give a function that waits for the next notification of a vhost and returns its events."""
    broker = RabbitBroker(vhost)
    consumer = await broker.consume(INGRESS, prefetch=10)

    async def following() -> list[tuple[str, str, str]]:
        async with asyncio.timeout(120):
            delivery = await consumer.get()
        await delivery.ack()
        return [(event.kind, event.bucket, event.key) for event in decode(delivery.message)]

    try:
        yield following
    finally:
        await broker.aclose()


@pytest.fixture
async def minio_with_events(find_server: Callable[[type[Minio]], Minio], vhost: str) -> Minio:
    minio = find_server(Minio)
    minio.send_events(vhost, queue_dir=False)
    await asyncio.to_thread(minio.start)
    return minio


async def test_events_of_minio_arrive_and_name_their_objects(
    minio_with_events: Minio, vhost: str, tmp_path: Path
) -> None:
    here = Installation(tmp_path, minio_with_events)
    async with heard(vhost) as following, minio_with_events.client() as s3:
        applied = await here.notify("apply", "--wait", "180")
        assert (applied.code, applied.error) == (0, "")
        bucket = here.bucket

        await s3.put_object(Bucket=bucket, Key="out/of the route.csv", Body=b"")
        await s3.put_object(Bucket=bucket, Key=ODD, Body=b"1")
        assert await following() == [("created", bucket, ODD)]

        upload = await s3.create_multipart_upload(Bucket=bucket, Key="in/big")
        part = await s3.upload_part(
            Bucket=bucket, Key="in/big", UploadId=upload["UploadId"], PartNumber=1, Body=b"x" * (5 << 20)
        )
        await s3.complete_multipart_upload(
            Bucket=bucket,
            Key="in/big",
            UploadId=upload["UploadId"],
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )
        assert await following() == [("created", bucket, "in/big")]

        await s3.copy_object(Bucket=bucket, Key="in/copy", CopySource={"Bucket": bucket, "Key": ODD})
        assert await following() == [("created", bucket, "in/copy")]
        await s3.put_object_tagging(Bucket=bucket, Key="in/copy", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
        assert await following() == [("metadata", bucket, "in/copy")]
        await s3.delete_object(Bucket=bucket, Key=ODD)
        assert await following() == [("removed", bucket, ODD)]


@pytest.mark.parametrize("prefix", ["", "in/", "a b+c/", "ünï€ &<%41>/", "star*/"])
async def test_any_prefix_of_a_route_can_be_set(
    minio_with_events: Minio, vhost: str, tmp_path: Path, prefix: str
) -> None:
    here = Installation(tmp_path, minio_with_events)
    here.configure(prefix, ["*.csv"])
    async with heard(vhost) as following, minio_with_events.client() as s3:
        assert (await here.notify("apply")).code == 0
        await s3.put_object(Bucket=here.bucket, Key=f"{prefix}x.bin", Body=b"")
        for name in ("x.csv", "x.CSV", "y/x.Csv"):
            await s3.put_object(Bucket=here.bucket, Key=f"{prefix}{name}", Body=b"")
            assert await following() == [("created", here.bucket, f"{prefix}{name}")]

        assert "8 notifications, unchanged" in (await here.notify("apply")).out


async def test_applying_twice_changes_nothing_and_others_stay(minio_with_events: Minio, tmp_path: Path) -> None:
    here = Installation(tmp_path, minio_with_events)
    foreign: Any = {
        "Id": "theirs",
        "QueueArn": TARGET,
        "Events": ["s3:ObjectCreated:Put"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "theirs/"}]}},
    }
    async with minio_with_events.client() as s3:
        await s3.create_bucket(Bucket=here.bucket)
        await s3.put_bucket_notification_configuration(
            Bucket=here.bucket, NotificationConfiguration={"QueueConfigurations": [foreign]}
        )

        async def ids() -> list[str]:
            found = await s3.get_bucket_notification_configuration(Bucket=here.bucket)
            return sorted(one["Id"] for one in found.get("QueueConfigurations", []))

        assert (await here.notify("show")).code == exits.FAILED
        first = await here.notify("apply", "--bucket", f"{here.bucket}-more")
        once = await ids()
        second = await here.notify("apply", "--bucket", f"{here.bucket}-more")

        assert "1 notification set" in first.out
        assert f"bucket {here.bucket}-more: made" in first.out
        assert "1 notification, unchanged" in second.out
        assert "made" not in second.out
        assert await ids() == once
        assert len(once) == 2
        assert "theirs" in once

        shown = await here.notify("show", "--json")
        assert shown.code == exits.OK
        (told,) = json.loads(shown.out)
        assert told["as_wanted"] is True
        assert {(row["ours"], row["prefix"], row["target"]) for row in told["notifications"]} == {
            (True, "in/", TARGET),
            (False, "theirs/", TARGET),
        }
        assert "theirs/*" in (await here.notify("show")).out

        here.configure("elsewhere/", ["**"])
        assert "elsewhere/" not in (await here.notify("show")).out
        assert "1 notification set" in (await here.notify("apply")).out
        assert len(await ids()) == 2

        removed = await here.notify("remove")
        assert removed.out == f"bucket {here.bucket}: 1 notification removed\n"
        assert await ids() == ["theirs"]
        assert (await here.notify("remove")).out == f"bucket {here.bucket}: 0 notifications removed\n"


async def test_a_target_that_minio_does_not_know_is_refused_with_what_to_do(minio: Minio, tmp_path: Path) -> None:
    minio.start()
    done = await Installation(tmp_path, minio).notify("apply")

    assert done.code == exits.CONFIGURATION
    assert "arn:minio:sqs::LAKEDROP:amqp" in done.error
    assert "minio.env" in done.error


async def test_buckets_of_a_lakehouse_are_made(minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minio.start()
    ingest = f"ingest-{uuid4().hex[:12]}"
    monkeypatch.setenv("S3_INGEST_BUCKET", ingest)
    here = Installation(tmp_path, minio)
    await here.notify("apply")

    async with minio.client() as s3:
        buckets = {bucket["Name"] for bucket in (await s3.list_buckets())["Buckets"]}
    assert buckets >= {here.bucket, ingest, "lakehouse", "lakehouse-warehouse"}


@pytest.mark.parametrize("server", ["weed", "versitygw"])
async def test_a_store_without_notifications_gets_its_buckets_and_advice(
    request: pytest.FixtureRequest, server: str, tmp_path: Path
) -> None:
    store: Weed | Versitygw = request.getfixturevalue(server)
    store.start()
    here = Installation(tmp_path, store)

    applied = await here.notify("apply")
    shown = await here.notify("show")
    removed = await here.notify("remove")

    assert (applied.code, applied.error) == (0, "")
    assert f"bucket {here.bucket}: made" in applied.out
    assert "lakedrop bridge seaweedfs" in applied.out
    assert "no notifications" in shown.out
    assert (shown.code, shown.error) == (0, "")
    assert (removed.code, removed.error) == (0, "")
    async with store.client() as s3:
        await s3.head_bucket(Bucket=here.bucket)


async def test_a_store_that_is_not_there_yet_is_waited_for(
    find_server: Callable[[type[Minio]], Minio], vhost: str, tmp_path: Path
) -> None:
    minio = find_server(Minio)
    minio.send_events(vhost, queue_dir=False)
    here = Installation(tmp_path, minio)
    assert (await here.notify("apply", "--no-create")).code == exits.UNAVAILABLE

    applying = asyncio.create_task(here.notify("apply", "--wait", "180"))
    await asyncio.to_thread(minio.start)
    done = await applying

    assert done.code == exits.OK
    assert f"bucket {here.bucket}: made" in done.out


async def test_folders_need_no_notifications(tmp_path: Path) -> None:
    out = io.StringIO()
    with redirect_stderr(out):
        code = await asyncio.to_thread(main, ["notify", "apply", "--home", str(tmp_path)])

    assert code == exits.CONFIGURATION
    assert "watched" in out.getvalue()


async def test_events_of_versitygw_arrive_with_their_keys_as_they_are(
    find_server: Callable[[type[Versitygw]], Versitygw], vhost: str
) -> None:
    async with heard(vhost) as following:
        versitygw = find_server(Versitygw)
        versitygw.send_events(vhost)
        await asyncio.to_thread(versitygw.start)
        bucket = await versitygw.create_bucket()
        async with versitygw.client() as s3:
            await s3.put_object(Bucket=bucket, Key=ODD, Body=b"1")
            events: list[tuple[str, str, str]] = []
            while not events:  # it begins with an event that says only that it can
                events = await following()

    assert events == [("created", bucket, ODD)]


async def test_changes_that_seaweedfs_publishes_itself_arrive_and_name_their_objects(
    find_server: Callable[[type[Weed]], Weed], vhost: str, tmp_path: Path
) -> None:
    """With the file of infra/minio-notify/seaweedfs, as its README tells."""
    (tmp_path / ".seaweedfs").mkdir()
    copyfile(INFRA / "seaweedfs" / "notification.toml", tmp_path / ".seaweedfs" / "notification.toml")
    async with heard(vhost) as following:
        weed = find_server(Weed)
        weed.instance.configure({"HOME": str(tmp_path), "RABBIT_SERVER_URL": vhost})
        await asyncio.to_thread(weed.start)
        bucket = await weed.create_bucket()
        async with weed.client() as s3:
            await s3.put_object(Bucket=bucket, Key=ODD, Body=b"1")
            await s3.delete_object(Bucket=bucket, Key=ODD)
        events: list[tuple[str, str, str]] = []
        while len(events) < 2:  # folders and its own notes are published too
            events += await following()

    assert events == [("created", bucket, ODD), ("removed", bucket, ODD)]


async def test_minio_takes_the_variables_of_its_file(
    find_server: Callable[[type[Minio]], Minio], tmp_path: Path
) -> None:
    lines = [
        line.partition("=")
        for line in (INFRA / "minio.env").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    variables = {name: value.replace("HOST", "127.0.0.1") for name, _, value in lines}
    minio = find_server(Minio)
    minio.instance.configure(variables | {"MINIO_NOTIFY_AMQP_QUEUE_DIR_LAKEDROP": str(tmp_path / "events")})
    await asyncio.to_thread(minio.start)

    assert "1 notification set" in (await Installation(tmp_path, minio).notify("apply", "--wait", "180")).out


async def test_a_store_that_has_just_begun_is_given_time_to_know_its_targets(
    minio_with_events: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Installation(tmp_path, minio_with_events)
    real = S3Admin.set_notification
    refused: list[str] = []

    async def refusing(self: S3Admin, bucket: str, configuration: Any) -> None:
        if len(refused) < 2:
            refused.append(bucket)
            raise UnknownTarget("A specified destination ARN does not exist")
        await real(self, bucket, configuration)

    monkeypatch.setattr(S3Admin, "set_notification", refusing)
    monkeypatch.setattr(cli_notify, "AGAIN_SECONDS", 0.01)
    at_once = await here.notify("apply")
    waited = await here.notify("apply", "--wait", "180")

    assert (at_once.code, "infra/minio-notify/minio.env" in at_once.error) == (78, True)
    assert (waited.code, waited.error) == (0, "")
    assert refused == [here.bucket] * 2
