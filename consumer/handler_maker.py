"""Makes the handlers that routes name, when their servers let it, and says meanwhile why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from consumer.exits import CommandError
from consumer.handler_context import Context
from consumer.lanes import Lanes
from consumer.router import Route
from consumer.routes import HandlerKind
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.sink import Sink
from handlers.contract import Handler, SinkAway, SinkRefuses, TransientError


class HandlerMaker:
    """The handlers of one process, and their sinks, which can be asked before there is a handler."""

    def __init__(
        self,
        settings: Settings,
        kinds: Mapping[str, HandlerKind],
        routes: Sequence[Route],
        lanes: Lanes,
        context: Context,
    ) -> None:
        self.handlers: dict[str, Handler] = {}
        """By name; empty until they are made."""
        self.sinks = {
            name: Sink(name, partial(self._ping, name), clock=context.clock)
            for name in sorted({route.handler for route in routes})
        }
        self._settings = settings
        self._kinds = kinds
        self._routes = routes
        self._lanes = lanes
        self._context = context
        self._unmade: dict[str, SinkAway] = {}
        """Why handlers could not be made yet."""

    async def make_all(self) -> None:
        """Make those that are not made yet; raises as `make` does."""
        for name in sorted(self.sinks.keys() - self.handlers.keys()):
            await self.make(name)

    async def make(self, name: str) -> None:
        """
        Make one of them.

        Raises:
            SinkAway: A server does not answer, or refuses.
            ConfigurationError: It cannot do what the routes say.
            CommandError: Something else is in the way.
        """
        create = self._kinds[name].create
        routes = [route for route in self._routes if route.handler == name]
        try:
            self.handlers[name] = await self._lanes.run("commit", create, self._settings, routes, self._context)
        except TransientError as error:
            reason = f"handler {name} cannot begin: {error.message}"
            self._unmade[name] = SinkRefuses(reason) if isinstance(error, SinkRefuses) else SinkAway(reason)
            raise self._unmade[name] from error
        except ConfigurationError:
            raise
        except Exception as error:
            raise CommandError(f"handler {name} cannot begin: {type(error).__name__}: {error}") from error

    def repair(self, name: str, error: Exception) -> str | None:
        """Say what to do about the sink of one that does not answer; None where the error says it."""
        return self._kinds[name].repair(self._settings, error)

    async def _ping(self, name: str) -> None:
        if name in self.handlers:
            await self.handlers[name].ping()
        else:
            raise self._unmade.get(name) or SinkAway(f"handler {name} has not begun")
