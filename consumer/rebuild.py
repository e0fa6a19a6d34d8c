"""`ledger rebuild`: a lost ledger is written anew from what the sinks hold, failures included."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from consumer.workitem import UnitKey
from handlers.contract import Failure, Receipt

if TYPE_CHECKING:
    from consumer.app import App

GROUP = 1000
"""Rows written together."""


async def rebuild(app: App, *, progress: Callable[[int, int], None] = lambda _found, _new: None) -> tuple[int, int]:
    """
    Insert a row for every unit that a sink knows; rows that are there stay as they are.

    Handlers fence off commits under way before they tell (see `Handler.inventory`), so this may run beside workers.

    Returns:
        How many units the sinks told of, and how many rows were new.
    """
    total = new = 0
    for name, handler in app.handlers.items():
        group: dict[UnitKey, tuple[Receipt | None, Failure | None]] = {}
        async for bucket, unit, told in handler.inventory():
            key = UnitKey(name, bucket, unit)
            if len(group) >= GROUP and key not in group:
                total, new = total + len(group), new + await _insert(app, group)
                group = {}
                progress(total, new)
            receipt, failure = group.get(key, (None, None))
            group[key] = (receipt, told) if isinstance(told, Failure) else (told, failure)
        total, new = total + len(group), new + await _insert(app, group)
        progress(total, new)
    return total, new


async def _insert(app: App, group: dict[UnitKey, tuple[Receipt | None, Failure | None]]) -> int:
    return await app.units.rebuild([(key, receipt, failure) for key, (receipt, failure) in group.items()])
