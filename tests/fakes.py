"""
Small real things that stand in for large ones: a store, a handler with its sink, a clock, ids.

Contents are texts, and the ETag of an object is its text: tests read "version b is in the sink".
"""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, TypeVar

from consumer.store import NoSuchBucket
from handlers.contract import (
    Claim,
    Failure,
    ObjectChanged,
    ObjectGone,
    ObjectRef,
    Outcome,
    Receipt,
    StoredObject,
    TransientError,
    Unit,
    Verdict,
)

T = TypeVar("T")


async def inline(function: Callable[..., T], /, *args: Any) -> T:
    """Run "on another thread" what takes no time."""
    return function(*args)


class CountingIds:
    """Ids that are unique, repeatable and hexadecimal like a UUID's first characters."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"{next(self._numbers):08x}"


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """Options of a route to a `FakeHandler`."""

    on_delete: Literal["keep", "remove"] = "keep"
    by_folder: bool = False
    """A unit is a folder instead of an object."""


class MemoryObject(StoredObject):
    """One version of an object in a `MemoryStore`."""

    __slots__ = ("_bucket", "_store")

    def __init__(self, store: MemoryStore, bucket: str, key: str, text: str, modified: int) -> None:
        super().__init__(key, text, len(text), modified)
        self._store = store
        self._bucket = bucket

    async def open(self) -> BinaryIO:
        return io.BytesIO(await self.read())

    async def read(self) -> bytes:
        await self._store.reached("read")
        text = self._store.texts.get((self._bucket, self.key))
        if text is None:
            raise ObjectGone
        if text != self.etag:
            raise ObjectChanged
        return text.encode()


class MemoryStore:
    """
    Buckets in a dictionary.

    `at` is awaited with the name of each operation before it happens ("head", "list", "read"): to change the store at
    that moment, or to raise.
    """

    def __init__(self, *buckets: str, clock: Callable[[], int] = lambda: 0) -> None:
        self.texts: dict[tuple[str, str], str] = {}
        self.at: Callable[[str], Coroutine[Any, Any, None]] | None = None
        self._buckets = set(buckets)
        self._modified: dict[tuple[str, str], int] = {}
        self._clock = clock

    def put(self, bucket: str, key: str, text: str) -> None:
        self.texts[bucket, key] = text
        self._modified[bucket, key] = self._clock()

    def delete(self, bucket: str, key: str) -> None:
        del self.texts[bucket, key]

    async def reached(self, operation: str) -> None:
        if self.at is not None:
            await self.at(operation)

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        await self.reached("head")
        return self._object(bucket, key)

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        await self.reached("list")
        if bucket not in self._buckets:
            raise NoSuchBucket(f"no bucket {bucket}")
        keys = sorted((key for inside, key in self.texts if inside == bucket), key=str.encode)
        for key in keys:
            if key.startswith(prefix) and key > start_after and (found := self._object(bucket, key)):
                yield found

    async def buckets(self) -> Sequence[str]:
        return sorted(self._buckets)

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...

    def version(self, bucket: str, key: str, text: str) -> MemoryObject:
        """Return an object as it is or was, or will never be: only reading it tells."""
        return MemoryObject(self, bucket, key, text, self._modified.get((bucket, key), 0))

    def _object(self, bucket: str, key: str) -> MemoryObject | None:
        text = self.texts.get((bucket, key))
        return None if text is None else self.version(bucket, key, text)


def store_is_down() -> Callable[[str], Coroutine[Any, Any, None]]:
    """Make a `MemoryStore.at` that never answers."""

    async def down(_operation: str) -> None:
        raise TransientError("the store is down")

    return down


@dataclass
class FakeHandler:
    """
    Brings a dictionary to the state of the store.

    `before_commit` and `script` decide what happens on the way: the script's next entry is raised (an exception), or
    awaited (a function) after the objects were read.
    """

    name: str = "fake"
    version: str = "1"
    max_in_flight: int = 10
    fenced: bool = True
    sink: dict[str, dict[str, str]] = field(default_factory=dict)
    """Unit -> key -> text."""
    claims: list[Claim] = field(default_factory=list)
    """As handed to `apply`, in that order."""
    script: list[BaseException | Callable[[Claim], Coroutine[Any, Any, None]] | None] = field(default_factory=list)
    records: list[Outcome] = field(default_factory=list)
    record_fails: bool = False

    def unit_of(self, ref: ObjectRef, options: Any) -> str:
        return f"{ref.key.rpartition('/')[0]}/" if options.by_folder and "/" in ref.key else ref.key

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        self.claims.append(claim)
        texts = {found.key: (await found.read()).decode() for found in objects}
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            await step(claim)
        claim.staged()
        self.sink[unit.name] = texts
        return Receipt(claim.fingerprint, self.version, "dictionary", {"objects": len(texts)})

    async def claimed(self, count: int) -> None:
        """Wait until `apply` was called so often; no time passes that this does not need."""
        while len(self.claims) < count:  # noqa: ASYNC110  # virtual time: other tasks run, nothing is waited for
            await asyncio.sleep(0)

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        del bucket
        found = {name: {"objects": len(self.sink.get(name, {}))} for name in receipts}
        return {
            name: Verdict(found[name] == receipt.counts, receipt.counts, found[name], "")
            for name, receipt in receipts.items()
        }

    async def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        for _ in ():
            yield _

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        if self.record_fails:
            raise TransientError("the registry is down")
        self.records += outcomes

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


class Pause:
    """A script entry that holds `apply` until it is released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, _claim: Claim) -> None:
        self.reached.set()
        await self.release.wait()
