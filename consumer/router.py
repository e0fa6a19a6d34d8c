"""
Which handler takes an object. Pure.

Globs are those of `.gitignore`, ignoring case: one without `/` is compared with the last segment of the key, so
`*.csv` also takes `2026/Q1.CSV`; one with `/` with the whole rest of the key after the route's prefix. `*` and `?` stay
within a segment, `**` crosses segments, `[a-c]` and `[!a-c]` are one character. The prefix is compared exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


class BadRoute(ValueError):
    """The routes cannot be used; the text names them."""


@dataclass(frozen=True, slots=True)
class Route:
    """Objects of a bucket whose keys begin with `prefix` and fit `match` go to `handler`."""

    name: str
    bucket: str
    prefix: str
    match: tuple[str, ...]
    """Globs; without any every key fits."""
    handler: str
    options: Any = None
    """The handler's own validated options."""
    queue: str | None = None
    """Name of queues of its own; None: those of the handler."""
    sweep_seconds: float | None = None
    """How often it is swept; None: as often as all."""
    shards: int = 1
    """Key ranges that a sweep lists at once."""


class _Candidate(NamedTuple):
    """A route, ready to be compared with millions of keys."""

    prefix: str
    fits: Callable[[str, int], object]
    """Takes a key, and where its rest begins."""
    rest: int
    route: Route


class Router:
    """
    All routes. Among those that fit a key the longest prefix wins, then file order.

    Raises:
        BadRoute: Two routes have the same name, or the same bucket, prefix and globs; or a glob makes no sense.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_bucket: dict[str, list[_Candidate]] = {}
        names: set[str] = set()
        by_reach: dict[tuple[str, str, frozenset[str]], Route] = {}
        for route in self.routes:
            if route.name in names:
                raise BadRoute(f"two routes are named `{route.name}`: rename one")
            reach = (route.bucket, route.prefix, frozenset(glob.lower() for glob in route.match))
            twin = by_reach.setdefault(reach, route)
            if twin is not route:
                raise BadRoute(
                    f"routes `{twin.name}` and `{route.name}` have the same bucket `{route.bucket}`, "
                    f"prefix `{route.prefix}` and match {list(route.match)}: remove one or change its prefix or match"
                )
            names.add(route.name)
            candidate = _Candidate(route.prefix, _pattern(route).fullmatch, len(route.prefix), route)
            self._by_bucket.setdefault(route.bucket, []).append(candidate)
        for candidates in self._by_bucket.values():
            candidates.sort(key=lambda candidate: -candidate.rest)

    def match(self, bucket: str, key: str) -> Route | None:
        """Return the route of an object; None when nobody takes it, as with folder markers (`dir/`)."""
        if key.endswith("/"):
            return None
        for prefix, fits, rest, route in self._by_bucket.get(bucket, ()):
            if key.startswith(prefix) and fits(key, rest):
                return route
        return None

    def covering(self, bucket: str, unit: str, handler: str) -> Route | None:
        """Return the handler's route with the longest prefix that a unit of several objects lies below."""
        candidates = (candidate.route for candidate in self._by_bucket.get(bucket, ()))
        return next((route for route in candidates if route.handler == handler and unit.startswith(route.prefix)), None)


def _pattern(route: Route) -> re.Pattern[str]:
    expressions = (
        _expression(glob) if "/" in glob else f"(?:.*/)?{_expression(glob)}" for glob in route.match or ("**",)
    )
    try:
        return re.compile("|".join(expressions), re.DOTALL | re.IGNORECASE)
    except re.error as error:
        raise BadRoute(f"route `{route.name}`: match {list(route.match)} holds a range that makes no sense") from error


_TOKEN = re.compile(
    r"""
    (?P<folders> (?:^|(?<=/)) \*\*/ )
    | (?P<any> \*\* )
    | (?P<star> \* )
    | (?P<one> \? )
    | \[ (?P<set> !? \]? [^\]]* ) \]
    | (?P<text> . )
    """,
    re.DOTALL | re.VERBOSE,
)


def _expression(glob: str) -> str:
    return "".join(_translate(token) for token in _TOKEN.finditer(glob.removeprefix("/")))


def _translate(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "any":
            return ".*"
        case "star":
            return "[^/]*"
        case "one":
            return "[^/]"
        case "set":
            return _character_class(token["set"])
        case _:
            return re.escape(token["text"])


def _character_class(members: str) -> str:
    negated = members.startswith("!")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members.removeprefix("!"))
    return f"(?!/)[{'^' if negated else ''}{escaped}]"
