"""How far a bridge has come: which changes were seen, which are being published, up to where all are confirmed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

OVERLAP_NS: Final = 2_000_000_000
"""A new stream begins this long before the position. Times were seen to come late by 24 ms on a busy filer."""

WINDOW: Final = 256
"""Changes that are being published at once; one confirm takes some milliseconds."""


class _Change(NamedTuple):
    ts_ns: int
    published: asyncio.Task[None] | None
    """None when there is nothing to publish."""


class Progress:
    """
    The changes under way, in the order they were told of.

    Args:
        position: Nanoseconds since 1970: everything told of up to here is confirmed.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self._under_way: deque[_Change] = deque()
        self._seen: dict[tuple[int, str], None] = {}

    @property
    def since(self) -> int:
        """Where the next stream must begin, to be told of everything that is not confirmed."""
        return self.position - OVERLAP_NS

    @property
    def waiting(self) -> int:
        """Number of changes under way."""
        return len(self._under_way)

    def first_time(self, ts_ns: int, path: str) -> bool:
        """Tell whether a change is new; one that was seen is on its way, or confirmed, already."""
        if (ts_ns, path) in self._seen:
            return False
        self._seen[ts_ns, path] = None
        return True

    async def room(self) -> None:
        """Wait until another change may be published."""
        while len(self._under_way) >= WINDOW:
            if (oldest := self._under_way[0].published) is not None:
                await asyncio.wait([oldest])
            self.advance()

    def add(self, ts_ns: int, published: asyncio.Task[None] | None) -> None:
        """Take on a change; `published` ends when the broker has confirmed its events."""
        self._under_way.append(_Change(ts_ns, published))
        self.advance()

    def advance(self) -> None:
        """Move the position over the changes that are done, as far as none before them is under way."""
        while self._under_way:
            ts_ns, published = self._under_way[0]
            if published is not None:
                if not published.done():
                    return
                published.result()
            self._under_way.popleft()
            self.position = max(self.position, ts_ns)

    def forget(self) -> None:
        """Forget what no new stream will tell of again."""
        oldest = min([self.position, *(change.ts_ns for change in self._under_way)]) - 2 * OVERLAP_NS
        for identity in [identity for identity in self._seen if identity[0] < oldest]:
            del self._seen[identity]

    async def finish(self, seconds: float) -> None:
        """Wait for the confirms under way; those that come later do not count."""
        publishing = [published for _, published in self._under_way if published is not None]
        if publishing:
            _, late = await asyncio.wait(publishing, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for ts_ns, published in self._under_way:
            if published is not None and published.cancelled():
                break
            self.position = max(self.position, ts_ns)
        self._under_way.clear()
