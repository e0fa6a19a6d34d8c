from __future__ import annotations

import pytest

from consumer.router import BadRoute, Route, Router


def route(name: str = "r", prefix: str = "", *match: str, bucket: str = "b") -> Route:
    return Route(name, bucket, prefix, match, "csv_to_iceberg")


def takes(glob: str, key: str, prefix: str = "") -> bool:
    return Router([route("r", prefix, glob)]).match("b", key) is not None


def test_object_of_another_bucket_is_not_taken() -> None:
    assert Router([route(bucket="b")]).match("c", "k") is None


def test_longest_prefix_wins() -> None:
    short, long = route("short", "a/"), route("long", "a/b/")
    router = Router([short, long])

    assert router.match("b", "a/b/k") is long
    assert router.match("b", "a/k") is short
    assert router.match("b", "k") is None


def test_longer_prefix_whose_globs_do_not_fit_gives_way() -> None:
    short, long = route("short", "a/"), route("long", "a/b/", "*.json")

    assert Router([short, long]).match("b", "a/b/k.csv") is short


def test_file_order_decides_between_equal_prefixes() -> None:
    first, second = route("first", "", "*.csv", "*.tsv"), route("second", "", "*.csv", "*.json")
    router = Router([first, second])

    assert router.match("b", "k.csv") is first
    assert router.match("b", "k.json") is second


def test_prefix_is_compared_exactly() -> None:
    assert Router([route("r", "Data/")]).match("b", "data/k") is None


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.csv", "q1.csv"),
        ("*.csv", "2026/11/q1.csv"),
        ("*.csv", "2026/Q1.CSV"),
        ("*.csv", ".csv"),
        ("*.csv", "new\nline/a\nb.csv"),
        ("q?.csv", "x/q1.csv"),
        ("q[0-9].csv", "q1.csv"),
        ("q[!0-9].csv", "qx.csv"),
        ("[]]", "]"),
        ("[[]", "["),
        ("a[^b]", "a^"),
        ("[", "["),
        ("100%+.csv", "100%+.csv"),
        ("in/*.csv", "in/q1.csv"),
        ("/*.csv", "q1.csv"),
        ("in/**", "in/a/b.csv"),
        ("**/q1.csv", "q1.csv"),
        ("**/q1.csv", "a/b/q1.csv"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("a**z", "abcz"),
    ],
)
def test_glob_takes_key(glob: str, key: str) -> None:
    assert takes(glob, key)


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.csv", "q1.csv.gz"),
        ("*.csv", "q1xcsv"),
        ("q1.csv", "xq1.csv"),
        ("q?.csv", "q/.csv"),
        ("q[!0-9]", "q/"),
        ("q[!0-9]1.csv", "q/1.csv"),
        ("q[0-9].csv", "qx.csv"),
        ("in/*.csv", "in/a/q1.csv"),
        ("in/*.csv", "x/in/q1.csv"),
        ("/*.csv", "a/q1.csv"),
        ("a/**/z", "a/bz"),
    ],
)
def test_glob_leaves_key(glob: str, key: str) -> None:
    assert not takes(glob, key)


def test_globs_are_compared_with_the_key_after_the_prefix() -> None:
    assert takes("in/*.csv", "data/in/q1.csv", prefix="data/")
    assert not takes("data/*", "data/in", prefix="data/")


def test_folder_marker_is_not_taken() -> None:
    assert Router([route()]).match("b", "dir/") is None


def test_two_routes_alike_are_refused_by_name() -> None:
    with pytest.raises(BadRoute, match="routes `one` and `two` have the same bucket `b`, prefix `p/` and match"):
        Router([route("one", "p/", "*.csv", "*.tsv"), route("two", "p/", "*.TSV", "*.csv")])


def test_two_routes_of_one_name_are_refused() -> None:
    with pytest.raises(BadRoute, match="two routes are named `one`"):
        Router([route("one", "a/"), route("one", "b/")])


def test_senseless_range_is_refused_with_the_route() -> None:
    with pytest.raises(BadRoute, match=r"route `r`: match \['q\[9-0\]'\]"):
        Router([route("r", "", "q[9-0]")])


def test_route_of_a_prefix_unit_is_its_handlers_longest() -> None:
    short, long = route("short", "a/"), route("long", "a/b/", "*.csv")
    router = Router([short, long])

    assert router.covering("b", "a/b/c/", "csv_to_iceberg") is long
    assert router.covering("b", "a/c/", "csv_to_iceberg") is short
    assert router.covering("b", "a/c/", "other") is None
    assert router.covering("c", "a/c/", "csv_to_iceberg") is None
