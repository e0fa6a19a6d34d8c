"""The result of one test of `lakedrop check`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from handlers.contract import HandlerError

T = TypeVar("T")

PATIENCE: Final = 20.0
"""Seconds for a server to answer; each part tries again by itself for less than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found of one dependency."""

    name: str
    ok: bool
    message: str
    """What was found, or what is wrong."""
    repair: str | None = None
    """What to do about it: a command where there is one."""

    def json(self) -> dict[str, Any]:
        """Return the result for machines."""
        return asdict(self)


async def checked(
    name: str,
    test: Callable[[], Awaitable[T]],
    found: Callable[[T], str],
    repair: str | Callable[[Exception], str | None] | None = None,
) -> Check:
    """
    Run a test; what it raises says what is wrong.

    Args:
        name: Of the dependency.
        test: Asks it.
        found: Says what the answer was.
        repair: What to do when there is none; it may depend on the error.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return Check(name=name, ok=True, message=found(await test()))
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the person asked for)
        return Check(name=name, ok=False, message=_told(error), repair=repair(error) if callable(repair) else repair)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE:g} s"
    if isinstance(error, HandlerError):
        return error.message
    return str(error).partition("\n")[0] or type(error).__name__
