"""Parts of a process that outlive the servers they need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from handlers.contract import TransientError

T = TypeVar("T")

log = structlog.get_logger("lakedrop.app")

PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a part is begun again; the last is repeated. A server that is restarted needs about ten."""

WELL: Final = 60.0
"""Seconds after which a part that ran counts as well: its next fault is a new one."""


async def kept_up(part: str, work: Callable[[], Awaitable[T]]) -> T:
    """
    Do the work of a part, again after each `TransientError`: a server is away, and will be back.

    Raises:
        Exception: Any other: a fault of this program, or one that waiting does not mend.
    """
    loop = asyncio.get_running_loop()
    faults = 0
    while True:
        began = loop.time()
        try:
            return await work()
        except TransientError as error:
            faults = 0 if loop.time() - began > WELL else faults
            pause = PAUSES[min(faults, len(PAUSES) - 1)]
            log.warning("part.waits", part=part, reason=error.message, next_try_in=pause)
        faults += 1
        await asyncio.sleep(pause)
