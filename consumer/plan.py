"""
The plan: what would become of the units below a prefix, told before anything is done.

It compares the bucket with the ledger as sweep and replay do, and asks each handler's planner about the difference, in
byte order, which is the order of the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from consumer.ledger_views import Seen, Units
from consumer.look import Looker
from consumer.plan_report import Planned, Totals
from consumer.protocol import Status
from consumer.router import Route, Router
from consumer.store import AccessDenied, Store
from consumer.watched import Watched
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, PermanentError, Receipt, Skip, StoredObject, TransientError, Unit, fingerprint
from handlers.planner import Forecast, Planner

PAGE: Final = 1000
"""Units planned at once: their objects and forecasts are held in memory, nothing else is."""


class Scope(NamedTuple):
    """The keys to be planned."""

    bucket: str | None
    """None: every routed one."""
    prefix: str


class _Listed(NamedTuple):
    """A unit as the listing shows it."""

    key: UnitKey
    route: Route
    objects: Sequence[StoredObject]


class _Candidate(NamedTuple):
    """A unit, why it is looked at, and what its planner is asked; or what is known without one."""

    key: UnitKey
    route: Route
    reason: str
    objects: Sequence[StoredObject] | None
    action: str = "none"
    error: str | None = None


class Planning:
    """
    Plans units. Writes nothing.

    Args:
        planners: By handler; units of other handlers are only counted.
        reading: Called, from any thread, with an object that is being read and the bytes read of it so far.
    """

    def __init__(
        self,
        *,
        store: Store,
        router: Router,
        planners: Mapping[str, Planner],
        units: Units,
        reading: Callable[[StoredObject, int], None],
    ) -> None:
        self.router = router
        self._store = store
        self._planners = planners
        self._looker = Looker(store, router, planners)
        self._units = units
        self._reading = reading

    async def units(self, scope: Scope, totals: Totals, *, force: bool = False) -> AsyncIterator[Planned]:
        """
        Yield what would become of each unit below a prefix, in byte order within bucket and handler.

        Args:
            scope: Which keys.
            totals: Filled on the way.
            force: Also plan units that are as they should be, as `replay --force` would do them.
        """
        for bucket in sorted({route.bucket for route in self.router.routes if scope.bucket in (None, route.bucket)}):
            handlers = sorted({route.handler for route in self.router.routes if route.bucket == bucket})
            for handler in handlers:
                side = _Side(handler, bucket, scope.prefix, counts=handler == handlers[0])
                async for planned in self._side(side, totals, force=force):
                    totals.add(planned)
                    yield planned

    async def _side(self, side: _Side, totals: Totals, *, force: bool) -> AsyncIterator[Planned]:
        page: list[_Listed] = []
        after = ""
        try:
            async for listed in self._listed(side, totals):
                page.append(listed)
                if len(page) == PAGE:
                    async for planned in self._page(side, page, after, listed.key.unit, force=force):
                        yield planned
                    page, after = [], listed.key.unit
        except AccessDenied as error:  # everything else was listed
            totals.errors.append(f"bucket {side.bucket}: {error.message}")
        except TransientError as error:
            totals.errors.append(f"bucket {side.bucket}: {error.message}")
            return
        if side.handler in self._planners:
            async for planned in self._page(side, page, after, None, force=force):
                yield planned

    async def _listed(self, side: _Side, totals: Totals) -> AsyncIterator[_Listed]:
        """Yield the units of a listing, each once: the objects of one follow each other."""
        last = ""
        async for found in self._store.list(side.bucket, side.prefix):
            route = self.router.match(side.bucket, found.key)
            if route is None:
                totals.unrouted += side.counts
                continue
            if route.handler != side.handler:
                continue
            if side.handler not in self._planners:
                totals.unplanned += 1
                continue
            belongs = self._looker.unit_of(side.bucket, found.key)
            if belongs is None or belongs[1].unit == last:
                continue
            key = belongs[1]
            last = key.unit
            look = await self._looker.look(key) if key.unit.endswith("/") else None
            yield _Listed(key, route, (found,) if look is None else look.objects)

    async def _page(
        self, side: _Side, page: Sequence[_Listed], after: str, upto: str | None, *, force: bool
    ) -> AsyncIterator[Planned]:
        """Plan a page of the listing, and what the ledger knows beside it."""
        some: list[_Candidate] = []
        async for candidate in self._compared(side, page, after, upto, force=force):
            some.append(candidate)
            if len(some) == PAGE:
                async for planned in self._asked(side, some):
                    yield planned
                some = []
        if some:
            async for planned in self._asked(side, some):
                yield planned

    async def _asked(self, side: _Side, some: Sequence[_Candidate]) -> AsyncIterator[Planned]:
        units = [
            (
                Unit(one.key.bucket, one.key.unit, one.route.name, one.route.prefix, one.route.options),
                [Watched(found, self._reading) for found in one.objects],
            )
            for one in some
            if one.objects is not None
        ]
        waiting = deque(some)
        async for forecast in self._planners[side.handler].plan(units):
            while waiting[0].objects is None:
                yield _known(waiting.popleft())
            yield _foreseen(waiting.popleft(), forecast)
        for one in waiting:
            yield _known(one)

    async def _compared(
        self, side: _Side, page: Sequence[_Listed], after: str, upto: str | None, *, force: bool
    ) -> AsyncIterator[_Candidate]:
        """Merge listed units with the rows of their range, which are read after the listing."""
        listed = iter(page)
        one = next(listed, None)
        async for row in self._units.between(side.handler, side.bucket, after, upto, side.prefix):
            while one is not None and one.key.unit < row.unit:
                yield _candidate(one, None, force=force)
                one = next(listed, None)
            if one is not None and one.key.unit == row.unit:
                yield _candidate(one, row, force=force)
                one = next(listed, None)
            elif (gone := await self._unlisted(side, row)) is not None:
                yield gone
        while one is not None:
            yield _candidate(one, None, force=force)
            one = next(listed, None)

    async def _unlisted(self, side: _Side, row: Seen) -> _Candidate | None:
        """Return a unit that the ledger knows and the listing does not; None when nothing would be done with it."""
        key = UnitKey(side.handler, side.bucket, row.unit)
        route = self._looker.route_of(key)
        if route is None or row.observed_etag == ABSENT:
            return None
        try:
            look = await self._looker.look(key)
        except TransientError as error:
            return _Candidate(key, route, "vanished", None, "wait", error.message)
        if look is None or look.fingerprint != ABSENT:  # it came back: the next plan shows it
            return _Candidate(key, route, "changed", None, "wait", "it was written during the listing")
        return _Candidate(key, route, "vanished", None, "keep") if look.keep else _Candidate(key, route, "vanished", ())


@dataclass(frozen=True, slots=True)
class _Side:
    """One handler's part of a bucket."""

    handler: str
    bucket: str
    prefix: str
    counts: bool
    """It counts the objects that no handler takes."""


def _candidate(one: _Listed, row: Seen | None, *, force: bool) -> _Candidate:
    reason = _reason(row, fingerprint(one.objects, one.key.unit), force=force)
    return _Candidate(one.key, one.route, reason, None if reason == "current" else one.objects)


def _reason(row: Seen | None, version: str, *, force: bool) -> str:
    if row is None:
        return "new"
    if row.observed_etag != version:
        return "changed"
    settled = not row.held and row.wake_at is None
    current = row.status == Status.DONE and row.applied_etag == version and settled
    return "current" if current and not force else "again"


def _planned(one: _Candidate, **fields: Any) -> Planned:
    return Planned(
        bucket=one.key.bucket,
        unit=one.key.unit,
        route=one.route.name,
        handler=one.key.handler,
        reason=one.reason,
        **fields,
    )


def _known(one: _Candidate) -> Planned:
    return _planned(one, action=one.action, error=one.error)


def _foreseen(one: _Candidate, forecast: Forecast) -> Planned:
    outcome, now = forecast.outcome, forecast.holds.get("rows")
    if not isinstance(outcome, Receipt):
        action = "fail" if isinstance(outcome, PermanentError) else "skip" if isinstance(outcome, Skip) else "wait"
        name = type(outcome).__name__
        return _planned(
            one, action=action, target=forecast.target, rows_now=now, error_class=name, error=outcome.message
        )
    return _planned(
        one,
        action="remove" if outcome.fingerprint == ABSENT else "write",
        target=forecast.target,
        rows_in=outcome.counts.get("rows", 0),
        rows_out=now or 0,
        rows_now=now,
        counts=outcome.counts,
        changes=forecast.changes,
        commits=forecast.commits,
        detail=outcome.detail,
    )
