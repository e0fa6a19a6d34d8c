"""`lakedrop dead`: what failed, to be looked at, done again, and forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from consumer import exits
from consumer.app import App, open_app
from consumer.broker import RabbitBroker
from consumer.broker_port import Broker
from consumer.cli import Command, Group, Invocation
from consumer.cli_work import run_replay
from consumer.dead_letters import DeadLetters
from consumer.live import numbered
from consumer.local_broker import LocalBroker
from consumer.protocol import Status
from consumer.replay import Request
from consumer.settings import Settings
from consumer.terminal import command, console, shown
from consumer.workitem import dead_queue


@click.group(cls=Group)
def dead() -> None:
    """Look at what failed, do it again, and forget it."""


@dead.command("list", cls=Command, examples=("lakedrop dead list", "lakedrop dead list --limit 100 --json"))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Of each kind.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def show(invocation: Invocation, limit: int, as_json: bool) -> int:
    """
    Show units that have failed, and on RabbitMQ the messages that nobody could read.

    The ledger is the truth about units; the dead queues hold copies for people who look there.
    """
    return asyncio.run(_show(invocation.existing(), limit=limit, as_json=as_json))


async def _show(settings: Settings, *, limit: int, as_json: bool) -> int:
    async with _opened(settings) as (app, letters):
        total = sum((await app.units.error_classes()).values())
        failures = await app.units.failures(limit)
        found = await letters.letters()
    unreadable = [letter for letter in found if letter.hint is None]
    stale = sum(letter.stale for letter in found)
    if as_json:
        told = {
            "failed": total,
            "units": [
                {
                    "handler": row.key.handler,
                    "bucket": row.key.bucket,
                    "unit": row.key.unit,
                    "error_class": row.error_class,
                    "error": row.error,
                }
                for row in failures
            ],
            "unreadable": len(unreadable),
            "messages": [
                {"queue": letter.queue, "id": letter.message.id, "reason": letter.reason}
                for letter in unreadable[-limit:]
            ],
            "copies": len(found) - len(unreadable),
            "stale": stale,
        }
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return exits.OK
    out = console()
    out.print(f"{numbered(total, 'unit')} failed")
    for row in failures:
        out.print(
            f"  {row.key.bucket}/{shown(row.key.unit)}  {row.error_class}: {shown(row.error or '')}", soft_wrap=True
        )
    if total > len(failures):
        out.print(f"  and {total - len(failures):,} more")
    if unreadable:
        out.print(f"{numbered(len(unreadable), 'message')} that nobody could read")
        for letter in unreadable[-limit:]:
            out.print(f"  {letter.queue}  {shown(letter.reason)}", soft_wrap=True)
    if stale:
        out.print(
            f"{numbered(stale, 'dead letter')} that a newer one repeats, or whose unit has not failed any more: "
            f"{command(settings, 'dead', 'prune')}",
            soft_wrap=True,
        )
    if total or unreadable:
        out.print(f"To do them again: {command(settings, 'dead', 'retry', '--yes')}", soft_wrap=True)
    return exits.OK


@dead.command(cls=Command, examples=("lakedrop dead retry", "lakedrop dead retry --error-class BadCompression --yes"))
@click.option("--bucket", metavar="BUCKET", help="Only this bucket.")
@click.option("--prefix", default="", metavar="PREFIX", help="Only keys that begin with this.")
@click.option("--error-class", metavar="NAME", help="Only units that failed for this reason.")
@click.option("--notifications", is_flag=True, help="Also have notifications read again that could not be.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be done.")
@click.pass_obj
def retry(
    invocation: Invocation, *, bucket: str | None, prefix: str, error_class: str | None, notifications: bool, yes: bool
) -> int:
    """
    Do failed units again, and take their copies off the dead queues.

    As `lakedrop replay --status failed`. Notifications go back to the service's ingress queue. Exit code 1 when a unit
    failed again.
    """
    settings = invocation.existing()
    request = Request(bucket=bucket, prefix=prefix, status=Status.FAILED, error_class=error_class)
    return asyncio.run(_retry(settings, request, notifications=notifications, yes=yes))


async def _retry(settings: Settings, request: Request, *, notifications: bool, yes: bool) -> int:
    code = await run_replay(settings, request, rate=None, yes=yes, hand_over=False)
    if not yes:
        return code
    async with _opened(settings) as (_, letters):
        if notifications:
            number = await letters.retry_notifications()
            console().print(f"{numbered(number, 'notification')} put back to be read again")
        await letters.prune()
    return code


@dead.command(cls=Command, examples=("lakedrop dead prune", "lakedrop dead prune --unreadable"))
@click.option("--unreadable", is_flag=True, help="Also delete messages that nobody could read.")
@click.pass_obj
def prune(invocation: Invocation, unreadable: bool) -> int:
    """
    Take copies off the dead queues that a newer one repeats, or whose units have not failed any more.

    The service does so every hour. Without RabbitMQ there are no copies.
    """
    return asyncio.run(_prune(invocation.existing(), unreadable=unreadable))


async def _prune(settings: Settings, *, unreadable: bool) -> int:
    async with _opened(settings) as (_, letters):
        pruned = await letters.prune(unreadable=unreadable)
    console().print(
        f"{numbered(pruned.stale, 'dead letter')} and {numbered(pruned.unreadable, 'unreadable message')} deleted"
    )
    return exits.OK


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[App, DeadLetters]]:
    """Open a home, and the broker that its replicas share; without one there is none to look into."""
    async with open_app(settings) as app:
        broker: Broker = LocalBroker()
        if settings.broker_url is not None:
            broker = await RabbitBroker.connect(
                settings.broker_url.get_secret_value(), queues=[dead_queue(name) for name in app.queues]
            )
        try:
            yield app, DeadLetters(broker, app.units, app.queues)
        finally:
            await broker.aclose()
