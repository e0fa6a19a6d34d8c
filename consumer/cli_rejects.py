"""`lakedrop rejects`: what of an object became neither row nor value."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from consumer import exits
from consumer.app import open_app
from consumer.cli import Command, Invocation
from consumer.kinds import builtin_kinds
from consumer.live import numbered
from consumer.routes import Processed, receipt_rejections
from consumer.settings import Settings
from consumer.terminal import command, console, progress, shown
from consumer.why import UNKNOWN, Why, locate, why_report

LIMIT: Final = 20


class _Found(NamedTuple):
    kept: int = 0
    rejected: Sequence[Mapping[str, Any]] = ()
    rescued_rows: int = 0
    rescued: Sequence[Mapping[str, Any]] = ()
    failed_kept: int = 0
    """Of the newest version, where that failed; only Argilla has some."""
    failed_rejected: Sequence[Mapping[str, Any]] = ()


@click.command(
    cls=Command,
    examples=(
        "lakedrop rejects customers/q1.csv",
        "lakedrop rejects csv-uploads/customers/q1.csv --limit 1000 --json | jq -r '.rejected[].text'",
    ),
)
@click.argument("object_", metavar="BUCKET/KEY")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    help="Rejected records, and rows with rescued cells, that are shown.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines; docs/operations.md describes the keys.")
@click.pass_obj
def rejects(invocation: Invocation, object_: str, limit: int, as_json: bool) -> int:
    """
    Show the rejected records and rescued cells of an object.

    Of the version that the table shows. A rejected record has another number of cells than the file; a rescued cell
    does not fit the type of its column: it is NULL there, and its text is in the column _rescued. The bucket may be
    left out where only one is routed. Exit code 1 when nothing is known about such an object.
    """
    settings = invocation.existing()
    why = asyncio.run(_why(settings, object_))
    if why.state == UNKNOWN:
        raise exits.CommandError(f"{why.bucket}/{shown(why.unit)}: {why.summary} {_next(settings, why)}", exits.FAILED)
    found = _found(settings, why, limit)
    if as_json:
        click.echo(json.dumps(_json(why, found), indent=2, ensure_ascii=False, default=_text))
    else:
        _print(console(), settings, why, found, limit)
    return exits.OK


async def _why(settings: Settings, text: str) -> Why:
    async with open_app(settings) as app:
        return await why_report(app, *locate(app, text))


def _found(settings: Settings, why: Why, limit: int) -> _Found:
    kind = builtin_kinds().get(why.handler or "")
    read = receipt_rejections if kind is None else kind.rejections
    failed = None if why.error is None or why.stored is None else why.stored.fingerprint
    held = why.holds
    of = Processed(
        bucket=why.bucket,
        unit=why.unit,
        held=None if held is None else held.fingerprint,
        target=None if held is None else held.target,
        detail={} if held is None else held.detail,
        failed=failed,
    )
    with progress() as bar:
        bar.add_task("reading", total=None)
        return _Found(**read(settings, of, limit))


def _next(settings: Settings, why: Why) -> str:
    return f"{why.advice} {why.repair}" if why.repair else f"{why.advice} {command(settings, 'status')}"


def _json(why: Why, found: _Found) -> dict[str, Any]:
    return {
        "bucket": why.bucket,
        "unit": why.unit,
        "state": why.state,
        "error_class": why.error_class,
        "error": why.error,
        "target": None if why.holds is None else why.holds.target,
        "fingerprint": None if why.holds is None else why.holds.fingerprint,
        "current": why.holds is not None and why.holds.current,
        "counts": {} if why.holds is None else dict(why.holds.counts),
        **found._asdict(),
    }


def _print(out: Console, settings: Settings, why: Why, found: _Found, limit: int) -> None:
    name = f"{why.bucket}/{shown(why.unit)}"
    held = why.holds
    if why.error is not None:
        out.print(f"{name}: the newest version failed altogether, none of it is in a table.", style="red")
        out.print(f"  {why.error_class}: {shown(why.error)}", style="red")
        out.print(f"  {command(settings, 'why', f'{why.bucket}/{why.unit}')}", style="cyan", soft_wrap=True)
        _print_rejected(out, found.failed_kept, found.failed_kept, found.failed_rejected)
        if held is not None:
            out.print()
    if held is None:
        if why.error is None:
            out.print(f"{name}: {why.summary}")
        return
    version = "" if held.current else ", the last good version" if why.error is not None else ", an older version"
    counts = held.counts
    out.print(
        Text.assemble((name, "bold"), " in ", (held.target, "cyan"), f" (version {held.fingerprint[:12]}{version})")
    )
    rejected = counts.get("rejected", found.kept)
    if not rejected and not found.rescued_rows:
        out.print(f"Nothing was rejected and nothing rescued: {numbered(counts.get('rows', 0), 'row')}.")
        return
    _print_rejected(out, rejected, found.kept, found.rejected)
    _print_rescued(out, found, limit)


def _print_rejected(out: Console, total: int, kept: int, rejected: Sequence[Mapping[str, Any]]) -> None:
    if not total:
        return
    out.print()
    out.print(f"{numbered(total, 'rejected record')}", style="yellow")
    for one in rejected:
        line = "" if one["line"] is None else f", line {one['line']:,}"
        out.print(f"  record {one['record']:,}{line}: {one['reason']}")
        out.print(f"    {shown(one['text'])}", no_wrap=True, overflow="ellipsis", style="dim")
    if kept > len(rejected):
        out.print(f"  {kept - len(rejected):,} more are kept: --limit {kept}", style="dim")
    if total > (most := max(kept, len(rejected))):
        out.print(f"  only the first {most:,} are kept; max_rejects of the route says how many", style="dim")


def _print_rescued(out: Console, found: _Found, limit: int) -> None:
    if not found.rescued:
        return
    out.print()
    out.print(f"rescued cells in {numbered(found.rescued_rows, 'row')}", style="yellow")
    for one in found.rescued:
        row = ", ".join(f"{column} {shown(str(value))}" for column, value in one["row"].items())
        out.print(f"  {shown(one['column'])}: {shown(one['text'])}", no_wrap=True, overflow="ellipsis")
        out.print(f"    in the row {row}", no_wrap=True, overflow="ellipsis", style="dim")
    if found.rescued_rows > limit:
        out.print(f"  and more: --limit {found.rescued_rows}", style="dim")


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
