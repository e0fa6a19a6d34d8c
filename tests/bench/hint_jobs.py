"""
The router and its ceiling, each in a process of its own: `python -m tests.bench.hint_jobs JOB URL COUNT`.

Imports no more than the job needs, as peak memory is measured too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aio_pika

from consumer.broker import RabbitBroker
from consumer.hints import Hints
from consumer.ids import RandomIds
from consumer.ingress import PREFETCH, Ingress
from consumer.look import Looker
from consumer.router import Route, Router
from consumer.workitem import INGRESS, Hint, UnitKey, encode, work_queue
from tests.bench import memory
from tests.fakes import FakeHandler, MemoryStore, RouteOptions

HANDLER: Final = FakeHandler()
NAME: Final = HANDLER.name
TARGET: Final = work_queue(NAME)


async def router(url: str, count: int) -> float:
    """Route all notifications; return seconds."""
    broker = await RabbitBroker.connect(url)
    options = RouteOptions()
    route = Route("all", "drop", "", ("*.csv",), NAME, options)
    looker = Looker(MemoryStore("drop", clock=lambda: 0), Router([route]), {NAME: HANDLER})
    hints = Hints(broker, clock=lambda: 0, new_id=RandomIds())
    start = time.perf_counter()
    working = asyncio.create_task(Ingress(broker, looker, hints).run())
    await _until_filled(url, count)
    seconds = time.perf_counter() - start
    working.cancel()
    await asyncio.wait([working])
    await broker.aclose()
    return seconds


async def ceiling(url: str, count: int) -> float:
    """Read and publish with aio-pika, and do nothing else; return seconds."""
    key = UnitKey(NAME, "drop", "orders/2026/11/file 000000.csv")
    sent = encode(Hint(key, "changed", "event", "0" * 36, 1_795_169_472_345, "all"))
    reading, writing = await aio_pika.connect(url), await aio_pika.connect(url)
    async with reading, writing:
        source, target = await reading.channel(), await writing.channel(on_return_raises=True)
        await source.set_qos(PREFETCH)
        publish = target.default_exchange.publish

        async def arrived(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            hint = aio_pika.Message(
                sent.body,
                content_type=sent.content_type,
                headers=dict(sent.headers),
                message_id=f"{message.delivery_tag:036}",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await publish(hint, TARGET)
            await message.ack()

        queue = await source.get_queue(INGRESS)
        start = time.perf_counter()
        await queue.consume(arrived)
        await _until_filled(url, count)
        return time.perf_counter() - start


async def _until_filled(url: str, count: int) -> None:
    """Wait until all hints are on their queue; all jobs are measured by what the server has."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        while True:
            found = await channel.declare_queue(TARGET, passive=True)
            if (found.declaration_result.message_count or 0) >= count:
                return
            await asyncio.sleep(0.02)


JOBS: Final[Mapping[str, Callable[[str, int], Awaitable[float]]]] = {"router": router, "ceiling": ceiling}


def main() -> None:
    """Run a job and report what it took."""
    job, url, count = sys.argv[1:]

    async def run() -> float:
        return await JOBS[job](url, int(count))

    seconds = asyncio.run(run())
    print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "memory": memory.peak()}))


if __name__ == "__main__":
    main()
