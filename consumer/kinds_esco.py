"""The ESCO handler, and what commands ask of it beyond the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from consumer.exits import CONFIGURATION, CommandError
from consumer.holding import as_holder
from consumer.ledger import Ledger
from consumer.router import Route
from consumer.routes import HandlerKind, meeting
from consumer.settings import Settings
from consumer.workitem import UnitKey
from handlers import esco_index
from handlers.contract import ClaimLost, Handler, HandlerContext, HandlerError, SinkRefuses
from handlers.esco_index.options import LONGEST_REQUEST, Options
from handlers.esco_index.placing import target_of
from handlers.esco_index.schema import CLASSES, Place
from handlers.esco_index.state import REWRITE, State, Status

if TYPE_CHECKING:
    from handlers.esco_index.handler import EscoIndex

NAME = esco_index.NAME

SEARCHED = tuple(CLASSES)
"""Classes that can be searched."""


def _create(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Handler:
    del settings
    # Imported only here: Weaviate's client takes seconds, and most installations have no such route.
    from handlers.esco_index.handler import EscoIndex, Where  # noqa: PLC0415

    return EscoIndex({route.name: Where(route.bucket, route.prefix, route.options) for route in routes}, context)


def _faults(routes: Sequence[Route]) -> list[str]:
    """Releases of two buckets would meet in one set of classes."""
    return [
        f"routes {first.name} and {route.name} fill the same classes of {route.options.url}: give one of them another "
        "`class_prefix` in its options"
        for first, route in meeting(routes, _classes)
    ]


def _classes(options: Options) -> tuple[str, str]:
    """Tell one set of classes from another however the options write them: Weaviate begins names with a capital."""
    prefix = options.class_prefix
    return options.url.rstrip("/").lower(), prefix[:1].upper() + prefix[1:]


def _repair(settings: Settings, error: Exception) -> str:
    """Say what to do about a Weaviate that cannot be used."""
    del settings
    from handlers.esco_index.rest import OLDEST, TooOld  # noqa: PLC0415

    if isinstance(error, TooOld):
        return f"update Weaviate to {'.'.join(map(str, OLDEST))} or later; its own notes say which steps lie between"
    if isinstance(error, SinkRefuses):
        return "put a key that Weaviate knows into the variable that `key_variable` of the route names"
    return "start Weaviate (docker compose up -d weaviate), or correct `url` of the route"


def grace_fault(settings: Settings) -> tuple[str, str] | None:
    """
    Say what may happen with `grace_seconds` as it is, and what to set; None: nothing.

    No fault of the settings: whoever loses no process in the middle of a write (in a test, say) does well with less.
    """
    if settings.grace_seconds > LONGEST_REQUEST or all(route.handler != NAME for route in settings.routes):
        return None
    fault = (
        f"grace_seconds = {settings.grace_seconds:g}, and a request to Weaviate may take {LONGEST_REQUEST} s: the last "
        "one of a process that died may land on the objects of the one that took over"
    )
    return fault, f"set grace_seconds = {LONGEST_REQUEST + 20} or more in lakedrop.toml"


KIND = HandlerKind(options=Options, match=esco_index.MATCH, create=_create, faults=_faults, repair=_repair)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the ingestion into one set of classes is."""

    target: str
    """As in a receipt."""
    state: Mapping[str, Any]
    """`status`, `timestamp`, and what belongs to the status."""
    completed: bool
    alive: bool
    """Somebody works at it, by its last sign of life."""
    _options: Options
    _place: Place | None
    """None: there are no classes yet."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object that a search found."""

    kind: str
    """Its class, without the prefix."""
    properties: Mapping[str, Any]
    score: float | None


class Esco:
    """
    What commands ask of Weaviate.

    Args:
        handlers: Of the application.
        on_progress: Is told the step of an ingestion of this process, how much of it is done, and of how much.

    Raises:
        CommandError: No route goes there.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        on_progress: Callable[[str, int, int], None] = lambda _step, _done, _total: None,
    ) -> None:
        handler = handlers.get(NAME)
        if handler is None:
            raise CommandError(
                f'no route goes to Weaviate: give lakedrop.toml one with handler = "{NAME}"', CONFIGURATION
            )
        self._handler = cast("EscoIndex", handler)
        self._on_progress = on_progress
        self._handler.on_state = self._told

    def _told(self, state: State) -> None:
        done, _, total = str(state.details.get("objects", "")).partition("/")
        if total.isdecimal():
            self._on_progress(str(state.details.get("step", "")), int(done), int(total))

    async def standings(self) -> list[Standing]:
        """
        Ask how far all ingestions are.

        Raises:
            TransientError: Weaviate does not answer.
        """
        now = self._handler.context.clock()
        return [
            Standing(
                target_of(options, place),
                state.json(),
                state.status is Status.COMPLETED,
                state.is_alive(now, options.stale_seconds),
                options,
                place,
            )
            for options, place, state in await self._handler.states()
        ]

    def unknown(self, error: HandlerError) -> list[Standing]:
        """Return what is to be told of all routes when Weaviate could not be asked."""
        return [
            Standing(
                target_of(options, None), {"status": "unknown", "error": error.message}, False, False, options, None
            )
            for options in self._handler.routes
        ]

    async def distrust(self, standing: Standing, reason: str, ledger: Ledger) -> bool:
        """Have the next ingestion write everything, also what seems to be the same; False while somebody is at work."""
        return await self._set(standing, Status.NOT_STARTED, {"reason": reason, REWRITE: True}, ledger)

    async def fail(
        self, standing: Standing, reason: str, ledger: Ledger, *, rewrite: bool, error: str | None = None
    ) -> None:
        """Mark an ingestion as failed, with what was observed instead; not if somebody is at work, or was since."""
        observed = {name: value for name, value in standing.state.items() if name not in ("status", "timestamp")}
        details = {
            "reason": reason,
            "final_status_observed": standing.state["status"],
            "previous_status_details": observed,
            **({} if error is None else {"error": error}),
            **({REWRITE: True} if rewrite else {}),
        }
        await self._set(standing, Status.FAILED, details, ledger, seen=standing.state)

    async def _set(
        self,
        standing: Standing,
        status: Status,
        details: Mapping[str, Any],
        ledger: Ledger,
        *,
        seen: Mapping[str, Any] | None = None,
    ) -> bool:
        """Nothing is noted where the classes hold nothing: the next start finds that, and begins."""
        place = standing._place  # noqa: SLF001 (its other half; so below)
        if place is None or "unit" not in standing.state:
            return True
        key = UnitKey(NAME, standing.state["bucket"], standing.state["unit"])

        async def write(token: str) -> None:
            state = State(status, self._handler.context.clock(), details)
            await self._handler.set_state(standing._options, place, state, token, seen=seen)  # noqa: SLF001

        try:
            return await as_holder(ledger, key, write)
        except ClaimLost:
            return False

    async def validate(self, standing: Standing) -> dict[str, Any]:
        """Compare what the classes hold with what was noted of their release: counts, and errors in words."""
        if standing._place is None:  # noqa: SLF001
            return {"ingestion_status": standing.state["status"], "counts": {}, "errors": ["there are no classes yet"]}
        return await self._handler.validate(standing._options, standing._place)  # noqa: SLF001

    async def search(self, standing: Standing, text: str, kinds: Sequence[str], limit: int) -> list[Found]:
        """Return the objects of some classes that are nearest to a text, best first."""
        if standing._place is None:  # noqa: SLF001
            return []
        found = []
        for kind in kinds:
            hits = await self._handler.search(standing._options, standing._place, kind, text, limit)  # noqa: SLF001
            found += [Found(kind, hit.properties, hit.score) for hit in hits]
        return sorted(found, key=lambda one: -(one.score or 0))[:limit]
