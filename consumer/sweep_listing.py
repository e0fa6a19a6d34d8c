"""The objects of a key range as the store lists them, put together to units."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from consumer.look import Looker
from consumer.router import Route
from consumer.store import Store
from consumer.sweep_areas import LAST, Area, Range
from handlers.contract import StoredObject, fingerprint

FIRST_PAGE: Final = 1000
"""Objects listed before any is compared; each further page has twice as many as the one before."""


class Found:
    """Units of one handler as the listing shows them, in byte order: one list beside the other."""

    __slots__ = ("routes", "rows")

    def __init__(self, rows: list[tuple[str, str, None, None]], routes: list[Route]) -> None:
        self.rows = rows
        """Unit and version as `Swept` has them of a settled row, so that both can be compared by the hundred."""
        self.routes = routes

    def add(self, unit: str, version: str, route: Route) -> None:
        """Append a unit."""
        self.rows.append((unit, version, None, None))
        self.routes.append(route)

    def take(self, upto: str | None) -> Found:
        """Take out those up to a unit, None takes all."""
        end = len(self.rows) if upto is None else bisect_right(self.rows, upto, key=itemgetter(0))
        taken = Found(self.rows[:end], self.routes[:end])
        del self.rows[:end], self.routes[:end]
        return taken


class _Gathering(NamedTuple):
    """A unit whose objects are being listed."""

    route: Route
    unit: str
    objects: list[StoredObject]
    before: str
    """A key that everything of the unit comes after."""


class Listing:
    """
    The units of one key range, by handler, as far as they are listed.

    The objects of a unit follow each other, as it is a prefix of their keys; those of other handlers, or of none, may
    stand between them.
    """

    def __init__(self, store: Store, looker: Looker, area: Area, keys: Range) -> None:
        self._store = store
        self._looker = looker
        self._area = area
        self._keys = keys
        self.objects = 0
        """Listed since they were last taken note of."""
        self.unrouted = 0
        self.units = {handler: Found([], []) for handler in area.handlers}
        """Those not compared yet, by handler, in byte order."""
        self._gathering: dict[str, _Gathering] = {}
        self._last = keys.after

    async def pages(self, most: int) -> AsyncIterator[str]:
        """
        List, and yield a key after every so many objects, in the end `most`: all units up to it are in `units`.

        Raises:
            AccessDenied, TransientError: As `Store.list` does.
        """
        bucket, gathering, units = self._area.bucket, self._gathering, self.units
        named_unit_of = self._looker.named_unit_of
        upto = self._keys.after
        size = min(FIRST_PAGE, most)
        number = 0
        try:
            async for found in self._listed():
                key = found.key
                belongs = named_unit_of(bucket, key)
                number += 1
                if belongs is None:
                    self.unrouted += 1
                else:
                    route, unit = belongs
                    if gathering or unit != key:
                        self._gather(route, unit, found)
                    else:
                        units[route.handler].add(key, found.etag, route)
                self._last = key
                if number >= size:
                    self.objects += number
                    number = 0
                    size = min(2 * size, most)
                    upto = max(upto, min((one.before for one in gathering.values()), default=key))
                    yield upto
        finally:
            self.objects += number

    def _gather(self, route: Route, unit: str, found: StoredObject) -> None:
        """Put an object to its unit, which others may belong to."""
        current = self._gathering.get(route.handler)
        if current is not None and current.unit == unit:
            current.objects.append(found)
            return
        if current is not None:
            self._complete(self._gathering.pop(route.handler))
        if unit == found.key:  # nothing can be added to it
            self.units[route.handler].add(unit, found.etag, route)
        else:
            before = min(self._last, unit[:-1])
            self._gathering[route.handler] = _Gathering(route, unit, [found], before)

    def finish(self) -> None:
        """Complete the units under way: nothing more will be listed."""
        for current in self._gathering.values():
            self._complete(current)
        self._gathering.clear()

    def _complete(self, gathered: _Gathering) -> None:
        version = fingerprint(gathered.objects, gathered.unit)
        self.units[gathered.route.handler].add(gathered.unit, version, gathered.route)

    def _listed(self) -> AsyncIterator[StoredObject]:
        """Yield the objects of the range."""
        area, keys = self._area, self._keys
        # Some stores answer a start below the prefix with an empty page.
        start = keys.after if keys.after > area.prefix else ""
        if not area.excluded and keys.upto is None:
            return self._store.list(area.bucket, area.prefix, start_after=start)
        return self._picked(area, start, keys.upto)

    async def _picked(self, area: Area, start: str, upto: str | None) -> AsyncIterator[StoredObject]:
        """Yield them up to the end of the range; what lies in other areas is skipped, not listed."""
        while True:
            skipped = None
            listing = self._store.list(area.bucket, area.prefix, start_after=start)
            async with aclosing(cast(Any, listing)) as listed:
                async for found in listed:
                    if upto is not None and found.key > upto:
                        return
                    if area.has(found.key):
                        yield found
                        continue
                    skipped = next(prefix for prefix in area.excluded if found.key.startswith(prefix))
                    break
            if skipped is None:
                return
            start = skipped + LAST
