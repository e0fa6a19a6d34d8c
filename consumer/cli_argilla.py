"""`lakedrop argilla ingest`: one pass over the prefixes of Argilla, for a CronJob."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import click

from consumer import exits
from consumer.app import open_app
from consumer.cli import Command, Group, Invocation
from consumer.cli_run import failed_units, work_off
from consumer.held import Settled
from consumer.kinds_argilla import NAME
from consumer.live import numbered
from consumer.rebuild import rebuild
from consumer.settings import Settings
from consumer.settings_routes import place_of
from consumer.signals import Signals
from consumer.terminal import command, console, shown
from consumer.times import duration


@click.group(cls=Group)
def argilla() -> None:
    """Annotation datasets: records in a bucket become datasets of Argilla."""


@argilla.command(
    cls=Command,
    examples=(
        "lakedrop argilla ingest",
        "lakedrop argilla ingest --json | jq .failed",
    ),
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Do what is due within this time; later retries are listed, exit code 75.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/argilla.md describes the keys.")
@click.pass_obj
def ingest(invocation: Invocation, wait: float, as_json: bool) -> int:
    """
    Look for new and changed records once, bring them into Argilla, and end.

    Of the routes with the handler argilla_records, or the one that INPUT_PREFIX names. What the ingest log calls
    ingested in the same version is left alone, also when the ledger is new. Exit code 0 when every dataset shows its
    folder, 1 when some have failed, 69 when a server does not answer, 75 when retries are due later.
    """
    settings = invocation.settings(quiet=True)
    routes = tuple(route for route in settings.routes if route.handler == NAME)
    if (place := place_of(os.environ.get("INPUT_PREFIX"))) and routes:
        there = ", ".join(f"{route.bucket}/{route.prefix}" for route in routes)
        routes = tuple(route for route in routes if route.bucket == place[0] and route.prefix.startswith(place[1]))
        if not routes:
            raise exits.CommandError(
                f"INPUT_PREFIX names {place[0]}/{place[1]}, where no route of {NAME} lies; those are at {there}",
                exits.CONFIGURATION,
            )
    if not routes:
        raise exits.CommandError(
            f"no route has the handler {NAME}: name one in lakedrop.toml, or set INPUT_PREFIX=s3://bucket/argilla/in/",
            exits.CONFIGURATION,
        )
    return asyncio.run(_ingest(settings.model_copy(update={"routes": routes}), wait, as_json=as_json))


async def _ingest(settings: Settings, wait: float, *, as_json: bool) -> int:
    signals = Signals(settings)
    worked: dict[str, dict[str, Any]] = {}

    def on_settled(settled: Settled) -> None:
        unit = f"{settled.key.bucket}/{settled.key.unit}"
        receipt = settled.receipt
        worked[unit] = {
            "folder": unit,
            "status": settled.status.value,
            "dataset": None if receipt is None else receipt.target,
            "error": settled.error,
            "counts": {} if receipt is None else dict(receipt.counts),
        }

    async with open_app(settings, on_settled=on_settled) as app:
        # The log is the memory of a job whose home is new at every run.
        await signals.unless_stopped(rebuild(app))
        try:
            app.start_workers()
            report, later = await signals.unless_stopped(work_off(app, wait, None))
            await app.recorder.flush()
        finally:
            await app.stop(settings.drain_seconds, hurry=signals.hurry)
        failed = [
            {"folder": f"{bucket}/{row.unit}", "error": row.error or ""} async for bucket, row in failed_units(app)
        ]
        due = [
            {
                "folder": f"{row.key.bucket}/{row.key.unit}",
                "in_seconds": max(row.due - app.clock(), 0) / 1000,
                "error": row.error or "",
            }
            for row in later
        ]
    told = {"listed": report.listed, "worked": list(worked.values()), "failed": failed, "due": due}
    told["errors"] = report.errors
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(settings, told)
    if report.errors:
        return exits.UNAVAILABLE
    if failed or report.withheld:
        return exits.FAILED
    return exits.TEMPORARY if due else exits.OK


def _print(settings: Settings, told: dict[str, Any]) -> None:
    out = console()
    for one in told["worked"]:
        if one["status"] == "done" and one["counts"]:
            counts = ", ".join(f"{number:,} {name}" for name, number in one["counts"].items())
            out.print(f"done    {shown(one['folder'])}: {counts} in {shown(one['dataset'])}", soft_wrap=True)
    for one in told["failed"]:
        out.print(f"failed  {shown(one['folder'])}: {shown(one['error'])}", soft_wrap=True, style="red")
        out.print(f"        {command(settings, 'why', one['folder'])}", soft_wrap=True, style="cyan")
    for one in told["due"]:
        when = duration(one["in_seconds"])
        out.print(f"due     {shown(one['folder'])} in {when}: {shown(one['error'])}", soft_wrap=True)
    for error in told["errors"]:
        out.print(error, soft_wrap=True, style="red")
    out.print(f"{numbered(told['listed'], 'object')} listed, {numbered(len(told['worked']), 'folder')} looked at")
