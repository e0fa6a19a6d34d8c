"""A vhost of RabbitMQ with the policies of an installation, and what tests do with the broker on it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import aio_pika
import psutil
import pytest
from aio_pika.exceptions import AMQPError

from consumer.broker import RabbitBroker
from consumer.broker_port import Broker, Consumer
from consumer.broker_topology import POLICIES, Policy, queues_of
from consumer.local_broker import LocalBroker
from consumer.workitem import Message, bulk_queue, work_queue
from tests.stack.process import Process
from tests.stack.rabbitmq import RabbitMQ

T = TypeVar("T")

LIVE = work_queue("h")
BULK = bulk_queue("h")


def name_of(vhost: str) -> str:
    """Return the name of a vhost, of its URL."""
    return unquote(urlsplit(vhost).path.removeprefix("/"))


@asynccontextmanager
async def either_broker(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Broker]:
    """Open the broker that `request.param` names, `local` or `rabbitmq`, with the queues of one handler."""
    broker: Broker
    if request.param == "local":
        broker = LocalBroker()
    else:
        url: str = request.getfixturevalue("vhost")
        set_policies(request.getfixturevalue("rabbitmq"), url)
        broker = await RabbitBroker.connect(url, queues=queues_of([name]))
    yield broker
    await broker.aclose()


@asynccontextmanager
async def connected(
    url: str, *, publish_seconds: float = 30.0, watch_seconds: float = 10.0
) -> AsyncIterator[RabbitBroker]:
    broker = await RabbitBroker.connect(
        url, queues=queues_of(["h"]), publish_seconds=publish_seconds, watch_seconds=watch_seconds
    )
    try:
        yield broker
    finally:
        await broker.aclose()


def message(name: str) -> Message:
    return Message(name.encode(), "text/plain", {"key": name}, name)


async def soon(awaitable: Awaitable[T], seconds: float = 60) -> T:
    async with asyncio.timeout(seconds):
        return await awaitable


async def acked(consumer: Consumer) -> str:
    delivery = await soon(consumer.get())
    await delivery.ack()
    return delivery.message.id


async def drain(broker: Broker, queue: str) -> list[str]:
    """Take all messages off a queue; returns their ids."""
    consumer = await broker.consume(queue, prefetch=1000)
    ids = [await acked(consumer) for _ in range(await broker.depth(queue))]
    await consumer.aclose()
    return ids


async def readers(vhost: str, queue: str) -> int:
    """Return how many read a queue, as RabbitMQ knows it; nobody one that is not there or has no leader."""
    connection = await aio_pika.connect(vhost)
    async with connection:
        channel = await connection.channel()
        try:
            found = await channel.declare_queue(queue, passive=True)
        except AMQPError:
            return 0
        return found.declaration_result.consumer_count or 0


def api(vhost: str, kind: str, name: str = "") -> str:
    return f"{kind}/{quote(name_of(vhost), safe='')}" + (f"/{quote(name, safe='')}" if name else "")


def set_policies(server: RabbitMQ, vhost: str, **changes: Mapping[str, Any]) -> None:
    """Set all policies; `changes` are put into their definitions, by the last word of their names."""
    for policy in POLICIES:
        set_policy(server, vhost, policy, changes.get(policy.name.removeprefix("lakedrop-"), {}))


def set_policy(server: RabbitMQ, vhost: str, policy: Policy, changes: Mapping[str, Any] | None = None) -> None:
    """Set one policy, changed."""
    server.call(
        "PUT",
        f"policies/{quote(name_of(vhost), safe='')}/{policy.name}",
        **{
            "pattern": policy.pattern,
            "apply-to": policy.apply_to,
            "definition": {**policy.definition, **(changes or {})},
        },
    )


@contextmanager
def memory_alarm(server: RabbitMQ) -> Iterator[None]:
    """Have a server believe that its memory is used up."""
    _control(server, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        yield
    finally:
        _control(server, "set_vm_memory_high_watermark", "absolute", "1GB")


@contextmanager
def without_leader(server: RabbitMQ, vhost: str, queue: str) -> Iterator[None]:
    """Have nobody lead a quorum queue of one node, which is there and keeps what it holds."""
    member = f"quorum_queues, {{'{name_of(vhost).replace('/', '%2F')}_{queue}', node()}}"
    _control(server, "eval", f"ok = ra:stop_server({member}).")
    try:
        yield
    finally:
        _control(server, "eval", f"ok = ra:restart_server({member}).")


def _control(server: RabbitMQ, *words: str) -> None:
    """Run `rabbitmqctl` on a node, with the cookie and the ports that the node itself was given."""
    if not isinstance(server.instance, Process):
        pytest.skip("the server runs elsewhere; to have one of our own: make stack")
    environment = psutil.Process(server.instance.pid).environ()
    (tool,) = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmqctl")
    subprocess.run([tool, *words], env=environment, check=True, capture_output=True, timeout=180)
