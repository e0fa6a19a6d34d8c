"""
The worker protocol's row and the decision taken after each look, both pure.

`docs/protocol.md` has the states, the rules R1-R9 and what breaks without each.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, Final, NamedTuple

from consumer.workitem import UnitKey
from handlers.contract import ABSENT, Receipt


class Status(StrEnum):
    """Result of the last look at a unit. Being worked on is no status: a row is held while its lease runs."""

    PENDING = "pending"
    """Never finished, or put back."""
    RETRYING = "retrying"
    """The last attempt failed; the next is due at `wake_at`."""
    DONE = "done"
    """The sink holds what the last look found (shown as "gone" when that was nothing)."""
    FAILED = "failed"
    """The version last looked at cannot be ingested; the sink keeps the last good one."""
    SKIPPED = "skipped"
    """Not the handler's kind of object, until its content changes; or no route takes it, until one does."""


UNROUTED: Final = "no route"
"""
`observed_etag` of a unit that lost its route. It equals no fingerprint: as soon as a route takes the unit again, every
look and every sweep finds it changed. What was applied stays known.
"""


class Step(Enum):
    """What a look leads to (step 2 of the protocol, first match)."""

    UNCHANGED = "unchanged"
    """2a: the sink holds this version and no write is outstanding."""
    KEEP = "keep"
    """2b: the objects are gone and the route keeps their rows."""
    STILL_FAILED = "still failed"
    """2c: this version failed, or was skipped, before."""
    NOT_YET = "not yet"
    """2d: this version is tried again later."""
    SUSPECT = "suspect"
    """A sink without compare-and-swap may still receive a write of an earlier holder."""
    BEGIN = "begin"
    """2f: count the attempt, then work."""


QUIET: Final = frozenset({Step.UNCHANGED.value, Step.STILL_FAILED.value, Step.NOT_YET.value, Step.SUSPECT.value})
"""Steps that found everything as it was: no news for the timeline, the log, or people."""


class Row(NamedTuple):
    """
    One row of `units`. Times are epoch milliseconds of the ledger's clock.

    Up to the receipt these are the columns of `ledger_statements.ROW`, in their order.
    """

    key: UnitKey
    status: Status
    applied_etag: str | None
    """What the sink holds, as far as is known; `ABSENT` for nothing, None for never told."""
    observed_etag: str | None
    """Version of the last look or attempt; `ABSENT` for no object, `UNROUTED` without a route, None for never."""
    open: bool
    """A sink write may be outstanding."""
    attempts: int
    dirty: bool
    """A hint came while the row was held."""
    force: bool
    """A person asked for this unit to be done again."""
    lease_token: str | None
    lease_until: int | None
    wake_at: int | None
    """When the waker hints this row again."""
    suspect_until: int | None
    error_class: str | None
    error: str | None
    size: int | None
    modified: int | None
    handler_version: str | None
    updated_at: int | None
    receipt: Receipt | None
    """As CLAIM and SETTLE return it, without its detail."""
    db_now: int
    """The ledger's clock when the statement ran."""
    took_over: bool = False
    """This claim ended another holder's expired lease."""

    @property
    def settled(self) -> bool:
        """Nobody holds the row and nothing is due."""
        return self.lease_token is None and self.wake_at is None

    @property
    def gone(self) -> bool:
        """Done, and there was nothing to hold."""
        return self.status is Status.DONE and self.observed_etag == ABSENT


def decide(row: Row, head: str, *, now: int, keep: bool, fenced: bool) -> Step:
    """
    Decide what a look at the store leads to.

    Args:
        row: The row as CLAIM, or the SETTLE that said "again", returned it.
        head: Fingerprint the store shows now; `ABSENT` without objects.
        now: The ledger's clock, epoch milliseconds.
        keep: The route's `on_delete` is "keep".
        fenced: The sink has compare-and-swap; only sinks without it wait for `suspect_until`.
    """
    if row.applied_etag == head and not row.open and not row.force:
        return Step.UNCHANGED
    if head == ABSENT and keep and not row.force:
        return Step.KEEP
    seen = row.observed_etag == head and not row.force
    if seen and row.status in (Status.FAILED, Status.SKIPPED):
        return Step.STILL_FAILED
    if seen and row.status is Status.RETRYING and row.wake_at is not None and row.wake_at > now:
        return Step.NOT_YET
    if not fenced and row.suspect_until is not None and row.suspect_until > now:
        return Step.SUSPECT
    return Step.BEGIN


class Settlement(NamedTuple):
    """The arguments of SETTLE, the only way a claim ends."""

    key: UnitKey
    token: str
    status: Status
    head: str | None
    """Becomes `observed_etag`; `UNROUTED` without a route; None leaves it (the store did not answer)."""
    attempts: int
    receipt: Receipt | None = None
    """Set when a commit of this claim was made: becomes `applied_etag` and `receipt`, and closes `open`."""
    error_class: str | None = None
    error: str | None = None
    wake_at: int | None = None
    stop: bool = False
    """Shutting down: release even when dirty, due at once."""
    suspect: bool = False
    size: int | None = None
    modified: int | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    """Timeline entries written in the same transaction, oldest first; see `Ledger.history`."""
