"""The lane for long work on tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from handlers.contract import HandlerContext

T = TypeVar("T")


class MaintainLane:
    """Runs one piece of work at a time, so that neither small files nor large ones wait for it."""

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def run(self, function: Callable[..., T], /, *args: object, call_off: Callable[[], None] | None = None) -> T:
        """Run work on the lane; cancelled, call it off and wait for its end, as it holds files and the catalog."""
        work = asyncio.ensure_future(self._context.run("maintain", function, *args))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if call_off is not None:
                call_off()
            await asyncio.wait([work])
            raise
