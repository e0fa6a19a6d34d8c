"""What became of the units a command worked on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

from consumer.held import Settled
from consumer.live import numbered
from consumer.protocol import QUIET, Status
from consumer.settings import Settings
from consumer.terminal import command, progress, shown

LISTED = 20
"""Failures that are named; all are counted."""

WORDS = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "retrying": "to be tried again later",
    "pending": "put back",
    "current": "found as they should be",
}


class Tally:
    """Counts settled units, keeps the first failures, and moves a progress bar."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: list[tuple[str, str]] = []
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @contextmanager
    def shown(self, description: str) -> Iterator[None]:
        """Show a progress bar on a terminal."""
        with progress() as bar:
            self._bar, self._task = bar, bar.add_task(description, total=None)
            yield
        self._bar = None

    def expect(self, description: str, total: int | None) -> None:
        """Say what is under way now, and of how many units."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=description, total=total)

    def settled(self, settled: Settled) -> None:
        """Take note of a unit."""
        if settled.row is None:
            return
        self.outcomes["current" if settled.step in QUIET else settled.status.value] += 1
        if settled.status is Status.FAILED and settled.step not in QUIET and len(self.failures) < LISTED:
            self.failures.append((f"{settled.key.bucket}/{settled.key.unit}", settled.error or ""))
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.outcomes.total())

    def json(self) -> dict[str, int]:
        """Return the number of units by outcome."""
        return {name: self.outcomes[name] for name in WORDS}

    def line(self) -> str:
        """Return the sum in one line."""
        if not self.outcomes:
            return "Nothing had to be done."
        parts = [f"{self.outcomes[name]:,} {word}" for name, word in WORDS.items() if self.outcomes[name]]
        return f"Worked on {numbered(self.outcomes.total(), 'unit')}: {', '.join(parts)}"

    def print(self, out: Console, settings: Settings) -> None:
        """Print the sum, and the first failures."""
        out.print(self.line())
        for place, error in self.failures:
            out.print(f"  {shown(place)}: {shown(error)}", style="red", soft_wrap=True)
        if self.failures:
            out.print(f"  {command(settings, 'why', self.failures[0][0])}", style="cyan", soft_wrap=True)
