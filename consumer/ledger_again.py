"""
Transactions that are run again: after a deadlock, and while the database cannot be reached.

An answer that was lost may have been a commit, so whatever runs here is safe to run twice: statements name the token of
their claim or lease, and SETTLE an id of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, TypeVar

import structlog

from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.ledger")

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds that a transaction waits for a database which is being restarted: a third of a lease."""

CONFLICTS: Final = 20
"""Times that a transaction may lose to others in a row."""

PAUSE: Final = 0.1
"""Seconds before the second try at an unreachable database, doubled up to `LONGEST_PAUSE`."""

LONGEST_PAUSE: Final = 1.0


class LedgerUnavailable(TransientError):
    """The ledger's database did not answer; what was asked may have been done all the same."""


class Trouble(Enum):
    """What to do about an error of the database."""

    CONFLICT = "lost to another transaction; nothing was written, run it again at once"
    UNREACHABLE = "the outcome is not known; run it again when the database answers"


async def again_until_done(
    once: Callable[[], Awaitable[T]],
    trouble_of: Callable[[BaseException], Trouble | None],
    *,
    patience: float = PATIENCE,
) -> T:
    """
    Run a transaction until its outcome is known.

    Args:
        once: Runs it.
        trouble_of: Tells what an error means; None: it is raised.
        patience: Seconds to wait for a database that cannot be reached.

    Raises:
        LedgerUnavailable: The database did not answer in time.
    """
    loop = asyncio.get_running_loop()
    conflicts = 0
    pause = PAUSE
    deadline: float | None = None
    while True:
        try:
            return await once()
        except Exception as error:
            trouble = trouble_of(error)
            if trouble is Trouble.CONFLICT and conflicts < CONFLICTS:
                conflicts += 1
                continue
            if trouble is None:
                raise
            now = loop.time()
            deadline = now + patience if deadline is None else deadline
            if trouble is Trouble.CONFLICT or now + pause > deadline:
                reason = str(getattr(error, "orig", error)) or type(error).__name__
                raise LedgerUnavailable(f"the ledger's database does not answer: {reason}") from error
            log.warning("ledger.unreachable", error=type(error).__name__, next_try_in=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
