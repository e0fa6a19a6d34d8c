"""The parts of a process that run side by side until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from consumer.kept_up import kept_up

Part = asyncio.Task[None]


class Running:
    """Named parts, kept up while servers are away; whatever else ends one ends the process."""

    def __init__(self) -> None:
        self._working: list[Part] = []
        self._lasting: list[Part] = []

    def start(self, name: str, run: Callable[[], Awaitable[None]], *, lasting: bool = False) -> Part:
        """
        Start a part that runs until it is cancelled.

        Args:
            name: For the log.
            run: Does its work; begun again after a `TransientError`.
            lasting: It brings no work, or ends when it is told to: `stop_work` lets it go on.
        """
        part = asyncio.create_task(kept_up(name, run), name=name)
        (self._lasting if lasting else self._working).append(part)
        return part

    def __iter__(self) -> Iterator[Part]:
        """Yield all parts that were started."""
        yield from self._working
        yield from self._lasting

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; a part that ends by itself ends the process, loudly."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopping, *self], return_when=asyncio.FIRST_COMPLETED)
            for part in done - {stopping}:
                await part
                raise RuntimeError(f"{part.get_name()} ended by itself")
        finally:
            stopping.cancel()

    async def check(self) -> None:
        """Raise what ended a part."""
        for part in self:
            if part.done():
                await part

    async def stop_work(self) -> None:
        """End the parts that bring work."""
        await _ended(self._working)

    async def stop(self) -> None:
        """End all parts."""
        await _ended([*self])


async def _ended(parts: Sequence[Part]) -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
