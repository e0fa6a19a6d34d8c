"""SIGTERM and SIGINT for commands that work on units: the first drains, the second stops now."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from consumer import exits
from consumer.exits import CommandError
from consumer.settings import Settings

T = TypeVar("T")

log = structlog.get_logger("lakedrop.run")

HURRY_SECONDS: Final = 5.0
"""Longest time from the second signal to the end, whatever a thread is busy with: all work is safe to be cut off."""


class Signals:
    """
    Takes the signals of this process from here on; to be made inside the event loop.

    Args:
        cut_off: Exit code when not even the second signal could end a thread's work in time.
    """

    def __init__(self, settings: Settings, *, cut_off: int = exits.TEMPORARY) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._cut_off = cut_off
        self._drain_seconds = settings.drain_seconds
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, signal.Signals(number).name)

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Do the work, but for as long as no signal comes.

        Raises:
            CommandError: A signal came, and the work was cancelled.
        """
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return await task
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)
        raise CommandError("stopped by a signal; the same command goes on from here", exits.TEMPORARY)

    def _received(self, name: str) -> None:
        if not self.stop.is_set():
            self.stop.set()
            log.warning(
                "run.draining",
                signal=name,
                seconds=self._drain_seconds,
                next_step="work under way is finished, the rest is put back; a second signal puts all back now",
            )
        elif not self.hurry.is_set():
            self.hurry.set()
            log.warning("run.stopping_now", signal=name, next_step="claims are put back; no attempt is charged")
            asyncio.get_running_loop().call_later(HURRY_SECONDS, os._exit, self._cut_off)
