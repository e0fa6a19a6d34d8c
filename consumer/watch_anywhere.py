"""
Folders watched by watchfiles, on systems without inotify.

Its watcher dies of names that are not UTF-8, which no option of it prevents: of a file's whenever the file is touched,
of a folder's at every start. The sweep after each restart finds what was missed, and reports the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from consumer.folder_search import to_watch
from consumer.folder_watch import Noticed, RunBlocking

GROUP_MS: Final = 50
STEP_MS: Final = 10
"""watchfiles hands changes over after a step without any, at the latest after a group; its own 1.6 s are too slow."""


async def watch(
    root: Path, *, run: RunBlocking, stop: asyncio.Event, watching: asyncio.Event
) -> AsyncGenerator[Iterable[Noticed], None]:
    """Watch; see `Watch`."""
    loop = asyncio.get_running_loop()
    signal = _StopSignal(stop, lambda: loop.call_soon_threadsafe(watching.set))
    paths = await run(to_watch, root)
    async for changes in awatch(
        *paths,
        watch_filter=None,
        debounce=GROUP_MS,
        step=STEP_MS,
        stop_event=signal,
        ignore_permission_denied=True,
    ):
        yield [Noticed(path, change is Change.deleted, change is Change.added) for change, path in changes]


class _StopSignal:
    """
    The stop event of one watch.

    watchfiles asks for it from its thread, and sets it when the watch is cancelled. It asks for the first time when the
    watch is in place, which it says in no other way.
    """

    def __init__(self, stop: asyncio.Event, on_watching: Callable[[], object]) -> None:
        self._stop = stop
        self._on_watching: Callable[[], object] | None = on_watching
        self._set = False

    def is_set(self) -> bool:
        if self._on_watching is not None:
            self._on_watching()
            self._on_watching = None
        return self._set or self._stop.is_set()

    def set(self) -> None:
        self._set = True
