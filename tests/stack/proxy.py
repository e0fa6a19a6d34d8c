"""
A TCP proxy that breaks connections on demand, between code under test and a server.

It counts what it did, so that a test can assert that its fault fired.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.stack.ports import LOOPBACK

CHUNK = 65_536
"""Bytes read at once."""

SLICES = 20
"""Pieces a second in which a slowed connection passes its bytes on."""

PATIENCE = 180.0
"""Seconds until `until` gives up, if nobody says otherwise."""

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""Of SO_LINGER: closing tells the other side at once that the connection is broken, and drops what is unsent."""


@dataclass
class Counts:
    """What the proxy did to its clients so far."""

    passed_on: int = 0
    """Connections to the server."""
    refused: int = 0
    """Connections that `refuse` broke right after they were made."""
    unreachable: int = 0
    """Connections broken because the server took none."""
    cut: int = 0
    """Connections broken by `cut`."""
    held: int = 0
    """Times that bytes, an end or a new connection met a black hole."""
    slowed_bytes: int = 0
    """Bytes, both ways, that were passed on slowly."""
    bytes: int = 0
    """All bytes passed on, both ways."""
    unanswered: int = 0
    """Connections that ended while the server owed its client an answer."""


class Proxy:
    """
    Passes bytes on until told otherwise; made by `proxied`.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.counts = Counts()
        self._connections: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._rate: int | None = None
        self._news = asyncio.Event()

    @property
    def asking(self) -> int:
        """Connections whose client spoke last: of protocols that answer each request, those that wait for an answer."""
        return len(self._asking)

    def cut(self) -> int:
        """Break all connections; return how many there were. New ones are passed on."""
        living = [connection for connection in self._connections if not connection.done()]
        for connection in living:
            connection.cancel()
        self.counts.cut += len(living)
        self._tell()
        return len(living)

    def refuse(self) -> None:
        """Break new connections as soon as they are made; those that exist live on."""
        self._refuses = True

    def slow(self, rate: int) -> None:
        """Pass on this many bytes a second, for each connection and direction."""
        self._rate = rate

    def blackhole(self) -> None:
        """Pass nothing on, and keep all connections; new ones are made, and nobody answers."""
        self._open.clear()

    def restore(self) -> None:
        """Pass everything on again, also what the black hole held."""
        self._refuses = False
        self._rate = None
        self._open.set()

    async def until(self, happened: Callable[[Counts], bool], seconds: float = PATIENCE) -> None:
        """
        Wait until the counts say that something happened.

        Raises:
            TimeoutError: it did not.
        """
        async with asyncio.timeout(seconds):
            while not happened(self.counts):
                self._news.clear()
                await self._news.wait()

    def _tell(self) -> None:
        self._news.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until both sides have ended, or one broke."""
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        writers = [writer]
        try:
            if self._refuses:
                self.counts.refused += 1
                self._tell()
                return
            await self._gate()
            try:
                from_server, to_server = await asyncio.open_connection(*self._target)
            except OSError:
                self.counts.unreachable += 1
                self._tell()
                return
            writers.append(to_server)
            self.counts.passed_on += 1
            self._tell()
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pass_on(reader, to_server, lambda: self._asking.add(connection)))
                both_ways.create_task(self._pass_on(from_server, writer, lambda: self._asking.discard(connection)))
            for ended in writers:
                ended.close()
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            for broken in writers:
                _reset(broken)
            self._connections.discard(connection)
            if connection in self._asking:
                self._asking.discard(connection)
                self.counts.unanswered += 1
                self._tell()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoke: Callable[[], None]
    ) -> None:
        while data := await reader.read(CHUNK):
            spoke()
            rest = memoryview(data)
            while rest:
                await self._gate()
                rate = self._rate
                size = len(rest) if rate is None else max(1, rate // SLICES)
                piece, rest = rest[:size], rest[size:]
                writer.write(piece)
                await writer.drain()
                self.counts.bytes += len(piece)
                if rate is not None:
                    self.counts.slowed_bytes += len(piece)
                    await asyncio.sleep(len(piece) / rate)
                self._tell()
        await self._gate()
        writer.write_eof()

    async def _gate(self) -> None:
        if not self._open.is_set():
            self.counts.held += 1
            self._tell()
            await self._open.wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection, unless it was closed."""
    if not writer.is_closing():
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        writer.transport.abort()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Put a proxy before the server that a URL names; yield it, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None, url
    assert parts.port is not None, url
    proxy = Proxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy.handle, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    who = parts.netloc.rpartition("@")[0]
    try:
        yield proxy, parts._replace(netloc=f"{who}{'@' * bool(who)}{LOOPBACK}:{port}").geturl()
    finally:
        server.close()
        proxy.cut()
        await asyncio.gather(*proxy._connections, return_exceptions=True)
