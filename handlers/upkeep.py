"""Looking after a sink, which not every sink needs. Standard library only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What maintenance did to one place of a sink, or would do."""

    target: str
    """As in a receipt."""
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    """What was left alone, and why."""
    error: str | None = None
    """Why it could not be finished; the next round tries again."""


@runtime_checkable
class Maintained(Protocol):
    """A handler whose sink needs looking after. One process at a time does it; correctness must not rest on that."""

    def maintain(self, only: Collection[str] = (), *, dry_run: bool = False) -> AsyncIterator[Upkeep]:
        """
        Do what is due, and yield what was done.

        Args:
            only: Targets; none means all, and that those which need nothing are not yielded.
            dry_run: Change nothing, and yield how each target stands.
        """
        ...
