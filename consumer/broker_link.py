"""
One connection to RabbitMQ, made again by whoever needs it next.

Nothing is restored behind anybody's back: a lost connection takes its channels with it, and publisher and consumers
make new ones from what they know. aio-pika's robust classes would restore by themselves, but give up in places.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, cast

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import InvalidFrameError, ProbableAuthenticationError
from yarl import URL

from consumer.broker_port import BrokerRefused, BrokerUnavailable, BrokerUntrusted
from consumer.broker_transport import GatheringConnection

log = structlog.get_logger("lakedrop.broker")

CONNECT_SECONDS: Final = 10.0
"""Patience with a server that takes a connection and says nothing."""
CLOSE_SECONDS: Final = 5.0
"""Patience with a server that does not say goodbye."""
HEARTBEAT_SECONDS: Final = 15
"""A peer that vanished without a word is noticed after about three of these; the library's default would be minutes."""


@contextmanager
def loss_is_no_cancel(place: str) -> Iterator[None]:
    """
    Have the loss of a connection told as such.

    aiormq at times ends what waits for a connection with CancelledError, though nobody cancelled the waiter.

    Raises:
        BrokerUnavailable: The connection was lost.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerUnavailable(f"the connection to {place} was lost") from None


class Link:
    """
    One connection, opened when it is needed and not there.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://`; `?cafile=` names an authority of one's own.
        name: Shown in RabbitMQ's UI.
    """

    def __init__(self, url: str, name: str) -> None:
        address = URL(url)
        self._url = address if "heartbeat" in address.query else address.update_query(heartbeat=HEARTBEAT_SECONDS)
        self._name = name
        self._connection: AbstractConnection | None = None
        self._opening: asyncio.Task[AbstractConnection] | None = None
        self._letting_go: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed for good."""
        return self._closed

    @property
    def place(self) -> str:
        """Where it leads, without the password."""
        return shown_url(self._url)

    async def channel(self, *, confirms: bool = False) -> Channel:
        """
        Open a channel, and the connection if there is none; `confirms` for one to publish with.

        Waits without limit while the server blocks a connection that publishes: `asyncio.timeout` is the caller's.

        Raises:
            BrokerUnavailable: There is no connection to be had.
        """
        connection = await self.connection()
        channel = connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        try:
            with loss_is_no_cancel(self.place):
                await channel.initialize()
                return cast("Channel", await channel.get_underlay_channel())
        except BrokerUnavailable:
            raise
        except Exception as error:
            raise BrokerUnavailable(f"{self.place} opened no channel: {error!r}") from error

    async def connection(self) -> AbstractConnection:
        """
        Return the connection; whoever asks while it is being made waits for the same attempt.

        Raises:
            BrokerUnavailable: It could not be made, or the link is closed.
        """
        if self._closed:
            raise BrokerUnavailable(f"the connection to {self.place} was closed by us")
        if self._connection is not None and is_open(self._connection):
            return self._connection
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=f"connect {self._name}")
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def unblocked(self) -> None:
        """Wait until there is a connection that the server has not blocked for want of memory or disk."""
        connection = await self.connection()
        if connection.transport is not None:
            await connection.transport.ready()

    async def is_blocked(self) -> bool:
        """Tell whether there is a connection, and the server has blocked it."""
        if self._connection is None or not is_open(self._connection):
            return False
        try:
            async with asyncio.timeout(0):  # what is ready now is ready without a wait
                await self.unblocked()
        except TimeoutError:
            return True
        return False

    def drop(self) -> None:
        """Give up a connection that does not answer: the next user makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            task = asyncio.create_task(_closed(connection, self.place), name=f"close {self._name}")
            self._letting_go.add(task)
            task.add_done_callback(self._letting_go.discard)

    async def aclose(self) -> None:
        """Close for good."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self.drop()
        if self._letting_go:
            await asyncio.wait(self._letting_go)

    async def _open(self) -> AbstractConnection:
        self.drop()
        connection = GatheringConnection(self._url, client_properties={"connection_name": self._name})
        try:
            with loss_is_no_cancel(self.place):
                await _connected(connection)
        except BrokerUnavailable:
            raise
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self.place} did not answer within {CONNECT_SECONDS:g} s") from error
        except ProbableAuthenticationError as error:
            raise BrokerRefused(f"{self.place} refused user or password: {error}") from error
        except ssl.SSLCertVerificationError as error:
            reason = f"{error.verify_message}; name its authority in broker_url: ?cafile=/path/to/ca.pem"
            raise BrokerUntrusted(f"{self.place} cannot be trusted: {reason}") from error
        except (FileNotFoundError, PermissionError) as error:
            raise BrokerUntrusted(f"{self.place}: a file that broker_url names cannot be read: {error}") from error
        except InvalidFrameError as error:
            # aiormq throws away what the server said of the vhost, but for which frame it waited for.
            if "Connection.OpenOk" not in str(error):
                raise BrokerUnavailable(f"{self.place} cannot be reached: {error}") from error
            reason = "it is not there, or this user may not open it"
            raise BrokerRefused(f"{self.place} refused the vhost: {reason}") from error
        except Exception as error:
            raise BrokerUnavailable(f"{self.place} cannot be reached: {error}") from error
        self._connection = connection
        log.info("broker.connected", broker=self.place, connection=self._name)
        return connection

    def _opened(self, task: asyncio.Task[AbstractConnection]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be waiting any more


def is_open(connection: AbstractConnection) -> bool:
    """Tell whether a connection can be used, as far as is known here."""
    transport = connection.transport
    return not connection.is_closed and transport is not None and not transport.connection.is_closed


def shown_url(url: str | URL) -> str:
    """Return a URL without its password and options."""
    bare = URL(url).with_query(None)
    return str(bare.with_password(None) if bare.password else bare)


async def _closed(connection: AbstractConnection, place: str) -> None:
    with suppress(Exception), loss_is_no_cancel(place):  # it is gone either way
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()
    # A goodbye that failed leaves it open in aio-pika's eyes, whose `__del__` then says it in whatever thread collects
    # the garbage. The transport is let go of by now: this waits for nothing.
    await connection.close()


async def _connected(connection: AbstractConnection) -> None:
    try:
        await connection.connect(timeout=CONNECT_SECONDS)
    except BaseException:
        await connection.close()  # for its `__del__`, see `_closed`; without a transport it waits for nothing
        raise
