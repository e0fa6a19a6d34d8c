"""`ledger rebuild`: a lost ledger is written anew from what the sinks hold, failures included."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from consumer.hints import Hints
from consumer.ledger_sweeps import Sweeps
from consumer.sweep import Sweeper
from consumer.sweep_report import Report
from consumer.workitem import Kind, UnitKey
from handlers.contract import Failure, Handler, Receipt

if TYPE_CHECKING:
    from consumer.app import App

GROUP: Final = 1000
"""Rows written together."""

NO_TARGET: Final = "failed, in no table"
"""Where units are counted of which the sink holds nothing."""

Told = tuple[Receipt | None, Failure | None]


async def rebuild(
    app: App, *, progress: Callable[[Mapping[str, int], int], None] = lambda _found, _new: None
) -> tuple[dict[str, int], int]:
    """
    Insert a row for every unit that a sink knows; rows that are there stay as they are.

    Handlers fence off commits under way before they tell (see `Handler.inventory`), so this may run beside workers.

    Args:
        app: An open home.
        progress: Told after every group how many units were found by target, and how many rows were new.

    Returns:
        The same, at the end.
    """
    found: Counter[str] = Counter()
    new = 0
    for name, handler in app.handlers.items():
        async for group in _groups(name, handler):
            found.update(NO_TARGET if receipt is None else receipt.target for receipt, _ in group.values())
            new += await app.units.rebuild([(key, *told) for key, told in group.items()])
            progress(found, new)
    return dict(sorted(found.items())), new


async def _groups(name: str, handler: Handler) -> AsyncIterator[dict[UnitKey, Told]]:
    """Yield what the sink tells; a unit's row is written once, so its receipt and its failure are in one group."""
    group: dict[UnitKey, Told] = {}
    async for bucket, unit, told in handler.inventory():
        key = UnitKey(name, bucket, unit)
        if len(group) >= GROUP and key not in group:
            yield group
            group = {}
        receipt, failure = group.get(key, (None, None))
        group[key] = (receipt, told) if isinstance(told, Failure) else (told, failure)
    if group:
        yield group


class _Unsaid(Hints):
    """Hints that nobody hears."""

    async def bulk(self, key: UnitKey, reason: str, *, kind: Kind = "changed", route: str = "") -> None:
        """Say nothing."""


class _Unkept(Sweeps):
    """Reports that are not kept."""

    async def save(self, identity: str, started_at: int, report: Mapping[str, Any]) -> None:
        """Keep nothing."""


async def rehearse(app: App) -> Report:
    """Return what a sweep would find; nothing is hinted, and the report is not kept."""
    settings = app.settings
    sweeper = Sweeper(
        store=app.store,
        looker=app.looker,
        routes=app.router.routes,
        units=app.units,
        sweeps=_Unkept(app.ledger),
        hints=_Unsaid(app.broker, clock=app.clock, new_id=app.ledger.new_id),
        schedule=app.schedule,
        clock=app.clock,
        new_id=app.ledger.new_id,
        max_vanish=settings.max_vanish_units,
        max_vanish_share=settings.max_vanish_share,
    )
    return await sweeper.sweep_now()
