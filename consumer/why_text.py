"""The story of one object for people: what the report says, laid out."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from consumer.detail_text import counted, indented, print_detail
from consumer.status_text import clock, moment
from consumer.task_text import task_line
from consumer.terminal import shown
from consumer.times import duration, local
from consumer.why import Moment, Why

COLOURS = {"done": "green", "failed": "red", "unknown": "yellow", "retrying": "yellow", "skipped": "yellow"}

COLUMNS = 20
"""Columns of a file that are named; all are counted."""


def print_why(out: Console, why: Why, now: str) -> None:
    """Print the report; its last line is the command that repairs."""
    out.print(Text.assemble((f"{why.bucket}/{shown(why.unit)}  ", "bold"), (why.state, COLOURS.get(why.state, ""))))
    out.print(f"  {why.summary}")
    if why.error is not None:
        out.print(f"  {why.error_class}: {shown(why.error)}", style="red")
    if why.due is not None:
        out.print(f"  {'lease ends' if why.state == 'held' else 'due'} {clock(why.due, now)}")
    out.print()
    _print_stored(out, why, now)
    _print_holding(out, why, now)
    for task in why.tasks:
        indented(out, task_line(task, now), 10)
    if why.tasks:
        out.print()
    if why.timeline:
        out.print("timeline", style="dim")
        for entry in why.timeline:
            indented(out, _line(entry, now), 2)
        out.print()
    out.print(why.advice)
    if why.repair is not None:
        out.print(f"  {why.repair}", style="cyan", soft_wrap=True)


def _print_stored(out: Console, why: Why, now: str) -> None:
    if why.stored is None:
        out.print(Text.assemble(("bucket    ", "dim"), "no such object"))
        return
    written = "" if why.stored.modified is None else f", written {clock(why.stored.modified, now)}"
    version = why.stored.fingerprint[:12]
    out.print(Text.assemble(("bucket    ", "dim"), f"version {version}, {why.stored.size:,} bytes{written}"))


def _print_holding(out: Console, why: Why, now: str) -> None:
    held = why.holds
    if held is None:
        out.print(Text.assemble(("sink      ", "dim"), "nothing"))
        out.print()
        return
    since = "" if held.at is None else f", since {clock(held.at, now)}"
    version = f"version {held.fingerprint[:12]}" if held.fingerprint else "rows of a deleted object"
    state = " (current)" if held.current else " (the last good version)"
    out.print(Text.assemble(("sink      ", "dim"), (held.target, "cyan"), f", {version}{state}{since}"))
    out.print(f"          {counted(held.counts)}")
    print_detail(out, held.detail, indent=10, columns=COLUMNS)
    out.print()


def _line(entry: Moment, now: str) -> Text:
    parts: list[str | tuple[str, str]] = [
        (f"{local(moment(entry.at), moment(now))}  ", "dim"),
        (f"{entry.event:<9}", COLOURS.get(entry.event, "")),
    ]
    if entry.counts is not None:
        parts.append(
            f"{counted(entry.counts)} → {entry.target}" if entry.fingerprint else f"removed from {entry.target}"
        )
    elif entry.event == "done" and not entry.fingerprint:
        parts.append("deleted; rows kept")
    if entry.error is not None:
        parts.append(shown(entry.error))
    if entry.next_at is not None:
        parts.append(f"; again at {local(moment(entry.next_at), moment(now))}")
    said = [entry.reason] if entry.reason else []
    if entry.fingerprint:
        said.append(f"version {entry.fingerprint[:12]}")
    if entry.attempt and entry.attempt > 1:
        said.append(f"attempt {entry.attempt}")
    if entry.seconds is not None:
        said.append(duration(entry.seconds))
    parts.append((f"  ({', '.join(said)})", "dim"))
    return Text.assemble(*parts)
