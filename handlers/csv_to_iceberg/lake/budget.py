"""A bound on the bytes of objects held in memory, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """Hands out bytes; who asks for more than there are waits until others give theirs back."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self, size: int) -> _Hold:
        """Hold `size` bytes for the length of an `async with`; a size beyond the whole budget counts as the whole."""
        return _Hold(self, min(size, self._size))

    async def take(self, size: int) -> None:
        """Wait for `size` bytes."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((size, turn))
                self._serve()
            else:
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        """Let others have `size` bytes that were taken."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        """Serve whose turn it is. Cancelled waiters take themselves out of the line and call this again."""
        while self._waiting and self._waiting[0][0] <= self._free and not self._waiting[0][1].cancelled():
            size, turn = self._waiting.popleft()
            self._free -= size
            turn.set_result(None)


class _Hold:
    """Bytes held. A class: every file passes here, and a generator as context manager takes several times as long."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget = budget
        self._size = size

    async def __aenter__(self) -> None:
        await self._budget.take(self._size)

    async def __aexit__(self, *_error: object) -> None:
        self._budget.give_back(self._size)
