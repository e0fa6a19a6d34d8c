"""
A blocking stream of what an event loop receives.

A task on the loop takes chunks from the network and keeps a bounded number of bytes ahead of the thread that reads.
Neither waits for the other for ever: a stream that is closed ends its task, a task that ends wakes its reader, and a
loop that stopped without ending its tasks is noticed.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, BinaryIO, Final, Protocol, cast

from handlers.contract import TransientError

AHEAD: Final = 4 << 20
"""Bytes kept ready for the reader: some 10 ms of what the CSV reader takes."""
READ_BUFFER: Final = 1 << 20

LOOK_SECONDS: Final = 1.0
"""How often a waiting reader makes sure that the loop still runs."""


class Streams:
    """The tasks of open streams: whoever closes the store ends them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task, which is kept until it ends; after `aclose` it ends at once."""
        task = asyncio.get_running_loop().create_task(work, name="stream")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._closed:
            task.cancel()
        return task

    async def aclose(self) -> None:
        """End them all; their readers meet `TransientError`."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Source(Protocol):
    """What arrives on the event loop."""

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield it; called once."""
        ...

    def close(self) -> None:
        """Let go of what `chunks` did not."""
        ...


def opened(source: Source, streams: Streams) -> BinaryIO:
    """Return a source as a stream to be read and closed in a thread; it is taken from the first read on."""
    return cast("BinaryIO", io.BufferedReader(LoopStream(source, streams), READ_BUFFER))


class LoopStream(io.RawIOBase):
    """
    Made on the event loop, read in a thread. Until somebody reads it holds nothing: many may be open at a time.

    Reading raises what the source raised, `TransientError` when the loop is stopped, and `RuntimeError` on the
    loop's own thread, where waiting would be for ever.
    """

    def __init__(self, source: Source, streams: Streams) -> None:
        self._source = source
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._arrived = threading.Condition()
        self._ready: deque[memoryview] = deque()
        self._bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._room = asyncio.Event()
        self._begun = False
        self._task: asyncio.Task[None] | None = None

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what is there, waiting for the first byte; 0 at the end."""
        if self.closed:
            raise ValueError("the stream is closed")
        if not self._begun:
            self._begun = True
            self._call(self._begin)
        target = memoryview(buffer).cast("B")
        at = 0
        with self._arrived:
            self._wait()
            while self._ready and at < len(target):
                chunk = self._ready[0][: len(target) - at]
                target[at : at + len(chunk)] = chunk
                at += len(chunk)
                if len(chunk) == len(self._ready[0]):
                    self._ready.popleft()
                else:
                    self._ready[0] = self._ready[0][len(chunk) :]
            self._bytes -= at
            error = self._error if not at else None
            wanted = self._bytes < AHEAD and not self._ended
        if error is not None:
            raise error
        if wanted:
            self._call(self._room.set)
        return at

    def close(self) -> None:
        """Let go of the connection, without waiting for it. From any thread."""
        if not self.closed:
            super().close()
            self._call(self._stop)

    def _wait(self) -> None:
        while not self._ready and not self._ended:
            if threading.get_ident() == self._thread:
                raise RuntimeError("read it in a thread: here the event loop would wait for itself")
            if not self._arrived.wait(LOOK_SECONDS) and not self._loop.is_running():
                raise TransientError("reading was broken off: the event loop has stopped")

    def _call(self, function: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed, and its tasks with it
            self._loop.call_soon_threadsafe(function)

    def _begin(self) -> None:
        if not self.closed:
            self._task = self._streams.begin(self._take())
            self._task.add_done_callback(self._end)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _take(self) -> None:
        """Take chunks as long as there is room for them."""
        async with aclosing(self._source.chunks()) as chunks:
            async for chunk in chunks:
                self._put(chunk)
                while self._bytes >= AHEAD:
                    self._room.clear()
                    await self._room.wait()

    def _end(self, task: asyncio.Task[None]) -> None:
        """Also of a task that was cancelled before it began."""
        self._source.close()
        with self._arrived:
            self._ended = True
            if task.cancelled():
                self._error = TransientError("reading was broken off: the store was closed")
            else:
                self._error = task.exception()
            self._arrived.notify_all()

    def _put(self, chunk: bytes) -> None:
        with self._arrived:
            self._ready.append(memoryview(chunk))
            self._bytes += len(chunk)
            self._arrived.notify_all()
