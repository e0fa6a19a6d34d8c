"""`lakedrop plan`: what would become of the objects below a prefix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from consumer import exits
from consumer.cli import Command, Invocation
from consumer.live import numbered
from consumer.plan import Scope
from consumer.plan_app import open_planning
from consumer.plan_report import Totals
from consumer.plan_text import PlanText
from consumer.router import Router
from consumer.settings import Settings
from consumer.terminal import command, console, progress, shown
from handlers.contract import StoredObject


@click.command(
    cls=Command,
    examples=(
        "lakedrop plan",
        "lakedrop plan customers/",
        "lakedrop plan csv-uploads/customers/ --json | jq .totals",
        "lakedrop plan customers/q1.csv --force",
    ),
)
@click.argument("prefix", default="")
@click.option("--force", is_flag=True, help="Also plan units that are as they should be.")
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/operations.md describes the keys.")
@click.pass_obj
def plan(invocation: Invocation, prefix: str, *, force: bool, as_json: bool) -> int:
    """
    Show what would become of objects below PREFIX; writes nothing.

    Reads every object that is new or changed, as the service would: dialect, columns, types, new and widened columns,
    rows in and out, rejected and rescued, and why an object would fail. PREFIX is KEY, BUCKET/KEY or a path into a
    bucket, as far as one likes; without it everything is planned. Ends with the command that does it. Exit code 1 when
    an object would fail, 69 when something could not be listed, 75 when something is being written just now.
    """
    return asyncio.run(_plan(invocation.existing(), prefix, force=force, as_json=as_json))


async def _plan(settings: Settings, text: str, *, force: bool, as_json: bool) -> int:
    totals = Totals()
    with _Bar().shown() as bar:
        async with open_planning(settings, reading=bar.reading) as planning:
            scope = scope_of(settings, planning.router, text)
            planned = planning.units(scope, totals, force=force)
            if as_json:
                click.echo(f'{{"bucket": {json.dumps(scope.bucket)}, "prefix": {json.dumps(scope.prefix)},\n"units": [')
                separator = ""
                async for unit in planned:
                    bar.planned(totals)
                    click.echo(f"{separator}{json.dumps(asdict(unit), ensure_ascii=False)}", nl=False)
                    separator = ",\n"
            else:
                page = PlanText(bar.out)
                async for unit in planned:
                    bar.planned(totals)
                    page.unit(unit)
    commands = _commands(settings, scope, totals, force=force)
    if as_json:
        told = {"totals": totals.json(), "next": commands}
        click.echo(f"\n],\n{json.dumps(told, indent=2, ensure_ascii=False)[1:]}")
    else:
        page.end(totals)
        page.do(commands)
    if totals.errors:
        return exits.UNAVAILABLE
    if totals.units["fail"]:
        return exits.FAILED
    return exits.TEMPORARY if totals.units["wait"] else exits.OK


def scope_of(settings: Settings, router: Router, text: str) -> Scope:
    """Return the keys a person means: BUCKET/PREFIX, a path into a bucket, or a PREFIX in every routed bucket."""
    root = settings.buckets.absolute()
    path = Path(text).absolute()
    if text and path.is_relative_to(root) and path != root:
        text = path.relative_to(root).as_posix() + "/" * text.endswith("/")
    first, slash, rest = text.partition("/")
    if first in {route.bucket for route in router.routes} and (slash or first == text):
        return Scope(first, rest)
    return Scope(None, text)


def _commands(settings: Settings, scope: Scope, totals: Totals, *, force: bool) -> list[str]:
    """Return what does the plan: a replay does the units below a prefix, a sweep what a deletion left behind."""
    commands = []
    replayed = totals.units["write"] or (totals.units["fail"] and totals.reasons["new"] + totals.reasons["changed"])
    everything = scope == Scope(None, "")
    if everything and not totals.reasons["again"] and totals.work:
        return [command(settings, "run", "--once")]
    if replayed:
        words = [*(() if scope.bucket is None else ("--bucket", scope.bucket)),
                 *(("--prefix", scope.prefix) if scope.prefix else ()), *(("--force",) if force else ())]  # fmt: skip
        commands.append(command(settings, "replay", *words, "--yes"))
    if totals.units["remove"]:
        commands.append(command(settings, "sweep"))
    return commands


class _Bar:
    """Progress on a terminal: units planned so far, and how far the object that is being read is read."""

    def __init__(self) -> None:
        self.out = console()
        self._bar = progress(self.out if self.out.is_terminal else None)
        self._task = self._bar.add_task("comparing", total=None)
        self._units = 0

    @contextmanager
    def shown(self) -> Iterator[_Bar]:
        """Show it."""
        with self._bar:
            yield self

    def planned(self, totals: Totals) -> None:
        """Count a unit."""
        self._units = sum(totals.units.values())

    def reading(self, found: StoredObject, size: int) -> None:
        """Say how far an object is read; from any thread."""
        words = f"{numbered(self._units, 'unit')} planned, reading {shown(found.key)}"
        self._bar.update(self._task, description=words, completed=size, total=found.size)
