"""Commit windows, and the groups in which they are committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from handlers.csv_to_iceberg.lake.commit_port import Entry, Plan, S
from handlers.csv_to_iceberg.lake.rejects_port import Rejected, Superseded


@dataclass
class Window(Generic[S]):
    """Entries that are staged together."""

    entries: list[Entry[S]]
    cooked: list[Entry[S]] = field(default_factory=list)
    """Those whose files are in `staged`, in its order."""
    staged: S | None = None

    def waiting(self) -> list[Entry[S]]:
        """Return the entries whose outcome somebody waits for."""
        return [entry for entry in self.entries if entry.waiting]

    def fail(self, error: Exception) -> None:
        """End all entries that have not ended yet."""
        fail_all(self.entries, error)


@dataclass
class Group(Generic[S]):
    """Windows on their way to one commit: those staged when it was due, up to the files it may have."""

    windows: Sequence[Window[S]]
    superseded: Superseded = field(default_factory=dict)
    """Rejected records that are of no use once the sources have landed."""
    used: bool = False
    """A commit that named the staged files may have landed."""

    def waiting(self) -> list[Entry[S]]:
        """Return the entries whose outcome somebody waits for."""
        return [entry for window in self.windows for entry in window.waiting()]

    def fail(self, error: Exception) -> None:
        """End all entries that have not ended yet."""
        for window in self.windows:
            window.fail(error)

    def rejected(self) -> dict[Entry[S], Rejected]:
        """Return the rejected records of the entries that somebody waits for."""
        return {
            entry: Rejected(entry.key, entry.etag, entry.token, report.kept)
            for entry in self.waiting()
            if (report := entry.report) is not None and report.kept is not None
        }

    def superseded_by(self, holders: Iterable[Entry[S]]) -> Superseded:
        """Return what is of no use now that `holders` have landed."""
        landed = frozenset(entry.key for entry in holders if entry.mode != "keep") if self.superseded else frozenset()
        return {path: keys & landed for path, keys in self.superseded.items() if keys & landed}

    def plan(self, holders: Sequence[Entry[S]]) -> Plan[S]:
        """Return the commit that serves `holders` and leaves out what others staged."""
        held = set(holders)
        add: list[tuple[S, Sequence[int]]] = []
        for window in self.windows:
            if window.staged is not None:
                lost = [number for number, entry in enumerate(window.cooked) if entry not in held]
                if len(lost) < len(window.cooked):
                    add.append((window.staged, lost))
        add += [(entry.own, ()) for entry in holders if entry.own is not None]
        clear = frozenset(entry.key for entry in holders if entry.mode != "keep")
        return Plan(clear, add, len(holders))


def fail_all(entries: Iterable[Entry[S]], error: Exception) -> None:
    """End those of the entries that have not ended yet."""
    for entry in entries:
        entry.fail(error)
