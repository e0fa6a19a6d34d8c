"""Which notifications routes need, and that others' are left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.notify import (
    DEFAULT_TARGET,
    EVENTS,
    MOST_ENDS,
    Filter,
    filter_of,
    filters,
    is_ours,
    others_send,
    target_of,
    wanted,
)
from consumer.router import Route, Router


def route(prefix: str = "", *match: str, name: str = "r") -> Route:
    return Route(name, "b", prefix, match, "h")


FOREIGN: dict[str, Any] = {
    "Id": "theirs",
    "QueueArn": "arn:minio:sqs::OTHER:webhook",
    "Events": ["s3:ObjectAccessed:*"],
}


def test_one_end_of_keys_becomes_every_way_to_write_it() -> None:
    found = filters([route("in/", "*.csv")])

    assert {one.suffix for one in found} == {
        ".csv", ".csV", ".cSv", ".cSV", ".Csv", ".CsV", ".CSv", ".CSV",
    }  # fmt: skip
    assert {one.prefix for one in found} == {"in/"}


@pytest.mark.parametrize(
    "match",
    [(), ("**",), ("*",), ("dir/*.csv",), ("data*.csv",), ("*.cs?",), ("*.[ct]sv",), ("*.csv", "**"), ("*.größe",)],
)
def test_what_no_filter_can_say_is_left_to_the_router(match: tuple[str, ...]) -> None:
    assert filters([route("in/", *match)]) == [Filter("in/", "")]


def test_too_many_ends_are_left_to_the_router() -> None:
    assert len(filters([route("", "*.csv", "*.tsv", "*.txt")])) == 24
    assert filters([route("", "*.csv", "*.tsv", "*.txt", "*.json")]) == [Filter("", "")]
    assert MOST_ENDS == 32


def test_a_filter_that_another_covers_is_left_out() -> None:
    routes = [
        route("a/", name="1"),
        route("a/b/", name="2"),
        route("a/", "*.1", name="3"),
        route("c/", "*.1", name="4"),
    ]

    assert filters(routes) == [Filter("a/", ""), Filter("c/", ".1")]


KEYS = st.text("ab/.csvCSV", max_size=8)


@given(
    st.lists(st.tuples(KEYS, st.lists(st.sampled_from(["*.csv", "*.c", "*", "a/*.s", "*.S"]), max_size=2))), st.data()
)
def test_every_key_that_a_route_takes_passes_a_filter(given_routes: list[tuple[str, list[str]]], data: Any) -> None:
    routes = [route(prefix, *match, name=f"r{at}") for at, (prefix, match) in enumerate(given_routes)]
    try:
        router = Router(routes)
    except ValueError:  # two alike
        return
    starts = [route.prefix for route in routes] or [""]
    key = data.draw(st.sampled_from(starts)) + data.draw(KEYS)

    if router.match("b", key) is not None:
        assert any(key.startswith(one.prefix) and key.endswith(one.suffix) for one in filters(routes))


def test_what_others_have_set_stays_as_it_is() -> None:
    current = {"QueueConfigurations": [FOREIGN], "TopicConfigurations": [{"Id": "t"}]}

    change = wanted("b", current, [route("in/")], DEFAULT_TARGET)

    assert change.needed
    assert change.after["TopicConfigurations"] == [{"Id": "t"}]
    assert change.after["QueueConfigurations"][0] == FOREIGN
    (ours,) = filter(is_ours, change.after["QueueConfigurations"])
    assert (ours["QueueArn"], ours["Events"], filter_of(ours)) == (DEFAULT_TARGET, list(EVENTS), ("in/", ""))


def test_what_is_set_already_needs_no_change() -> None:
    first = wanted("b", {"QueueConfigurations": [FOREIGN]}, [route("in/")], DEFAULT_TARGET)
    capitals = [_capitalised(one) for one in first.after["QueueConfigurations"]]

    assert not wanted("b", {"QueueConfigurations": capitals}, [route("in/")], DEFAULT_TARGET).needed


def _capitalised(configuration: dict[str, Any]) -> dict[str, Any]:
    """Amazon writes `Prefix`, MinIO `prefix`."""
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    changed = [{"Name": rule["Name"].capitalize(), "Value": rule["Value"]} for rule in rules]
    return configuration | ({"Filter": {"Key": {"FilterRules": changed}}} if rules else {})


def test_a_changed_route_or_target_replaces_ours() -> None:
    first = wanted("b", {}, [route("in/")], DEFAULT_TARGET)
    other = wanted("b", first.after, [route("out/")], DEFAULT_TARGET)
    moved = wanted("b", first.after, [route("in/")], "arn:minio:sqs::NEW:amqp")

    assert other.needed
    assert moved.needed
    assert [filter_of(one).prefix for one in other.after["QueueConfigurations"]] == ["out/"]
    assert [one["QueueArn"] for one in moved.after["QueueConfigurations"]] == ["arn:minio:sqs::NEW:amqp"]


def test_a_difference_names_the_keys_not_sent_and_those_sent_for_nobody() -> None:
    first = wanted("b", {}, [route("in/"), route("old/", name="s")], "arn:minio:sqs::NEW:amqp")

    target = target_of(first.after)
    changed = wanted("b", first.after, [route("in/"), route("new/", name="s")], target)

    assert target == "arn:minio:sqs::NEW:amqp"
    assert changed.missing == [Filter("new/", "")]
    assert changed.superfluous == [Filter("old/", "")]
    assert target_of({"QueueConfigurations": [FOREIGN]}) == DEFAULT_TARGET


def test_notifications_of_others_count_when_they_tell_of_new_objects_and_none_are_ours() -> None:
    theirs = {"Id": "theirs", "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Events": ["s3:ObjectCreated:Put"]}
    ours = wanted("b", {}, [route()], DEFAULT_TARGET).after

    assert not others_send({"QueueConfigurations": [FOREIGN]})
    assert others_send({"TopicConfigurations": [theirs]})
    assert others_send({"EventBridgeConfiguration": {}})
    assert not others_send({**ours, "TopicConfigurations": [theirs]})


def test_without_routes_ours_are_taken_away() -> None:
    first = wanted("b", {"QueueConfigurations": [FOREIGN]}, [route()], DEFAULT_TARGET)

    assert wanted("b", first.after, (), DEFAULT_TARGET).after["QueueConfigurations"] == [FOREIGN]
    assert not wanted("b", {"QueueConfigurations": [FOREIGN]}, (), DEFAULT_TARGET).needed
