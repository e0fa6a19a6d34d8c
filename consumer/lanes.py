"""
Threads for blocking work, one per lane, so that each kind waits only for its own.

`cpu` cooks small files, `stream` reads large ones, `commit` writes table metadata, `ledger` runs transactions, `store`
hashes files, `ping` asks whether servers are there. Work on a lane cannot be interrupted, only waited for; all of it is
safe to run twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Lanes:
    """Named single-threaded executors, made when first used."""

    def __init__(self) -> None:
        self._threads: dict[str, ThreadPoolExecutor] = {}

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Run a function on a lane."""
        thread = self._threads.get(lane)
        if thread is None:
            thread = self._threads[lane] = ThreadPoolExecutor(1, thread_name_prefix=lane)
        return asyncio.get_running_loop().run_in_executor(thread, function, *args)

    def on(self, lane: str) -> Callable[..., Awaitable[Any]]:
        """Return `run` for one lane."""

        def run(function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
            return self.run(lane, function, *args)

        return run

    async def aclose(self) -> None:
        """Wait for the work under way."""
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)
