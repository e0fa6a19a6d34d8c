"""
What a worker does with one claim: look, decide, begin, apply, settle. `docs/protocol.md` numbers the steps.

Only this module calls `Handler.apply`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from consumer import retry
from consumer.broker_port import Broker
from consumer.gate import Gate, Pass
from consumer.held import CHANGING, NO_ROUTE, STORE, Held, Settled, entries_of, entry_of
from consumer.ledger import Ledger
from consumer.look import Look, Looker
from consumer.protocol import QUIET, UNROUTED, Row, Settlement, Status, Step, decide
from consumer.workitem import dead_queue, encode
from handlers.contract import (
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

CHANGED_PAUSE = 0.2
"""Seconds before an object that changed under the reader is looked at again; it is likely being written."""

CHANGES = 6
"""Changes under the reader in a row that one claim follows; then the unit waits, with a deadline in its row."""

STORE_PAUSE = 10.0
"""Seconds until a unit is looked at again when the store did not answer, or its objects kept changing."""

DELETED_WHILE_READ = "deleted while being read"


class Reconciler:
    """
    Brings the sink of one handler to the store's current state, unit by unit, under claims.

    Args:
        policy: What follows a failed attempt, and how many a version gets.
        gate: Who may read objects together.
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
        on_settled: Callable[[Settled], None],
    ) -> None:
        self._handler = handler
        self._ledger = ledger
        self._looker = looker
        self._broker = broker
        self._policy = policy
        self._gate = gate
        self._on_settled = on_settled

    async def look(self, held: Held) -> bool:
        """Steps 2 to 6, once; True to look again."""
        row = held.row
        try:
            look = await self._looker.look(held.key)
        except TransientError as error:
            pause = STORE_PAUSE if error.retry_after is None else error.retry_after
            # The store's trouble is no reason to try sooner what is to be tried later.
            wake_at = max(self._ledger.clock() + round(pause * 1000), row.wake_at or 0)
            final = row.status in (Status.FAILED, Status.SKIPPED)
            return await self._settle(
                held, STORE, row.status, None, row.attempts, error=error, wake_at=wake_at, as_it_was=final
            )
        if look is None:
            unrouted = Skip("no route takes this key any more")
            return await self._settle(held, NO_ROUTE, Status.SKIPPED, None, 0, head=UNROUTED, error=unrouted)
        step = decide(row, look.fingerprint, now=self._ledger.clock(), keep=look.keep, fenced=self._handler.fenced)
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
        if attempts != attempt:  # a person asked for a replay meanwhile
            held.row = replace(held.row, attempts=attempts)
        return row.force or attempts <= self._policy.max_attempts

    async def _apply(self, held: Held, look: Look, entry: Pass) -> bool:
        row = held.row
        # Who left when its object was read still waits for its commit, and may die of the next one that is read alone.
        # Once is bad luck; before its attempts run out it stays alone until it has settled.
        stays = entry.alone and row.attempts > self._policy.max_attempts // 2
        staged = _nothing if stays else entry.leave
        claim = Claim(held.token, look.fingerprint, row.receipt, alone=entry.alone, staged=staged)
        try:
            receipt = await self._handler.apply(look.unit, look.objects, claim)
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
        held.changes += 1
        if isinstance(error, ObjectGone):
            detail = {"status": "failed", "error_class": retry.error_class(error), "error": DELETED_WHILE_READ}
            held.notes.append(entry_of(held, look, "failed", detail, self._ledger.clock()))
        if held.changes < CHANGES:
            await asyncio.sleep(CHANGED_PAUSE)
            return True
        wake_at = self._ledger.clock() + round(STORE_PAUSE * 1000)
        return await self._settle(
            held, CHANGING, Status.RETRYING, look, held.row.attempts, error=error, wake_at=wake_at
        )

    async def _failed(self, held: Held, look: Look, error: Exception) -> bool:
        row = held.row
        if not isinstance(error, HandlerError):
            log.error("handler.crashed", handler=held.key.handler, unit=held.key.unit, exc_info=error)
        decision = self._policy.decide(row.attempts, error, self._ledger.clock())
        status = Status.RETRYING if decision.wake_at is not None else Status.FAILED
        suspect = isinstance(error, OutcomeUnknown) and not self._handler.fenced
        return await self._settle(
            held, Step.BEGIN.value, status, look, row.attempts, error=error, wake_at=decision.wake_at, suspect=suspect
        )

    async def put_back(self, held: Held) -> None:
        """Shutdown: due at once, the attempt given back, `open` as it is. Nothing when the row is released already."""
        row = held.row
        if row.lease_token is None:
            return
        attempts = row.attempts - 1 if held.began else row.attempts
        settlement = Settlement(
            key=held.key,
            token=held.token,
            status=row.status,
            head=row.observed_etag,
            attempts=attempts,
            error_class=None if held.began else row.error_class,
            error=None if held.began else row.error,
            wake_at=self._ledger.clock(),
            stop=True,
            suspect=held.began and not self._handler.fenced,
            size=row.size,
            modified=row.modified,
            history=tuple(held.notes),
        )
        await self._write(held, "stop", settlement)

    # SETTLE

    async def _settle(
        self,
        held: Held,
        step: str,
        status: Status,
        look: Look | None,
        attempts: int,
        *,
        head: str | None = None,
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
        entries = held.notes + entries_of(
            held, look, step, status=status, receipt=receipt, error=error, wake_at=wake_at, at=self._ledger.clock()
        )
        if as_it_was:
            error_class, message = row.error_class, row.error
        settlement = Settlement(
            key=held.key,
            token=held.token,
            status=status,
            head=head if look is None else look.fingerprint,
            attempts=attempts,
            receipt=receipt,
            error_class=error_class,
            error=message,
            wake_at=wake_at,
            suspect=suspect,
            size=row.size if look is None else look.size,
            modified=row.modified if look is None else look.modified,
            history=tuple(entries),
        )
        if not await self._write(held, step, settlement):
            raise ClaimLost
        if status is Status.FAILED and not as_it_was:
            await self._dead_letter(held, message or "")
        again = held.row.lease_token is not None
        if again and held.stopped:
            raise asyncio.CancelledError
        return again

    async def _write(self, held: Held, step: str, settlement: Settlement) -> bool:
        """
        SETTLE, tell, and take over the row as it is now; False when the claim was lost.

        A stop that comes meanwhile waits for the answer: a second SETTLE would tell of the unit twice.
        """
        held.settling = True
        writing = asyncio.ensure_future(self._ledger.settle(settlement))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            held.stopped = True
            await asyncio.wait([writing])
        settled = writing.result()
        self._tell(held, step, settlement, settled)
        if settled is None:
            return False
        held.row, held.began, held.changes, held.notes = settled, False, 0, []
        held.settling = settled.lease_token is None
        return True

    async def _dead_letter(self, held: Held, message: str) -> None:
        """A copy for people; the row is the truth, so a copy that cannot be made is only logged."""
        hint = replace(held.hint, kind="replay", reason="failed", error=message)
        try:
            await self._broker.publish(dead_queue(self._handler.name), encode(hint))
        except Exception:
            log.exception("dead_letter.failed", handler=self._handler.name, unit=held.key.unit)

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
        (log.debug if step in QUIET else log.info)(
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
