"""A look at the store: which route and unit an object belongs to, and what a unit consists of now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consumer.router import Route, Router
from consumer.store import UNSTABLE, NoSuchBucket, Store
from consumer.workitem import UnitKey
from handlers.contract import Handler, ObjectRef, StoredObject, TransientError, Unit, fingerprint
from handlers.planner import Planner

UNSTABLE_PAUSE = 1.0
"""Seconds until a unit with an object that is being written is looked at again."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the store shows of a unit now."""

    unit: Unit
    objects: tuple[StoredObject, ...]
    fingerprint: str

    @property
    def keep(self) -> bool:
        """The route keeps what the sink holds when the objects are gone."""
        return getattr(self.unit.options, "on_delete", "keep") == "keep"

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(found.size for found in self.objects)

    @property
    def modified(self) -> int | None:
        """When the newest object was written, epoch milliseconds."""
        return max((found.modified for found in self.objects), default=None)


class Looker:
    """Knows routes, handlers (or their planners) and the store."""

    def __init__(self, store: Store, router: Router, handlers: Mapping[str, Handler | Planner]) -> None:
        self._store = store
        self._router = router
        self._handlers = handlers
        self._queues = {route.name: route.queue for route in router.routes if route.queue is not None}

    def unit_of(self, bucket: str, key: str) -> tuple[Route, UnitKey] | None:
        """Return the route of an object and the unit it belongs to; None when no route takes it."""
        named = self.named_unit_of(bucket, key)
        return None if named is None else (named[0], UnitKey(named[0].handler, bucket, named[1]))

    def named_unit_of(self, bucket: str, key: str) -> tuple[Route, str] | None:
        """Return the route of an object and its unit's name, for who asks about millions; None as `unit_of` does."""
        route = self._router.match(bucket, key)
        if route is None:
            return None
        return route, self._handlers[route.handler].unit_of(ObjectRef(bucket, key), route.options)

    def route_of(self, key: UnitKey) -> Route | None:
        """Return the route of a unit, also of one without objects."""
        if not key.unit.endswith("/"):
            route = self._router.match(key.bucket, key.unit)
            return route if route is not None and route.handler == key.handler else None
        return self._router.covering(key.bucket, key.unit, key.handler)

    def queue_of(self, key: UnitKey, route: str) -> str:
        """Name the queues for a unit's hints; `route` is the name of its route where that is known, else empty."""
        if not self._queues:
            return key.handler
        if not route:
            found = self.route_of(key)
            route = "" if found is None else found.name
        return self._queues.get(route, key.handler)

    async def look(self, key: UnitKey) -> Look | None:
        """
        HEAD the unit, or list it when it is a prefix; None when no route takes it any more.

        Raises:
            TransientError: The store did not answer.
        """
        route = self.route_of(key)
        if route is None:
            return None
        objects = await self._objects(key)
        unit = Unit(key.bucket, key.unit, route.name, route.prefix, route.options)
        return Look(unit, objects, fingerprint(objects, key.unit))

    async def _objects(self, key: UnitKey) -> tuple[StoredObject, ...]:
        if not key.unit.endswith("/"):
            found = await self._store.head(key.bucket, key.unit)
            return () if found is None else (found,)
        try:
            listed = [found async for found in self._store.list(key.bucket, key.unit)]
        except NoSuchBucket:
            return ()
        moving = next((found.key for found in listed if found.etag.startswith(UNSTABLE)), None)
        if moving is not None:
            raise TransientError(f"{key.bucket}/{moving} is being written", retry_after=UNSTABLE_PAUSE)
        return tuple(
            found for found in listed if (belongs := self.unit_of(key.bucket, found.key)) and belongs[1] == key
        )
