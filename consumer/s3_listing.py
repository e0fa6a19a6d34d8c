"""
Listing a bucket in byte order: several ranges of keys at once, in constant memory.

Where the ranges begin is learned from the listing before: every few pages its last key is remembered.

SeaweedFS lists folder by folder: `a/1` before `a.csv`, though a dot comes before a slash; and asked to start after `a`
it leaves out all of `a/`. It is read as a tree. What a store lists in no order known is sorted.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from heapq import heappop, heappush
from itertools import islice, takewhile
from operator import attrgetter, lt
from typing import Final, Protocol

from consumer.s3_page import Entry, Page
from handlers.contract import TransientError

RANGE_KEYS: Final = 4000
"""Keys in a range, at least."""
RANGES: Final = 4
"""Ranges under way at once."""
AHEAD: Final = 4
"""Pages of each of them that are fetched before they are wanted, some 250 kB each."""
USES: Final = 12
"""
Listings that ranges are used for before they are learned anew: a store that compares `start-after` in another order
than it lists could hide keys from them, and a listing from one page to the next could not.
"""
HELD_KEYS: Final = 50_000
"""Keys from the beginning of a listing that are looked at before the first is given: they can still be sorted."""


class OutOfOrder(Exception):
    """The store does not list in byte order."""


class Source(Protocol):
    """Where pages come from."""

    async def page(self, prefix: str, after: str, token: str, *, folders: bool = False) -> Page:
        """Fetch one; see `page_query`."""
        ...

    @property
    def is_a_tree(self) -> bool:
        """Whether the store, of which a page was fetched, is known to list folder by folder."""
        ...


class Listings:
    """What is known of one bucket's listings. Used by one listing after another, or by several."""

    def __init__(self, bucket: str, source: Source) -> None:
        self._bucket = bucket
        self._source = source
        self._points: list[str] = []
        self._uses = 0
        self._ways = [self._in_order, self._as_tree, self._sorted]

    async def pages(self, prefix: str, start_after: str) -> AsyncGenerator[Sequence[Entry]]:
        """
        Yield the objects below a prefix and after a key, in byte order.

        Raises:
            TransientError: The store did not answer; or it turned out too late that it lists in another order: from
                then on it is asked another way.
        """
        while True:
            way = self._ways[0]
            last = start_after
            try:
                async with aclosing(way(prefix, start_after)) as pages:
                    async for page in pages:
                        if way != self._in_order and not is_ascending(last, page):
                            raise OutOfOrder  # noqa: TRY301 (that way raises it itself)
                        last = page[-1].key
                        yield page
            except OutOfOrder:
                if way in self._ways[:-1]:
                    self._ways.remove(way)
                if last != start_after:
                    raise TransientError(
                        f"bucket {self._bucket} is not listed in byte order; from now on its listings are sorted",
                        retry_after=0,
                    ) from None
            else:
                return

    async def _in_order(self, prefix: str, start_after: str) -> AsyncGenerator[Sequence[Entry]]:
        """Yield the pages of a store that lists in byte order; the first ones after they were looked at together."""
        points = self._points_within(prefix, start_after)
        held: list[Sequence[Entry]] = []
        holding = not points
        looked_at = 0
        learned = _Learned()
        last = start_after
        ended = False
        try:
            async with aclosing(self._fetched(prefix, [start_after, *points])) as pages:
                async for page in pages:
                    if self._source.is_a_tree or not is_ascending(last, page):
                        raise OutOfOrder
                    last = page[-1].key
                    learned.note(page)
                    held.append(page)
                    looked_at += len(page)
                    holding = holding and looked_at < HELD_KEYS
                    while held and not holding:
                        yield held.pop(0)
                for page in held:
                    yield page
            ended = True
        finally:
            self._learn(prefix, start_after, None if ended else last, learned.points)

    async def _fetched(self, prefix: str, starts: Sequence[str]) -> AsyncGenerator[Sequence[Entry]]:
        """Yield the pages of all ranges, one range after the other."""
        waiting = deque(zip(starts, (*starts[1:], None), strict=True))
        under_way: deque[_Range] = deque()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < RANGES:
                    under_way.append(_Range(self._source, prefix, *waiting.popleft()))
                async for page in under_way[0].pages():
                    yield page
                under_way.popleft()
        finally:
            for one in under_way:
                one.cancel()

    def _points_within(self, prefix: str, start_after: str) -> list[str]:
        points = self._points[bisect_right(self._points, max(prefix, start_after)) :]
        points = list(takewhile(lambda point: point.startswith(prefix), points))
        self._uses = (self._uses + 1) % USES
        return points if self._uses else []

    def _learn(self, prefix: str, start_after: str, upto: str | None, points: Sequence[str]) -> None:
        """Replace the points of what was listed."""
        begin = max(prefix, start_after)
        others = [
            point
            for point in self._points
            if point <= begin or not point.startswith(prefix) or (upto is not None and point > upto)
        ]
        self._points = sorted({*others, *points})

    async def _as_tree(self, prefix: str, start_after: str) -> AsyncGenerator[Sequence[Entry]]:
        """
        Yield the pages of a store that lists folder by folder.

        What is small enough is sorted. Of a larger folder the files come in byte order and the folders in it before
        some files that belong before them: a folder is held back, by its name alone, until its turn comes.
        """
        whole = await self._small(prefix)
        if whole is not None:
            if rest := [entry for entry in whole if entry.key > start_after]:
                yield rest
            return
        folders: list[str] = []
        token = ""
        while True:
            page = await self._source.page(prefix, "", token, folders=True)
            for turn in turns(page, folders):
                if not isinstance(turn, str):
                    if rest := turn[bisect_right(turn, start_after, key=attrgetter("key")) :]:
                        yield rest
                elif turn > start_after or start_after.startswith(turn):
                    async with aclosing(self._as_tree(turn, start_after)) as inner:
                        async for one in inner:
                            yield one
            token = page.token
            if not token:
                return

    async def _small(self, prefix: str) -> list[Entry] | None:
        """Return everything below a prefix, sorted; None when it is too much to be held."""
        found: list[Entry] = []
        async with aclosing(self._fetched(prefix, [""])) as pages:
            async for page in pages:
                found += page
                if len(found) > HELD_KEYS:
                    return None
        return sorted(found)

    async def _sorted(self, prefix: str, start_after: str) -> AsyncGenerator[Sequence[Entry]]:
        """Yield everything below a prefix at once: memory grows with it, by some 350 bytes for each object."""
        found: dict[str, Entry] = {}
        async with aclosing(self._fetched(prefix, [""])) as pages:
            async for page in pages:
                found.update((entry.key, entry) for entry in page)
        if rest := [found[key] for key in sorted(found) if key > start_after]:
            yield rest


def turns(page: Page, folders: list[str]) -> Iterator[list[Entry] | str]:
    """
    Yield the files and folders of a page in byte order: of folders those whose turn has come.

    Args:
        page: The next one of a folder.
        folders: A heap of those that wait for their turn; those of the page join it.
    """
    files = sorted(page.entries)
    names = [entry.key for entry in files]
    for folder in page.folders:
        heappush(folders, folder)
    # No page to come holds a name before the last of this one; folders take their place without the slash.
    reached = max([*names[-1:], *(folder[:-1] for folder in page.folders)], default="")
    at = 0
    while folders and (folders[0] < reached or not page.token):
        folder = heappop(folders)
        upto = bisect_left(names, folder)
        yield files[at:upto]
        yield folder
        at = upto
    yield files[at:]


def is_ascending(after: str, page: Sequence[Entry]) -> bool:
    """Tell whether a page, which is not empty, goes on in byte order."""
    keys = [entry.key for entry in page]
    return keys[0] > after and all(map(lt, keys, islice(keys, 1, None)))


class _Learned:
    """Keys to begin ranges at, of a listing under way."""

    def __init__(self) -> None:
        self.points: list[str] = []
        self._since = 0

    def note(self, page: Sequence[Entry]) -> None:
        """Take note of the next page."""
        self._since += len(page)
        if self._since >= RANGE_KEYS:
            self.points.append(page[-1].key)
            self._since = 0


class _Range:
    """One range of keys, fetched ahead of its reader."""

    def __init__(self, source: Source, prefix: str, after: str, last: str | None) -> None:
        self._source = source
        self._prefix = prefix
        self._after = after
        self._last = last
        self._ready: asyncio.Queue[Sequence[Entry] | None] = asyncio.Queue(AHEAD)
        self._task = asyncio.create_task(self._fetch(), name="listing")

    async def pages(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield the pages that are not empty. Raises what fetching them raised."""
        while (page := await self._ready.get()) is not None:
            if page:
                yield page
        await self._task

    def cancel(self) -> None:
        """Fetch no more; what went wrong meanwhile concerns nobody."""
        self._task.cancel()
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _fetch(self) -> None:
        try:
            token = ""
            while True:
                page = await self._source.page(self._prefix, self._after, token)
                entries = page.entries
                last = self._last
                beyond = last is not None and bool(entries) and entries[-1].key >= last
                await self._ready.put([entry for entry in entries if last is None or entry.key <= last])
                token = page.token
                if beyond or not token:
                    return
        finally:
            await self._ready.put(None)
