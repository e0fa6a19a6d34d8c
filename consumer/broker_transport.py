"""
The socket to RabbitMQ, written once for each turn of the event loop.

aiormq writes every frame by itself, and a system call costs more than all the rest of a message.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aio_pika
from aiormq.connection import TransportFactory
from yarl import URL


class GatheringConnection(aio_pika.Connection):
    """A connection whose frames are sent together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kwargs["transport_factory"] = _Transports()


class _Transports(TransportFactory):
    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; `kwargs` are those of `asyncio.open_connection`, and aiormq's provider of the TLS settings."""
        provider = kwargs.pop("ssl_context_provider")
        context: ssl.SSLContext | None = await provider.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, url.host or "", url.port or 5672, ssl=context, **kwargs
        )
        return reader, _GatheringWriter(transport, protocol, reader, loop)


class _GatheringWriter(asyncio.StreamWriter):
    """Keeps what is written until the loop's next turn."""

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.StreamReaderProtocol,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, reader, loop)
        self._gathered: list[Any] = []
        self._turn = loop.call_soon

    def write(self, data: Any) -> None:
        """Keep data, to be sent at the next turn."""
        if not self._gathered:
            self._turn(self._send)
        self._gathered.append(data)

    def write_eof(self) -> None:
        """Send what is kept and close this side."""
        self._send()
        super().write_eof()

    def close(self) -> None:
        """Send what is kept and close."""
        self._send()
        super().close()

    async def drain(self) -> None:
        """Send what is kept, and wait until the socket has room."""
        self._send()
        await super().drain()

    def _send(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            super().write(b"".join(gathered))
