"""What a command writes into a sink beside the workers: under a claim, as they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from consumer.ledger import Ledger
from consumer.protocol import Row, Settlement, Status
from consumer.workitem import UnitKey


async def as_holder(ledger: Ledger, key: UnitKey, write: Callable[[str], Awaitable[None]]) -> bool:
    """
    Write while nobody else works at a unit; its row is then as it was.

    Args:
        ledger: Has the row, or gets one that is to be worked at.
        key: The unit.
        write: Gets the token of the claim, which it asks for before it changes anything.

    Returns:
        False: somebody else holds the unit, and nothing was written. He looks at it once more.
    """
    row = await ledger.claim(key)
    if row is None or row.lease_token is None:
        return False
    written = False
    try:
        await write(row.lease_token)
        written = True
    finally:
        await ledger.settle(_released(row, row.lease_token, ledger.clock(), suspect=not written))
    return True


def _released(row: Row, token: str, now: int, *, suspect: bool) -> Settlement:
    unfinished = row.status is Status.PENDING  # a new one, or one whose holder died
    return Settlement(
        key=row.key,
        token=token,
        status=row.status,
        head=row.observed_etag,
        attempts=row.attempts,
        error_class=row.error_class,
        error=row.error,
        wake_at=now if unfinished else row.wake_at,
        stop=True,
        suspect=suspect,
        size=row.size,
        modified=row.modified,
    )
