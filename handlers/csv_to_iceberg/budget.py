"""A bound on the bytes of objects held in memory, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Hands out bytes; who asks for more than there are waits until others give theirs back."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes; a size beyond the whole budget counts as the whole."""
        size = min(size, self._size)
        if self._waiting or size > self._free:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._waiting.remove((size, turn))
                    self._serve()
                else:
                    self._give_back(size)
                raise
        else:
            self._free -= size
        try:
            yield
        finally:
            self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._free += size
        self._serve()

    def _serve(self) -> None:
        """Serve whose turn it is. Cancelled waiters take themselves out of the line and call this again."""
        while self._waiting and self._waiting[0][0] <= self._free and not self._waiting[0][1].cancelled():
            size, turn = self._waiting.popleft()
            self._free -= size
            turn.set_result(None)
