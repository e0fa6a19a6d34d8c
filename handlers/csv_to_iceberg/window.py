"""A commit window: a group of entries on its way to one commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from handlers.csv_to_iceberg.commit_port import Entry, Plan, S
from handlers.csv_to_iceberg.rejects_port import Rejected, Superseded
from handlers.csv_to_iceberg.results import Report


@dataclass
class Window(Generic[S]):
    """A group of entries on its way to one commit."""

    entries: list[Entry[S]]
    cooked: list[Entry[S]] = field(default_factory=list)
    """Those whose files are in `staged`, in its order."""
    staged: S | None = None
    reports: dict[Entry[S], Report] = field(default_factory=dict)
    superseded: Superseded = field(default_factory=dict)
    """Rejected records that are of no use once the sources have landed."""
    used: bool = False
    """A commit that named the staged files may have landed."""

    def waiting(self) -> list[Entry[S]]:
        """Return the entries whose outcome somebody waits for."""
        return [entry for entry in self.entries if entry.waiting]

    def fail(self, error: Exception) -> None:
        """End all entries that have not ended yet."""
        fail_all(self.entries, error)

    def rejected(self) -> dict[Entry[S], Rejected]:
        """Return the rejected records of the entries that somebody waits for."""
        return {
            entry: Rejected(entry.key, entry.etag, entry.token, report.kept)
            for entry in self.waiting()
            if (report := self.reports.get(entry, entry.report)) is not None and report.kept is not None
        }

    def reports_of(self, entries: Iterable[Entry[S]]) -> list[Report]:
        """Return what was found in the objects of some entries."""
        reports = [self.reports.get(entry, entry.report) for entry in entries]
        return [report for report in reports if report is not None]

    def superseded_by(self, holders: Iterable[Entry[S]]) -> Superseded:
        """Return what is of no use now that `holders` have landed."""
        landed = frozenset(entry.key for entry in holders if entry.mode != "keep") if self.superseded else frozenset()
        return {path: keys & landed for path, keys in self.superseded.items() if keys & landed}

    def plan(self, holders: Sequence[Entry[S]]) -> Plan[S]:
        """Return the commit that serves `holders` and leaves out what others staged."""
        held = set(holders)
        add: list[tuple[S, Sequence[int]]] = []
        if self.staged is not None:
            lost = [number for number, entry in enumerate(self.cooked) if entry not in held]
            if len(lost) < len(self.cooked):
                add.append((self.staged, lost))
        add += [(entry.own, ()) for entry in holders if entry.own is not None]
        clear = frozenset(entry.key for entry in holders if entry.mode != "keep")
        return Plan(clear, add, len(holders))


def fail_all(entries: Iterable[Entry[S]], error: Exception) -> None:
    """End those of the entries that have not ended yet."""
    for entry in entries:
        entry.fail(error)
