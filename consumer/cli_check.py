"""`lakedrop check`: is everything there that a service needs?"""

from __future__ import annotations

import asyncio
import json

import click
from rich.text import Text

from consumer import exits
from consumer.check import Check
from consumer.checks import checks
from consumer.cli import Command, Invocation
from consumer.settings import Settings
from consumer.terminal import console


@click.command(
    cls=Command, examples=("lakedrop check", "lakedrop check --home /srv/lake && lakedrop run --home /srv/lake")
)
@click.option("--json", "as_json", is_flag=True, help="An array for machines.")
@click.pass_obj
def check(invocation: Invocation, as_json: bool) -> int:
    """
    Test settings and dependencies, one line each.

    Where something is wrong, the next line is what repairs it. Exit code 69 then, and 78 for faults in the settings.
    """
    return asyncio.run(_check(invocation.settings(silent=True), as_json=as_json))


async def _check(settings: Settings, *, as_json: bool) -> int:
    results = []
    async for result in checks(settings):
        results.append(result)
        if not as_json:
            _print(result)
    if as_json:
        click.echo(json.dumps([result.json() for result in results], indent=2, ensure_ascii=False))
    return exits.OK if all(result.ok for result in results) else exits.UNAVAILABLE


def _print(result: Check) -> None:
    out = console()
    mark = ("ok    ", "green") if result.ok else ("FAIL  ", "red")
    out.print(Text.assemble(mark, (f"{result.name:<23} ", "bold"), result.message), soft_wrap=True)
    if result.repair is not None:
        out.print(f"      {result.repair}", style="cyan", soft_wrap=True)
