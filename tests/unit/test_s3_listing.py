"""Listings come in byte order, whole and from any key on, in whatever order a store lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import s3_listing
from consumer.s3_listing import Listings
from consumer.s3_page import Entry, Page
from handlers.contract import TransientError

KEYS = st.sets(st.text(alphabet="a-./0é", min_size=1, max_size=6), max_size=60)


def by_segment(key: str) -> Any:
    return key.replace("/", "\0")


class FakeSource:
    """Pages of keys that a store lists in an order of its own, and what it was asked for."""

    def __init__(self, keys: set[str], order: Callable[[str], Any], *, page: int = 3, is_a_tree: bool = False) -> None:
        self.keys = keys
        self.is_a_tree = is_a_tree
        self.asked: list[tuple[str, str, str]] = []
        self._order = order
        self._page = page

    async def page(self, prefix: str, after: str, token: str, *, folders: bool = False) -> Page:
        self.asked.append((prefix, after, token))
        assert not after or after.startswith(prefix)
        names = {self._name(key, prefix, folders=folders) for key in self.keys if key.startswith(prefix)}
        start = token or after
        listed = sorted(names, key=self._order)
        listed = [name for name in listed if not start or self._order(name) > self._order(start)]
        page = listed[: self._page]
        ends = [name for name in page if folders and name.endswith("/") and name != prefix]
        entries = [Entry(name, "e", 1, 0) for name in page if name not in ends]
        return Page(entries, ends, page[-1] if len(listed) > len(page) else "")

    @staticmethod
    def _name(key: str, prefix: str, *, folders: bool) -> str:
        head, slash, _ = key[len(prefix) :].partition("/")
        return prefix + head + slash if folders else key


async def listed(listings: Listings, prefix: str = "", start_after: str = "") -> list[str]:
    return [entry.key async for page in listings.pages(prefix, start_after) for entry in page]


def expected(keys: set[str], prefix: str, start_after: str) -> list[str]:
    return sorted(key for key in keys if key.startswith(prefix) and key > start_after)


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "RANGE_KEYS", 6)
    monkeypatch.setattr(s3_listing, "HELD_KEYS", 6)


@given(keys=KEYS, more=KEYS, prefix=st.sampled_from(["", "a", "a/", "a-"]), after=st.text("a-./0", max_size=3))
async def test_ranges_learned_from_a_listing_hide_no_key_from_the_next(
    keys: set[str], more: set[str], prefix: str, after: str
) -> None:
    source = FakeSource(set(keys), str)
    listings = Listings("b", source)
    assert await listed(listings) == sorted(keys)
    source.keys = (keys - set(list(more)[::2])) | more

    start = after if after.startswith(prefix) else ""
    assert await listed(listings, prefix, start) == expected(source.keys, prefix, start)
    assert await listed(listings) == sorted(source.keys)


async def test_the_second_listing_of_a_bucket_fetches_ranges_at_once() -> None:
    source = FakeSource({f"{number:03}" for number in range(100)}, str)
    listings = Listings("b", source)
    await listed(listings)
    assert {after for _, after, _ in source.asked} == {""}
    source.asked.clear()

    assert await listed(listings) == sorted(source.keys)

    assert [after for _, after, token in source.asked if not token][: s3_listing.RANGES] == ["", "005", "011", "017"]


async def test_ranges_are_learned_anew_from_time_to_time() -> None:
    source = FakeSource({f"{number:03}" for number in range(100)}, str)
    listings = Listings("b", source)
    without_ranges = 0
    for _ in range(2 * s3_listing.USES):
        source.asked.clear()
        await listed(listings)
        without_ranges += {after for _, after, _ in source.asked} == {""}

    assert without_ranges == 3


@given(keys=KEYS, prefix=st.sampled_from(["", "a", "a/", "a-"]), after=st.text("a-./0", max_size=3))
async def test_a_store_that_lists_folder_by_folder_is_read_in_byte_order(
    keys: set[str], prefix: str, after: str
) -> None:
    keys = {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}
    source = FakeSource(keys, by_segment, is_a_tree=True)
    start = after if after.startswith(prefix) else ""

    assert await listed(Listings("b", source), prefix, start) == expected(keys, prefix, start)


async def test_disorder_found_before_the_first_key_was_given_is_sorted() -> None:
    source = FakeSource({"a/1", "a-1", "b"}, by_segment, page=10)

    assert await listed(Listings("b", source)) == ["a-1", "a/1", "b"]


async def test_disorder_found_later_fails_this_listing_and_no_other() -> None:
    keys = {f"{number:02}" for number in range(20)} | {"a/1", "a-1", "a.csv"}
    listings = Listings("b", FakeSource(keys, by_segment))

    with pytest.raises(TransientError, match="bucket b is not listed in byte order; from now on"):
        await listed(listings)

    assert await listed(listings) == sorted(keys)


async def test_a_store_without_any_order_is_sorted() -> None:
    keys = {f"{number:02}/{number}" for number in range(40)}
    listings = Listings("b", FakeSource(keys, lambda key: key[::-1]))
    for _ in range(3):
        try:
            found = await listed(listings)
            break
        except TransientError:
            continue

    assert found == sorted(keys)


async def test_a_listing_left_early_ends_its_requests() -> None:
    source = FakeSource({f"{number:03}" for number in range(100)}, str)
    listings = Listings("b", source)
    await listed(listings)
    source.asked.clear()

    pages = listings.pages("", "")
    await anext(pages)
    await pages.aclose()

    assert 0 < len(source.asked) < 34
