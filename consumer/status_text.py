"""A status report for people: what the report says, laid out."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.live import numbered
from consumer.status import STATES, StatusReport
from consumer.task_report import TaskGroup
from consumer.terminal import shown
from consumer.times import duration, local

COLOURS = {"done": "green", "failed": "red", "retrying": "yellow", "skipped": "yellow"}


def moment(iso: str) -> int:
    """Return epoch milliseconds of a report's time."""
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def clock(iso: str, now: str) -> str:
    """Return a report's time for people, with how far away it is."""
    away = (moment(iso) - moment(now)) / 1000
    distance = f"in {duration(away)}" if away >= 0 else f"{duration(-away)} ago"
    return f"{local(moment(iso), moment(now))}, {distance}"


def print_status(out: Console, report: StatusReport) -> None:
    """Print the report."""
    out.print(Text.assemble((report.home, "bold"), (f"   lakedrop {report.version}", "dim")))
    out.print()
    _print_groups(out, report)
    _print_unsettled(out, report)
    _print_sweep(out, report)
    for tasks in report.tasks:
        _print_tasks(out, tasks, report.at)
    _print_failures(out, report)


def _print_groups(out: Console, report: StatusReport) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("bucket")
    table.add_column("handler")
    for name in (*STATES, "held", "waiting"):
        table.add_column(name, justify="right")
    for group in report.groups:
        numbers = [*((name, group.states[name]) for name in STATES), ("held", group.held), ("waiting", group.waiting)]
        cells = [Text(f"{number:,}", COLOURS.get(name, "") if number else "dim") for name, number in numbers]
        table.add_row(shown(group.bucket), group.handler, *cells)
    out.print(table)
    out.print()


def _print_unsettled(out: Console, report: StatusReport) -> None:
    if not report.held and not report.waiting:
        out.print("Nothing is under way, and nothing waits.")
        return
    parts = [f"{report.held:,} held, {report.waiting:,} waiting"]
    if report.next_wake is not None:
        parts.append(f"the next is due {clock(report.next_wake, report.at)}")
    if report.oldest_unsettled_seconds is not None:
        parts.append(f"the oldest is unsettled for {duration(report.oldest_unsettled_seconds)}")
    out.print("; ".join(parts))
    for unit in report.unsettled:
        what = "held" if unit.held else f"{unit.status}, due {clock(unit.due, report.at) if unit.due else 'now'}"
        error = f": {shown(unit.error)}" if unit.error else ""
        out.print(
            Text(f"  {unit.bucket}/{shown(unit.unit)}  {what}{error}"), no_wrap=True, overflow="ellipsis", style="dim"
        )


def _print_sweep(out: Console, report: StatusReport) -> None:
    sweep = report.last_sweep
    if sweep is None:
        out.print("No sweep has ended yet.")
        return
    parts = [f"{sweep['listed']:,} listed"]
    parts += [
        f"{sweep[name]:,} {name}"
        for name in ("new", "changed", "vanished", "withheld", "held", "waiting", "unrouted")
        if sweep[name]
    ]
    ended = sweep["finished_at"] or sweep["started_at"]
    out.print(f"Last sweep {clock(ended, report.at)}: {', '.join(parts)}")
    if sweep["agrees"]:
        out.print("  Buckets and ledger agreed.", style="green")
    for error in sweep["errors"]:
        out.print(f"  {error}", style="red")
    if sweep["withheld"]:
        out.print(
            f"  {numbered(sweep['withheld'], 'deletion')} withheld: look at the bucket, then `lakedrop sweep "
            "--accept-vanished`",
            style="red",
        )


def _print_tasks(out: Console, tasks: TaskGroup, now: str) -> None:
    counts = (("done", tasks.done), ("pending", tasks.pending), ("retrying", tasks.retrying))
    parts = ", ".join(f"{number:,} {state}" for state, number in counts if number)
    out.print(f"Tasks of {tasks.name}: {parts}")
    worst = tasks.worst
    if worst is not None:
        again = "" if worst.due is None else f"; again {clock(worst.due, now)}"
        out.print(Text(f"  {shown(worst.target)}: {shown(worst.error or '')}{again}", "yellow"))


def _print_failures(out: Console, report: StatusReport) -> None:
    if not report.failed:
        return
    out.print()
    classes = ", ".join(f"{name or 'unknown'} {number:,}" for name, number in report.failed_by_class.items())
    out.print(Text.assemble((f"{numbered(report.failed, 'unit')} failed", "red"), f" ({classes})"))
    for unit in report.failures:
        older = " The sink keeps an older version." if unit.sink_holds_older else ""
        out.print(
            Text.assemble((f"  {unit.bucket}/{shown(unit.unit)}", "bold"), f"  {unit.error_class}"),
            no_wrap=True,
            overflow="ellipsis",
        )
        out.print(f"    {shown(unit.error or '')}{older}")
    if report.failed > len(report.failures):
        out.print(f"  and {report.failed - len(report.failures):,} older ones")
    out.print("  What happened to the first of them, and what to do about it:")
    out.print(f"    {report.failures[0].why}", style="cyan", soft_wrap=True)
