"""Waiting for what tells nobody when it changes: looking again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 180.0
"""Seconds until what must come has come; far more than anything needs, on a busy machine too."""

SHORTEST: Final = 0.02
LONGEST: Final = 1.0


def pause_after(began: float) -> float:
    """
    Return the seconds until the next look: twice what the last one took, as what is waited for needs the machine, too.

    Args:
        began: When the last look did, by `time.monotonic`.
    """
    return min(LONGEST, max(SHORTEST, 2 * (time.monotonic() - began)))


def wait_for(look: Callable[[], T | None], otherwise: str = "nothing came", seconds: float = PATIENCE) -> T:
    """Look until there is something to see; return it."""
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if found := look():
            return found
        assert time.monotonic() < end, otherwise
        time.sleep(pause_after(began))


async def until(
    look: Callable[[], Awaitable[T | None]], otherwise: str = "nothing came", seconds: float = PATIENCE
) -> T:
    """Look until there is something to see; return it. A look that hangs is cut off."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            while True:
                began = time.monotonic()
                if found := await look():
                    return found
                await asyncio.sleep(pause_after(began))
    except TimeoutError:
        assert not limit.expired(), otherwise
        raise
