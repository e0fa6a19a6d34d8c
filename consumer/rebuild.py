"""`ledger rebuild`: a lost ledger is written anew from what the sinks hold, failures included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from consumer.hints import Hints
from consumer.ledger_views import Sweeps
from consumer.sweep import Report, Sweeper
from consumer.workitem import Kind, UnitKey
from handlers.contract import Failure, Handler, Receipt

if TYPE_CHECKING:
    from consumer.app import App

GROUP: Final = 1000
"""Rows written together."""

NO_TARGET: Final = "failed, in no table"
"""Where units are counted of which the sink holds nothing."""

Told = tuple[UnitKey, Receipt | None, Failure | None]


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
        failures = await _failures(name, handler)
        group: list[Told] = []
        async for bucket, unit, told in handler.inventory():
            if isinstance(told, Failure):
                continue
            key = UnitKey(name, bucket, unit)
            group.append((key, told, failures.pop(key, None)))
            found[told.target] += 1
            if len(group) == GROUP:
                new += await app.units.rebuild(group)
                progress(found, new)
                group = []
        group += [(key, None, failure) for key, failure in failures.items()]
        if failures:
            found[NO_TARGET] += len(failures)
        for start in range(0, len(group), GROUP):
            new += await app.units.rebuild(group[start : start + GROUP])
            progress(found, new)
    return dict(sorted(found.items())), new


async def _failures(name: str, handler: Handler) -> dict[UnitKey, Failure]:
    """
    Return the failures a sink has recorded.

    A unit's receipt and its failure are told far apart, and its row is inserted once, from both: few failures are
    remembered rather than all receipts.
    """
    return {
        UnitKey(name, bucket, unit): told
        async for bucket, unit, told in handler.inventory()
        if isinstance(told, Failure)
    }


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
