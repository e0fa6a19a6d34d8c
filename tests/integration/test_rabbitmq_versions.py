"""
What later versions of RabbitMQ refuse, drop or count in another way is not asked of any.

All that a broker of ours sends is read on its way. The differences are those of RabbitMQ's documentation, 3.10 to 4.3.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiormq.abc import DeliveredMessage
from pamqp import commands, frame, header
from pamqp.common import FieldTable
from pamqp.exceptions import UnmarshalingException

from consumer.broker import RabbitBroker
from consumer.broker_topology import POLICIES, QUEUE_ARGUMENTS, queues_of
from consumer.broker_wire import HEADER_CUT, message_of, properties_of
from consumer.workitem import Message, bulk_queue, dead_queue, work_queue
from tests.rabbit import set_policies
from tests.stack.ports import LOOPBACK
from tests.stack.rabbitmq import RabbitMQ

LIVE = work_queue("h")


class Sent:
    """What a client sent, decoded."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self._rest = b""

    def take(self, data: bytes) -> None:
        self._rest += data
        if self._rest.startswith(b"AMQP"):
            self._rest = self._rest[8:]
        while self._rest:
            try:
                size, _, decoded = frame.unmarshal(self._rest)
            except UnmarshalingException:
                return  # the rest of it comes
            self._rest = self._rest[size:]
            self.frames.append(decoded)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.frames if isinstance(one, kind)]


@pytest.fixture
async def sent(rabbitmq: RabbitMQ, vhost: str) -> Sent:
    """All that a broker sends that declares, publishes, reads, acks, puts back and counts."""
    set_policies(rabbitmq, vhost)
    parts = urlsplit(vhost)
    found = [Sent() for _ in range(2)]
    connections = iter(found)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: Sent | None) -> None:
        while data := await reader.read(65_536):
            if sent is not None:
                sent.take(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(
            pass_on(reader, to_server, next(connections)), pass_on(from_server, writer, None), return_exceptions=True
        )

    async with await asyncio.start_server(handle, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = parts._replace(netloc=f"{parts.username}:{parts.password}@{LOOPBACK}:{port}").geturl()
        broker = await RabbitBroker.connect(url, queues=queues_of(["h"]))
        consumer = await broker.consume(LIVE, bulk_queue("h"), prefetch=10)
        for queue in (LIVE, bulk_queue("h"), dead_queue("h")):
            await broker.publish(queue, Message(b"{}", "text/plain", {"key": "k"}, queue))
        async with asyncio.timeout(120):
            await (await consumer.get()).reject(requeue=True)
            for _ in range(2):
                await (await consumer.get()).ack()
        await broker.depth(LIVE)
        await broker.aclose()
    both = Sent()
    both.frames = [one for part in found for one in part.frames]
    return both


async def test_queues_are_durable_and_have_their_type_as_only_argument(sent: Sent) -> None:
    """Transient queues are refused from 4.3 on, mirrored ones from 4.0 on; other arguments could never be changed."""
    declared = [one for one in sent.of(commands.Queue.Declare) if not one.passive]
    assert {one.queue for one in declared} >= set(queues_of(["h"]))
    for one in declared:
        assert (one.durable, one.exclusive, one.auto_delete) == (True, False, False)
        assert one.arguments == QUEUE_ARGUMENTS
    assert all(one.durable and not one.auto_delete for one in sent.of(commands.Exchange.Declare))


async def test_limits_of_what_is_under_way_are_those_of_a_consumer(sent: Sent) -> None:
    """A limit for a whole channel is refused from 4.3 on; quorum queues know no `exclusive`."""
    assert sent.of(commands.Basic.Qos)
    assert not any(one.global_ for one in sent.of(commands.Basic.Qos))
    read = sent.of(commands.Basic.Consume)
    assert {one.queue for one in read} == {LIVE, bulk_queue("h")}
    assert not any(one.arguments or one.exclusive or one.no_ack for one in read)


async def test_messages_are_persistent_and_have_no_priority(sent: Sent) -> None:
    """Quorum queues order by priority from 4.0 on; `expiration` ends a message where nobody looks for it."""
    published = sent.of(header.ContentHeader)
    assert len(published) == 3
    for one in published:
        properties = one.properties
        assert (properties.delivery_mode, properties.priority, properties.expiration) == (2, None, None)
    assert all(one.mandatory and not one.immediate for one in sent.of(commands.Basic.Publish))


async def test_what_goes_back_is_rejected_and_never_nacked(sent: Sent) -> None:
    """4.3 counts a reject, and a nack not: only the former ends at the limit everywhere."""
    assert len(sent.of(commands.Basic.Reject)) == 1
    assert not sent.of(commands.Basic.Nack)


async def test_deliveries_of_a_consumer_that_is_cancelled_come_again(vhost: str) -> None:
    """4.3 cancels a consumer that is late with an ack, where others close its channel."""
    broker = await RabbitBroker.connect(vhost, queues=queues_of(["h"]))
    try:
        consumer = await broker.consume(LIVE, prefetch=10)
        await broker.publish(LIVE, Message(b"{}", "text/plain", {}, "a"))
        async with asyncio.timeout(120):
            late = await consumer.get()
            session = consumer._session
            assert session is not None
            for told in session._channel.on_consumer_cancel_callbacks:
                told(commands.Basic.Cancel(consumer_tag=session._tags[LIVE]))
            assert session.lost.is_set()
            again = await consumer.get()
        await late.ack()
        await again.ack()

        assert (again.message.id, again.redelivered) == ("a", True)
        assert consumer._session is not session
    finally:
        await broker.aclose()


def test_every_queue_has_a_delivery_limit_and_no_policy_of_mirrors() -> None:
    """Without one RabbitMQ 4 drops what was delivered 20 times, and RabbitMQ 3 nothing."""
    for queue in queues_of(["h", "large"]):
        ruling = [policy for policy in POLICIES if policy.apply_to == "queues" and re.search(policy.pattern, queue)]
        assert [policy.definition["delivery-limit"] >= 100 for policy in ruling] == [True], queue
    assert not [key for policy in POLICIES for key in policy.definition if key.startswith(("ha-", "queue-m"))]


def test_counters_of_the_server_are_neither_read_nor_sent_back() -> None:
    """3.10 counts on from an `x-death` that a client sends; 4.3 has a counter more, and other rules for the others."""
    headers: FieldTable = {"x-delivery-count": 3, "x-acquired-count": 4, "x-death": [{"count": 5}], "key": "k"}
    properties = commands.Basic.Properties(headers=headers, message_id="1")
    came = message_of(
        DeliveredMessage(
            delivery=commands.Basic.Deliver("tag", 1, False, "", LIVE),
            header=header.ContentHeader(0, 2, properties),
            body=b"{}",
            channel=None,  # type: ignore[arg-type]
        )
    )

    assert came.headers == {"key": "k"}
    assert properties_of(came).headers == {"key": "k"}


def test_headers_of_any_size_fit_into_one_frame() -> None:
    """4.0 takes 16 MiB of a message instead of 128; of its headers both take what fits into a frame of 128 KiB."""
    long = Message(b"", "text/plain", dict.fromkeys(("key", "reason", "error"), "\U0001f600" * 1_000_000), "1")

    size = len(header.ContentHeader(0, 0, properties_of(long)).marshal())

    assert 3 * HEADER_CUT < size < 128 * 1024
