"""Replay: a person has chosen units done again. It only hints (R9); the worker decides what there is to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from consumer.hints import Hints
from consumer.ledger_views import Selection, Units
from consumer.look import Look, Looker
from consumer.protocol import Row, Status
from consumer.router import Route
from consumer.store import Store
from consumer.workitem import UnitKey

Action = Literal["ingest", "look", "again", "current"]


class Candidate(NamedTuple):
    """A unit that a replay chose, and what it would do with it."""

    key: UnitKey
    action: Action
    """`ingest`: unknown to the ledger. `look`: changed or being worked on. `again`: force it. `current`: leave it."""
    modified: int
    size: int


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

    candidates: list[Candidate] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of units by action."""
        counted = Counter(candidate.action for candidate in self.candidates)
        return {action: counted.get(action, 0) for action in ("ingest", "look", "again", "current")}

    @property
    def work(self) -> list[Candidate]:
        """The units that would be hinted."""
        return [candidate for candidate in self.candidates if candidate.action != "current"]


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
        found = [candidate async for candidate in self._candidates(request)]
        if request.newest_first:
            found.sort(key=lambda candidate: (-candidate.modified, candidate.key))
        if request.limit is not None:
            work = [candidate for candidate in found if candidate.action != "current"]
            found = work[: request.limit]
        return Plan(found)

    async def run(
        self,
        plan: Plan,
        *,
        rate: float | None = None,
        progress: Callable[[Candidate], None] = lambda _candidate: None,
    ) -> None:
        """Hint the plan's units, at most `rate` a second."""
        for candidate in plan.work:
            kind: Literal["replay", "changed"] = "replay" if candidate.action == "again" else "changed"
            await self._hints.bulk(candidate.key, "replay", kind=kind)
            progress(candidate)
            if rate is not None:
                await asyncio.sleep(1 / rate)

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
            yield Candidate(row.key, "again", row.modified or 0, row.size or 0)

    async def _objects(self, handler: str, bucket: str, request: Request) -> AsyncIterator[Candidate]:
        """Everything the bucket holds, against its rows: units without a row are ingested."""
        rows = {row.key: row async for row in self._units.select(handler, bucket, Selection(prefix=request.prefix))}
        seen: set[UnitKey] = set()
        async for found in self._store.list(bucket, request.prefix):
            belongs = self._looker.unit_of(bucket, found.key)
            if belongs is None or belongs[1].handler != handler or belongs[1] in seen:
                continue
            key = belongs[1]
            if key.unit.endswith("/"):
                seen.add(key)
            look = await self._looker.look(key) if key.unit.endswith("/") else None
            modified = (look.modified or 0) if look else found.modified
            if request.since is not None and modified < request.since:
                continue
            version = look.fingerprint if look else found.etag
            action = _action(rows.get(key), version, force=request.force)
            yield Candidate(key, action, modified, _size(look, found.size))


def _size(look: Look | None, size: int) -> int:
    return size if look is None else look.size


def _action(row: Row | None, version: str, *, force: bool) -> Action:
    if row is None:
        return "ingest"
    if force or row.status in (Status.FAILED, Status.SKIPPED, Status.RETRYING):
        return "again"
    if row.status is Status.DONE and row.observed_etag == version and row.applied_etag == version and row.settled:
        return "current"
    return "look"
