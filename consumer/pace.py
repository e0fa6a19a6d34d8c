"""How fast hints of many units are handed over."""

from __future__ import annotations

import asyncio
from typing import Final

SLACK: Final = 0.1
"""Seconds that who comes late may catch up: a timer rings a millisecond late, which is ten turns at 10,000 a second."""


class Pace:
    """
    At most so many turns a second, evenly spaced, whoever takes them.

    Args:
        rate: Turns a second; None: no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._seconds = 0.0 if rate is None else 1 / rate
        self._next = 0.0
        """When the next turn is, by the clock of the loop."""

    async def turn(self) -> None:
        """Wait for a turn; those who wait get theirs in the order they came."""
        if not self._seconds:
            return
        now = asyncio.get_running_loop().time()
        at = self._next if self._next > now - SLACK else now
        self._next = at + self._seconds
        if at > now:
            await asyncio.sleep(at - now)
