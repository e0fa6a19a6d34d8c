"""
The worker: takes hints, claims their units and holds the claims while `reconcile` works them.

Events, sweep, replay and waker all come in as hints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from consumer import retry
from consumer.broker_port import Broker, BrokerUnavailable, Consumer, Delivery
from consumer.gate import Gate
from consumer.held import Held, Settled
from consumer.ledger import Ledger
from consumer.look import Looker
from consumer.protocol import Row
from consumer.reconcile import Reconciler
from consumer.settler import Settler
from consumer.sink import Sink
from consumer.workitem import BadMessage, Hint, bulk_queue, dead_queue, decode, work_queue
from handlers.contract import ClaimLost, Handler, TransientError

log = structlog.get_logger("lakedrop.worker")

PREFETCH = 1000
"""Deliveries taken and not yet acknowledged: one group of claims."""

LEDGER_PAUSE = 1.0
"""Seconds before a delivery whose claim could not be written is given back."""


class Worker:
    """
    Works off hints for one handler, `Handler.max_in_flight` at a time; see `Reconciler` for further arguments.

    Args:
        sink: Of the handler.
        queue: Name of the queues it reads; by default those of the handler.
        waits: Nothing is taken while the sink is away; else all is taken and put off, for who must come to an end.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        ledger: Ledger,
        looker: Looker,
        broker: Broker,
        policy: retry.RetryPolicy,
        gate: Gate,
        sink: Sink,
        heartbeat_seconds: float = 10.0,
        on_settled: Callable[[Settled], None] = lambda _settled: None,
        queue: str | None = None,
        waits: bool = True,
    ) -> None:
        self.handler = handler
        self.queue = handler.name if queue is None else queue
        self._ledger = ledger
        self._broker = broker
        self._sink = sink
        self._waits = waits
        self._settler = Settler(ledger, broker, fenced=handler.fenced, on_settled=on_settled, queue=self.queue)
        self._reconciler = Reconciler(
            handler, ledger=ledger, looker=looker, policy=policy, gate=gate, sink=sink, settler=self._settler
        )
        self._heartbeat_seconds = heartbeat_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        """Set whenever one of them has ended."""
        self._beating: asyncio.Task[None] | None = None
        self._held: dict[str, Held] = {}
        self._stopping = False

    @property
    def in_flight(self) -> int:
        """Deliveries taken and not finished."""
        return len(self._tasks)

    # Intake

    async def run(self) -> None:
        """Take deliveries until cancelled; `stop` ends the work they led to."""
        # Claims under way need it longer than the intake, which may begin again: `stop` ends it.
        self._beating = self._beating or asyncio.create_task(self._heartbeat(), name=f"heartbeat {self.handler.name}")
        while True:
            if self._waits:
                await self._sink.back()
            consumer = await self._broker.consume(work_queue(self.queue), bulk_queue(self.queue), prefetch=PREFETCH)
            try:
                await self._intake(consumer)
            finally:  # what was read ahead goes back to its queues, where it may wait for as long as it takes
                await consumer.aclose()

    async def _intake(self, consumer: Consumer) -> None:
        """Take deliveries; return when the sink is away. What comes before that is seen is put off."""
        while True:
            while len(self._tasks) >= self.handler.max_in_flight:
                self._freed.clear()
                await self._freed.wait()
            if self._waits and self._sink.away is not None:
                return
            delivery = await consumer.get()
            task = asyncio.create_task(self._deliver(delivery), name=f"work {self.handler.name}")
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The row keeps its lease; the waker brings the unit back when that ends.
            if isinstance(error, TransientError):
                log.warning("delivery.given_up", handler=self.handler.name, reason=error.message)
            else:
                log.error("delivery.crashed", handler=self.handler.name, exc_info=error)

    async def stop(self, drain_seconds: float, *, hurry: asyncio.Event | None = None) -> None:
        """
        Wait for work under way, then put the rest back; nothing of this costs an attempt.

        Args:
            drain_seconds: How long to wait.
            hurry: Ends the wait when set.
        """
        if self._tasks and drain_seconds > 0:
            log.info("worker.draining", handler=self.handler.name, units=len(self._tasks), seconds=drain_seconds)
            await self._drain(drain_seconds, hurry)
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._beating is not None:
            self._beating.cancel()

    async def _drain(self, seconds: float, hurry: asyncio.Event | None) -> None:
        drained = asyncio.create_task(asyncio.wait(set(self._tasks), timeout=seconds))
        hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
        await asyncio.wait([drained, hurried], return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurried.cancel()

    async def _deliver(self, delivery: Delivery) -> None:
        """Step 1: CLAIM, then ack. A crash before CLAIM leaves the delivery, after it the row's lease is the memory."""
        try:
            hint = self._hint_of(delivery)
        except BadMessage as error:
            await self._refuse(delivery, error)
            return
        claiming = asyncio.ensure_future(self._ledger.claim(hint.key, replay=hint.kind == "replay"))
        try:
            row = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await self._give_back(delivery, hint, claiming)
            raise
        except Exception as error:
            unit = {"handler": self.handler.name, "bucket": hint.key.bucket, "unit": hint.key.unit}
            if isinstance(error, TransientError):
                log.warning("ledger.unavailable", **unit, reason=error.message, next_try_in=LEDGER_PAUSE)
            else:
                log.exception("ledger.unavailable", **unit)
            await asyncio.sleep(LEDGER_PAUSE)
            await delivery.reject(requeue=True)
            return
        if row is None:
            await delivery.ack()
        else:
            await self._hold(_held(row, hint), delivery)

    def _hint_of(self, delivery: Delivery) -> Hint:
        """
        Read the hint of a delivery.

        Raises:
            BadMessage: It is none, or none for this worker.
        """
        hint = decode(delivery.message)
        if hint.kind == "task":
            raise BadMessage("a task is no hint: nothing of this worker does tasks")
        if hint.key.handler != self.handler.name:
            raise BadMessage(
                f"a hint for handler {hint.key.handler!r} in a queue of {self.handler.name!r}: move it there"
            )
        return hint

    async def _give_back(self, delivery: Delivery, hint: Hint, claiming: asyncio.Future[Row | None]) -> None:
        """Leave no lease behind of a claim whose answer is under way at a stop; past its lease nobody would miss it."""
        await asyncio.wait([claiming], timeout=self._ledger.lease_ms / 1000)
        if not claiming.done() or claiming.exception() is not None:
            await delivery.reject(requeue=True)
            return
        row = claiming.result()
        await delivery.ack()
        if row is not None:
            await self._settler.put_back(_held(row, hint))

    async def _refuse(self, delivery: Delivery, error: BadMessage) -> None:
        """Move a message that is no hint for this worker to where people look."""
        try:
            await self._broker.publish(dead_queue(self.queue), delivery.message.with_headers(error=str(error)))
        except BrokerUnavailable as fault:
            about = {"handler": self.handler.name, "message_id": delivery.message.id}
            log.warning("dead_letter.failed", **about, reason=fault.message, next_try_in=LEDGER_PAUSE)
            await asyncio.sleep(LEDGER_PAUSE)
            await delivery.reject(requeue=True)
        else:
            await delivery.ack()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            held = dict(self._held)
            try:
                alive = await self._ledger.heartbeat(held.keys())
            except TransientError as error:
                log.warning("heartbeat.failed", handler=self.handler.name, claims=len(held), reason=error.message)
                continue
            except Exception:
                log.exception("heartbeat.failed", handler=self.handler.name, claims=len(held))
                continue
            for token, claim in held.items():
                if token not in alive and not claim.settling and self._held.get(token) is claim:
                    claim.lost = True
                    claim.task.cancel()

    # One claim

    async def _hold(self, held: Held, delivery: Delivery) -> None:
        """Ack, then look until no hint came meanwhile; a lost claim ends at once and writes nothing."""
        token = held.token
        self._held[token] = held
        try:
            await delivery.ack()
            while await self._reconciler.look(held):
                pass
        except ClaimLost:
            self._lost(held)
        except asyncio.CancelledError:
            if held.lost:
                self._lost(held)
            elif self._stopping:
                await self._settler.put_back(held)
            raise
        finally:
            del self._held[token]

    def _lost(self, held: Held) -> None:
        log.warning("claim.lost", handler=held.key.handler, bucket=held.key.bucket, unit=held.key.unit)


def _held(row: Row, hint: Hint) -> Held:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine of this worker always runs in a task)
    return Held(row, hint, row.db_now, task)
