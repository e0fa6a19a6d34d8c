"""Replay: a person has chosen units done again. It only hints (R9); the worker decides what there is to do."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from consumer.candidates import Action, Candidate, Candidates
from consumer.hints import Hints
from consumer.ledger_views import Seen, Selection, Units
from consumer.look import Looker
from consumer.pace import Pace
from consumer.protocol import Status
from consumer.router import Route
from consumer.store import Store
from consumer.workitem import UnitKey

PAGE = 1000
"""Units listed before their rows are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the person asked for."""

    bucket: str | None = None
    prefix: str = ""
    since: int | None = None
    """Epoch milliseconds: objects written at or after."""
    status: Status | None = None
    error_class: str | None = None
    other_version: bool = False
    """Units whose rows another version of the handler wrote."""
    newest_first: bool = False
    limit: int | None = None
    force: bool = False
    """Also units that are current."""

    @property
    def of_rows(self) -> bool:
        """Whether it selects by what the ledger says; such units are always done again."""
        return self.status is not None or self.error_class is not None or self.other_version


@dataclass(slots=True)
class Plan:
    """What a replay would do."""

    work: Candidates
    """The units that would be hinted; to be closed by whoever has the plan."""
    current: int = 0
    """Number of units that are left alone; a limit does not count them."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of units by action."""
        return {**{action: self.work.counts[action] for action in ("ingest", "look", "again")}, "current": self.current}


class Replay:
    """Chooses units and hints them."""

    def __init__(
        self,
        *,
        store: Store,
        looker: Looker,
        routes: Sequence[Route],
        units: Units,
        hints: Hints,
        versions: dict[str, str],
    ) -> None:
        self._store = store
        self._looker = looker
        self._routes = routes
        self._units = units
        self._hints = hints
        self._versions = versions

    async def plan(self, request: Request) -> Plan:
        """Choose, without doing anything."""
        plan = Plan(Candidates(newest_first=request.newest_first))
        try:
            await self._choose(request, plan)
        except BaseException:
            plan.work.close()
            raise
        return plan

    async def _choose(self, request: Request, plan: Plan) -> None:
        newest: list[tuple[int, int, Candidate]] = []
        number = 0
        async for candidate in self._candidates(request):
            if candidate.action == "current":
                plan.current += request.limit is None
            elif request.newest_first and request.limit is not None:
                number -= 1  # of equal times the first stays
                keep = heapq.heappush if len(newest) < request.limit else heapq.heappushpop
                keep(newest, (candidate.modified, number, candidate))
            else:
                plan.work.add(candidate)
                if len(plan.work) == request.limit:
                    break
        for _modified, _number, candidate in newest:
            plan.work.add(candidate)

    async def run(
        self,
        plan: Plan,
        *,
        rate: float | None = None,
        progress: Callable[[Candidate], None] = lambda _candidate: None,
    ) -> None:
        """Hint the plan's units, at most `rate` a second."""
        pace = Pace(rate)
        for candidate in plan.work:
            await pace.turn()
            kind: Literal["replay", "changed"] = "replay" if candidate.action == "again" else "changed"
            await self._hints.bulk(candidate.key, "replay", kind=kind)
            progress(candidate)

    async def _candidates(self, request: Request) -> AsyncIterator[Candidate]:
        buckets = sorted({route.bucket for route in self._routes if request.bucket in (None, route.bucket)})
        for bucket in buckets:
            for handler in sorted({route.handler for route in self._routes if route.bucket == bucket}):
                rows = self._rows(handler, bucket, request)
                async for candidate in rows if request.of_rows else self._objects(handler, bucket, request):
                    yield candidate

    async def _rows(self, handler: str, bucket: str, request: Request) -> AsyncIterator[Candidate]:
        selection = Selection(
            prefix=request.prefix,
            since=request.since,
            status=None if request.status is None else request.status.value,
            error_class=request.error_class,
            other_version_than=self._versions[handler] if request.other_version else None,
        )
        async for row in self._units.select(handler, bucket, selection):
            yield Candidate(UnitKey(handler, bucket, row.unit), "again", row.modified or 0, row.size or 0)

    async def _objects(self, handler: str, bucket: str, request: Request) -> AsyncIterator[Candidate]:
        """Everything the bucket holds, against its rows: units without a row are ingested."""
        page: list[_Listed] = []
        async for listed in self._listed(handler, bucket, request):
            page.append(listed)
            if len(page) == PAGE:
                for candidate in await self._compared(handler, bucket, page, force=request.force):
                    yield candidate
                page = []
        for candidate in await self._compared(handler, bucket, page, force=request.force):
            yield candidate

    async def _listed(self, handler: str, bucket: str, request: Request) -> AsyncIterator[_Listed]:
        """Yield the units of a listing, each once: the objects of one follow each other."""
        last = ""
        async for found in self._store.list(bucket, request.prefix):
            belongs = self._looker.unit_of(bucket, found.key)
            if belongs is None or belongs[1].handler != handler or belongs[1].unit == last:
                continue
            key = belongs[1]
            last = key.unit
            listed = _Listed(key, found.etag, found.modified, found.size)
            if key.unit.endswith("/"):
                look = await self._looker.look(key)
                if look is not None:
                    listed = _Listed(key, look.fingerprint, look.modified or 0, look.size)
            if request.since is None or listed.modified >= request.since:
                yield listed

    async def _compared(self, handler: str, bucket: str, page: list[_Listed], *, force: bool) -> list[Candidate]:
        """Compare units with their rows, which are read after the listing: a change after it is hinted anyway."""
        rows = await self._units.known(handler, bucket, [listed.key.unit for listed in page]) if page else {}
        return [
            Candidate(
                listed.key,
                _action(rows.get(listed.key.unit), listed.fingerprint, force=force),
                listed.modified,
                listed.size,
            )
            for listed in page
        ]


class _Listed(NamedTuple):
    """A unit as the listing shows it."""

    key: UnitKey
    fingerprint: str
    modified: int
    size: int


def _action(row: Seen | None, version: str, *, force: bool) -> Action:
    if row is None:
        return "ingest"
    if force or row.status in (Status.FAILED, Status.SKIPPED, Status.RETRYING):
        return "again"
    settled = not row.held and row.wake_at is None
    if row.status == Status.DONE and row.observed_etag == version and row.applied_etag == version and settled:
        return "current"
    return "look"
