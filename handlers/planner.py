"""A handler's foresight, which not every handler has: what it would do with units. Standard library only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from handlers.contract import HandlerError, ObjectRef, Receipt, StoredObject, Unit


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `Handler.apply` would do with a unit as it is now."""

    outcome: Receipt | HandlerError
    """What it would return or raise."""
    holds: Mapping[str, int] = field(default_factory=dict)
    """Counts of what the sink holds of the unit now, named as a receipt's."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able: what would change at the sink for the sake of this unit, beside its own content."""
    commits: int = 0
    """Commits it needs beyond those of the units before it: the least there can be, as waiting may part a group."""
    target: str | None = None
    """Where it would go, as a receipt names it; None when that cannot be told."""


class Planner(Protocol):
    """
    Tells what a handler would do. Made instead of the handler: it opens nothing for writing.

    It remembers what its earlier forecasts would have changed, so units are to be planned in the order of the work.
    """

    def unit_of(self, ref: ObjectRef, options: Any) -> str:
        """Name the unit an object belongs to, as the handler does."""
        ...

    def plan(self, units: Sequence[tuple[Unit, Sequence[StoredObject]]]) -> AsyncIterator[Forecast]:
        """Yield a forecast for each unit, in their order. Reads the objects as `Handler.apply` does; writes nothing."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and files."""
        ...
