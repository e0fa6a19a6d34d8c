"""`lakedrop status` and `lakedrop why`: the ledger, told to people and machines."""

from __future__ import annotations

import asyncio
import json

import click

from consumer import exits
from consumer.app import made_app, open_app
from consumer.cli import Command, Invocation
from consumer.settings import Settings
from consumer.status import StatusReport, status_report
from consumer.status_text import print_status
from consumer.terminal import console
from consumer.times import iso
from consumer.why import UNKNOWN, locate, why_report
from consumer.why_text import print_why


@click.command(cls=Command, examples=("lakedrop status", "lakedrop status --json | jq .failed_by_class"))
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/operations.md describes the keys.")
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> int:
    """
    Show what is done, waiting and failing.

    Reads the ledger only, so it may be run at any time, whether a service works on the home or not.
    """
    report = asyncio.run(_status(invocation.existing()))
    if as_json:
        click.echo(json.dumps(report.json(), indent=2, ensure_ascii=False))
    else:
        print_status(console(), report)
    return exits.OK


async def _status(settings: Settings) -> StatusReport:
    async with made_app(settings) as app:
        await app.open_ledger()  # no more is needed: the state can be told while the tables' catalog is away
        return await status_report(app)


@click.command(
    cls=Command,
    examples=(
        "lakedrop why csv-uploads/customers/q1.csv",
        "lakedrop why customers/q1.csv",
        "lakedrop why lakedrop-home/buckets/csv-uploads/customers/q1.csv --json",
    ),
)
@click.argument("object_", metavar="BUCKET/KEY")
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/operations.md describes the keys.")
@click.pass_obj
def why(invocation: Invocation, object_: str, as_json: bool) -> int:
    """
    Tell the story of one object, and what to do about it.

    What the bucket shows, what the sink holds and which version is the last good one, what was detected and refused,
    and every step so far. The last line is the command that repairs. The bucket may be left out where only one is
    routed. Exit code 1 when nothing is known about such an object.
    """
    return asyncio.run(_why(invocation.existing(), object_, as_json=as_json))


async def _why(settings: Settings, text: str, *, as_json: bool) -> int:
    async with open_app(settings) as app:
        report = await why_report(app, *locate(app, text))
        now = iso(app.clock())
    if as_json:
        click.echo(json.dumps(report.json(), indent=2, ensure_ascii=False))
    else:
        print_why(console(), report, now)
    return exits.FAILED if report.state == UNKNOWN and report.stored is None else exits.OK
