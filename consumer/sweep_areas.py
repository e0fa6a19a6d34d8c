"""What is swept together: areas of buckets, and the key ranges of an area. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.router import Route

LAST: Final = "\U0010ffff"
"""The last character: a key below a prefix comes before the prefix with this behind it."""

LEASE: Final = "sweep"
"""Names the lease of what is swept as often as all."""


@dataclass(frozen=True, slots=True)
class Area:
    """The keys of a bucket below a prefix, but for those below some longer ones, which are areas of their own."""

    bucket: str
    prefix: str
    excluded: tuple[str, ...]
    seconds: float | None
    """How often it is swept; None: as often as all."""
    shards: int
    handlers: tuple[str, ...]
    """Whose units may lie in it."""

    @property
    def name(self) -> str:
        """For reports and checkpoints."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def lease(self) -> str:
        """Who has it sweeps the area."""
        return LEASE if self.seconds is None else f"{LEASE} {self.name}"

    def has(self, key: str) -> bool:
        """Return whether a key below the prefix is in no other area."""
        return not self.excluded or not key.startswith(self.excluded)


def areas_of(routes: Iterable[Route]) -> list[Area]:
    """
    Divide the routed buckets into areas, by bucket and prefix.

    A route with `sweep_seconds` makes its prefix an area of its own; all else of a bucket is one area, if a route is
    left there. Of two routes with one prefix the shorter time counts.
    """
    areas = []
    of_bucket: dict[str, list[Route]] = {}
    for route in routes:
        of_bucket.setdefault(route.bucket, []).append(route)
    for bucket, there in sorted(of_bucket.items()):
        own: dict[str, float] = {}
        for route in there:
            if route.sweep_seconds is not None:
                own[route.prefix] = min(route.sweep_seconds, own.get(route.prefix, route.sweep_seconds))
        if any(_innermost(route.prefix, own) is None for route in there):
            areas.append(_area(bucket, "", None, own, there))
        areas += [_area(bucket, prefix, seconds, own, there) for prefix, seconds in sorted(own.items())]
    return areas


def _area(bucket: str, prefix: str, seconds: float | None, own: dict[str, float], routes: Sequence[Route]) -> Area:
    inner = [other for other in own if other.startswith(prefix) and (other != prefix or seconds is None)]
    # Only the outermost: whoever skips one skips all below it.
    excluded = tuple(sorted(one for one in inner if not any(one != two and one.startswith(two) for two in inner)))
    inside = [route for route in routes if _innermost(route.prefix, own) == (prefix if seconds is not None else None)]
    # A route takes what lies below its prefix, in whichever area that is.
    reaching = {route.handler for route in routes if route.prefix.startswith(prefix) or prefix.startswith(route.prefix)}
    shards = max((route.shards for route in inside), default=1)
    return Area(bucket, prefix, excluded, seconds, shards, tuple(sorted(reaching)))


def _innermost(prefix: str, own: Iterable[str]) -> str | None:
    """Return the longest of some prefixes that another begins with."""
    return max((one for one in own if prefix.startswith(one)), key=len, default=None)


@dataclass(frozen=True, slots=True)
class Range:
    """Keys `after` < key <= `upto`, byte by byte."""

    after: str
    upto: str | None
    """None: to the end."""


def ranges_of(splits: Sequence[str]) -> list[Range]:
    """Return the ranges between some units, which come in byte order; a unit of several objects is not split."""
    ends = [f"{unit}{LAST}" if unit.endswith("/") else unit for unit in splits]
    return [Range(after, upto) for after, upto in zip(["", *ends], [*ends, None], strict=True)]
