"""A claim in hand, how it ended, and what the timeline gets of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumer import retry
from consumer.ledger_rows import short_receipt_json
from consumer.look import Look
from consumer.protocol import QUIET, UNROUTED, Row, Status, Step
from consumer.workitem import Hint, UnitKey
from handlers.contract import ABSENT, Receipt

STORE = "store"
"""Step of a look that got no answer from the store."""

SINK = "sink"
"""Step of a claim whose sink was away: no attempt is charged."""

CHANGING = "changing"
"""Step of a claim that gave up for now on an object that keeps changing under the reader."""

NO_ROUTE = "no route"
"""Step of a look at a unit that no route takes any more."""

NEWS_ONCE = {Step.KEEP.value: ABSENT, NO_ROUTE: UNROUTED}
"""Steps that are news only while the row shows another version than this."""


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
    stopped: bool = False
    """The stop came while a SETTLE was on its way."""
    lost: bool = False
    changes: int = 0
    """How often the objects changed under the reader since the last SETTLE."""
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


class Settled(NamedTuple):
    """What ended a look, for logs, tests and people who wait."""

    key: UnitKey
    status: Status
    step: str
    """The `Step` that led here, or "stop", "store", "sink", "changing", "no route"."""
    row: Row | None
    """The row as SETTLE left it; None when the claim was lost."""
    receipt: Receipt | None
    error: str | None
    seconds: float
    hint: Hint
    record: bool
    """An outcome waits to be written to the sink's own records."""


def entries_of(
    held: Held,
    look: Look | None,
    step: str,
    *,
    status: Status,
    receipt: Receipt | None,
    error: Exception | None,
    wake_at: int | None,
    at: int,
) -> list[dict[str, Any]]:
    """Return what a settlement adds to the timeline: what changed. Looks that found all as it was leave no trace."""
    if step in QUIET or (step in NEWS_ONCE and held.row.observed_etag == NEWS_ONCE[step]):
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
        detail |= {"status": "success", "receipt": short_receipt_json(receipt)}
    elif status is Status.FAILED and step not in (STORE, SINK):
        detail["status"] = "failed"
    return [entry_of(held, look, status.value, detail, at)]


def entry_of(held: Held, look: Look | None, event: str, detail: dict[str, Any], at: int) -> dict[str, Any]:
    """One history row; those with a final status wait for the sink's own records."""
    etag = held.row.observed_etag if look is None else look.fingerprint
    final = "status" in detail and bool(etag)
    return {
        **held.key._asdict(),
        "at": at,
        "event": event,
        "token": held.token,
        "etag": etag,
        "detail": detail | {"route": "" if look is None else look.unit.route},
        "recorded": False if final else None,
    }
