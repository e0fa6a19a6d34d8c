"""
Which notifications the buckets of the routes need, and how they differ from those that are set. Pure.

A filter of S3 is a beginning and an end of keys, and minds case; the globs of a route do not. `*.csv` becomes eight
ends. What cannot be said so is left to the router: a notification too many costs a look at the routes.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from consumer.router import Route

DEFAULT_TARGET: Final = "arn:minio:sqs::LAKEDROP:amqp"
"""MinIO's name for what `MINIO_NOTIFY_AMQP_…_LAKEDROP` describes; infra/minio-notify/minio.env does."""

LAKEHOUSE_BUCKETS: Final = ("lakehouse", "lakehouse-warehouse")
"""What the rest of a lakehouse on this store expects beside the routes' buckets."""

EVENTS: Final = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")

OURS: Final = "lakedrop-"
"""Begins the id of every configuration that is ours; others are never touched."""

MOST_ENDS: Final = 32
"""Of one route; stores bound the number of configurations of a bucket, Amazon to 100."""

_LITERAL_END: Final = re.compile(r"\*[^*?\[\]/]+")


class Filter(NamedTuple):
    """Keys that begin and end so."""

    prefix: str
    suffix: str

    def covers(self, other: Filter) -> bool:
        """Tell whether every key of the other is one of these."""
        return other.prefix.startswith(self.prefix) and other.suffix.endswith(self.suffix)


def filters(routes: Iterable[Route]) -> list[Filter]:
    """Return the filters that together let through every key that one of the routes of a bucket takes."""
    found = {Filter(route.prefix, end) for route in routes for end in _ends(route.match)}
    return sorted(one for one in found if not any(other != one and other.covers(one) for other in found))


def _ends(globs: Sequence[str]) -> set[str]:
    """Return the ends of keys that the globs take; an empty one where they cannot be listed."""
    ends: set[str] = set()
    for glob in globs or ("**",):
        if not _LITERAL_END.fullmatch(glob) or not glob.isascii():
            return {""}
        letters = [sorted({letter.lower(), letter.upper()}) for letter in glob[1:]]
        if len(ends) + 2 ** sum(len(cases) - 1 for cases in letters) > MOST_ENDS:
            return {""}
        ends |= {"".join(chosen) for chosen in itertools.product(*letters)}
    return ends


@dataclass(frozen=True, slots=True)
class Change:
    """What is set on a bucket, what ought to be, and what that takes."""

    bucket: str
    before: Mapping[str, Any]
    """As S3 tells it: `QueueConfigurations` and others."""
    after: Mapping[str, Any]

    @property
    def needed(self) -> bool:
        """Whether anything of ours is missing, too much, or different."""
        return _ours(self.before) != _ours(self.after)

    @property
    def missing(self) -> list[Filter]:
        """Keys whose events are not sent as they ought to be."""
        return sorted(keys for *_, keys in _ours(self.after) - _ours(self.before))

    @property
    def superfluous(self) -> list[Filter]:
        """Keys whose events are sent, by a notification of ours, as no route needs them."""
        return sorted(keys for *_, keys in _ours(self.before) - _ours(self.after))


def wanted(bucket: str, current: Mapping[str, Any], routes: Iterable[Route], target: str) -> Change:
    """Return what gives a bucket the notifications of its routes; without routes it takes ours away."""
    configurations = [_configuration(target, one) for one in filters(routes)]
    return Change(bucket, current, {**current, "QueueConfigurations": [*foreign(current), *configurations]})


def foreign(current: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the queue configurations that are not ours, as they are."""
    return [one for one in current.get("QueueConfigurations", ()) if not is_ours(one)]


def is_ours(configuration: Mapping[str, Any]) -> bool:
    """Tell by its id whether a configuration was set here."""
    return str(configuration.get("Id", "")).startswith(OURS)


def target_of(current: Mapping[str, Any]) -> str:
    """Return where ours send to, if that is one place; the usual one otherwise."""
    targets = {str(one["QueueArn"]) for one in current.get("QueueConfigurations", ()) if is_ours(one)}
    return targets.pop() if len(targets) == 1 else DEFAULT_TARGET


def others_send(current: Mapping[str, Any]) -> bool:
    """Tell whether what others have set, and nothing of ours, tells of new objects: to some place, by some filter."""
    kinds = ("QueueConfigurations", "TopicConfigurations", "LambdaFunctionConfigurations")
    found = [one for kind in kinds for one in current.get(kind, ())]
    if any(map(is_ours, found)):
        return False
    events = [str(event) for one in found for event in one.get("Events", ())]
    return "EventBridgeConfiguration" in current or any(event.startswith("s3:ObjectCreated") for event in events)


def filter_of(configuration: Mapping[str, Any]) -> Filter:
    """Return the filter of a configuration; stores write its words in both cases."""
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    values = {str(rule["Name"]).lower(): str(rule["Value"]) for rule in rules}
    return Filter(values.get("prefix", ""), values.get("suffix", ""))


def _configuration(target: str, one: Filter) -> dict[str, Any]:
    digest = hashlib.sha256("\0".join((target, *one, *EVENTS)).encode()).hexdigest()
    configuration: dict[str, Any] = {"Id": f"{OURS}{digest[:12]}", "QueueArn": target, "Events": list(EVENTS)}
    rules = [{"Name": name, "Value": value} for name, value in one._asdict().items() if value]
    return configuration | ({"Filter": {"Key": {"FilterRules": rules}}} if rules else {})


def _ours(notification: Mapping[str, Any]) -> set[tuple[str, str, Filter]]:
    """Return what ours say, in a form that can be compared; the id names target, filter and events."""
    return {
        (str(one["Id"]), str(one["QueueArn"]), filter_of(one))
        for one in notification.get("QueueConfigurations", ())
        if is_ours(one)
    }
