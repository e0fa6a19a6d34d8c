"""`lakedrop run`: the service, and its one-time form."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import click
import structlog
from rich.console import Console

from consumer import exits
from consumer.app import App, made_app, open_app
from consumer.cli import Command, Invocation, is_home
from consumer.collector import sparing_what_stays
from consumer.held import Settled
from consumer.ledger_views import Chosen, Selection, Unsettled
from consumer.live import LiveLines, numbered
from consumer.metrics import Metrics
from consumer.permission import refuse_unwritable
from consumer.protocol import Status
from consumer.service import Service
from consumer.settings import Settings
from consumer.signals import Signals
from consumer.sweep_report import Report
from consumer.tally import Tally
from consumer.terminal import command, console, progress, shell, shown
from consumer.times import duration
from consumer.workitem import UnitKey

log = structlog.get_logger("lakedrop.run")

LOOK_SECONDS: Final = 1.0
"""How often `--once` looks for deadlines that passed, and for work of other processes that ended."""

LISTED: Final = 20
"""Units that are named; all are counted."""


@click.command(
    cls=Command,
    examples=(
        "lakedrop run",
        "lakedrop run --home /srv/lake",
        'lakedrop run --once --wait 300 && lakedrop query "show tables"',
    ),
)
@click.option("--once", is_flag=True, help="Compare, work until nothing is left, and end.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With --once: work retries that are due within this time; later ones are listed, exit code 75.",
)
@click.pass_obj
def run(invocation: Invocation, once: bool, wait: float) -> int:
    """
    Serve a home: ingest whatever lands in its buckets.

    Makes the home when there is none. Files below HOME/buckets/<bucket>/<folder>/, or objects s3://<bucket>/<folder>/,
    become rows of the table named after the folder. SIGTERM or Ctrl-C finishes what is under way; a second one stops
    now. Neither costs an attempt. Servers that are away are waited for; any number of services may share them.

    With --once: exit code 0 when every object is in its table, 1 when units have failed or deletions were withheld, 69
    when something could not be listed, 75 when retries are due later.
    """
    readable = sys.stdout.isatty()
    settings = invocation.settings(quiet=readable)
    if settings.ledger_url is None:
        _refuse_other_things(settings.home)
    if settings.home.is_dir():
        refuse_unwritable(settings.home)
    return asyncio.run(_once(settings, wait) if once else _serve(settings, readable=readable))


def _refuse_other_things(home: Path) -> None:
    """Nothing is made among files of others because a folder was mistyped."""
    if home.is_dir() and not is_home(home) and any(home.iterdir()):
        buckets = shell("mkdir", str(home / "buckets"))
        raise exits.CommandError(
            f"{home} holds other things and is no home: name another folder with --home; to make a home there on "
            f"purpose: {buckets}",
            exits.CONFIGURATION,
        )


def _live(settings: Settings) -> LiveLines | None:
    """Return what shows units to a person, if one is there."""
    return LiveLines(console(), settings) if sys.stdout.isatty() else None


async def _serve(settings: Settings, *, readable: bool) -> int:
    signals = Signals(settings, cut_off=exits.OK)
    live = _live(settings)
    metrics = Metrics()

    def on_settled(settled: Settled) -> None:
        metrics.settled(settled)
        if live is not None:
            live.settled(settled)

    async with made_app(settings, on_settled=on_settled, serves=True) as app, sparing_what_stays():
        service = Service(app, metrics)

        def started() -> None:
            if readable:
                _welcome(app)
            log.info(
                "run.started", home=str(settings.home), buckets=sorted({route.bucket for route in app.router.routes})
            )

        try:
            await service.serve(signals.stop, started)
        finally:
            await service.stop(settings.drain_seconds, hurry=signals.hurry)
            if live is not None:
                live.flush()
    log.info("run.ended", home=str(settings.home))
    return exits.OK


def _welcome(app: App) -> None:
    """Say where to drop files, and what to try."""
    out = console()
    settings = app.settings
    route = app.router.routes[0]
    out.print(f"lakedrop serves {settings.home}", style="bold")
    if settings.store == "folder":
        place = f"{settings.buckets / route.bucket / route.prefix}/customers/q1.csv"
    else:
        place = f"s3://{route.bucket}/{route.prefix}customers/q1.csv"
    out.print(f"  drop a CSV    {place}     the folder names the table", soft_wrap=True)
    namespace = getattr(route.options, "namespace", "lakehouse")
    query = command(settings, "query", f"from {namespace}.customers limit 5")
    out.print(f"  query it      {query}", soft_wrap=True)
    out.print(f"  look around   {command(settings, 'status')}", soft_wrap=True)
    out.print("  stop          Ctrl-C: finishes what is under way; twice: now")
    out.print()


async def _once(settings: Settings, wait: float) -> int:
    signals = Signals(settings)
    live = _live(settings)
    tally = Tally()

    def on_settled(settled: Settled) -> None:
        tally.settled(settled)
        if live is not None:
            live.settled(settled)

    async with open_app(settings, on_settled=on_settled) as app, sparing_what_stays():
        try:
            app.start_workers()
            report, later = await signals.unless_stopped(work_off(app, wait, live))
            if live is not None:
                live.flush()
            return await _verdict(app, report, later)
        finally:
            await app.stop(settings.drain_seconds, hurry=signals.hurry)
            if live is None:
                click.echo(tally.line())


async def work_off(app: App, wait: float, live: LiveLines | None) -> tuple[Report, list[Unsettled]]:
    """Do what `settle_all` does, with a progress bar of its own."""
    with progress(live.console if live else None) as bar:
        task = bar.add_task("comparing buckets and ledger", total=None)
        return await settle_all(app, wait, lambda text: bar.update(task, description=text))


async def settle_all(app: App, wait: float, tell: Callable[[str], None]) -> tuple[Report, list[Unsettled]]:
    """
    Sweep, then work until no row is held or unsettled but those that are due later than `wait` seconds.

    Args:
        app: Open, with workers.
        wait: Seconds.
        tell: Is told what is being done.

    Returns:
        What the sweep found, and the rows that are due later.
    """
    report = await app.sweeper.sweep(progress=lambda report: tell(_comparing(report)))
    tell("working")
    while True:
        await app.worked_off()
        rows = [row for row in await app.units.unsettled(10_000) if row.key.handler in app.handlers]
        last = app.clock() + round(wait * 1000)
        later = [row for row in rows if not row.held and row.due > last]
        if len(later) == len(rows):
            return report, later
        tell(_waiting(rows, app.clock()))
        await asyncio.sleep(_pause(rows, app.clock()))
        await app.waker.wake()


def _pause(rows: list[Unsettled], now: int) -> float:
    """Return the seconds until the first deadline, at most `LOOK_SECONDS`: others may settle their units before."""
    return min(max((min(row.due for row in rows) - now) / 1000, 0.05), LOOK_SECONDS)


def _comparing(report: Report) -> str:
    return f"comparing buckets and ledger: {numbered(report.listed, 'object')}, {report.new + report.changed:,} to do"


def _waiting(rows: list[Unsettled], now: int) -> str:
    held = sum(row.held for row in rows)
    due = min((row.due for row in rows if not row.held), default=None)
    parts = [f"{held:,} held elsewhere"] if held else []
    if due is not None:
        parts.append(f"next retry in {duration(max(due - now, 0) / 1000)}")
    return "waiting: " + ", ".join(parts)


async def _verdict(app: App, report: Report, later: list[Unsettled]) -> int:
    """Record, name what is left, withheld or failed as the command's result, and choose the exit code."""
    await app.recorder.flush()
    settings = app.settings
    out = console()
    await _try_tasks(app, out)
    failed = 0
    async for bucket, chosen in failed_units(app):
        failed += 1
        if failed <= LISTED:
            out.print(f"failed: {bucket}/{shown(chosen.unit)}: {shown(chosen.error or '')}", soft_wrap=True)
    for row in later[:LISTED]:
        due = duration(max(row.due - app.clock(), 0) / 1000)
        out.print(f"due in {due}: {row.key.bucket}/{shown(row.key.unit)}: {shown(row.error or '')}", soft_wrap=True)
    for error in report.errors:
        out.print(error, soft_wrap=True)
    if report.withheld:
        accept = command(settings, "sweep", "--accept-vanished")
        out.print(
            f"{numbered(report.withheld, 'deletion')} withheld, as more objects vanished than is usual. Look at the "
            f"bucket; if they are meant to be gone: {accept}",
            soft_wrap=True,
        )
    if later:
        longer = command(settings, "run", "--once", "--wait", "3600")
        out.print(f"{numbered(len(later), 'unit')} due later than --wait: run again then, or {longer}", soft_wrap=True)
    if failed:
        out.print(f"{numbered(failed, 'unit')} failed; {command(settings, 'status')} lists them", soft_wrap=True)
    if report.errors:
        return exits.UNAVAILABLE
    if later:
        return exits.TEMPORARY
    return exits.FAILED if failed or report.withheld else exits.OK


async def _try_tasks(app: App, out: Console) -> None:
    """Try the handlers' tasks once, and name what is left of them to the next run: no object waits for it."""
    try:
        left = await app.tasks.once()
    except Exception:
        log.exception("tasks.failed", next_try="at the next run")
        return
    for task in left[:LISTED]:
        out.print(f"not done: {task.name} of {shown(task.target)}: {shown(task.error or '')}", soft_wrap=True)


async def failed_units(app: App) -> AsyncIterator[tuple[str, Chosen]]:
    """Yield bucket and row of the failed units that a route still takes."""
    for handler, bucket in sorted({(route.handler, route.bucket) for route in app.router.routes}):
        async for row in app.units.select(handler, bucket, Selection(status=Status.FAILED.value)):
            if app.looker.route_of(UnitKey(handler, bucket, row.unit)) is not None:
                yield bucket, row
