"""
The state of a home as one report. Everything a page, a terminal or a machine shows is computed here.

`docs/operations.md` describes the keys of `json()`; they are kept stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from consumer import __version__, ledger_views
from consumer.app import App
from consumer.ledger_status import Backlog, Backlogs
from consumer.protocol import Row
from consumer.sink import Away
from consumer.task_report import TaskGroup, task_groups
from consumer.terminal import command
from consumer.times import iso

STATES: Final = ("done", "gone", "failed", "skipped", "retrying", "pending")
"""The statuses, and `gone`: done, and there was nothing to hold."""

MOST: Final = 20
"""Units of each kind that are listed; all of them are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The units of one handler in one bucket."""

    bucket: str
    handler: str
    states: Mapping[str, int]
    """Number of units by state; every one of `STATES` is there."""
    held: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """A unit that somebody works on, or that has a deadline."""

    bucket: str
    unit: str
    handler: str
    status: str
    held: bool
    due: str | None
    """When its lease ends (held), or when it is hinted again."""
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A unit whose current version cannot be ingested."""

    bucket: str
    unit: str
    handler: str
    error_class: str | None
    error: str | None
    at: str | None
    """Of the last look."""
    sink_holds_older: bool
    """An earlier version is in the sink."""
    why: str
    """The command that tells more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkAway:
    """A sink that work met and that has not answered since; no attempt is charged meanwhile."""

    handler: str
    reason: str
    refuses: bool
    """It answers, and does not let us in: somebody has to correct that."""
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What is done, waiting and failing, in numbers alone."""

    groups: tuple[Group, ...]
    oldest_unsettled_seconds: float | None
    last_sweep: Mapping[str, Any] | None
    tasks: tuple[TaskGroup, ...]
    """Work of the handlers that belongs to no object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport(Numbers):
    """What is done, waiting and failing. Times are ISO 8601 in UTC."""

    home: str
    version: str
    at: str
    held: int
    waiting: int
    next_wake: str | None
    unsettled: tuple[Unsettled, ...]
    failed: int
    failed_by_class: Mapping[str, int]
    failures: tuple[Failed, ...]
    """The newest."""
    sinks_away: tuple[SinkAway, ...]
    """That this process waits for: of a service, as a command does not wait."""

    def json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return asdict(self)


async def status_report(app: App) -> StatusReport:
    """Read the report from the ledger."""
    now = app.clock()
    backlogs = await Backlogs(app.ledger).all()
    numbers = await _numbers(app, backlogs)
    by_class = await app.units.error_classes()
    wakes = [backlog.next_wake for backlog in backlogs if backlog.next_wake is not None]
    return StatusReport(
        home=str(app.settings.home),
        version=__version__,
        at=iso(now),
        groups=numbers.groups,
        held=sum(backlog.held for backlog in backlogs),
        waiting=sum(backlog.waiting for backlog in backlogs),
        next_wake=iso(min(wakes)) if wakes else None,
        oldest_unsettled_seconds=numbers.oldest_unsettled_seconds,
        unsettled=tuple(_unsettled(row) for row in await app.units.unsettled(MOST)),
        failed=sum(by_class.values()),
        failed_by_class=by_class,
        failures=tuple(_failed(app, row) for row in await app.units.failures(MOST)),
        last_sweep=numbers.last_sweep,
        tasks=numbers.tasks,
        sinks_away=tuple(_away(sink.name, sink.away) for sink in app.sinks.values() if sink.away is not None),
    )


async def status_numbers(app: App) -> Numbers:
    """Read from the ledger what metrics tell: no single unit is looked for."""
    return await _numbers(app, await Backlogs(app.ledger).all())


async def _numbers(app: App, backlogs: list[Backlog]) -> Numbers:
    oldest = [backlog.oldest for backlog in backlogs if backlog.oldest is not None]
    last = await app.sweeps.last()
    return Numbers(
        groups=await _groups(app, backlogs),
        oldest_unsettled_seconds=max(app.clock() - min(oldest), 0) / 1000 if oldest else None,
        last_sweep=None if last is None else sweep_json(last),
        tasks=task_groups(await app.task_rows.all()),
    )


def sweep_json(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sweep's report with its times as all reports have them."""
    times = {name: iso(report[name]) for name in ("started_at", "finished_at") if report.get(name) is not None}
    return {**report, **times}


async def _groups(app: App, backlogs: list[Backlog]) -> tuple[Group, ...]:
    states = {
        (route.bucket, route.handler): dict.fromkeys(STATES, 0) for route in app.router.routes
    }  # routed buckets are shown before their first file
    for handler, bucket, state, number in await app.units.counts():
        states.setdefault((bucket, handler), dict.fromkeys(STATES, 0))[state] = number
    under_way = {(backlog.bucket, backlog.handler): backlog for backlog in backlogs}
    return tuple(
        Group(
            bucket=bucket,
            handler=handler,
            states=states[bucket, handler],
            held=found.held if (found := under_way.get((bucket, handler))) else 0,
            waiting=found.waiting if found else 0,
        )
        for bucket, handler in sorted(states)
    )


def _away(handler: str, away: Away) -> SinkAway:
    return SinkAway(handler=handler, reason=away.fault.reason, refuses=away.fault.refuses, since=iso(away.since))


def _unsettled(row: ledger_views.Unsettled) -> Unsettled:
    return Unsettled(
        bucket=row.key.bucket,
        unit=row.key.unit,
        handler=row.key.handler,
        status=row.status,
        held=row.held,
        due=iso(row.due),
        attempts=row.attempts,
        error=row.error,
    )


def _failed(app: App, row: Row) -> Failed:
    return Failed(
        bucket=row.key.bucket,
        unit=row.key.unit,
        handler=row.key.handler,
        error_class=row.error_class,
        error=row.error,
        at=None if row.updated_at is None else iso(row.updated_at),
        sink_holds_older=bool(row.applied_etag),
        why=command(app.settings, "why", f"{row.key.bucket}/{row.key.unit}"),
    )
