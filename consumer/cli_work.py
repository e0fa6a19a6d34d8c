"""`lakedrop sweep`, `replay` and `ledger rebuild`: commands that bring work about, and work it off themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from consumer import exits
from consumer.app import App, open_app
from consumer.cli import Command, Group, Invocation
from consumer.live import numbered
from consumer.protocol import Status
from consumer.rebuild import rebuild as rebuild_ledger
from consumer.rebuild import rehearse
from consumer.replay import Plan, Request
from consumer.settings import Settings
from consumer.signals import Signals
from consumer.status import sweep_json
from consumer.sweep_certificate import Certificate, certify, lines_of
from consumer.sweep_report import Report
from consumer.tally import Tally
from consumer.terminal import command, console, progress, shown
from consumer.times import since as moment

LISTED = 20
"""Units of a plan that are named; all are counted."""

ACTIONS = {
    "ingest": "unknown to the ledger, to be ingested",
    "look": "changed or under way, to be looked at",
    "again": "to be done again",
    "current": "as they should be, left alone",
}


RATE = click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most this many units a second."
)


@asynccontextmanager
async def working(app: App, signals: Signals) -> AsyncIterator[None]:
    """Have workers on a home; at the end what they hold is finished or put back."""
    app.start_workers()
    try:
        yield
    finally:
        await app.stop(app.settings.drain_seconds, hurry=signals.hurry)


@click.command(
    cls=Command,
    examples=(
        "lakedrop sweep",
        "lakedrop sweep --json",
        "lakedrop sweep --rate 50",
        "lakedrop sweep --accept-vanished",
        "lakedrop sweep --certificate objects.jsonl.gz",
    ),
)
@click.option(
    "--accept-vanished",
    is_flag=True,
    help="Also remove the rows of deleted objects when there are suspiciously many. Look at the bucket first.",
)
@click.option(
    "--certificate",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Afterwards, write a line of JSON for every routed object: which table holds it, or why none does.",
)
@RATE
@click.option("--json", "as_json", is_flag=True, help="The report for machines; docs/operations.md describes the keys.")
@click.pass_obj
def sweep(
    invocation: Invocation, *, accept_vanished: bool, certificate: Path | None, rate: float | None, as_json: bool
) -> int:
    """
    Compare buckets and ledger now, and work off the difference.

    The service does this at its start and every `sweep_seconds`; both may run at the same time. Exit code 1 when
    deletions were withheld or a unit failed, 69 when a bucket could not be listed.
    """
    settings = invocation.existing()
    if rate is not None:
        settings = settings.model_copy(update={"sweep_rate": rate})
    return asyncio.run(_sweep(settings, accept_vanished=accept_vanished, certificate=certificate, as_json=as_json))


async def _sweep(settings: Settings, *, accept_vanished: bool, certificate: Path | None, as_json: bool) -> int:
    tally = Tally()
    signals = Signals(settings)

    async def work(app: App) -> Report:
        report = await app.sweeper.sweep(
            accept_vanished=accept_vanished,
            progress=lambda part: tally.expect(f"{numbered(part.listed, 'object')} listed", None),
        )
        tally.expect("working", report.new + report.changed + report.vanished + report.held)
        await app.worked_off()
        return report

    certified: Certificate | None = None
    async with open_app(settings, on_settled=tally.settled) as app, working(app, signals):
        with tally.shown("comparing buckets and ledger"):
            report = await signals.unless_stopped(work(app))
            if certificate is not None and not report.errors:
                certified = await signals.unless_stopped(_certify(app, certificate))
    if as_json:
        told = {**sweep_json(report.json()), "worked": tally.json()}
        if certified is not None:
            told["certificate"] = certified.json()
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print_sweep(settings, report, tally)
        if certified is not None:
            _print_certificate(certified, certificate)
        elif certificate is not None:
            console().print(f"{certificate} was not written: not everything could be listed", style="red")
    if report.errors:
        return exits.UNAVAILABLE
    return exits.FAILED if report.withheld or tally.outcomes[Status.FAILED.value] else exits.OK


async def _certify(app: App, path: Path) -> Certificate:
    buckets = sorted({route.bucket for route in app.router.routes})
    try:
        with lines_of(path) as write:
            return await certify(app.store, app.looker, app.units, buckets, write)
    except OSError as error:
        raise exits.CommandError(f"--certificate {path}: {error.strerror}") from error


def _print_certificate(certified: Certificate, path: Path | None) -> None:
    out = console()
    counts = ", ".join(f"{number:,} {status}" for status, number in sorted(certified.objects.items()))
    out.print(f"{path}: {numbered(certified.objects.total(), 'object')}: {counts}")
    out.print(f"  SHA-256 {certified.digest}", soft_wrap=True)


def _print_sweep(settings: Settings, report: Report, tally: Tally) -> None:
    out = console()
    out.print(
        f"{numbered(report.listed, 'object')} listed: {report.matched - report.gone:,} as the ledger knows them, "
        f"{report.new:,} new, {report.changed:,} changed, {report.vanished:,} vanished"
    )
    others = {
        "gone": "deleted earlier, as the ledger knows",
        "unrouted": "that no route takes",
        "unrouted_units": "in the ledger that no route takes any more",
        "held": "being worked on",
        "waiting": "due for another attempt later",
        "unanswered": "about which the store did not answer",
    }
    for name, words in others.items():
        if number := getattr(report, name):
            out.print(f"{number:,} {words}")
    for error in report.errors:
        out.print(error, style="red")
    tally.print(out, settings)
    if report.withheld:
        out.print(
            f"{numbered(report.withheld, 'deletion')} withheld, as more objects vanished than is usual. Look at the "
            "bucket; if they are meant to be gone:",
            style="red",
        )
        out.print(f"  {command(settings, 'sweep', '--accept-vanished')}", style="cyan", soft_wrap=True)


class Moment(click.ParamType[int]):
    """A point in the past, as epoch milliseconds."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read `2h`, `3d`, or an ISO time."""
        try:
            return moment(value, round(datetime.now(UTC).timestamp() * 1000))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    cls=Command,
    examples=(
        "lakedrop replay --status failed",
        "lakedrop replay --error-class BadCompression --yes",
        "lakedrop replay --prefix customers/ --since 2h --newest-first --limit 100",
        "lakedrop replay --bucket csv-uploads --prefix customers/q1.csv --force --yes",
    ),
)
@click.option("--bucket", metavar="BUCKET", help="Only this bucket.")
@click.option("--prefix", default="", metavar="PREFIX", help="Only keys that begin with this.")
@click.option(
    "--since", type=Moment(), metavar="TIME", help="Only objects written since: 30min, 2h, 3d, or an ISO time."
)
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only units in this state.")
@click.option("--error-class", metavar="NAME", help="Only units that failed for this reason, as `status` names it.")
@click.option("--handler-version", is_flag=True, help="Only units that another version of their handler wrote.")
@click.option("--newest-first", is_flag=True, help="The most recently written objects first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most this many units.")
@RATE
@click.option("--force", is_flag=True, help="Also units that are as they should be.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be done.")
@click.option("--hand-over", is_flag=True, help="With --yes: have the services on RabbitMQ do it, and end at once.")
@click.pass_obj
def replay(
    invocation: Invocation,
    *,
    bucket: str | None,
    prefix: str,
    since: int | None,
    status: str | None,
    error_class: str | None,
    handler_version: bool,
    newest_first: bool,
    limit: int | None,
    rate: float | None,
    force: bool,
    yes: bool,
    hand_over: bool,
) -> int:
    """
    Do chosen units again; says what it would do unless --yes.

    All conditions must hold. Without any of --status, --error-class and --handler-version the buckets are listed, and
    units that are as they should be are left alone unless --force. Exit code 1 when a unit failed.
    """
    settings = invocation.existing()
    if hand_over and settings.broker_url is None:
        raise exits.CommandError("--hand-over: no broker_url, so there is nobody to hand over to", exits.USAGE)
    request = Request(
        bucket=bucket,
        prefix=prefix,
        since=since,
        status=None if status is None else Status(status),
        error_class=error_class,
        other_version=handler_version,
        newest_first=newest_first,
        limit=limit,
        force=force,
    )
    return asyncio.run(run_replay(settings, request, rate=rate, yes=yes, hand_over=hand_over))


async def run_replay(settings: Settings, request: Request, *, rate: float | None, yes: bool, hand_over: bool) -> int:
    """Plan a replay, say what it is and, with `yes`, do it; returns the exit code."""
    tally = Tally()
    signals = Signals(settings)

    async def work(app: App, plan: Plan) -> None:
        await app.replay.run(plan, rate=rate)
        await app.worked_off()

    async with open_app(settings, on_settled=tally.settled, serves=hand_over) as app:
        routed = sorted({route.bucket for route in app.router.routes})
        if request.bucket is not None and request.bucket not in routed:
            raise exits.CommandError(
                f"--bucket {request.bucket}: no route; routed are {', '.join(routed)}", exits.USAGE
            )
        with progress() as bar:
            bar.add_task("choosing units", total=None)
            plan = await signals.unless_stopped(app.replay.plan(request))
        with plan.work:
            _print_plan(plan, done=yes)
            if not yes:
                if plan.work:
                    console().print("Nothing was done. The same command with --yes does it.")
                return exits.OK
            if hand_over:
                await app.open_broker()
                await signals.unless_stopped(app.replay.run(plan, rate=rate))
                console().print(f"Handed over; watch it with {command(settings, 'status')}")
                return exits.OK
            async with working(app, signals):
                with tally.shown("working"):
                    tally.expect("working", len(plan.work))
                    await signals.unless_stopped(work(app, plan))
    tally.print(console(), settings)
    return exits.FAILED if tally.outcomes[Status.FAILED.value] else exits.OK


def _print_plan(plan: Plan, *, done: bool) -> None:
    out = console()
    out.print(f"{numbered(len(plan.work) + plan.current, 'unit')} chosen")
    for action, number in plan.counts.items():
        if number:
            out.print(f"  {number:,} {ACTIONS[action]}")
    if done:
        return
    for candidate in islice(plan.work, LISTED):
        place = f"{candidate.key.bucket}/{shown(candidate.key.unit)}"
        out.print(f"    {candidate.action:<7} {place}  {candidate.size:,} bytes", no_wrap=True, overflow="ellipsis")
    if len(plan.work) > LISTED:
        out.print(f"    and {len(plan.work) - LISTED:,} more")


@click.group(cls=Group)
def ledger() -> None:
    """Look after the ledger."""


@ledger.command(cls=Command, examples=("lakedrop ledger rebuild",))
@click.pass_obj
def rebuild(invocation: Invocation) -> int:
    """
    Make the ledger anew from what the sinks hold.

    For a ledger that was lost or damaged: stop the service, move ledger.db and the ledger.db-* files away, then run
    this. Successes and failures are found again, so nothing is ingested a second time; timelines are gone. Rows that
    are there already stay as they are.
    """
    return asyncio.run(_rebuild(invocation.existing()))


async def _rebuild(settings: Settings) -> int:
    out = console()
    signals = Signals(settings)
    async with open_app(settings) as app:
        with progress() as bar:
            task = bar.add_task("asking the sinks", total=None)

            def told(found: Mapping[str, int], new: int) -> None:
                bar.update(task, description=f"{numbered(sum(found.values()), 'unit')} found, {new:,} new")

            found, new = await signals.unless_stopped(rebuild_ledger(app, progress=told))
            bar.update(task, description="comparing with the buckets")
            report = await signals.unless_stopped(rehearse(app))
    for target, number in found.items():
        out.print(f"  {target}  {numbered(number, 'unit')}")
    out.print(f"The sinks told of {numbered(sum(found.values()), 'unit')}; {new:,} had no row and have one now.")
    if report.errors:
        raise exits.CommandError("; ".join(report.errors))
    if report.new or report.changed or report.vanished:
        out.print(f"A sweep would find {report.new:,} new, {report.changed:,} changed, {report.vanished:,} vanished:")
        out.print(f"  {command(settings, 'sweep')}", style="cyan", soft_wrap=True)
    else:
        out.print("A sweep would find nothing to do: the ledger accounts for all that the buckets hold.")
    return exits.OK
