"""
What a worker does with one claim: look, decide, begin, apply, settle. `docs/protocol.md` numbers the steps.

Only this module calls `Handler.apply`.
"""

from __future__ import annotations

import asyncio

import structlog

from consumer import retry
from consumer.gate import Gate, Pass
from consumer.held import CHANGING, NO_ROUTE, SINK, STORE, Held, entry_of
from consumer.ledger import Ledger
from consumer.look import Look, Looker
from consumer.protocol import UNROUTED, Status, Step, decide
from consumer.settler import Settler
from consumer.sink import Sink
from handlers.contract import (
    Claim,
    ClaimLost,
    Handler,
    HandlerError,
    ObjectChanged,
    ObjectGone,
    OutcomeUnknown,
    PermanentError,
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

SINK_PAUSE = 10.0
"""Seconds until a unit is due again whose sink is away; it is not hinted before the sink is back."""

DELETED_WHILE_READ = "deleted while being read"


class Reconciler:
    """
    Brings the sink of one handler to the store's current state, unit by unit, under claims.

    Args:
        policy: What follows a failed attempt, and how many a version gets.
        gate: Who may read objects together.
        sink: Of the handler.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        ledger: Ledger,
        looker: Looker,
        policy: retry.RetryPolicy,
        gate: Gate,
        sink: Sink,
        settler: Settler,
    ) -> None:
        self._handler = handler
        self._ledger = ledger
        self._looker = looker
        self._policy = policy
        self._gate = gate
        self._sink = sink
        self._settler = settler

    async def look(self, held: Held) -> bool:
        """Steps 2 to 6, once; True to look again."""
        row = held.row
        try:
            look = await self._looker.look(held.key)
        except TransientError as error:
            pause = STORE_PAUSE if error.retry_after is None else error.retry_after
            return await self._put_off(held, STORE, error, pause)
        if look is None:
            unrouted = Skip("no route takes this key any more")
            return await self._settler.settle(held, NO_ROUTE, Status.SKIPPED, None, 0, head=UNROUTED, error=unrouted)
        step = decide(row, look.fingerprint, now=self._ledger.clock(), keep=look.keep, fenced=self._handler.fenced)
        if step is Step.BEGIN:
            return await self._work(held, look)
        return await self._settle_unworked(held, look, step)

    async def _put_off(self, held: Held, step: str, error: TransientError, pause: float) -> bool:
        """A server is away, and nothing was begun: SETTLE with a deadline, no attempt."""
        row = held.row
        # Its trouble is no reason to try sooner what is to be tried later.
        wake_at = max(self._due_in(pause), row.wake_at or 0)
        final = row.status in (Status.FAILED, Status.SKIPPED)
        return await self._settler.settle(
            held, step, row.status, None, row.attempts, error=error, wake_at=wake_at, as_it_was=final
        )

    def _due_in(self, seconds: float) -> int:
        return self._ledger.clock() + round(seconds * 1000)

    async def _settle_unworked(self, held: Held, look: Look, step: Step) -> bool:
        """Steps 2a to 2d: nothing to do, or not now."""
        row = held.row
        if step in (Step.UNCHANGED, Step.KEEP):
            return await self._settler.settle(held, step.value, Status.DONE, look, 0)
        if step is Step.SUSPECT:
            # `attempts` still counts those at the version observed before: this one becomes observed when it begins.
            return await self._settler.settle(
                held, step.value, Status.RETRYING, None, row.attempts, wake_at=row.suspect_until, as_it_was=True
            )
        wake_at = row.wake_at if step is Step.NOT_YET else None
        return await self._settler.settle(
            held, step.value, row.status, look, row.attempts, wake_at=wake_at, as_it_was=True
        )

    async def _work(self, held: Held, look: Look) -> bool:
        """Steps 3 to 6: alone if an earlier holder died over it; count, apply, settle."""
        row = held.row
        entry = await self._gate.enter(alone=row.took_over and row.attempts > 0)
        try:
            if self._sink.away is not None:
                return await self._put_off(held, SINK, self._sink.away.fault.error(), SINK_PAUSE)
            if not await self._begin(held, look):
                return await self._settler.settle(
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
        held.row = row._replace(attempts=attempt, observed_etag=head, open=True, force=False, status=Status.PENDING)
        held.began = True
        attempts = await self._ledger.begin(held.key, held.token, head, attempt)
        if attempts is None:
            raise ClaimLost
        if attempts != attempt:  # a person asked for a replay meanwhile
            held.row = held.row._replace(attempts=attempts)
        return row.force or attempts <= self._policy.max_attempts

    async def _apply(self, held: Held, look: Look, entry: Pass) -> bool:
        row = held.row
        # Who left when its object was read still waits for its commit, and may die of the next one that is read alone.
        # Once is bad luck; before its attempts run out it stays alone until it has settled.
        stays = entry.alone and row.attempts > self._policy.max_attempts // 2
        staged = _nothing if stays else entry.leave
        claim = Claim(held.token, look.fingerprint, row.receipt, alone=entry.alone, staged=staged)
        began = asyncio.get_running_loop().time()
        try:
            receipt = await self._handler.apply(look.unit, look.objects, claim)
        except (ClaimLost, asyncio.CancelledError):
            raise
        except ObjectChanged as error:
            return await self._changed(held, look, error)
        except Skip as error:
            return await self._settler.settle(held, "skip", Status.SKIPPED, look, row.attempts, error=error)
        except Exception as error:  # noqa: BLE001 (whatever a handler raises ends in the ledger)
            return await self._failed(held, look, error, began)
        return await self._settler.settle(held, Step.BEGIN.value, Status.DONE, look, 0, receipt=receipt)

    async def _changed(self, held: Held, look: Look, error: ObjectChanged) -> bool:
        """Step 4: the bytes were not the version looked at. Back to step 2; no write, and the attempt is given back."""
        held.row, held.began = held.row._replace(attempts=held.row.attempts - 1), False
        held.changes += 1
        if isinstance(error, ObjectGone):
            detail = {"status": "failed", "error_class": retry.error_class(error), "error": DELETED_WHILE_READ}
            held.notes.append(entry_of(held, look, "failed", detail, self._ledger.clock()))
        if held.changes < CHANGES:
            await asyncio.sleep(CHANGED_PAUSE)
            return True
        wake_at = self._due_in(STORE_PAUSE)
        return await self._settler.settle(
            held, CHANGING, Status.RETRYING, look, held.row.attempts, error=error, wake_at=wake_at
        )

    async def _failed(self, held: Held, look: Look, error: Exception, began: float) -> bool:
        row = held.row
        suspect = isinstance(error, OutcomeUnknown) and not self._handler.fenced
        if not isinstance(error, PermanentError) and (away := await self._sink.blamed(began)) is not None:
            return await self._settler.settle(
                held,
                SINK,
                Status.RETRYING,
                look,
                row.attempts - 1,
                error=away,
                wake_at=self._due_in(SINK_PAUSE),
                suspect=suspect,
            )
        if not isinstance(error, HandlerError):
            log.error("handler.crashed", handler=held.key.handler, unit=held.key.unit, exc_info=error)
        decision = self._policy.decide(row.attempts, error, self._ledger.clock())
        status = Status.RETRYING if decision.wake_at is not None else Status.FAILED
        return await self._settler.settle(
            held, Step.BEGIN.value, status, look, row.attempts, error=error, wake_at=decision.wake_at, suspect=suspect
        )


def _nothing() -> None:
    """Do not leave yet."""


def _exhausted(attempts: int) -> HandlerError:
    return AttemptsExhausted(f"given up after {attempts - 1} attempts that ended the process or were never settled")


class AttemptsExhausted(HandlerError):
    """The attempts at this version are used up."""
