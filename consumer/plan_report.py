"""
What a plan says: of each unit, of each target, and in sum.

`docs/operations.md` describes the keys; they are kept stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

ACTIONS: Final[Mapping[str, str]] = {
    "write": "to write",
    "remove": "to remove",
    "keep": "deleted, rows kept",
    "fail": "would fail",
    "skip": "would be skipped",
    "wait": "cannot be told now",
    "none": "unchanged",
}
"""What would be done with a unit."""

REASONS: Final[Mapping[str, str]] = {
    "new": "unknown to the ledger",
    "changed": "changed since, or under way",
    "again": "failed, skipped or put off before, or forced: only a replay does it at once",
    "vanished": "deleted",
    "current": "as the ledger knows it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What would become of one unit."""

    bucket: str
    unit: str
    route: str
    handler: str
    reason: str
    """A key of `REASONS`."""
    action: str
    """A key of `ACTIONS`."""
    target: str | None = None
    rows_in: int = 0
    """Rows it would write."""
    rows_out: int = 0
    """Rows of it that would leave the target."""
    rows_now: int | None = None
    """Rows of it that the target has now; None when nobody looked."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """As its receipt would have them."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What would change at the target beside the rows."""
    commits: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)
    """As its receipt would have it."""
    error_class: str | None = None
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class Target:
    """The sum over the units of one target."""

    target: str
    created: bool = False
    units: int = 0
    """To write or to remove."""
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    rescued: int = 0
    new: dict[str, str] = field(default_factory=dict)
    """New columns with their types; all of them when it would be created."""
    widened: dict[str, str] = field(default_factory=dict)
    commits: int = 0

    def add(self, planned: Planned) -> None:
        """Take in one unit."""
        self.created |= bool(planned.changes.get("created"))
        self.units += 1
        self.rows_in += planned.rows_in
        self.rows_out += planned.rows_out
        self.rejected += planned.counts.get("rejected", 0)
        self.rescued += planned.counts.get("rescued", 0)
        self.new |= planned.changes.get("new", {})
        for name, kind in planned.changes.get("widened", {}).items():
            (self.new if name in self.new else self.widened)[name] = kind
        self.commits += planned.commits


@dataclass(slots=True, kw_only=True)
class Totals:
    """The sum over all units planned."""

    units: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACTIONS, 0))
    """By action."""
    reasons: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    rescued: int = 0
    commits: int = 0
    """The least number: a service groups what comes together, and what comes later waits for the next."""
    unrouted: int = 0
    """Objects that no route takes."""
    unplanned: int = 0
    """Objects of handlers that cannot tell."""
    failures: dict[str, int] = field(default_factory=dict)
    """Units that would fail, by error class."""
    errors: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""
    targets: dict[str, Target] = field(default_factory=dict)

    def add(self, planned: Planned) -> None:
        """Take in one unit."""
        self.units[planned.action] += 1
        self.reasons[planned.reason] += 1
        if planned.action == "fail":
            name = planned.error_class or ""
            self.failures[name] = self.failures.get(name, 0) + 1
        if planned.action not in ("write", "remove") or planned.target is None:
            return
        self.targets.setdefault(planned.target, Target(target=planned.target)).add(planned)
        self.rows_in += planned.rows_in
        self.rows_out += planned.rows_out
        self.rejected += planned.counts.get("rejected", 0)
        self.rescued += planned.counts.get("rescued", 0)
        self.commits += planned.commits

    @property
    def work(self) -> int:
        """Units that would change something."""
        return self.units["write"] + self.units["remove"]

    def json(self) -> dict[str, Any]:
        """Return the sums for machines."""
        return {**asdict(self), "targets": [asdict(target) for target in self.targets.values()]}
