"""`lakedrop verify`: count back what the ledger says that tables hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile

import click
from rich.console import Console

from consumer import exits
from consumer.app import App, open_app
from consumer.cli import Command, Invocation
from consumer.cli_plan import scope_of
from consumer.live import numbered
from consumer.settings import Settings
from consumer.signals import Signals
from consumer.terminal import command, console, progress, shown
from consumer.verify import Verification, Verified, Wanted

LISTED = 20
"""Objects of a table that are named; all are counted."""


@click.command(
    cls=Command,
    examples=(
        "lakedrop verify",
        "lakedrop verify lakehouse.customers",
        "lakedrop verify csv-uploads/customers/ --json | jq .tables",
    ),
)
@click.argument("what", default="", metavar="[PREFIX|TABLE]")
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/operations.md describes the keys.")
@click.pass_obj
def verify(invocation: Invocation, what: str, *, as_json: bool) -> int:
    """
    Count back what tables hold, against every receipt.

    Trino counts where there is one (`trino_url`), else the files of the tables are read. TABLE is namespace.table;
    PREFIX is KEY, BUCKET/KEY or a path into a bucket, as far as one likes; without either everything is counted.
    Changes nothing, and may run beside the service. Ends with the command that repairs. Exit code 1 when a table does
    not show what the ledger says, 69 when somebody does not answer.
    """
    return asyncio.run(_verify(invocation.existing(), what, as_json=as_json))


async def _verify(settings: Settings, what: str, *, as_json: bool) -> int:
    signals = Signals(settings)
    async with open_app(settings) as app:
        with progress() as bar:
            task = bar.add_task("counting", total=None)

            def counted_so_far(units: int) -> None:
                bar.update(task, description=f"{numbered(units, 'object')} counted")

            counted = await signals.unless_stopped(Verification(app, counted_so_far).run(_wanted(app, what)))
    wrong = any(table.wrong for table in counted)
    if as_json:
        told = {
            "ok": not wrong,
            "counted_by": settings.trino_url or "files",
            "tables": [{**asdict(table), "repair": _repair(settings, table)} for table in counted],
        }
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(console(), settings, counted)
    return exits.FAILED if wrong else exits.OK


def _wanted(app: App, what: str) -> Wanted:
    """Take a name with a dot and no slash for a table, unless it is a bucket: such an object would be in no table."""
    scope = scope_of(app.settings, app.router, what)
    if scope.bucket is None and "." in what and "/" not in what:
        return Wanted(target=what)
    return Wanted(scope.bucket, scope.prefix)


def _repair(settings: Settings, table: Verified) -> str | None:
    """Return the command that does the wrong objects of a table again: those that begin as all of them do."""
    if not table.wrong:
        return None
    first, last = table.wrong_units[0].unit, table.wrong_units[-1].unit  # in order, so all begin as these two do
    prefix = "".join(one for one, _ in takewhile(lambda two: two[0] == two[1], zip(first, last, strict=False)))
    return command(settings, "replay", "--bucket", table.bucket, "--prefix", prefix, "--force", "--yes")


def _print(out: Console, settings: Settings, counted: Sequence[Verified]) -> None:
    by = f"Trino at {settings.trino_url}" if settings.trino_url else "their files"
    for table in counted:
        name = shown(table.target)
        under_way = f"; {table.under_way:,} under way, not counted" if table.under_way else ""
        objects = numbered(table.units, "object")
        if not table.wrong:
            out.print(f"ok    {name}  {objects}, {numbered(table.found, 'row')}{under_way}")
            continue
        out.print(
            f"FAIL  {name}  {table.wrong:,} of {objects} otherwise than the ledger says: {table.found:,} rows of "
            f"{table.expected:,}{under_way}",
            style="red",
        )
        for one in table.wrong_units[:LISTED]:
            out.print(f"        {shown(one.unit)}: {shown(one.message)}", soft_wrap=True)
        if table.wrong > LISTED:
            out.print(f"        and {table.wrong - LISTED:,} more")
        out.print(f"      {_repair(settings, table)}", style="cyan", soft_wrap=True)
    if counted:
        out.print(f"Tables were counted by {by}; other sinks count themselves.")
    else:
        out.print("The ledger has no receipt of such objects.")
