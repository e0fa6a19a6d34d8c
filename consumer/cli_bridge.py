"""`lakedrop bridge`: events of stores that cannot send them to RabbitMQ themselves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import click
import structlog

from consumer import exits
from consumer.app import wall_clock
from consumer.cli import Command, Group, Invocation
from consumer.ids import RandomIds
from consumer.kinds import builtin_kinds
from consumer.lanes import Lanes
from consumer.ledger_checkpoints import Checkpoints, WantedSweeps
from consumer.parts import make_broker, make_ledger
from consumer.routes import build_router
from consumer.seaweed import Bridge, path_prefix
from consumer.seaweed_stream import FilerStream
from consumer.settings import Settings
from consumer.signals import Signals

log = structlog.get_logger("lakedrop.bridge")

LARGEST_CLIENT_ID: Final = (1 << 31) - 1
"""SeaweedFS keeps it in 32 bits with a sign."""


@click.group(cls=Group)
def bridge() -> None:
    """
    Carry events of stores that cannot send them to RabbitMQ themselves.

    MinIO can: see `lakedrop notify`.
    """


@bridge.command(
    cls=Command,
    examples=(
        "lakedrop bridge seaweedfs --filer localhost:18888",
        "lakedrop bridge seaweedfs --home /srv/lake",
    ),
)
@click.option(
    "--filer",
    metavar="HOST:PORT",
    help="The filer's gRPC port, which is its HTTP port + 10000. [default: the setting bridge_filer]",
)
@click.pass_obj
def seaweedfs(invocation: Invocation, filer: str | None) -> int:
    """
    Carry what happens to files of a SeaweedFS filer to RabbitMQ, until SIGTERM or Ctrl-C.

    Needs the settings `broker_url` and `ledger_url` (or the home of the service), and the routes of the service. How
    far it has come stands in the ledger, written after RabbitMQ's confirm. It waits for filer, RabbitMQ and ledger
    when they are away. Whenever the stream of the filer begins anew, it asks the service for a sweep: a killed filer
    forgets up to a minute of what happened. Two bridges only double the notifications.
    """
    settings = invocation.existing(quiet=False)
    address = filer or settings.bridge_filer
    if address is None:
        raise exits.CommandError(
            "which filer? Name it with --filer HOST:PORT, or in the setting bridge_filer", exits.CONFIGURATION
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise exits.CommandError(f"filer {address!r}: write HOST:PORT, as localhost:18888", exits.CONFIGURATION)
    if settings.broker_url is None:
        raise exits.CommandError(
            "the setting broker_url is missing: the bridge brings events to RabbitMQ, where a service takes them",
            exits.CONFIGURATION,
        )
    return asyncio.run(_carry(settings, address))


async def _carry(settings: Settings, address: str) -> int:
    signals = Signals(settings, cut_off=exits.OK)
    async with _opened(settings, address) as carrying:
        running = asyncio.create_task(carrying.run(), name="bridge")
        stopping = asyncio.create_task(signals.stop.wait(), name="stop")
        log.info("bridge.started", filer=address)
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
            await carrying.drain(settings.drain_seconds)
    log.info("bridge.ended", published=carrying.counts.published)
    return exits.OK


@asynccontextmanager
async def _opened(settings: Settings, address: str) -> AsyncIterator[Bridge]:
    new_id = RandomIds()
    async with AsyncExitStack() as stack:
        lanes = Lanes()
        stack.push_async_callback(lanes.aclose)
        ledger = make_ledger(settings, lanes, clock=wall_clock, new_id=new_id)
        stack.push_async_callback(ledger.aclose)
        try:
            await ledger.open()
        except Exception as error:
            raise exits.CommandError(f"the ledger cannot be opened: {getattr(error, 'orig', error)}") from error
        broker = make_broker(settings, serves=True)
        stack.push_async_callback(broker.aclose)
        router = build_router(settings, builtin_kinds())
        stream = FilerStream(
            address, path_prefix=path_prefix(router), client_id=1 + secrets.randbelow(LARGEST_CLIENT_ID)
        )
        yield Bridge(
            stream=stream,
            broker=broker,
            router=router,
            checkpoints=Checkpoints(ledger),
            wanted=WantedSweeps(ledger),
            clock=wall_clock,
            new_id=new_id,
        )
