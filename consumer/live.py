"""What a person sees while units are worked on: a line for each, and one for many when they come fast."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.text import Text

from consumer.held import Settled
from consumer.protocol import QUIET, Status
from consumer.settings import Settings
from consumer.terminal import command, shown
from consumer.times import duration
from handlers.contract import ABSENT

LINES_A_SECOND: Final = 20
"""Of successes, and of other outcomes; more than anybody reads. What goes beyond is summed up."""


class LiveLines:
    """Prints settled units to a console; of a burst the first lines, then its sum."""

    def __init__(self, console: Console, settings: Settings) -> None:
        self.console = console
        self._settings = settings
        self._printed = Counter[bool]()
        self._more: Counter[tuple[str, str]] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def settled(self, settled: Settled) -> None:
        """Take note of a unit; to be called on the event loop."""
        if settled.step in QUIET or settled.row is None:
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)
        good = settled.receipt is not None
        if self._printed[good] < LINES_A_SECOND:
            self._printed[good] += 1
            self.console.print(line(settled), no_wrap=True, overflow="ellipsis")
            if settled.status is Status.FAILED and self._printed[good] == 1:
                place = f"{settled.key.bucket}/{settled.key.unit}"
                self.console.print(Text(f"  {command(self._settings, 'why', place)}", "dim"), soft_wrap=True)
        else:
            target = settled.receipt.target if settled.receipt is not None else settled.key.bucket
            self._more[target, settled.status.value] += 1

    def flush(self) -> None:
        """Print what was summed up."""
        if self._timer is not None:
            self._timer.cancel()
        for (target, status), number in sorted(self._more.items()):
            self.console.print(Text.assemble(("  … and ", "dim"), f"{number:,} more {status}", (f"  {target}", "dim")))
        self._timer = None
        self._printed.clear()
        self._more.clear()


def line(settled: Settled, *, timed: bool = True) -> Text:
    """Return one line about a unit; `timed` adds how long it took from claim to settlement."""
    key = Text(shown(settled.key.unit), "bold")
    if settled.receipt is not None:
        return Text.assemble(
            ("✓ ", "green"),
            key,
            *_landed(settled.receipt.fingerprint, settled.receipt.target, settled.receipt.counts),
            (f"  {duration(settled.seconds)}" if timed else "", "dim"),
        )
    reason = shown(settled.error or "")
    match settled.status:
        case Status.FAILED:
            return Text.assemble(("✗ ", "red"), key, ("  failed: ", "red"), reason)
        case Status.SKIPPED:
            return Text.assemble(("- ", "yellow"), key, ("  skipped: ", "yellow"), reason)
        case Status.RETRYING:
            row = settled.row
            wait = "" if row is None or row.wake_at is None else f" in {duration((row.wake_at - row.db_now) / 1000)}"
            return Text.assemble(("↻ ", "yellow"), key, (f"  again{wait}: ", "yellow"), reason)
        case Status.DONE:
            return Text.assemble(("✓ ", "green"), key, ("  is gone; its rows stay, as the route says", "dim"))
    return Text.assemble(("· ", "dim"), key, f"  put back: {reason}" if reason else "  put back")


def _landed(fingerprint: str, target: str, counts: Mapping[str, int]) -> list[str | tuple[str, str]]:
    rows = counts.get("rows", 0)
    if fingerprint == ABSENT:
        return [" → ", (target, "cyan"), "  removed with its rows"]
    parts: list[str | tuple[str, str]] = [" → ", (target, "cyan"), f"  {numbered(rows, 'row')}"]
    if counts.get("rejected"):
        parts.append((f"  {counts['rejected']:,} rejected", "yellow"))
    if counts.get("rescued"):
        parts.append((f"  {counts['rescued']:,} rescued", "yellow"))
    return parts


def numbered(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
