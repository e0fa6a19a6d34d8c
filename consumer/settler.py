"""SETTLE: how a claim ends or goes on, what the timeline, the log and people get of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from consumer import retry
from consumer.broker_port import Broker
from consumer.held import Held, Settled, entries_of
from consumer.ledger import Ledger
from consumer.look import Look
from consumer.protocol import QUIET, Row, Settlement, Status
from consumer.workitem import dead_queue, encode
from handlers.contract import ClaimLost, Receipt, TransientError

log = structlog.get_logger("lakedrop.worker")


class Settler:
    """
    Writes what became of claims.

    Args:
        fenced: See `Handler.fenced`.
        on_settled: Called after every SETTLE.
        queue: Name of the queues of the units.
    """

    def __init__(
        self, ledger: Ledger, broker: Broker, *, fenced: bool, on_settled: Callable[[Settled], None], queue: str
    ) -> None:
        self._ledger = ledger
        self._broker = broker
        self._fenced = fenced
        self._on_settled = on_settled
        self._queue = queue
        # Once: binding a logger anew for each line takes a third of the line.
        self._log = log.bind()

    async def settle(
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
        hint = held.hint._replace(kind="replay", reason="failed", error=message)
        try:
            await self._broker.publish(dead_queue(self._queue), encode(hint))
        except Exception as error:
            told = {"handler": held.key.handler, "unit": held.key.unit}
            reason = error.message if isinstance(error, TransientError) else None
            log.warning("dead_letter.failed", **told, reason=reason, exc_info=reason is None)

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
        (self._log.debug if step in QUIET else self._log.info)(
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
            suspect=held.began and not self._fenced,
            size=row.size,
            modified=row.modified,
            history=tuple(held.notes),
        )
        await self._write(held, "stop", settlement)
