"""
`esco-init`: the ingestion of ESCO as an init container runs it, and whoever depends on it waits for.

Any number may be started: one works, the others wait for it and end when it is done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import click
import structlog

from consumer import exits
from consumer.app import App, open_app
from consumer.cli import Command, Invocation
from consumer.cli import main as run_command
from consumer.cli_esco import asking, of_esco
from consumer.cli_run import settle_all
from consumer.kinds_esco import NAME, Esco, Standing
from consumer.ledger_views import Selection, Unsettled
from consumer.protocol import Status
from consumer.replay import Request
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.signals import Signals
from consumer.terminal import console, progress, shown
from consumer.verify import Verification, Wanted
from handlers.contract import HandlerError

log = structlog.get_logger("lakedrop.esco_init")

COMPLETED: Final = 0
IN_PROGRESS: Final = 1
NEEDS_INGESTION: Final = 2

FORCED: Final = "--force-reingest"


class Line(NamedTuple):
    """What is wrong with a release."""

    bucket: str
    unit: str
    text: str


@click.command(
    cls=Command,
    examples=(
        "esco-init",
        "esco-init --check; echo $?",
        "DOCKER_ENV=true esco-init --force-reingest",
        "esco-init --home /srv/lakedrop --wait 7200",
    ),
)
@click.option("--check", is_flag=True, help="Only tell: exit code 0 completed, 1 in progress, 2 needs ingestion.")
@click.option(FORCED, "force", is_flag=True, help="Write everything again, also what seems to be the same.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How far off a retry may be that is waited for; exit code 75 when one is due later.",
)
@click.pass_obj
def esco_init(invocation: Invocation, check: bool, force: bool, wait: float) -> int:
    """
    Ingest the ESCO releases of a home, unless that is done; wait while another process does.

    Afterwards everything is counted back: exit code 0 when Weaviate holds the releases; 1 when it does not, and then
    the state says `failed` with the reason, and the next start tries again. Asks nothing when standard input is no
    terminal, or with DOCKER_ENV=true or NON_INTERACTIVE=true.

    --check exits with 2 also when nobody can tell.
    """
    settings = of_esco(invocation.settings())
    if check:
        return _check(settings)
    return asyncio.run(_run(settings, force=force, wait=wait))


def main(arguments: list[str] | None = None) -> int:
    """Run `esco-init`; returns the exit code."""
    return run_command(arguments, entry=esco_init, name="esco-init")


def _check(settings: Settings) -> int:
    async def look() -> list[Standing]:
        async with asking(settings) as esco:
            return await esco.standings()

    out = console()
    try:
        standings = asyncio.run(look())
    except (ConfigurationError, exits.CommandError):
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, nobody can tell)
        out.print(f"unknown: {error}", soft_wrap=True)
        return NEEDS_INGESTION
    for one in standings:
        out.print(f"{one.target}: {one.state['status']}", soft_wrap=True)
    if all(one.completed for one in standings):
        return COMPLETED
    return IN_PROGRESS if all(one.completed or one.alive for one in standings) else NEEDS_INGESTION


async def _run(settings: Settings, *, force: bool, wait: float) -> int:
    signals = Signals(settings)
    with progress() as bar:
        task = bar.add_task("asking Weaviate", total=None)
        async with open_app(settings) as app:
            esco = Esco(
                app.handlers,
                lambda step, done, total: bar.update(task, description=step, completed=done, total=total or None),
            )
            bar.stop()
            again = force or await _wants_again(esco)
            bar.start()
            try:
                app.start_workers()

                def tell(text: str) -> None:
                    bar.update(task, description=text)

                later = await signals.unless_stopped(_ingest(app, esco, tell, force=again, wait=wait))
                return exits.TEMPORARY if later else await signals.unless_stopped(_judge(app, esco))
            finally:
                await app.stop(settings.drain_seconds, hurry=signals.hurry)


async def _wants_again(esco: Esco) -> bool:
    """Ask a person whether what is there is to be ingested again; nobody else is asked."""
    if _is_unattended():
        return False
    try:
        there = [one.target for one in await esco.standings() if one.completed]
    except HandlerError:
        return False
    return bool(there) and click.confirm(f"{', '.join(there)} is there. Ingest it again?", default=False)


def _is_unattended() -> bool:
    told = any(os.environ.get(name, "").lower() == "true" for name in ("DOCKER_ENV", "NON_INTERACTIVE"))
    return told or not sys.stdin.isatty()


async def _ingest(app: App, esco: Esco, tell: Callable[[str], None], *, force: bool, wait: float) -> bool:
    """Work until nothing is left; tell whether something is due later than we wait."""
    later: list[Unsettled] = []
    for one in await esco.standings() if force else ():
        while not later and not await esco.distrust(one, FORCED, app.ledger):
            _, later = await settle_all(app, wait, tell)
    _, later = await settle_all(app, wait, tell)
    # The ledger may say done where Weaviate lost everything, or where an earlier start found it wrong.
    if not later and not all(one.completed for one in await esco.standings()):
        plan = await app.replay.plan(Request(force=True))
        try:
            await app.replay.run(plan)
        finally:
            plan.work.close()
        _, later = await settle_all(app, wait, tell)
    for row in later:
        console().print(f"due later than --wait: {row.key.bucket}/{row.key.unit}: {shown(row.error or '')}")
    return bool(later)


async def _judge(app: App, esco: Esco) -> int:
    """Count everything back; what is wrong is marked as failed, so that the next start does not take it for done."""
    out = console()
    try:
        failed = [line async for line in _left_out(app, Status.FAILED)]
        skipped = [line async for line in _left_out(app, Status.SKIPPED)]
        verified = await Verification(app).run(Wanted())
        standings = await esco.standings()
    except Exception as error:
        with suppress(HandlerError):
            for one in await esco.standings():
                reason = "Exception during post-ingestion verification"
                told = f"{type(error).__name__}: {error}"
                await esco.fail(one, reason, app.ledger, rewrite=False, error=told)
        if isinstance(error, HandlerError):
            said = f"the verification broke off: {error.message}; the next start begins with it again"
            raise exits.CommandError(said, exits.FAILED) from error
        raise
    wrong = [Line(target.bucket, one.unit, one.message) for target in verified for one in target.wrong_units]
    for line in (*failed, *skipped, *wrong):
        out.print(line.text, soft_wrap=True)
    for one in standings:
        out.print(f"{one.target}: {_totals(one)}", soft_wrap=True)
        # A release that could not be read leaves its classes as they were, which may be completed.
        its_wrong = _of(one, wrong)
        if its_wrong or not one.completed:
            said = "; ".join(_of(one, [*failed, *skipped]) + its_wrong) or "there is no release in the bucket"
            reason = f"Post-ingestion verification check failed: {said}"
            await esco.fail(one, reason, app.ledger, rewrite=bool(its_wrong))
    done = not wrong and not failed and all(one.completed for one in standings)
    return COMPLETED if done else exits.FAILED


def _of(one: Standing, lines: Sequence[Line]) -> list[str]:
    """Return what is said of the release that these classes hold."""
    holder = one.state.get("bucket"), one.state.get("unit")
    return [line.text for line in lines if (line.bucket, line.unit) == holder]


async def _left_out(app: App, status: Status) -> AsyncIterator[Line]:
    """Yield a line for each release that was not ingested."""
    for bucket in sorted({route.bucket for route in app.router.routes}):
        async for row in app.units.select(NAME, bucket, Selection(status=status.value)):
            yield Line(bucket, row.unit, f"{status.value}: {bucket}/{shown(row.unit)}: {shown(row.error or '')}")


def _totals(one: Standing) -> str:
    names = ("total_skills", "total_occupations", "total_relations")
    told = [f"{one.state[name]:,} {name.removeprefix('total_')}" for name in names if name in one.state]
    return ", ".join([str(one.state["status"]), *told])
