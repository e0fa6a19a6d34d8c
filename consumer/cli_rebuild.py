"""`lakedrop table rebuild`: give a table the types that suit all its sources."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer import exits
from consumer.app import App, open_app
from consumer.cli import Command, Invocation
from consumer.kinds_csv import rebuild_table
from consumer.live import numbered
from consumer.settings import Settings
from consumer.terminal import command, console, progress, shown
from consumer.workitem import UnitKey
from handlers.contract import StoredObject


@click.command(
    cls=Command,
    examples=("lakedrop table rebuild customers", "lakedrop table rebuild lakehouse.customers --yes"),
)
@click.argument("table")
@click.option("--yes", is_flag=True, help="Do it without asking. Without this and without a terminal, only say what.")
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/operations.md describes the keys.")
@click.pass_obj
def rebuild(invocation: Invocation, table: str, yes: bool, as_json: bool) -> int:
    """
    Give a table the types that suit all its sources.

    The types of a table are those of its first file; cells that do not fit are rescued. This looks at every value of
    every source, says which columns would get another type, and rewrites all rows in one commit; readers see the old
    table or the new one. A source whose object is gone keeps its rows. A service may go on working meanwhile. TABLE is
    namespace.table; the namespace may be left out where there is only one.
    """
    return asyncio.run(_rebuild(invocation.existing(), table, yes=yes, as_json=as_json))


async def _rebuild(settings: Settings, table: str, *, yes: bool, as_json: bool) -> int:
    out = console()
    async with open_app(settings) as app:
        name = _full_name(app, table)
        with progress() as bar:
            task = bar.add_task("", total=None)

            def tell(what: str, through: int, total: int) -> None:
                bar.update(task, description=f"{shown(name)}: {what}", completed=through, total=total)

            def ask(plan: Mapping[str, Any]) -> bool:
                if not as_json:
                    _print_plan(out, plan)
                if yes or not plan["columns"]:
                    return yes and bool(plan["columns"])
                if as_json or not out.is_terminal:
                    return False
                bar.stop()
                agreed = click.confirm("Rewrite the table?")
                bar.start()
                return agreed

            done = await rebuild_table(app.handlers, name, _finder(app), ask, tell)
    if as_json:
        click.echo(json.dumps(done, indent=2, ensure_ascii=False))
    else:
        _print_done(out, settings, table, done)
    return exits.OK


def _full_name(app: App, table: str) -> str:
    """Return `namespace.table`."""
    if "." in table:
        return table
    namespaces = sorted({getattr(route.options, "namespace", "") for route in app.router.routes} - {""})
    if len(namespaces) != 1:
        raise exits.CommandError(f"{table}: begin with the namespace; there are {', '.join(namespaces)}", exits.USAGE)
    return f"{namespaces[0]}.{table}"


def _finder(app: App) -> Any:
    async def find(bucket: str, key: str) -> tuple[StoredObject, Any] | None:
        found = app.looker.unit_of(bucket, key)
        look = None if found is None else await app.looker.look(UnitKey(found[1].handler, bucket, key))
        return (look.objects[0], look.unit.options) if look is not None and look.objects else None

    return find


def _print_plan(out: Console, plan: Mapping[str, Any]) -> None:
    sources = f"{numbered(plan['sources'], 'source')}, {numbered(plan['rows'], 'row')}"
    out.print(Text.assemble((plan["table"], "bold"), f"  {sources}"))
    if plan["kept"]:
        out.print(f"  {plan['kept']:,} of the sources changed or are gone: their rows are carried over as they are")
    if not plan["columns"]:
        return
    table = Table(
        "column", "type", "becomes", "because", "rescued", "fit", box=None, pad_edge=False, header_style="dim"
    )
    for one in plan["columns"]:
        counts = f"{one['rescued']:,}", f"{one['fit']:,}"
        table.add_row(Text(shown(one["column"])), one["old"], Text(one["new"], "cyan"), shown(one["reason"]), *counts)
    out.print(table)


def _print_done(out: Console, settings: Settings, table: str, done: Mapping[str, Any]) -> None:
    if done["snapshot"] is not None:
        types = ", ".join(f"{shown(one['column'])} {one['new']}" for one in done["columns"])
        out.print(f"Done: {types}; {numbered(done['rescued'], 'row')} with rescued cells left.", style="green")
    elif not done["columns"]:
        out.print("Nothing to do: the types suit all sources.")
    else:
        out.print("Nothing was done. To do it:")
        out.print(f"  {command(settings, 'table', 'rebuild', table, '--yes')}", style="cyan", soft_wrap=True)
