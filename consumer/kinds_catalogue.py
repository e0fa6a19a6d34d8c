"""The handler of the dataset catalogue, and what commands ask of it beyond the contract."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from consumer.exits import USAGE, CommandError
from consumer.router import Route
from consumer.routes import HandlerKind, build_router
from consumer.settings import Settings
from handlers import dataset_catalogue
from handlers.contract import Handler, HandlerContext
from handlers.dataset_catalogue.options import Options

if TYPE_CHECKING:
    from handlers.dataset_catalogue.search import Catalogue

NAME: Final = dataset_catalogue.NAME

# What follows imports the handler only where it is needed: most installations have no such route.


def _create(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Handler:
    from handlers.dataset_catalogue.handler import create  # noqa: PLC0415

    (route,) = routes
    return create(route.options, _url(settings), os.environ, context)


def _faults(routes: Sequence[Route]) -> list[str]:
    """There is one catalogue; and tasks that there are not would never be missed."""
    if not routes:
        return []
    from handlers.dataset_catalogue.registry import faults  # noqa: PLC0415

    found = []
    if len(routes) > 1:
        names = " and ".join(route.name for route in routes)
        found.append(f"routes {names}: there is one catalogue: give it one route, whose folders are its sources")
    for route in routes:
        if route.options is not None:
            found += [f"route {route.name}: {fault}" for fault in faults(route.options)]
    return found


KIND: Final = HandlerKind(options=Options, match=dataset_catalogue.MATCH, create=_create, faults=_faults)


def search_catalogue(settings: Settings, text: str, limit: int, source: str | None) -> list[dict[str, Any]]:
    """
    Find datasets. Blocks.

    Returns:
        For each: source, external_id, title, url, description, and score (of the vectors; None without).

    Raises:
        CommandError: No route has the catalogue.
        HandlerError: Its database cannot be used, or what makes vectors.
    """
    with closing(_catalogue(settings)) as catalogue:
        return catalogue.search(text, limit, source)


def catalogue_counts(settings: Settings) -> dict[str, dict[str, int]]:
    """
    Count datasets. Blocks; raises as `search_catalogue` does.

    Returns:
        By source: datasets by status, then how many are not active, and how many have a vector.
    """
    with closing(_catalogue(settings)) as catalogue:
        return catalogue.counts()


def _catalogue(settings: Settings) -> Catalogue:
    from handlers.dataset_catalogue.search import Catalogue  # noqa: PLC0415

    given = tuple(route for route in settings.routes if route.handler == NAME)
    router = build_router(settings.model_copy(update={"routes": given}), {NAME: KIND})
    if not router.routes:
        raise CommandError("no route has the handler dataset_catalogue: docs/catalogue.md shows one", USAGE)
    return Catalogue(router.routes[0].options, _url(settings), os.environ, settings.home)


def _url(settings: Settings) -> str | None:
    return None if settings.catalogue_url is None else settings.catalogue_url.get_secret_value()
