"""The servers of the test stack do what tests stand on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aio_pika
import asyncpg
import grpc
import psutil
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from tests.stack import ports
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.process import Process, ServerFailed
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.rest_catalog import RestCatalog
from tests.stack.s3 import S3Server, is_healthy
from tests.stack.server import Server
from tests.stack.weaviate import Weaviate
from tests.waits import wait_for


async def test_rabbitmq_killed_and_started_again_keeps_confirmed_messages(rabbitmq: RabbitMQ, vhost: str) -> None:
    connection = await aio_pika.connect(vhost)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"body", delivery_mode=2), "kept")

        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)

    again = await aio_pika.connect(vhost)
    async with again:
        channel = await again.channel()
        message = await (await channel.get_queue("kept")).get(timeout=60)
        assert message.body == b"body"
        await message.ack()


async def test_rabbitmq_killed_right_after_a_queue_was_deleted_and_declared_again_has_the_new_one(
    rabbitmq: RabbitMQ, vhost: str
) -> None:
    connection = await aio_pika.connect(vhost)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue("again", durable=True, arguments={"x-queue-type": "quorum"})
        await asyncio.to_thread(rabbitmq.kill)  # its name is written
        await asyncio.to_thread(rabbitmq.start)
    connection = await aio_pika.connect(vhost)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete("again")
        await channel.declare_queue("again", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"body", delivery_mode=2), "again")
        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)

    connection = await aio_pika.connect(vhost)
    async with connection:
        queue = await (await connection.channel()).get_queue("again")
        assert (await queue.get(timeout=30)).body == b"body"


@pytest.fixture(params=["minio", "versitygw", "weed"])
def store(request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue(request.param)
    return server


async def test_store_killed_and_started_again_keeps_its_objects(store: S3Server) -> None:
    bucket = await store.create_bucket()
    async with store.client() as client:
        await client.put_object(Bucket=bucket, Key="kept", Body=b"content")

        await asyncio.to_thread(store.kill)
        await asyncio.to_thread(store.start)

        answer = await client.get_object(Bucket=bucket, Key="kept")
        assert await answer["Body"].read() == b"content"


async def test_postgres_killed_and_started_again_keeps_its_rows(postgres: Postgres, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE kept AS SELECT 'b' AS v UNION ALL SELECT 'A' UNION ALL SELECT 'a'")

    await asyncio.to_thread(postgres.kill)
    await asyncio.to_thread(postgres.start)

    connection.terminate()
    again = await asyncpg.connect(database)
    found = [row["v"] for row in await again.fetch("SELECT v FROM kept ORDER BY v")]
    await again.close()
    assert found == ["a", "A", "b"], "sorted as people sort"


def test_weaviate_killed_and_started_again_keeps_its_objects(weaviate: Weaviate) -> None:
    weaviate.call("POST", "schema", {"class": "Kept", "properties": [{"name": "label", "dataType": ["text"]}]})
    made = weaviate.call("POST", "objects", {"class": "Kept", "properties": {"label": "content"}})

    weaviate.kill()
    weaviate.start()

    assert weaviate.call("GET", f"objects/Kept/{made['id']}")["properties"] == {"label": "content"}
    weaviate.clear()
    assert weaviate.call("GET", "schema")["classes"] == []


def test_weaviate_answers_nobody_without_its_key(weaviate: Weaviate) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{weaviate.grpc_port}")
    search: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/weaviate.v1.Weaviate/Search")
    with channel, pytest.raises(grpc.RpcError, match="unauthorized: invalid api key"):
        search(b"", timeout=60)


async def test_catalogs_of_two_buckets_know_nothing_of_each_other_and_survive(
    rest_catalog: RestCatalog, minio: Minio
) -> None:
    buckets = [await minio.create_bucket() for _ in range(2)]

    def open_catalog(bucket: str) -> Catalog:
        return load_catalog(
            bucket,
            **{
                "type": "rest",
                "uri": rest_catalog.catalog(bucket),
                "s3.endpoint": minio.url,
                "s3.access-key-id": minio.access_key,
                "s3.secret-access-key": minio.secret_key,
                "s3.region": minio.region,
            },
        )

    def fill(bucket: str) -> None:
        catalog = open_catalog(bucket)
        catalog.create_namespace("lakehouse")
        table = catalog.create_table("lakehouse.orders", pa.schema([("n", pa.int64())]))
        table.append(pa.table({"n": [1, 2, 3]}))
        catalog.close()

    def rows(bucket: str) -> int:
        catalog = open_catalog(bucket)
        table = catalog.load_table("lakehouse.orders")
        assert table.location().startswith(f"s3://{bucket}/warehouse/")
        catalog.close()
        return len(table.scan().to_arrow())

    for bucket in buckets:
        await asyncio.to_thread(fill, bucket)
    await asyncio.to_thread(rest_catalog.kill)
    await asyncio.to_thread(rest_catalog.start)

    assert [await asyncio.to_thread(rows, bucket) for bucket in buckets] == [3, 3]


@pytest.fixture(
    params=["rabbitmq", "postgres", "minio", "versitygw", "weed", "rest_catalog", "argilla", "opensearch", "redis"]
)
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def test_server_listens_on_loopback_only(server: Server) -> None:
    processes = server.processes() if isinstance(server, RabbitMQ) else [server.instance]

    for process in processes:
        if not isinstance(process, Process):
            pytest.skip("this one is no process of ours: unset its variable, and make stack")
        assert process.listening(), process.name
        assert process.listening() <= {"127.0.0.1", "::1"}, process.name


def test_paused_server_says_nothing_until_it_is_resumed(minio: Minio) -> None:
    minio.pause()

    assert not is_healthy(f"{minio.url}/minio/health/live")
    minio.resume()
    assert wait_for(lambda: is_healthy(f"{minio.url}/minio/health/live"))


def test_children_that_end_meanwhile_are_no_hindrance_to_pausing_and_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Process("sleeper", ["/bin/sleep", "300"], log=tmp_path / "log", ready=lambda: True, environment={})
    server.start()
    try:
        ended = subprocess.Popen(["/bin/true"])
        gone = psutil.Process(ended.pid)
        ended.wait()
        root = psutil.Process(server.pid)
        monkeypatch.setattr(server, "tree", lambda: [root, gone])

        server.pause()
        assert root.status() == psutil.STATUS_STOPPED
        server.resume()
        assert root.status() != psutil.STATUS_STOPPED
    finally:
        server.close()
    assert not server.running


def test_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    process = Process(
        "broken", ["sh", "-c", "echo no such disk; exit 3"], log=tmp_path / "log", ready=lambda: False, environment={}
    )

    with pytest.raises(ServerFailed, match=r"broken ended with 3. Its log:\nno such disk"):
        process.start()


def test_servers_do_not_outlive_a_killed_test_run(tmp_path: Path) -> None:
    program = f"""
import pathlib, sys
from tests.stack.process import Process
log = pathlib.Path({str(tmp_path / "log")!r})
server = Process("sleeper", ["sh", "-c", "echo up; exec sleep 1000"], log=log, ready=log.exists, environment={{}})
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        run.kill()

    server.wait(180)


@pytest.mark.needs("container engine")
@pytest.mark.parametrize("kind", [RabbitMQ, Postgres, Minio])
def test_server_runs_in_a_container_where_it_is_not_installed(kind: type[Server]) -> None:
    assert kind.image is not None
    server = kind.contained(kind.image)
    try:
        server.start()
        server.kill()
        assert not server.running
        server.start()
        assert server.running
    finally:
        server.close()


LEFT_DEAD = """
import pytest
from tests.stack.server import Server
from tests.stack.weaviate import Weaviate

pytest_plugins = ["tests.stack.fixtures"]

class Instance:
    running = False
    def start(self): self.running = True
    def resume(self): pass
    def log(self): return "its last line"

class Some(Server):
    name = "some"
    is_installed = elsewhere = native = None

@pytest.fixture(scope="session")
def server():
    return Some(Instance())

def test_leaves_it_dead(server):
    assert server.running

def test_finds_it_alive(server):
    assert server.running
"""


def test_what_a_test_leaves_dead_runs_in_the_next_and_a_failure_shows_the_log(tmp_path: Path) -> None:
    (tmp_path / "test_left.py").write_text(LEFT_DEAD)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 1 passed" in done.stdout
    assert "Last lines of some's log" in done.stdout
    assert "its last line" in done.stdout


def test_two_servers_never_get_the_same_port() -> None:
    assert len({ports.reserve() for _ in range(50)}) == 50
