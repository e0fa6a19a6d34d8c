"""
One channel of a consumer, from its opening until it is lost: what arrived on it, and what has yet to be settled.

A lost session takes its deliveries with it; RabbitMQ hands them over again, to a new session or to another process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from consumer.broker_link import loss_is_no_cancel, shown_url

RPC_SECONDS: Final = 10.0
"""Patience with a server that does not answer."""


class Arrived(NamedTuple):
    """A message and where it came from."""

    queue: str
    tag: int
    delivered: DeliveredMessage


class Session:
    """
    Consumers of some queues on one channel.

    Acks are gathered for a turn of the event loop; all up to the oldest that is not settled go as one.

    Args:
        rang: Called when something arrived, was settled, or the session was lost.
    """

    def __init__(self, channel: Channel, prefetch: int, rang: Callable[[], None]) -> None:
        self.buffers: dict[str, deque[Arrived]] = {}
        self.unsettled = 0
        """Handed over and not settled."""
        self.lost = asyncio.Event()
        self.reason = ""
        """Why it was lost."""
        self._channel = channel
        self._place = shown_url(channel.connection.url)
        self._prefetch = prefetch
        self._rang = rang
        self._tags: dict[str, str] = {}
        """Of consumers, by queue."""
        self._open: deque[int] = deque()
        """Delivery tags in order, back to the oldest that is not settled."""
        self._settled: set[int] = set()
        """Those of `_open` that are, and of which the server knows or is about to be told."""
        self._acks: set[int] = set()
        self._rejects: list[tuple[int, bool]] = []
        self._work = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._sending = asyncio.create_task(self._send(), name="send acks")
        channel.closing.add_done_callback(self._closed)
        channel.connection.closing.add_done_callback(self._closed)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)

    async def subscribe(self, queue: str) -> None:
        """Start reading a queue; returns when what was waiting there for us has arrived."""
        self.buffers[queue] = deque()
        async with asyncio.timeout(RPC_SECONDS):
            await self._channel.basic_qos(prefetch_count=self._prefetch)

            async def arrived(delivered: DeliveredMessage) -> None:
                self._arrived(queue, delivered)

            answer = await self._channel.basic_consume(queue, arrived)
            if answer.consumer_tag is None:
                raise RuntimeError(f"RabbitMQ named no consumer of {queue}")
            self._tags[queue] = answer.consumer_tag
            await self._caught_up()

    async def read_ahead(self, queue: str) -> int:
        """Count what has left the server and was not handed over, also what is still on its way here."""
        async with asyncio.timeout(RPC_SECONDS):
            await self._caught_up()
        return len(self.buffers.get(queue, ()))

    async def _caught_up(self) -> None:
        """Ask for anything: the answer comes after all that was sent to us before."""
        await self._channel.basic_qos(prefetch_count=self._prefetch)

    async def is_alive(self) -> bool:
        """Tell whether the server still serves every consumer of this session."""
        try:
            async with asyncio.timeout(RPC_SECONDS):
                for queue, tag in self._tags.items():
                    answer = await self._channel.queue_declare(queue, passive=True)
                    if not answer.consumer_count or tag not in self._channel.consumers:
                        return False
        except Exception:  # noqa: BLE001 (whatever it is, this session is of no more use)
            return False
        return not self.lost.is_set()

    def settle(self, tag: int, *, ack: bool, requeue: bool = False) -> None:
        """Settle a delivery that was handed over; nothing when the session is lost."""
        if self.lost.is_set():
            return
        self.unsettled -= 1
        if ack:
            self._acks.add(tag)
        else:
            self._rejects.append((tag, requeue))
        self._work.set()
        self._rang()

    async def aclose(self) -> None:
        """
        Send what was settled and close the channel: the rest goes back to its queues.

        The consumers are cancelled first. A channel holds back acks while 32 of them are not in the log of a quorum
        queue, and loses those when it closes (3.10.8: of 60 acks, 16 times in 20 some); a cancel waits for the log.
        """
        with suppress(Exception), loss_is_no_cancel(self._place):
            async with asyncio.timeout(RPC_SECONDS):
                await self._flush()
                for tag in self._tags.values():
                    await self._channel.basic_cancel(tag)
        self.lose("closed by us")
        self._sending.cancel()
        await asyncio.wait([self._sending])
        with suppress(Exception), loss_is_no_cancel(self._place):
            await self._channel.close(None, timeout=RPC_SECONDS)

    def _arrived(self, queue: str, delivered: DeliveredMessage) -> None:
        if self.lost.is_set() or delivered.delivery_tag is None:
            return
        self._open.append(delivered.delivery_tag)
        self.buffers[queue].append(Arrived(queue, delivered.delivery_tag, delivered))
        self._rang()

    async def _send(self) -> None:
        try:
            with loss_is_no_cancel(self._place):
                while True:
                    await self._work.wait()
                    self._work.clear()
                    await self._flush()
        except Exception as error:  # noqa: BLE001 (the channel is gone: its deliveries come again)
            self.lose(repr(error))

    async def _flush(self) -> None:
        """Send what was settled; who comes meanwhile waits until that is sent, too."""
        async with self._flushing:
            await self._send_settled()

    async def _send_settled(self) -> None:
        rejects, self._rejects = self._rejects, []
        acks, self._acks = self._acks, set()
        for tag, requeue in rejects:
            self._settled.add(tag)
            await self._channel.basic_reject(tag, requeue=requeue, wait=False)
        self._settled |= acks
        last = 0
        while self._open and self._open[0] in self._settled:
            tag = self._open.popleft()
            self._settled.discard(tag)
            if tag in acks:  # the server closes the channel over a tag that it was told of before
                last = tag
        if last:
            await self._channel.basic_ack(last, multiple=True, wait=False)
        for tag in sorted(acks):
            if tag > last:
                await self._channel.basic_ack(tag, wait=False)

    def _cancelled(self, frame: spec.Basic.Cancel) -> None:
        """The server has cancelled a consumer: its queue was deleted, or its leader went."""
        if frame.consumer_tag in self._tags.values():
            self.lose("RabbitMQ cancelled the consumer")

    def _closed(self, closing: asyncio.Future[object]) -> None:
        self.lose("closed" if closing.cancelled() else f"{closing.exception()}")

    def lose(self, reason: str) -> None:
        """Be of no more use; the deliveries come again."""
        self.reason = self.reason or reason
        self.lost.set()
        self.unsettled = 0
        for buffer in self.buffers.values():
            buffer.clear()
        self._rang()
