"""Looking after what handlers made: one process at a time, under a lease."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

from consumer.schedule import Schedule
from handlers.contract import Handler
from handlers.upkeep import Maintained, Upkeep

LEASE: Final = "maintenance"


async def upkeep(
    handlers: Mapping[str, Handler], only: Collection[str] = (), *, dry_run: bool = False
) -> AsyncIterator[Upkeep]:
    """Have every handler that needs it do what is due; yield what was done as `Maintained.maintain` does."""
    for handler in handlers.values():
        if isinstance(handler, Maintained):
            async for done in handler.maintain(only, dry_run=dry_run):
                yield done


async def maintained(schedule: Schedule, seconds: float, handlers: Mapping[str, Handler]) -> None:
    """Look after everything every `seconds`, until cancelled; what is done is in the log."""

    async def round_of_all() -> None:
        async for _ in upkeep(handlers):
            pass

    await schedule.every(LEASE, seconds, round_of_all)
