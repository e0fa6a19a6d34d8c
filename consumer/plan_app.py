"""What a plan is made with: a home opened so that nothing can be written, not even by mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from consumer.app import wall_clock
from consumer.exits import CommandError
from consumer.handler_context import Context
from consumer.ids import RandomIds
from consumer.kinds import builtin_kinds
from consumer.lanes import Lanes
from consumer.ledger_reading import KnownEtags, open_reading
from consumer.ledger_views import Units
from consumer.parts import LEDGER_FILE, make_store
from consumer.plan import Planning
from consumer.routes import HandlerKind, build_router
from consumer.settings import Settings
from handlers.contract import StoredObject
from handlers.planner import Planner


@asynccontextmanager
async def open_planning(
    settings: Settings,
    *,
    kinds: Mapping[str, HandlerKind] | None = None,
    reading: Callable[[StoredObject, int], None] = lambda _found, _size: None,
) -> AsyncIterator[Planning]:
    """
    Open a home for planning. A ledger or a catalog that is not there yet counts as empty.

    Args:
        settings: Of the home.
        kinds: The handlers; by default those that are installed.
        reading: See `Planning`.

    Raises:
        ConfigurationError: With one line per fault of the routes.
        CommandError: Ledger or catalog cannot be read.
    """
    kinds = builtin_kinds() if kinds is None else kinds
    router = build_router(settings, kinds)
    async with AsyncExitStack() as stack:
        lanes = Lanes()
        stack.push_async_callback(lanes.aclose)
        path = settings.home / LEDGER_FILE
        url = None if settings.ledger_url is None else settings.ledger_url.get_secret_value()
        try:
            ledger = await open_reading(url, path, run=lanes.on("ledger"), clock=wall_clock, new_id=RandomIds())
        except Exception as error:
            place = path if url is None else "the ledger's database"
            raise CommandError(f"{place} cannot be read: {getattr(error, 'orig', error)}") from error
        stack.push_async_callback(ledger.aclose)
        context = Context(settings.home, lanes, ledger)
        planners: dict[str, Planner] = {}
        for name in sorted({route.handler for route in router.routes}):
            make = kinds[name].plan
            if make is None:
                continue
            routes = [route for route in router.routes if route.handler == name]
            try:
                planners[name] = await lanes.run("commit", make, settings, routes, context)
            except Exception as error:
                raise CommandError(f"handler {name} cannot plan: {type(error).__name__}: {error}") from error
            stack.push_async_callback(planners[name].aclose)
        store = make_store(
            settings, KnownEtags(ledger), lanes, clock=wall_clock, report=lambda _bucket, _path, _reason: None
        )
        stack.push_async_callback(store.aclose)
        yield Planning(store=store, router=router, planners=planners, units=Units(ledger), reading=reading)
