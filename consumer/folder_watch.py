"""What a watch of folders tells, whoever asks the system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class RunBlocking(Protocol):
    """Runs blocking code beside the event loop, on a thread that long reads do not hold up."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Call the function there and return its result."""
        ...


class Noticed(NamedTuple):
    """A change that the system told of. It may be old: what counts is what is there now."""

    path: str
    """Absolute; bytes that are not UTF-8 are half surrogate pairs in it."""
    gone: bool = False
    new: bool = False
    folder: bool | None = None
    """Whether it is one; None where the system does not say."""


LOST: Final = Noticed("")
"""Stands for changes that the system did not tell of, as they were too many."""


class Watch(Protocol):
    """Watches all that lies below a folder."""

    def __call__(
        self, root: Path, *, run: RunBlocking, stop: asyncio.Event, watching: asyncio.Event
    ) -> AsyncGenerator[Iterable[Noticed], None]:
        """
        Yield changes, those of some milliseconds together, until `stop` is set.

        Args:
            root: The folder.
            run: Where folders are searched.
            stop: Ends the watch.
            watching: Set when the watch is in place.

        Raises:
            Exception: Whatever the watch died of.
        """
        ...
