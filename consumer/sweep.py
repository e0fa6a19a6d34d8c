"""
The sweep: bucket minus ledger. It finds what events missed, and only hints (R9).

Per bucket the listing and the rows are merged in byte order, a page of the listing first, then the rows of its range:
every change made before its page was listed is covered. Memory does not grow with the bucket.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import structlog

from consumer.hints import Hints
from consumer.ledger_views import Seen, Sweeps, Units
from consumer.look import Looker
from consumer.router import Route
from consumer.schedule import Schedule
from consumer.store import AccessDenied, Store
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, StoredObject, TransientError, fingerprint

log = structlog.get_logger("lakedrop.sweep")

PAGE = 1000
"""Units of one handler listed before their rows are read."""

REMEMBERED = 10_000
"""Vanished units remembered until the brake has seen them all, or the brake's own number if that is more."""

LEASE = "sweep"


@dataclass(slots=True)
class Report:
    """What a sweep saw and did. All numbers are of units, but `listed` and `unrouted`, which are of listed objects."""

    id: str
    started_at: int
    """Epoch milliseconds."""
    finished_at: int | None = None
    listed: int = 0
    unrouted: int = 0
    """Objects that no route takes."""
    unrouted_units: int = 0
    """Units of the swept handlers that the ledger knows and no route takes any more; they are in neither digest."""
    matched: int = 0
    """The ledger knows this version: it is in the sink, or failed, or skipped; or it knows that there is none."""
    gone: int = 0
    """Those of the matched that there is no object of."""
    new: int = 0
    changed: int = 0
    vanished: int = 0
    """Known to the ledger, not listed, and the store confirmed it."""
    withheld: int = 0
    """
    Units that the brake held back, or that were too many to remember; `--accept-vanished` lets them go. Of the latter
    each sweep lets some go.
    """
    unanswered: int = 0
    """Known to the ledger, not listed, and the store did not tell about them; treated like vanished ones."""
    held: int = 0
    """Being worked on; hinted all the same, so that they are looked at again."""
    waiting: int = 0
    """Due for another attempt later."""
    failed: dict[str, int] = field(default_factory=dict)
    """Matched units that cannot be ingested, by error class."""
    errors: list[str] = field(default_factory=list)
    """What could not be swept, and why."""
    digest: str = ""
    """SHA-256 over the listed units and their versions."""
    ledger_digest: str = ""
    """The same over the rows of routed units; equal digests: the ledger accounts for exactly what the buckets hold."""

    @property
    def agrees(self) -> bool:
        """Whether the ledger accounts for exactly what the buckets hold."""
        return self.digest == self.ledger_digest and not self.errors

    def json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {**asdict(self), "agrees": self.agrees}


class _Found(NamedTuple):
    """A unit as the listing shows it."""

    route: Route
    key: UnitKey
    fingerprint: str


def _found(route: Route, key: UnitKey, objects: Sequence[StoredObject]) -> _Found:
    return _Found(route, key, fingerprint(objects, key.unit))


class _Side:
    """One handler's side of a bucket: the units listed and not yet compared, the digests, the brake."""

    def __init__(self, handler: str, bucket: str, *, accept: bool) -> None:
        self.handler = handler
        self.bucket = bucket
        self.accept = accept
        """The brake is off."""
        self.listed: list[_Found] = []
        self.after = ""
        self.known = 0
        """Rows that hold something, of routes that follow deletions."""
        self.missing = 0
        """Not there any more, of routes that follow deletions."""
        self.braked: list[tuple[Route, UnitKey]] = []
        """The first of them: hinted when the brake has seen them all."""
        self.digest = hashlib.sha256()
        self.ledger_digest = hashlib.sha256()


class Sweeper:
    """
    Compares all routed buckets with the ledger.

    Args:
        max_vanish: The brake: vanished units of routes that follow deletions are withheld beyond this number...
        max_vanish_share: ...and this share of the units known.
    """

    def __init__(
        self,
        *,
        store: Store,
        looker: Looker,
        routes: Sequence[Route],
        units: Units,
        sweeps: Sweeps,
        hints: Hints,
        schedule: Schedule,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        max_vanish: int = 100,
        max_vanish_share: float = 0.05,
    ) -> None:
        self._store = store
        self._looker = looker
        self._routes = routes
        self._units = units
        self._sweeps = sweeps
        self._hints = hints
        self._schedule = schedule
        self._clock = clock
        self._new_id = new_id
        self._max_vanish = max_vanish
        self._max_vanish_share = max_vanish_share

    async def sweep(
        self,
        *,
        accept_vanished: bool = False,
        next_in: float | None = None,
        progress: Callable[[Report], None] = lambda _report: None,
    ) -> Report:
        """Wait for a sweep under way, then sweep; the next scheduled one comes `next_in` seconds later."""
        async with self._schedule.turn(LEASE, next_in=next_in):
            return await self.sweep_now(accept_vanished=accept_vanished, progress=progress)

    async def sweep_now(
        self, *, accept_vanished: bool = False, progress: Callable[[Report], None] = lambda _report: None
    ) -> Report:
        """Sweep; the caller holds the lease `LEASE`."""
        report = Report(self._new_id(), self._clock())
        sides: list[_Side] = []
        for bucket in sorted({route.bucket for route in self._routes}):
            handlers = sorted({route.handler for route in self._routes if route.bucket == bucket})
            of_bucket = {handler: _Side(handler, bucket, accept=accept_vanished) for handler in handlers}
            try:
                await self._sweep_bucket(bucket, of_bucket, report, progress)
            except TransientError as error:
                report.errors.append(f"bucket {bucket}: {error.message}")
                continue
            for side in of_bucket.values():
                await self._release(side, report)
            sides += of_bucket.values()
        report.digest = _combined(side.digest.digest() for side in sides)
        report.ledger_digest = _combined(side.ledger_digest.digest() for side in sides)
        report.failed = await self._units.error_classes()
        report.finished_at = self._clock()
        await self._sweeps.save(report.id, report.started_at, report.json())
        log.info("sweep.finished", **report.json())
        return report

    async def _sweep_bucket(
        self, bucket: str, sides: Mapping[str, _Side], report: Report, progress: Callable[[Report], None]
    ) -> None:
        async for found in self._listed_units(bucket, report):
            side = sides[found.key.handler]
            side.listed.append(found)
            if len(side.listed) == PAGE:
                await self._compare(side, found.key.unit, report)
                progress(report)
        for side in sides.values():
            await self._compare(side, None, report)
        progress(report)

    async def _listed_units(self, bucket: str, report: Report) -> AsyncIterator[_Found]:
        """
        Yield each unit once, those of one handler in byte order.

        The objects of a unit follow each other, as it is a prefix of their keys; those of other handlers, or of none,
        may stand between them.
        """
        gathering: dict[str, tuple[Route, UnitKey, list[StoredObject]]] = {}
        try:
            async for found in self._store.list(bucket):
                report.listed += 1
                belongs = self._looker.unit_of(bucket, found.key)
                if belongs is None:
                    report.unrouted += 1
                    continue
                route, key = belongs
                current = gathering.get(key.handler)
                if current is not None and current[1] == key:
                    current[2].append(found)
                    continue
                if current is not None:
                    yield _found(*current)
                gathering[key.handler] = (route, key, [found])
        except AccessDenied as error:  # everything else was listed, and `_confirm` asks about what was not
            report.errors.append(f"bucket {bucket}: {error.message}")
        for current in gathering.values():
            yield _found(*current)

    async def _compare(self, side: _Side, upto: str | None, report: Report) -> None:
        """Merge the listed units with the rows of their range."""
        listed = iter(side.listed)
        found = next(listed, None)
        async for row in self._units.between(side.handler, side.bucket, side.after, upto):
            while found is not None and found.key.unit < row.unit:
                await self._unknown(side, found, report)
                found = next(listed, None)
            if found is not None and found.key.unit == row.unit:
                await self._known(side, found, row, report)
                found = next(listed, None)
            else:
                await self._unlisted(side, row, report)
        while found is not None:
            await self._unknown(side, found, report)
            found = next(listed, None)
        side.listed = []
        if upto is not None:
            side.after = upto

    async def _unknown(self, side: _Side, found: _Found, report: Report) -> None:
        _add(side.digest, found.key.unit, found.fingerprint)
        report.new += 1
        await self._hints.bulk(found.key, "sweep", route=found.route.name)

    async def _known(self, side: _Side, found: _Found, row: Seen, report: Report) -> None:
        _add(side.digest, found.key.unit, found.fingerprint)
        _add(side.ledger_digest, row.unit, row.observed_etag)
        side.known += _follows(found.route)
        if row.held:
            report.held += 1
        elif row.wake_at is not None:
            report.waiting += 1
            return
        elif row.observed_etag == found.fingerprint:
            report.matched += 1
            return
        else:
            report.changed += 1
        await self._hints.bulk(found.key, "sweep", route=found.route.name)

    async def _unlisted(self, side: _Side, row: Seen, report: Report) -> None:
        key = UnitKey(side.handler, side.bucket, row.unit)
        route = self._looker.route_of(key)
        if route is None:
            report.unrouted_units += 1
            if row.held:
                await self._hints.bulk(key, "sweep")
            return
        _add(side.ledger_digest, row.unit, row.observed_etag)
        if row.held:
            report.held += 1
            await self._hints.bulk(key, "sweep")
        elif row.wake_at is not None:
            report.waiting += 1
        elif row.observed_etag == ABSENT:
            report.matched += 1
            report.gone += 1
        else:
            await self._confirm(side, key, route, row, report)

    async def _confirm(self, side: _Side, key: UnitKey, route: Route, row: Seen, report: Report) -> None:
        """Ask the store itself before a unit counts as vanished: it may have come back since the listing."""
        side.known += _follows(route)
        try:
            look = await self._looker.look(key)
        except AccessDenied:  # an error of the report already; a hint would change nothing
            report.unanswered += 1
            return
        except TransientError as error:  # of this unit: it may be being written
            log.info("sweep.unanswered", bucket=key.bucket, unit=key.unit, error=error.message)
            report.unanswered += 1
        else:
            assert look is not None  # noqa: S101 (it has a route)
            if look.fingerprint != ABSENT:
                if look.fingerprint != row.observed_etag:
                    report.changed += 1
                    await self._hints.bulk(key, "sweep", route=route.name)
                return
            report.vanished += 1
        await self._missing(side, key, route)

    async def _missing(self, side: _Side, key: UnitKey, route: Route) -> None:
        """Hint a unit that is not there, of routes that follow deletions only when the brake has seen them all."""
        if side.accept or not _follows(route):
            await self._hints.bulk(key, "sweep", route=route.name)
            return
        side.missing += 1
        if len(side.braked) < max(self._max_vanish, REMEMBERED):
            side.braked.append((route, key))

    async def _release(self, side: _Side, report: Report) -> None:
        """The brake: a bucket that looks emptied is more often a store that answers wrongly than a wish."""
        if side.missing > max(self._max_vanish, self._max_vanish_share * side.known):
            report.withheld += side.missing
            log.warning(
                "sweep.braked",
                handler=side.handler,
                bucket=side.bucket,
                vanished=side.missing,
                known=side.known,
                next_step="look at the bucket; if the objects are meant to be gone: lakedrop sweep --accept-vanished",
            )
            return
        report.withheld += side.missing - len(side.braked)
        for route, key in side.braked:
            await self._hints.bulk(key, "sweep", route=route.name)


def _follows(route: Route) -> bool:
    return getattr(route.options, "on_delete", "keep") != "keep"


def _add(digest: Any, unit: str, etag: str | None) -> None:
    if etag:
        digest.update(f"{unit}\0{etag}\n".encode())


def _combined(digests: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()
