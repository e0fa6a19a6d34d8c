"""The SILO handler."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.router import Route
from consumer.routes import HandlerKind, meeting
from consumer.settings import Settings
from handlers import silo_staging
from handlers.contract import Handler, HandlerContext
from handlers.silo_staging.options import Options

NAME = silo_staging.NAME


def _create(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Handler:
    del settings
    # Imported only here: most installations have no such route.
    from handlers.silo_staging.handler import Place, SiloStaging  # noqa: PLC0415

    places = {route.name: Place(route.bucket, route.prefix, route.options) for route in routes}
    return SiloStaging(places, context)


def _faults(routes: Sequence[Route]) -> list[str]:
    """Folders of one name would meet in one staging area."""
    return [
        f"routes {first.name} and {route.name} share {route.options.root or 'the `silo` of the home'}: "
        "give one of them another `root`"
        for first, route in meeting(routes, lambda options: options.root)
    ]


KIND = HandlerKind(options=Options, match=silo_staging.MATCH, create=_create, faults=_faults)
