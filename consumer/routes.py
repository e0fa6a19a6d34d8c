"""Routes of the settings become routes of the router: handlers found, options validated, contradictions refused."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from consumer.catalog import warehouse_faults
from consumer.router import BadRoute, Route, Router
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings
from consumer.workitem import TASKS
from handlers.contract import Handler, HandlerContext
from handlers.planner import Planner


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    """A unit, and what became of its versions."""

    bucket: str
    unit: str
    held: str | None
    """Fingerprint of the version that the sink holds."""
    target: str | None
    """Where it holds that."""
    detail: Mapping[str, Any]
    """Of the receipt of that."""
    failed: str | None
    """Fingerprint of a newer one, which failed."""


def receipt_rejections(_settings: Settings, of: Processed, limit: int) -> dict[str, Any]:
    """Return the first rejected records that a receipt names, as `rejected`."""
    return {"rejected": list(of.detail.get("rejects") or [])[:limit]}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerKind:
    """What the consumer knows of a handler before it is made. Third parties name one in `lakedrop.handlers`."""

    options: type[BaseModel]
    """Options of a route; its field `on_delete`, if it has one, is "keep" or "remove"."""
    match: tuple[str, ...]
    """Globs of a route that names none."""
    create: Callable[[Settings, Sequence[Route], HandlerContext], Handler]
    plan: Callable[[Settings, Sequence[Route], HandlerContext], Planner] | None = None
    """Makes the planner, for handlers that have one."""
    faults: Callable[[Sequence[Route]], list[str]] = lambda _routes: []
    """One line per contradiction between this handler's routes."""
    repair: Callable[[Settings, Exception], str | None] = lambda _settings, _error: None
    """Says what to do about a sink that does not answer; None where the error says it."""
    rejections: Callable[[Settings, Processed, int], dict[str, Any]] = receipt_rejections
    """
    Reads what of a unit could not be taken in, at most so many of each; blocks.

    It returns some of: kept (rejected records there are), rejected (the first of them: record, line, text, reason),
    rescued_rows (rows with rescued cells), rescued (their cells: column, text, row), and failed_kept, failed_rejected
    (records of the version that failed).
    """


def meeting(routes: Sequence[Route], place: Callable[[Any], Hashable]) -> Iterator[tuple[Route, Route]]:
    """
    Yield routes whose options lead to the same place: the first of them with each other one.

    Args:
        routes: Those of one handler, in their order; one whose options are not right leads nowhere.
        place: What a route's options say of where its units go.
    """
    owners: dict[Hashable, Route] = {}
    for route in routes:
        if route.options is not None:
            first = owners.setdefault(place(route.options), route)
            if first is not route:
                yield first, route


def build_router(settings: Settings, kinds: Mapping[str, HandlerKind]) -> Router:
    """
    Build the router.

    Raises:
        ConfigurationError: One line per fault of any route.
    """
    faults: list[str] = []
    routes: list[Route] = []
    for given in settings.routes:
        kind = kinds.get(given.handler)
        if kind is None:
            known = ", ".join(sorted(kinds))
            faults.append(f"route {given.name}: handler = {given.handler!r}: unknown; there are: {known}")
            continue
        options = _options(given, kind, faults)
        match = kind.match if given.match is None else given.match
        routes.append(
            Route(
                given.name,
                given.bucket,
                given.prefix,
                match,
                given.handler,
                options,
                given.queue,
                given.sweep_seconds,
                given.shards,
            )
        )
    try:
        router = Router(routes)
    except BadRoute as error:
        faults.append(str(error))
    faults += [*_queue_faults(routes, kinds), *warehouse_faults(settings, routes)]
    for name, kind in kinds.items():
        faults += kind.faults([route for route in routes if route.handler == name])
    if faults:
        raise ConfigurationError(faults)
    return router


def _queue_faults(routes: Sequence[Route], kinds: Mapping[str, HandlerKind]) -> Iterator[str]:
    """A worker reads the hints of one handler from its queues; those of another would end in the dead queue."""
    owners: dict[str, Route] = {}
    for route in routes:
        if route.queue is None:
            continue
        if route.queue in kinds or route.queue in ("ingress", TASKS):
            yield f"route {route.name}: queue = {route.queue!r}: there are queues of this name; choose another"
        owner = owners.setdefault(route.queue, route)
        if owner.handler != route.handler:
            handlers = f"{owner.handler} and {route.handler}"
            yield f"routes {owner.name} and {route.name}: queue = {route.queue!r}: shared by handlers {handlers}"


def _options(given: RouteSettings, kind: HandlerKind, faults: list[str]) -> Any:
    try:
        return kind.options(**given.options)
    except ValidationError as error:
        known = ", ".join(kind.options.model_fields)
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            what = f"unknown option; there are: {known}" if fault["type"] == "extra_forbidden" else fault["msg"]
            faults.append(f"route {given.name}: options.{name} = {fault['input']!r}: {what}")
        return None
