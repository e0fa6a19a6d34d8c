"""
The sweep: bucket minus ledger. It finds what events missed, and only hints (R9).

The listing and the rows of a key range are merged in byte order, a page of the listing first, then its rows: every
change made before its page was listed is covered. Memory does not grow with the bucket. How far it has come is kept in
the ledger, so that a sweep which was cut off can be finished by any process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import structlog

from consumer.hints import Hints
from consumer.ledger_progress import Progress
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_views import Units
from consumer.look import Looker
from consumer.pace import Pace
from consumer.router import Route
from consumer.schedule import Schedule
from consumer.store import AccessDenied, Store
from consumer.sweep_areas import LAST, LEASE, Area, Range, areas_of, ranges_of
from consumer.sweep_listing import Listing
from consumer.sweep_report import Report, Tally, add_up
from consumer.sweep_side import Means, Side, release
from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.sweep")

PAGE: Final = 8000
"""Objects listed before their rows are read; the first times fewer, so that what is found is soon worked on."""

CHECKPOINT: Final = 4
"""Pages of a key range from one checkpoint to the next."""

RESUMABLE_MS: Final = 3_600_000
"""Age of a checkpoint that is not used any more: what was listed long ago tells little."""


class Shard:
    """One key range of an area: how far it is compared, and what came of it."""

    def __init__(self, means: Means, area: Area, keys: Range, kept: Mapping[str, Any] | None = None) -> None:
        self.area = area
        self.keys = keys if kept is None else Range(kept["after"], kept["upto"])
        self.tally = Tally() if kept is None else Tally.of(kept["tally"])
        after = max(self.keys.after, _below(area.prefix))
        self.sides = {handler: Side(means, area, handler, self.tally, after) for handler in area.handlers}
        for handler, (known, missing) in ({} if kept is None else kept["sides"]).items():
            self.sides[handler].known, self.sides[handler].missing = known, missing
        self.done = kept is not None and kept["done"]
        self.kept = kept or self.snapshot(self.keys.after)
        """What a checkpoint says of it."""

    def snapshot(self, after: str) -> dict[str, Any]:
        """Return what is needed to go on behind a key that everything is compared up to."""
        sides = {handler: [side.known, side.missing] for handler, side in self.sides.items()}
        return {
            "after": after,
            "upto": self.keys.upto,
            "done": self.done,
            "tally": self.tally.json(),
            "sides": sides,
        }


class Sweeper:
    """
    Compares all routed buckets with the ledger.

    Args:
        progress: Where checkpoints are kept; None keeps none.
        max_vanish: The brake: vanished units of routes that follow deletions are withheld beyond this number...
        max_vanish_share: ...and this share of the units known.
        rate: Units hinted a second, at most, by all sweeps of this process together; None: no limit.
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
        progress: Progress | None = None,
        max_vanish: int = 100,
        max_vanish_share: float = 0.05,
        rate: float | None = None,
    ) -> None:
        self._store = store
        self._looker = looker
        self.areas = areas_of(routes)
        self._units = units
        self._sweeps = sweeps
        self._hints = hints
        self._schedule = schedule
        self._clock = clock
        self._new_id = new_id
        self._progress = progress
        self._max_vanish = max_vanish
        self._max_vanish_share = max_vanish_share
        self._pace = Pace(rate)

    async def sweep(
        self,
        buckets: Collection[str] | None = None,
        *,
        accept_vanished: bool = False,
        next_in: float | None = None,
        progress: Callable[[Report], None] = lambda _report: None,
    ) -> Report:
        """
        Wait for sweeps under way, then sweep some buckets, all by default.

        Args:
            buckets: Those that no route has are left out.
            accept_vanished: The brake is off.
            next_in: Seconds until the next scheduled sweep, if this one is of everything.
            progress: Told after every page.
        """
        areas = [area for area in self.areas if buckets is None or area.bucket in buckets]
        whole = areas == self.areas
        async with AsyncExitStack() as leases:
            # By name, so that two who want them all do not wait for each other.
            for lease in sorted({area.lease for area in areas} | {LEASE}):
                await leases.enter_async_context(
                    self._schedule.turn(lease, next_in=next_in if whole and lease == LEASE else None)
                )
            return await self.sweep_now(areas, accept_vanished=accept_vanished, progress=progress)

    async def sweep_now(
        self,
        areas: Iterable[Area] | None = None,
        *,
        accept_vanished: bool = False,
        resume: bool = False,
        progress: Callable[[Report], None] = lambda _report: None,
    ) -> Report:
        """
        Sweep some areas, all by default; the caller holds their leases.

        Args:
            areas: Of `Sweeper.areas`.
            accept_vanished: The brake is off.
            resume: Go on where an earlier sweep was cut off. Not for who wants everything compared that changed until
                now: what that one had compared already is not compared again.
            progress: Told after every page.
        """
        report = Report(self._new_id(), self._clock())
        means = Means(
            self._looker,
            self._units,
            self._hints,
            self._pace,
            accept_vanished,
            self._max_vanish,
            self._max_vanish_share,
        )
        tallies: list[Tally] = []

        def tell() -> None:
            progress(_so_far(report, tallies))

        for area in self.areas if areas is None else areas:
            report.areas.append(area.name)
            shards = await self._resumed(means, area, report) if resume else []
            if not shards:
                shards = [Shard(means, area, keys) for keys in await self._ranges(area)]
            tallies += [shard.tally for shard in shards]
            try:
                await self._sweep_area(area, shards, report, tell)
            except TransientError as error:
                _note(report, area, error.message)
        add_up(report, tallies)
        report.failed = await self._units.error_classes()
        report.finished_at = self._clock()
        await self._sweeps.save(report.id, report.started_at, report.json())
        log.info("sweep.finished", **report.json())
        return report

    async def _resumed(self, means: Means, area: Area, report: Report) -> list[Shard]:
        """Return the key ranges of a sweep that was cut off, none when there is no such sweep."""
        kept = None if self._progress is None else await self._progress.get(area.name, RESUMABLE_MS)
        if kept is None:
            return []
        report.resumed.append(area.name)
        log.info("sweep.resumed", area=area.name, after=[shard["after"] for shard in kept])
        return [Shard(means, area, Range("", None), shard) for shard in kept]

    async def _ranges(self, area: Area) -> list[Range]:
        if area.shards == 1:
            return ranges_of([])
        bounds = _below(area.prefix), area.prefix + LAST if area.prefix else None
        return ranges_of(await self._units.splits(area.handlers, area.bucket, *bounds, area.shards))

    async def _sweep_area(
        self, area: Area, shards: Sequence[Shard], report: Report, progress: Callable[[], None]
    ) -> None:
        """
        Compare the key ranges of an area side by side.

        Raises:
            TransientError: The store did not answer; the checkpoints stand.
        """
        denied: list[str] = []
        ranges = (self._sweep_range(shard, shards, denied, progress) for shard in shards if not shard.done)
        for ended in await asyncio.gather(*ranges, return_exceptions=True):
            if ended is not None:
                raise ended
        for message in dict.fromkeys(denied):
            _note(report, area, message)
        for handler in area.handlers:
            shards[0].tally.counts["withheld"] += await release([shard.sides[handler] for shard in shards])
        if self._progress is not None:
            await self._progress.drop(area.name)

    async def _sweep_range(
        self, shard: Shard, shards: Sequence[Shard], denied: list[str], progress: Callable[[], None]
    ) -> None:
        area = shard.area
        listing = Listing(self._store, self._looker, area, shard.keys)
        pages = 0
        try:
            async for upto in listing.pages(PAGE):
                await _compare(shard, listing, upto)
                pages += 1
                if pages % CHECKPOINT == 0:
                    shard.kept = shard.snapshot(upto)
                    await self._keep(area, shards)
                progress()
        except AccessDenied as error:
            if not listing.objects and not shard.tally.counts["listed"]:
                raise  # nothing may be seen, so nothing can be said
            denied.append(error.message)  # all else was listed, and the store will be asked about what was not
        listing.finish()
        end = area.prefix + LAST if shard.keys.upto is None and area.prefix else shard.keys.upto
        await _compare(shard, listing, end)
        shard.done = True
        shard.kept = shard.snapshot(shard.keys.after)
        if len(shards) > 1:
            await self._keep(area, shards)
        progress()

    async def _keep(self, area: Area, shards: Sequence[Shard]) -> None:
        if self._progress is not None:
            await self._progress.put(area.name, [shard.kept for shard in shards])


def _note(report: Report, area: Area, message: str) -> None:
    """Say why an area was not seen whole."""
    report.errors.append(f"bucket {area.bucket}: {message}")
    if area.bucket not in report.unswept:
        report.unswept.append(area.bucket)


async def _compare(shard: Shard, listing: Listing, upto: str | None) -> None:
    """Compare what is listed up to a unit with the rows, handler by handler."""
    counts = shard.tally.counts
    counts["listed"] += listing.objects
    counts["unrouted"] += listing.unrouted
    listing.objects = listing.unrouted = 0
    for handler, side in shard.sides.items():
        if upto is not None and upto <= side.after:
            continue
        await side.compare(listing.units[handler].take(upto), upto)


def _so_far(report: Report, tallies: Sequence[Tally]) -> Report:
    """Return what is known of a report before its sweep has ended."""
    far = replace(report)
    add_up(far, tallies)
    return far


def _below(prefix: str) -> str:
    """Return a key that comes before all below a prefix, and behind almost all others that do."""
    if not prefix or prefix[-1] == "\0":
        return prefix[:-1]
    before = ord(prefix[-1]) - 1
    # No key has half of a surrogate pair.
    return prefix[:-1] + chr(0xD7FF if before == 0xDFFF else before) + LAST  # noqa: PLR2004 (where they end)
