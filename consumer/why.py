"""
The story of one object: what the bucket shows, what the sink holds, what happened, and which command repairs.

`docs/operations.md` describes the keys of `json()`; they are kept stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumer.app import App
from consumer.exits import FAILED, CommandError
from consumer.folder_walk import is_utf8
from consumer.ledger_history import Entry
from consumer.ledger_rows import receipt_json
from consumer.ledger_status import Backlogs
from consumer.look import Look
from consumer.protocol import Row
from consumer.router import Route
from consumer.task_report import TaskState
from consumer.terminal import command, shown
from consumer.times import iso
from consumer.workitem import UnitKey
from handlers.contract import ABSENT, SinkAway, SinkRefuses, TransientError

UNKNOWN: Final = "unknown"
"""The ledger has no row: no event came yet, or no route takes the object."""
HELD: Final = "held"
"""A process works on it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the bucket shows now."""

    fingerprint: str
    size: int
    modified: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What the sink holds: the last good version."""

    fingerprint: str
    target: str
    counts: Mapping[str, int]
    detail: Mapping[str, Any]
    handler_version: str
    at: str | None
    """When it got there; None when the timeline no longer tells."""
    current: bool
    """It is the version the bucket shows now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of the timeline."""

    at: str
    event: str
    """The status it ended with."""
    reason: str | None
    """Who hinted: event, sweep, replay, wake, ..."""
    attempt: int | None
    seconds: float | None
    """From claim to settlement."""
    fingerprint: str | None
    target: str | None
    counts: Mapping[str, int] | None
    error: str | None
    next_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """All that is known about one object. Times are ISO 8601 in UTC."""

    bucket: str
    unit: str
    route: str | None
    handler: str | None
    state: str
    """One of the states of `status`, `held`, or `unknown`."""
    summary: str
    """One sentence."""
    stored: Stored | None
    holds: Holding | None
    error_class: str | None
    error: str | None
    attempts: int
    due: str | None
    """When its lease ends (held), or when it is hinted again."""
    tasks: tuple[TaskState, ...]
    """What else is done for what the sink holds, such as telling another system of its table."""
    timeline: tuple[Moment, ...]
    advice: str
    """What to do, in words."""
    repair: str | None
    """The command that repairs, or does it again."""

    def json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return asdict(self)


def locate(app: App, text: str) -> tuple[str, str]:
    """
    Return the bucket and key a person means: BUCKET/KEY, a path into a bucket, or KEY where only one bucket is routed.

    Raises:
        CommandError: The bucket cannot be told, or no object can have this name.
    """
    if not is_utf8(text):
        raise CommandError(f"{shown(text)}: its name is not UTF-8, so it is no object: rename the file", FAILED)
    path = Path(text).absolute()
    root = app.settings.buckets.absolute()
    if path.is_relative_to(root) and len(path.relative_to(root).parts) > 1:
        bucket, _, key = path.relative_to(root).as_posix().partition("/")
        return bucket, key
    buckets = sorted({route.bucket for route in app.router.routes})
    first, _, rest = text.partition("/")
    if first in buckets and rest:
        return first, rest
    if len(buckets) == 1:
        return buckets[0], text
    raise CommandError(f"{text}: begin with the bucket; routed are {', '.join(buckets)}", FAILED)


async def why_report(app: App, bucket: str, key: str) -> Why:
    """Ask ledger and store about an object."""
    found = app.looker.unit_of(bucket, key)
    unit = key if found is None else found[1].unit
    rows = await app.units.find(bucket, unit)
    wanted = None if found is None else found[1].handler
    row = next((row for row in rows if row.key.handler == wanted), rows[0] if rows else None)
    if found is None and row is not None and (covering := app.looker.route_of(row.key)) is not None:
        found = covering, row.key  # a folder, which is a unit and no object
    look, store_error = await _look(app, found[1] if found else None)
    if row is None:
        return _unknown(app, bucket, unit, found[0] if found else None, look)
    backlogs, stored = Backlogs(app.ledger), _stored(look)
    holds = await _holds(backlogs, row, look)
    state = HELD if row.lease_token is not None else ("gone" if row.gone else row.status.value)
    due = row.lease_until if row.lease_token is not None else row.wake_at
    summary, advice, repair = _verdict(app, row, look, holds, state)
    if holds and look and look.fingerprint == ABSENT and not look.keep and state != HELD:
        summary, advice, repair = _verdict_on_unfollowed(app, holds, await app.sweeps.last())
    return Why(
        bucket=bucket,
        unit=unit,
        route=found[0].name if found else None,
        handler=row.key.handler,
        state=state,
        summary=summary if store_error is None else f"{summary} The store did not answer: {store_error}",
        stored=stored,
        holds=holds,
        error_class=row.error_class,
        error=row.error,
        attempts=row.attempts,
        due=None if due is None else iso(due),
        tasks=() if holds is None else await _tasks(app, row.key.handler, holds.target),
        timeline=tuple(_moment(entry) for entry in await app.history.timeline(row.key)),
        advice=advice,
        repair=repair,
    )


async def _look(app: App, key: UnitKey | None) -> tuple[Look | None, str | None]:
    if key is None:
        return None, None
    try:
        return await app.looker.look(key), None
    except TransientError as error:
        return None, error.message


async def _tasks(app: App, handler: str, target: str) -> tuple[TaskState, ...]:
    return tuple(TaskState.of(row) for row in await app.task_rows.all(handler, target))


def _stored(look: Look | None) -> Stored | None:
    if look is None or look.fingerprint == ABSENT:
        return None
    return Stored(
        fingerprint=look.fingerprint,
        size=look.size,
        modified=None if look.modified is None else iso(look.modified),
    )


async def _holds(backlogs: Backlogs, row: Row, look: Look | None) -> Holding | None:
    receipt = row.receipt
    if receipt is None or (row.applied_etag == ABSENT and not receipt.counts.get("rows")):
        return None
    at = await backlogs.applied_at(row.key, receipt.fingerprint)
    told = receipt_json(receipt)
    return Holding(
        **told,
        at=None if at is None else iso(at),
        current=look is not None and look.fingerprint == receipt.fingerprint,
    )


def _unknown(app: App, bucket: str, unit: str, route: Route | None, look: Look | None) -> Why:
    settings = app.settings
    stored = _stored(look)
    repair: str | None = None
    if route is None:
        buckets = sorted({one.bucket for one in app.router.routes})
        summary = f"No route takes {bucket}/{unit}."
        advice = (
            "Look at `prefix` and `match` of the routes in lakedrop.toml."
            if bucket in buckets
            else f"Routed buckets are: {', '.join(buckets)}."
        )
    elif stored is None:
        summary, advice = "There is no such object, and there never was one.", "Look at what there is."
        repair = command(settings, "status")
    else:
        summary = "The object is there, and nothing has been done with it yet."
        advice = "Start the service, or compare buckets and ledger now:"
        repair = command(settings, "sweep")
    return Why(
        bucket=bucket,
        unit=unit,
        route=None if route is None else route.name,
        handler=None if route is None else route.handler,
        state=UNKNOWN,
        summary=summary,
        stored=stored,
        holds=None,
        error_class=None,
        error=None,
        attempts=0,
        due=None,
        tasks=(),
        timeline=(),
        advice=advice,
        repair=repair,
    )


class _Verdict(NamedTuple):
    summary: str
    advice: str
    repair: str | None


_GONE: Final = _Verdict("The object was deleted, and the sink holds nothing of it.", "Nothing to do.", None)


def _verdict(app: App, row: Row, look: Look | None, holds: Holding | None, state: str) -> _Verdict:
    """Say in one sentence how it stands, what to do, and with which command."""
    if app.looker.route_of(row.key) is None:
        summary = "No route takes this key any more; what the sink holds stays."
        return _Verdict(summary, "Routes are in lakedrop.toml.", None)
    again = command(app.settings, "replay", "--bucket", row.key.bucket, "--prefix", row.key.unit, "--yes")
    older = " The sink keeps the last good version." if holds and not holds.current else ""
    by_state = {
        HELD: _Verdict("A process is working on it.", "Wait; a dead process lets go when its lease ends.", None),
        "failed": _Verdict(
            f"This version cannot be ingested.{older}",
            "Do what the reason asks. A file that was repaired needs only be uploaded again; after anything else, try "
            "the same bytes once more:",
            again,
        ),
        "skipped": _Verdict("It was left alone until its content changes.", "To look again now:", again),
        "retrying": _verdict_on_away(app, row)
        or _Verdict(f"The last attempt failed; another one is due.{older}", "Wait, or try now:", again),
        "pending": _verdict_on_away(app, row)
        or _Verdict(
            "It is to be worked on.",
            "The service does that; without one:",
            command(app.settings, "run", "--once"),
        ),
    }
    return by_state.get(state) or _verdict_on_done(app, row, look, holds)


def _verdict_on_away(app: App, row: Row) -> _Verdict | None:
    """The sink was away when the unit was last looked at."""
    check = command(app.settings, "check")
    if row.error_class == SinkRefuses.__name__:
        summary = "The sink does not let us in; no attempt is counted meanwhile."
        return _Verdict(summary, "Correct what the reason names; then it goes on by itself. How it stands:", check)
    if row.error_class == SinkAway.__name__:
        summary = "The sink did not answer; no attempt is counted meanwhile."
        return _Verdict(summary, "Wait: it goes on by itself when the sink is back. How it stands:", check)
    return None


def _verdict_on_done(app: App, row: Row, look: Look | None, holds: Holding | None) -> _Verdict:
    if holds is None:
        return _GONE
    if row.gone or (look is not None and look.fingerprint == ABSENT):
        summary = f"The object was deleted; {holds.target} keeps its rows, as the route says."
        return _Verdict(summary, "Nothing to do.", None)
    if look is not None and not holds.current:
        sweep = command(app.settings, "sweep")
        summary = f"{holds.target} holds another version than the bucket."
        return _Verdict(summary, "An event was missed; find it:", sweep)
    forced = command(app.settings, "replay", "--bucket", row.key.bucket, "--prefix", row.key.unit, "--force", "--yes")
    summary = f"{holds.target} holds exactly this version."
    advice = "See the warnings above" if holds.detail.get("warnings") else "Nothing to do"
    return _Verdict(summary, f"{advice}. To do it again all the same:", forced)


def _verdict_on_unfollowed(app: App, holds: Holding, last_sweep: Mapping[str, Any] | None) -> _Verdict:
    """The object is gone, and its rows should be."""
    summary = f"The object is gone from the bucket; its rows are still in {holds.target}."
    if last_sweep is None or not last_sweep.get("withheld"):
        advice = "The next sweep removes them, unless too many objects vanished at once. To remove them all the same:"
    else:
        advice = (
            "The last sweep withheld deletions, as more objects vanished than is usual. Look at the bucket; if they "
            "are meant to be gone:"
        )
    return _Verdict(summary, advice, command(app.settings, "sweep", "--accept-vanished"))


def _moment(entry: Entry) -> Moment:
    detail = entry.detail
    receipt = detail.get("receipt") or {}
    claimed, due = detail.get("claimed_at"), detail.get("wake_at")
    return Moment(
        at=iso(entry.at),
        event=entry.event,
        reason=detail.get("reason"),
        attempt=detail.get("attempt"),
        seconds=None if claimed is None else (entry.at - claimed) / 1000,
        fingerprint=entry.etag,
        target=receipt.get("target"),
        counts=receipt.get("counts"),
        error=detail.get("error"),
        next_at=None if due is None else iso(due),
    )
