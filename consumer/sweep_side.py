"""One handler's side of a key range: what is listed merged with the rows, what follows from it, and the brake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from consumer.hints import Hints
from consumer.ledger_views import Swept, Units
from consumer.look import Looker
from consumer.pace import Pace
from consumer.router import Route
from consumer.store import AccessDenied
from consumer.sweep_areas import Area
from consumer.sweep_listing import Found
from consumer.sweep_report import Tally, sum_of
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, TransientError

log = structlog.get_logger("lakedrop.sweep")

REMEMBERED: Final = 10_000
"""Vanished units remembered until the brake has seen them all, or the brake's own number if that is more."""

ASKED: Final = 10_000
"""
Units of one side, not listed, that the store is asked about. Beyond that its listing is not to be believed, and asking
about every single one would take hours; a person who says that they may vanish has them all asked about.
"""

RUN: Final = 250
"""Rows compared at a time as long as all are as they should be, which nearly all are."""

AT_ONCE: Final = 16
"""Questions to the store, and hints to the broker, under way at the same time."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the sides of a sweep share."""

    looker: Looker
    units: Units
    hints: Hints
    pace: Pace
    accept_vanished: bool
    """The brake is off."""
    max_vanish: int
    max_vanish_share: float


@dataclass(slots=True)
class Side:
    """Compares a handler's units with its rows, page by page; counts go to `tally`."""

    means: Means
    area: Area
    handler: str
    tally: Tally
    after: str
    """All rows up to here are compared."""
    known: int = 0
    """Rows that hold something, of routes that follow deletions."""
    missing: int = 0
    """Not there any more, of routes that follow deletions."""
    asked: int = 0
    """Not listed, and the store was asked about them."""
    braked: list[tuple[str, UnitKey]] = field(default_factory=list)
    """The first of the missing with their routes' names: hinted when the brake has seen them all."""

    async def compare(self, found: Found, upto: str | None) -> None:
        """Merge listed units with the rows up to a unit (None: to the end), and hint what differs."""
        hints: list[tuple[str, UnitKey]] = []
        unlisted: list[tuple[Swept, Route]] = []
        listed = found.rows
        index = 0
        async for rows in self.means.units.pages(self.handler, self.area.bucket, self.after, upto):
            for start in range(0, len(rows), RUN):
                run = rows[start : start + RUN]
                if listed[index : index + len(run)] == run:
                    self._settled(run, found.routes[index : index + len(run)])
                    index += len(run)
                else:
                    index = self._merge(run, found, index, hints, unlisted)
        for at in range(index, len(listed)):
            self._unknown(found, at, hints)
        await self._confirm(unlisted, hints)
        hints.sort(key=lambda hint: hint[1].unit)
        await at_once(hints, self._hint)
        if upto is not None:
            self.after = upto

    def _merge(
        self,
        rows: Sequence[Sequence[Any]],
        found: Found,
        index: int,
        hints: list[tuple[str, UnitKey]],
        unlisted: list[tuple[Swept, Route]],
    ) -> int:
        """Compare some rows with what is listed from an index on, one by one; return the index behind them."""
        listed = found.rows
        end = len(listed)
        for row in rows:
            unit = row[0]
            while index < end and listed[index][0] < unit:
                self._unknown(found, index, hints)
                index += 1
            if index < end and listed[index][0] == unit:
                if listed[index] == row:
                    self._settled([row], [found.routes[index]])
                else:
                    self._known(found, index, Swept._make(row), hints)
                index += 1
            elif self.area.has(unit):
                self._unlisted(Swept._make(row), hints, unlisted)
        return index

    def _settled(self, rows: Sequence[Sequence[Any]], routes: Sequence[Route]) -> None:
        """Count rows that are settled at the version listed."""
        total = sum_of(self.area.bucket, rows)
        self.tally.listed.total += total
        self.tally.known.total += total
        self.tally.counts["matched"] += len(rows)
        if routes.count(routes[0]) == len(routes):
            self.known += len(routes) * follows(routes[0])
        else:
            self.known += sum(map(follows, routes))

    def _unknown(self, found: Found, index: int, hints: list[tuple[str, UnitKey]]) -> None:
        unit, version, *_ = found.rows[index]
        self.tally.listed.add(self.area.bucket, unit, version)
        self.tally.counts["new"] += 1
        hints.append((found.routes[index].name, self._key(unit)))

    def _known(self, found: Found, index: int, row: Swept, hints: list[tuple[str, UnitKey]]) -> None:
        counts = self.tally.counts
        unit, version, *_ = found.rows[index]
        route = found.routes[index]
        self.tally.listed.add(self.area.bucket, unit, version)
        self._note_row(row)
        self.known += follows(route)
        if row.lease_token is not None:
            counts["held"] += 1
        elif row.wake_at is not None:
            counts["waiting"] += 1
            return
        else:
            counts["changed"] += 1
        hints.append((route.name, self._key(unit)))

    def _unlisted(self, row: Swept, hints: list[tuple[str, UnitKey]], unlisted: list[tuple[Swept, Route]]) -> None:
        counts = self.tally.counts
        key = self._key(row.unit)
        route = self.means.looker.route_of(key)
        if route is None:
            counts["unrouted_units"] += 1
            if row.lease_token is not None:
                hints.append(("", key))
            return
        self._note_row(row)
        if row.lease_token is not None:
            counts["held"] += 1
            hints.append(("", key))
        elif row.wake_at is not None:
            counts["waiting"] += 1
        elif row.observed_etag == ABSENT:
            counts["matched"] += 1
            counts["gone"] += 1
        else:
            self.known += follows(route)
            unlisted.append((row, route))

    def _key(self, unit: str) -> UnitKey:
        return UnitKey(self.handler, self.area.bucket, unit)

    def _note_row(self, row: Swept) -> None:
        if row.observed_etag:
            self.tally.known.add(self.area.bucket, row.unit, row.observed_etag)

    # Units that are not listed

    async def _confirm(self, unlisted: Sequence[tuple[Swept, Route]], hints: list[tuple[str, UnitKey]]) -> None:
        """Ask the store itself before a unit counts as vanished: it may have come back since the listing."""
        left = len(unlisted) if self.means.accept_vanished else max(0, ASKED - self.asked)
        asking, others = unlisted[:left], unlisted[left:]
        self.asked += len(asking)
        missing: list[tuple[str, UnitKey]] = []

        async def ask(one: tuple[Swept, Route]) -> None:
            await self._ask(*one, hints, missing)

        await at_once(asking, ask)
        self.tally.counts["unanswered"] += len(others)
        self.missing += sum(follows(route) for _, route in others)
        for route, key in sorted(missing, key=lambda one: one[1].unit):
            if self.means.accept_vanished or not follows(self.means.looker.route_of(key)):
                hints.append((route, key))
                continue
            self.missing += 1
            if len(self.braked) < max(self.means.max_vanish, REMEMBERED):
                self.braked.append((route, key))

    async def _ask(
        self, row: Swept, route: Route, hints: list[tuple[str, UnitKey]], missing: list[tuple[str, UnitKey]]
    ) -> None:
        counts = self.tally.counts
        key = self._key(row.unit)
        try:
            look = await self.means.looker.look(key)
        except AccessDenied:  # an error of the report already; a hint would change nothing
            counts["unanswered"] += 1
            return
        except TransientError as error:  # of this unit: it may be being written
            log.info("sweep.unanswered", bucket=key.bucket, unit=key.unit, error=error.message)
            counts["unanswered"] += 1
        else:
            assert look is not None  # noqa: S101 (it has a route)
            if look.fingerprint != ABSENT:
                if look.fingerprint != row.observed_etag:
                    counts["changed"] += 1
                    hints.append((route.name, key))
                return
            counts["vanished"] += 1
        missing.append((route.name, key))

    async def _hint(self, hint: tuple[str, UnitKey]) -> None:
        route, key = hint
        await self.means.pace.turn()
        await self.means.hints.bulk(key, "sweep", route=route)


async def release(sides: Sequence[Side]) -> int:
    """
    The brake, over all key ranges of one handler's side of an area; returns how many units are withheld.

    A bucket that looks emptied is more often a store that answers wrongly than a wish.
    """
    means = sides[0].means
    missing, known = sum(side.missing for side in sides), sum(side.known for side in sides)
    if missing > max(means.max_vanish, means.max_vanish_share * known):
        log.warning(
            "sweep.braked",
            handler=sides[0].handler,
            area=sides[0].area.name,
            vanished=missing,
            known=known,
            next_step="look at the bucket; if the objects are meant to be gone: lakedrop sweep --accept-vanished",
        )
        return missing
    for side in sides:
        await at_once(side.braked, side._hint)  # noqa: SLF001 (a function of this class's own)
    return missing - sum(len(side.braked) for side in sides)


async def at_once(items: Sequence[Any], do: Callable[[Any], Any]) -> None:
    """Do something with each item, some of them at the same time, begun in their order."""
    left = iter(items)

    async def some() -> None:
        for item in left:
            await do(item)

    await asyncio.gather(*(some() for _ in range(min(AT_ONCE, len(items)))))


def follows(route: Route | None) -> bool:
    """Return whether rows of a route go when their objects do."""
    return getattr(getattr(route, "options", None), "on_delete", "keep") != "keep"
