"""
The worker: one straight path from a hint to a settled row. `docs/protocol.md` numbers its steps.

Only this module calls `Handler.apply`; events, sweep, replay and waker all come in as hints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from consumer import retry
from consumer.broker_port import Broker, BrokerUnavailable, Consumer, Delivery
from consumer.gate import Gate, Pass
from consumer.ledger import Ledger, receipt_json
from consumer.look import Look, Looker
from consumer.protocol import Row, Settlement, Status, Step, decide
from consumer.workitem import BadMessage, Hint, Message, UnitKey, bulk_queue, dead_queue, decode, encode, work_queue
from handlers.contract import (
    ABSENT,
    Claim,
    ClaimLost,
    Handler,
    HandlerError,
    ObjectChanged,
    ObjectGone,
    OutcomeUnknown,
    Receipt,
    Skip,
    TransientError,
)

log = structlog.get_logger("lakedrop.worker")

PREFETCH = 1000
"""Deliveries taken and not yet acknowledged: one group of claims."""

LEDGER_PAUSE = 1.0
"""Seconds before a delivery whose claim could not be written is given back."""

CHANGED_PAUSE = 0.2
"""Seconds before an object that changed under the reader is looked at again; it is likely being written."""

STORE_PAUSE = 10.0
"""Seconds until a unit is looked at again when the store did not answer."""

DELETED_WHILE_READ = "deleted while being read"

STORE = "store"
"""Step of a look that got no answer from the store."""


@dataclass(slots=True, eq=False)
class Held:
    """A claim of this worker, from CLAIM until its row is released."""

    row: Row
    hint: Hint
    claimed_at: int
    task: asyncio.Task[None]
    began: bool = False
    """BEGIN may have counted an attempt that is not settled yet."""
    settling: bool = False
    """A SETTLE is on its way or has released the row: a token without a row is no lost claim."""
    lost: bool = False
    notes: list[dict[str, Any]] = field(default_factory=list)
    """Timeline entries for the next SETTLE."""

    @property
    def key(self) -> UnitKey:
        """The unit."""
        return self.row.key

    @property
    def token(self) -> str:
        """The claim's token."""
        return self.row.lease_token or ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What ended a look, for logs, tests and people who wait."""

    key: UnitKey
    status: Status
    step: str
    """The `Step` that led here, or "stop", "store", "no route"."""
    row: Row | None
    """The row as SETTLE left it; None when the claim was lost."""
    receipt: Receipt | None
    error: str | None
    seconds: float
    hint: Hint
    record: bool
    """An outcome waits to be written to the sink's own records."""


class Worker:
    """
    Works off the hints of one handler.

    Args:
        max_attempts: Attempts at one version before it is failed.
        on_settled: Called after every SETTLE.
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
        heartbeat_seconds: float = 10.0,
        on_settled: Callable[[Settled], None] = lambda _settled: None,
    ) -> None:
        self.handler = handler
        self._ledger = ledger
        self._looker = looker
        self._broker = broker
        self._policy = policy
        self._gate = gate
        self._heartbeat_seconds = heartbeat_seconds
        self._on_settled = on_settled
        self._slots = asyncio.Semaphore(handler.max_in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
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
        consumer = await self._broker.consume(
            work_queue(self.handler.name), bulk_queue(self.handler.name), prefetch=PREFETCH
        )
        # Claims under way need it longer than the intake: `stop` ends it.
        self._beating = asyncio.create_task(self._heartbeat(), name=f"heartbeat {self.handler.name}")
        try:
            await self._intake(consumer)
        finally:
            await consumer.aclose()

    async def _intake(self, consumer: Consumer) -> None:
        while True:
            await self._slots.acquire()
            try:
                delivery = await consumer.get()
            except BaseException:
                self._slots.release()
                raise
            task = asyncio.create_task(self._deliver(delivery), name=f"work {self.handler.name}")
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The row keeps its lease; the waker brings the unit back when that ends.
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
            hint = decode(delivery.message)
        except BadMessage as error:
            await self._refuse(delivery, error)
            return
        try:
            row = await asyncio.shield(self._ledger.claim(hint.key, replay=hint.kind == "replay"))
        except asyncio.CancelledError:
            await delivery.reject(requeue=True)
            raise
        except Exception:
            log.exception("ledger.unavailable", handler=self.handler.name, bucket=hint.key.bucket, unit=hint.key.unit)
            await asyncio.sleep(LEDGER_PAUSE)
            await delivery.reject(requeue=True)
            return
        await delivery.ack()
        if row is not None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 (a coroutine of this worker always runs in a task)
            await self._hold(Held(row, hint, row.db_now, task))

    async def _refuse(self, delivery: Delivery, error: BadMessage) -> None:
        """Move a message that is no hint to where people look."""
        try:
            await self._broker.publish(dead_queue(self.handler.name), _with_error(delivery.message, str(error)))
        except BrokerUnavailable:
            log.exception("dead_letter.failed", handler=self.handler.name, message_id=delivery.message.id)
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
            except Exception:
                log.exception("heartbeat.failed", handler=self.handler.name, claims=len(held))
                continue
            for token, claim in held.items():
                if token not in alive and not claim.settling and self._held.get(token) is claim:
                    claim.lost = True
                    claim.task.cancel()

    # One claim

    async def _hold(self, held: Held) -> None:
        """Look until no hint came meanwhile; a lost claim ends at once and writes nothing."""
        token = held.token
        self._held[token] = held
        try:
            while await self._look(held):
                pass
        except ClaimLost:
            self._lost(held)
        except asyncio.CancelledError:
            if held.lost:
                self._lost(held)
            elif self._stopping:
                await self._put_back(held)
            raise
        finally:
            del self._held[token]

    def _lost(self, held: Held) -> None:
        log.warning("claim.lost", handler=held.key.handler, bucket=held.key.bucket, unit=held.key.unit)

    async def _look(self, held: Held) -> bool:
        """Steps 2 to 6, once; True to look again."""
        row = held.row
        try:
            look = await self._looker.look(held.key)
        except TransientError as error:
            pause = STORE_PAUSE if error.retry_after is None else error.retry_after
            wake_at = self._ledger.clock() + round(pause * 1000)
            final = row.status in (Status.FAILED, Status.SKIPPED)
            return await self._settle(
                held, STORE, row.status, None, row.attempts, error=error, wake_at=wake_at, as_it_was=final
            )
        if look is None:
            unrouted = Skip("no route takes this key any more")
            return await self._settle(held, "no route", Status.SKIPPED, None, row.attempts, error=unrouted)
        step = decide(row, look.fingerprint, now=self._ledger.clock(), keep=look.keep, fenced=self.handler.fenced)
        if step is Step.BEGIN:
            return await self._work(held, look)
        return await self._settle_unworked(held, look, step)

    async def _settle_unworked(self, held: Held, look: Look, step: Step) -> bool:
        """Steps 2a to 2d: nothing to do, or not now."""
        row = held.row
        if step in (Step.UNCHANGED, Step.KEEP):
            return await self._settle(held, step.value, Status.DONE, look, 0)
        if step is Step.SUSPECT:
            # `attempts` still counts those at the version observed before: this one becomes observed when it begins.
            return await self._settle(
                held, step.value, Status.RETRYING, None, row.attempts, wake_at=row.suspect_until, as_it_was=True
            )
        wake_at = row.wake_at if step is Step.NOT_YET else None
        return await self._settle(held, step.value, row.status, look, row.attempts, wake_at=wake_at, as_it_was=True)

    async def _work(self, held: Held, look: Look) -> bool:
        """Steps 3 to 6: alone if an earlier holder died over it; count, apply, settle."""
        row = held.row
        entry = await self._gate.enter(alone=row.took_over and row.attempts > 0)
        try:
            if not await self._begin(held, look):
                return await self._settle(
                    held, "attempts", Status.FAILED, look, held.row.attempts, error=_exhausted(held.row.attempts)
                )
            return await self._apply(held, look, entry)
        finally:
            entry.leave()

    async def _begin(self, held: Held, look: Look) -> bool:
        """BEGIN; False when the attempts at this version are used up."""
        row, head = held.row, look.fingerprint
        attempt = 1 if row.force or row.observed_etag != head else row.attempts + 1
        # Before the answer: whoever puts the row back meanwhile must assume that it was counted.
        held.row = replace(row, attempts=attempt, observed_etag=head, open=True, force=False, status=Status.PENDING)
        held.began = True
        attempts = await self._ledger.begin(held.key, held.token, head, attempt)
        if attempts is None:
            raise ClaimLost
        held.row = replace(held.row, attempts=attempts)  # 1 when a person asked for a replay meanwhile
        return row.force or attempts <= self._policy.max_attempts

    async def _apply(self, held: Held, look: Look, entry: Pass) -> bool:
        row = held.row
        # Who left when its object was read still waits for its commit, and may die of the next one that is read alone.
        # Once is bad luck; before its attempts run out it stays alone until it has settled.
        stays = entry.alone and row.attempts > self._policy.max_attempts // 2
        staged = _nothing if stays else entry.leave
        claim = Claim(held.token, look.fingerprint, row.receipt, alone=entry.alone, staged=staged)
        try:
            receipt = await self.handler.apply(look.unit, look.objects, claim)
        except (ClaimLost, asyncio.CancelledError):
            raise
        except ObjectChanged as error:
            return await self._changed(held, look, error)
        except Skip as error:
            return await self._settle(held, "skip", Status.SKIPPED, look, row.attempts, error=error)
        except Exception as error:  # noqa: BLE001 (whatever a handler raises ends in the ledger)
            return await self._failed(held, look, error)
        return await self._settle(held, Step.BEGIN.value, Status.DONE, look, 0, receipt=receipt)

    async def _changed(self, held: Held, look: Look, error: ObjectChanged) -> bool:
        """Step 4: the bytes were not the version looked at. Back to step 2; no write, and the attempt is given back."""
        held.row, held.began = replace(held.row, attempts=held.row.attempts - 1), False
        if isinstance(error, ObjectGone):
            detail = {"status": "failed", "error_class": retry.error_class(error), "error": DELETED_WHILE_READ}
            held.notes.append(self._entry(held, look, "failed", detail))
        await asyncio.sleep(CHANGED_PAUSE)
        return True

    async def _failed(self, held: Held, look: Look, error: Exception) -> bool:
        row = held.row
        if not isinstance(error, HandlerError):
            log.error("handler.crashed", handler=held.key.handler, unit=held.key.unit, exc_info=error)
        decision = self._policy.decide(row.attempts, error, self._ledger.clock())
        status = Status.RETRYING if decision.wake_at is not None else Status.FAILED
        suspect = isinstance(error, OutcomeUnknown) and not self.handler.fenced
        return await self._settle(
            held, Step.BEGIN.value, status, look, row.attempts, error=error, wake_at=decision.wake_at, suspect=suspect
        )

    async def _put_back(self, held: Held) -> None:
        """Shutdown: due at once, the attempt given back, `open` as it is."""
        row = held.row
        attempts = row.attempts - 1 if held.began else row.attempts
        settlement = Settlement(
            key=held.key,
            token=held.token,
            status=row.status,
            head=row.observed_etag,
            attempts=attempts,
            wake_at=self._ledger.clock(),
            stop=True,
            suspect=held.began and not self.handler.fenced,
            size=row.size,
            modified=row.modified,
            history=tuple(held.notes),
        )
        settled = await asyncio.shield(self._ledger.settle(settlement))
        self._tell(held, "stop", settlement, settled)

    # SETTLE

    async def _settle(
        self,
        held: Held,
        step: str,
        status: Status,
        look: Look | None,
        attempts: int,
        *,
        receipt: Receipt | None = None,
        error: Exception | None = None,
        wake_at: int | None = None,
        suspect: bool = False,
        as_it_was: bool = False,
    ) -> bool:
        """SETTLE; True when a hint came meanwhile and the claim goes on."""
        row = held.row
        error_class = None if error is None else retry.error_class(error)
        message = None if error is None else retry.message(error)
        entries = held.notes + self._entries(
            held, look, step, status=status, receipt=receipt, error=error, wake_at=wake_at
        )
        if as_it_was:
            error_class, message = row.error_class, row.error
        settlement = Settlement(
            key=held.key,
            token=held.token,
            status=status,
            head=None if look is None else look.fingerprint,
            attempts=attempts,
            receipt=receipt,
            error_class=error_class,
            error=message,
            wake_at=wake_at,
            suspect=suspect,
            size=None if look is None else look.size,
            modified=None if look is None else look.modified,
            history=tuple(entries),
        )
        held.settling = True
        settled = await asyncio.shield(self._ledger.settle(settlement))
        self._tell(held, step, settlement, settled)
        if settled is None:
            raise ClaimLost
        if status is Status.FAILED and not as_it_was:
            await self._dead_letter(held, message or "")
        if settled.lease_token is None:
            return False
        held.row, held.began, held.settling, held.notes = settled, False, False, []
        return True

    def _entries(
        self,
        held: Held,
        look: Look | None,
        step: str,
        *,
        status: Status,
        receipt: Receipt | None,
        error: Exception | None,
        wake_at: int | None,
    ) -> list[dict[str, Any]]:
        """The timeline gets what changed; looks that found everything as it was leave no trace."""
        if step in (Step.UNCHANGED.value, Step.STILL_FAILED.value, Step.NOT_YET.value, Step.SUSPECT.value):
            return []
        if step == Step.KEEP.value and held.row.observed_etag == ABSENT:
            return []
        detail: dict[str, Any] = {
            "reason": held.hint.reason,
            "hinted_at": held.hint.time,
            "claimed_at": held.claimed_at,
            "attempt": held.row.attempts,
            "step": step,
        }
        if error is not None:
            detail |= {"error_class": retry.error_class(error), "error": retry.message(error)}
        if wake_at is not None:
            detail["wake_at"] = wake_at
        if receipt is not None:
            detail |= {"status": "success", "receipt": receipt_json(receipt)}
        elif status is Status.FAILED and step != STORE:
            detail["status"] = "failed"
        return [self._entry(held, look, status.value, detail)]

    def _entry(self, held: Held, look: Look | None, event: str, detail: dict[str, Any]) -> dict[str, Any]:
        """One history row; those with a final status wait for the sink's own records."""
        etag = held.row.observed_etag if look is None else look.fingerprint
        final = "status" in detail and bool(etag)
        return {
            **held.key._asdict(),
            "at": self._ledger.clock(),
            "event": event,
            "token": held.token,
            "etag": etag,
            "detail": detail | {"route": "" if look is None else look.unit.route},
            "recorded": False if final else None,
        }

    async def _dead_letter(self, held: Held, message: str) -> None:
        """A copy for people; the row is the truth, so a copy that cannot be made is only logged."""
        hint = replace(held.hint, kind="replay", reason="failed", error=message)
        try:
            await self._broker.publish(dead_queue(self.handler.name), encode(hint))
        except Exception:
            log.exception("dead_letter.failed", handler=self.handler.name, unit=held.key.unit)

    def _tell(self, held: Held, step: str, settlement: Settlement, row: Row | None) -> None:
        seconds = (self._ledger.clock() - held.claimed_at) / 1000
        settled = Settled(
            held.key,
            settlement.status,
            step,
            row,
            settlement.receipt,
            settlement.error,
            seconds,
            held.hint,
            any(entry["recorded"] is False for entry in settlement.history) and row is not None,
        )
        quiet = step in (Step.UNCHANGED.value, Step.STILL_FAILED.value, Step.NOT_YET.value)
        (log.debug if quiet else log.info)(
            "delivery.settled",
            handler=held.key.handler,
            bucket=held.key.bucket,
            unit=held.key.unit,
            outcome="lost" if row is None else settlement.status.value,
            step=step,
            attempt=settlement.attempts or held.row.attempts,
            seconds=round(seconds, 3),
            **({} if settlement.error is None else {"error": settlement.error}),
            **({} if settlement.receipt is None else dict(settlement.receipt.counts)),
        )
        self._on_settled(settled)


def _nothing() -> None:
    """Do not leave yet."""


def _exhausted(attempts: int) -> HandlerError:
    return AttemptsExhausted(f"given up after {attempts - 1} attempts that ended the process or were never settled")


class AttemptsExhausted(HandlerError):
    """The attempts at this version are used up."""


def _with_error(message: Message, error: str) -> Message:
    return replace(message, headers={**message.headers, "error": error})
