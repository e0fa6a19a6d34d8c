"""Consumers on RabbitMQ: supervised, so that none is ever silently gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog
from aiormq.exceptions import ConnectionInternalError

from consumer.broker_link import Link, loss_is_no_cancel
from consumer.broker_port import AlreadySettled, BrokerUnavailable, LiveFirst
from consumer.broker_session import Arrived, Session
from consumer.broker_topology import without_leader
from consumer.broker_wire import message_of

log = structlog.get_logger("lakedrop.broker")

PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to subscribe; the last is repeated."""
WATCH_SECONDS: Final = 10.0
"""How often the server is asked whether it still serves us: a cancelled consumer may not be told so."""
NO_LEADER_SECONDS: Final = 30.0
"""Between attempts at a queue that stays without a leader; one may cost all consumers of a process their connection."""
GONE_SECONDS: Final = 1.0
"""
Between the end of a queue and its declaration.

RabbitMQ tells the readers of a deleted queue, but no more those that it has not told when a new one has the name. They
stay, and its first messages may never reach them (3.10.8: message numbers begin anew and are taken for old ones).
"""


class RabbitConsumer:
    """
    A `Consumer` on RabbitMQ. A supervisor subscribes anew whenever the session is lost, with the queues declared again.

    Args:
        declare: Declares a queue, wherever it went.
        watch_seconds: How often the server is asked whether it still serves us.
    """

    def __init__(
        self,
        link: Link,
        declare: Callable[[str], Awaitable[None]],
        live: str,
        bulk: str | None,
        prefetch: int,
        *,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._link = link
        self._declare = declare
        self._live = live
        self._bulk = bulk
        self._prefetch = prefetch
        self._watch_seconds = watch_seconds
        self._turns = LiveFirst()
        self._bell = asyncio.Event()
        self._session: Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def queues(self) -> tuple[str, ...]:
        """What it reads."""
        return (self._live,) if self._bulk is None else (self._live, self._bulk)

    async def start(self) -> None:
        """
        Subscribe, and see to it from then on.

        Raises:
            BrokerUnavailable: The first attempt failed.
        """
        with loss_is_no_cancel(self._link.place):
            await self._subscribe()
        self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise {self._live}")

    async def get(self) -> RabbitDelivery:
        """Wait for the next delivery, however long RabbitMQ is away."""
        while not self._closed:
            found = self._next()
            if found is not None:
                return found
            self._bell.clear()
            await self._bell.wait()
        raise BrokerUnavailable(f"the consumer of {self._live} is closed")

    def renew(self, queue: str) -> None:
        """Subscribe anew: a queue of this name has taken the place of another."""
        if self._session is not None and queue in self.queues:
            self._session.lose(f"{queue} was gone")

    async def read_ahead(self, queue: str) -> int:
        """Count what has left a queue for this consumer and was not handed over."""
        session = self._session
        if session is None or queue not in self.queues:
            return 0
        try:
            with loss_is_no_cancel(self._link.place):
                return await session.read_ahead(queue)
        except Exception as error:  # noqa: BLE001 (a lost session has nothing any more: it comes again)
            log.debug("consumer.read_ahead", queue=queue, reason=repr(error))
        return 0

    async def aclose(self) -> None:
        """Stop; unsettled deliveries go back to their queues."""
        self._closed = True
        self._bell.set()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        await self._end_session()

    def _next(self) -> RabbitDelivery | None:
        session = self._session
        if session is None or session.unsettled >= self._prefetch:
            return None
        live = session.buffers[self._live]
        bulk = session.buffers[self._bulk] if self._bulk is not None else ()
        match self._turns.choose(live=bool(live), bulk=bool(bulk)):
            case "live":
                arrived = live.popleft()
            case "bulk" if bulk:
                arrived = bulk.popleft()
            case _:
                return None
        session.unsettled += 1
        return RabbitDelivery(session, arrived)

    async def _supervise(self) -> None:
        failed = leaderless = 0
        while True:
            try:
                with loss_is_no_cancel(self._link.place):
                    if self._session is None:
                        await self._subscribe()
                        log.info("consumer.back", queue=self._live)
                    failed = leaderless = 0
                    await self._lost(self._session)
                if self._session is not None:
                    log.warning(
                        "consumer.lost", queue=self._live, reason=self._session.reason, next_try_in=GONE_SECONDS
                    )
            except Exception as error:  # noqa: BLE001 (whatever it is, without this loop the consumer would be gone)
                leaderless = leaderless + 1 if isinstance(error, NoLeader) else 0
                lasting = leaderless > len(PAUSES)  # after a start it may take a moment to elect one
                pause = NO_LEADER_SECONDS if lasting else PAUSES[min(failed, len(PAUSES) - 1)]
                log.warning("consumer.cannot_subscribe", queue=self._live, reason=str(error), next_try_in=pause)
                failed += 1
                await asyncio.sleep(pause)
            await self._end_session()
            await asyncio.sleep(GONE_SECONDS)

    async def _lost(self, session: Session | None) -> None:
        """Wait until a session is lost, or the server does not know of it any more."""
        while session is not None and not session.lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch_seconds):
                    await session.lost.wait()
                return
            if not await session.is_alive():
                if not session.lost.is_set():
                    session.reason = "RabbitMQ serves it no more, and did not say so"
                    self._link.drop()  # nobody knows what the connection is good for
                return

    async def _subscribe(self) -> None:
        for queue in self.queues:
            await self._declare(queue)
        session = Session(await self._link.channel(), self._prefetch, self._bell.set)
        try:
            for queue in self.queues:
                await session.subscribe(queue)
        except BaseException as error:
            await session.aclose()
            if isinstance(error, ConnectionInternalError | TimeoutError):
                raise NoLeader(
                    f"{self._link.place} does not let {queue} be read, as when a queue has no leader; if that lasts: "
                    f"{without_leader(self._link.place, queue)}"
                ) from error
            if isinstance(error, Exception):
                raise BrokerUnavailable(f"{self._link.place}: {self._live} cannot be read: {error!r}") from error
            raise
        self._session = session
        self._bell.set()

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()


class NoLeader(BrokerUnavailable):
    """
    A queue cannot be read: RabbitMQ ends the connection of whoever tries (541 INTERNAL_ERROR), or never answers.

    Both were seen with 3.10.8, killed within a second of the queue's declaration.
    """


class RabbitDelivery:
    """A `Delivery` of RabbitMQ."""

    def __init__(self, session: Session, arrived: Arrived) -> None:
        self.message = message_of(arrived.delivered)
        self.queue = arrived.queue
        self.redelivered = bool(arrived.delivered.redelivered)
        self._session = session
        self._tag = arrived.tag
        self._settled = False

    async def ack(self) -> None:
        """Be done with the message."""
        self._settle(ack=True)

    async def reject(self, *, requeue: bool) -> None:
        """Put the message back, or drop it."""
        self._settle(ack=False, requeue=requeue)

    def _settle(self, *, ack: bool, requeue: bool = False) -> None:
        if self._settled:
            raise AlreadySettled(f"message {self.message.id} of {self.queue} was settled before")
        self._settled = True
        self._session.settle(self._tag, ack=ack, requeue=requeue)
