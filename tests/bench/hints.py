"""
From a store's notification to a hint on the work queue, on a real RabbitMQ, against peers that do less.

Each runs in a process of its own and reads a queue that was filled before.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from consumer.broker import RabbitBroker
from consumer.broker_topology import queues_of
from consumer.events import ObjectEvent, encode
from consumer.ingress import PREFETCH
from consumer.workitem import INGRESS, Message
from tests.bench.bench import Bench, megabytes
from tests.bench.hint_jobs import NAME, TARGET
from tests.bench.peers import DLT_PYTHON, Measured, measured
from tests.bench.report import Section
from tests.rabbit import set_policies
from tests.stack.rabbitmq import RabbitMQ

COUNT: Final = 5_000
ROUNDS: Final = 3


def hints(bench: Bench) -> Section:
    """Compare the router with aio-pika alone and with FastStream; rounds alternate, the median counts."""
    count = bench.of(COUNT, 500)
    section = Section(
        "hints",
        "From notification to hint",
        f"{count:,} notifications of MinIO on a quorum queue of RabbitMQ, a hint published to another for each, "
        f"confirmed and persistent, then the notification acked; {PREFETCH} under way at once. aio-pika reads and "
        "publishes prepared bytes and looks at nothing: the ceiling of a client written with it. FastStream reads the "
        f"JSON and publishes a dictionary. The median of {ROUNDS} rounds.",
        ("what", "hints a second", "of aio-pika", "hints per processor second", "peak memory"),
    )
    server = RabbitMQ.find(bench.folder)
    server.start()
    try:
        jobs: dict[str, Callable[[str], Measured | None]] = {
            "aio-pika alone": lambda url: _job("ceiling", url, count),
            "lakedrop": lambda url: _job("router", url, count),
            "FastStream": lambda url: _faststream(url, count),
        }
        taken: dict[str, list[Measured]] = {name: [] for name in jobs}
        for number in range(ROUNDS):
            for position, (name, job) in enumerate(jobs.items()):
                url = server.create_vhost(f"bench-{number}-{position}")
                set_policies(server, url)
                asyncio.run(_fill(url, count))
                if (found := job(url)) is not None:
                    taken[name].append(found)
                server.delete_vhost(f"bench-{number}-{position}")
    finally:
        server.close()
    medians = {
        name: sorted(found, key=lambda one: one.seconds)[len(found) // 2] for name, found in taken.items() if found
    }
    ceiling = medians["aio-pika alone"].seconds
    for name, found in medians.items():
        section.note(
            name,
            f"{count / found.seconds:,.0f}",
            f"{ceiling / found.seconds:.2f}",
            f"{count / found.cpu:,.0f}",
            megabytes(found.memory),
        )
    section.observations.append(
        "lakedrop gathers what it writes in a turn of the event loop into one system call, and acks in groups."
    )
    return section


def _job(job: str, url: str, count: int) -> Measured:
    return measured([sys.executable, "-m", "tests.bench.hint_jobs", job, url, str(count)])


def _faststream(url: str, count: int) -> Measured | None:
    script = Path(__file__).with_name("faststream_peer.py")
    if not DLT_PYTHON.exists():
        print(f"no FastStream: `make bench` installs it into {DLT_PYTHON.parents[1]}", file=sys.stderr)
        return None
    return measured([str(DLT_PYTHON), str(script), url, INGRESS, TARGET, str(count), str(PREFETCH)])


async def _fill(url: str, count: int) -> None:
    broker = await RabbitBroker.connect(url, queues=queues_of([NAME]))
    for begin in range(0, count, 500):
        await asyncio.gather(
            *(broker.publish(INGRESS, _notification(number)) for number in range(begin, min(begin + 500, count)))
        )
    await broker.aclose()


def _notification(number: int) -> Message:
    event = ObjectEvent("drop", f"orders/2026/11/file {number:06}.csv", "created", 1_795_169_472_345, "0" * 32, 4711)
    return Message(encode(event), "application/json", {"minio-bucket": "drop"}, f"{number}")
