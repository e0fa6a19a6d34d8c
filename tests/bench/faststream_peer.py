"""FastStream, queue to queue: `faststream_peer.py URL SOURCE TARGET COUNT PREFETCH`, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue


async def main(url: str, source: str, target: str, count: int, prefetch: int) -> float:
    """Publish a hint for each notification; return seconds."""
    broker = RabbitBroker(url, default_channel=Channel(prefetch_count=prefetch), logger=None)

    @broker.subscriber(RabbitQueue(source, durable=True, queue_type=QueueType.QUORUM))  # type: ignore[untyped-decorator]  # not installed where types are checked
    async def arrived(notification: dict[str, Any]) -> None:
        described = notification["Records"][0]
        unit = described["s3"]["object"]["key"]
        data = {"handler": "fake", "bucket": "drop", "unit": unit, "reason": "event", "route": "all", "error": None}
        hint = {
            "specversion": "1.0",
            "id": "0" * 36,
            "source": "/lakedrop/event",
            "type": "lakedrop.unit.changed",
            "subject": f"drop/{unit}",
            "time": described["eventTime"],
            "datacontenttype": "application/json",
            "data": data,
        }
        await broker.publish(hint, target, persist=True, mandatory=True, headers={"key": unit, "reason": "event"})

    await broker.connect()
    begin = time.perf_counter()
    await broker.start()
    queue = RabbitQueue(target, durable=True, queue_type=QueueType.QUORUM)
    while True:
        found = await broker.declare_queue(queue)
        again = await found.declare()
        if (again.message_count or 0) >= count:
            break
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - begin
    await broker.stop()
    return seconds


if __name__ == "__main__":
    url, source, target, count, prefetch = sys.argv[1:]
    took = asyncio.run(main(url, source, target, int(count), int(prefetch)))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    memory = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"seconds": took, "cpu": time.process_time(), "memory": memory}))
