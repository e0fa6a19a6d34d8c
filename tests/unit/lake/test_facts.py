"""The bounded memory of immutable files."""

from __future__ import annotations

from handlers.csv_to_iceberg.lake.facts import Facts


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    facts: Facts[str, str] = Facts(6, len)
    facts.put("a", "xx")
    facts.put("b", "xx")
    facts.put("c", "xx")
    assert facts.get("a") == "xx"
    facts.put("d", "xxx")

    assert [facts.get(key) for key in "abcd"] == ["xx", None, None, "xxx"]


def test_a_value_beyond_the_capacity_is_kept_until_the_next() -> None:
    facts: Facts[str, str] = Facts(2, len)
    facts.put("a", "xxxxx")
    assert facts.get("a") == "xxxxx"
    facts.put("b", "x")

    assert facts.get("a") is None
    assert facts.get("b") == "x"


def test_a_value_put_again_counts_once() -> None:
    facts: Facts[str, str] = Facts(4, len)
    for _ in range(3):
        facts.put("a", "xx")
    facts.put("b", "xx")

    assert (facts.get("a"), facts.get("b")) == ("xx", "xx")
