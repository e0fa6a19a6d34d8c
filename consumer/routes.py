"""Routes of the settings become routes of the router: handlers found, options validated, contradictions refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from consumer.router import BadRoute, Route, Router
from consumer.settings import ConfigurationError, RouteSettings, Settings
from handlers.contract import Handler, HandlerContext, Planner


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
        routes.append(Route(given.name, given.bucket, given.prefix, match, given.handler, options))
    try:
        router = Router(routes)
    except BadRoute as error:
        faults.append(str(error))
    for name, kind in kinds.items():
        faults += kind.faults([route for route in routes if route.handler == name])
    if faults:
        raise ConfigurationError(faults)
    return router


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
