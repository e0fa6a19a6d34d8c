"""
What every handler promises, held against each of them on its real sink.

A new handler joins with one `Subject`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest

from handlers import csv_to_iceberg
from handlers.contract import (
    Claim,
    ClaimLost,
    Handler,
    ObjectGone,
    Outcome,
    PermanentError,
    Receipt,
    StoredObject,
    TransientError,
    Unit,
)
from handlers.csv_to_iceberg.lake.lake import Lake

T = TypeVar("T")

# One for all contexts: two processes never make the same id.
_IDS = itertools.count()


class Killed(BaseException):
    """The process ends here."""


class Context:
    """Runs work at once; can lose claims, and die at the n-th piece of work."""

    def __init__(self, home: Path) -> None:
        self.home = str(home)
        self.lost: set[str] = set()
        self.dies_at: int | None = None
        self.steps = 0

    def clock(self) -> int:
        return 1_790_000_000_000 + next(_IDS)

    def new_id(self) -> str:
        return hashlib.md5(str(next(_IDS)).encode(), usedforsecurity=False).hexdigest()

    async def alive(self, tokens: Collection[str]) -> set[str]:
        return set(tokens) - self.lost

    async def _run(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed
        return function(*args)

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        del lane
        return self._run(function, args)


class BytesObject(StoredObject):
    """One version of an object; `error` is what reading it ends in."""

    __slots__ = ("_content", "_error")

    def __init__(self, key: str, content: bytes, error: Exception | None = None) -> None:
        super().__init__(key, hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content), 1)
        self._content = content
        self._error = error

    async def open(self) -> BinaryIO:
        return io.BytesIO(await self.read())

    async def read(self) -> bytes:
        if self._error is not None:
            raise self._error
        return self._content


@dataclass
class Subject:
    """A handler under test, its contents and a way to look into its sink."""

    home: Path
    create: Callable[[Context], Handler]
    unit: Unit
    first: bytes
    second: bytes
    corrupt: bytes
    shown: Callable[[Path], object]
    """What a reader of the sink sees of the unit."""
    tamper: Callable[[Path], None]

    @asynccontextmanager
    async def handler(self) -> AsyncIterator[tuple[Handler, Context]]:
        context = Context(self.home)
        handler = self.create(context)
        try:
            yield handler, context
        finally:
            context.dies_at = None
            await handler.aclose()

    async def apply(
        self, content: bytes, token: str, *, alone: bool = False, error: Exception | None = None
    ) -> Receipt:
        async with self.handler() as (handler, _):
            return await self.apply_with(handler, content, token, alone=alone, error=error)

    async def apply_with(
        self, handler: Handler, content: bytes, token: str, *, alone: bool = False, error: Exception | None = None
    ) -> Receipt:
        found = BytesObject(self.unit.name, content, error)
        return await handler.apply(self.unit, [found], Claim(token, found.etag, None, alone=alone))


def _csv_shown(home: Path) -> list[tuple[Any, ...]]:
    lake = Lake(csv_to_iceberg.LakeSettings(home=home))
    try:
        table = lake.load("lakehouse.orders")
        if table is None:
            return []
        rows = table.scan().to_arrow().to_pylist()
    finally:
        lake.close()
    return sorted((row["id"], row["name"], row["_source_etag"]) for row in rows)


def _csv_tamper(home: Path) -> None:
    lake = Lake(csv_to_iceberg.LakeSettings(home=home))
    table = lake.load("lakehouse.orders")
    assert table is not None
    table.delete("id == 1")
    lake.close()


def _csv(home: Path, name: str) -> Subject:
    big = name == "streamed"

    def create(context: Context) -> Handler:
        settings = csv_to_iceberg.LakeSettings(
            home=home,
            max_commit_latency=0.01,
            small_file_bytes=0 if big else 1 << 20,
            routes={"csv": csv_to_iceberg.Placement()},
        )
        return csv_to_iceberg.create(settings, context)

    return Subject(
        home=home,
        create=create,
        unit=Unit("csv-uploads", "orders/a.csv", "csv", "", csv_to_iceberg.Options(on_delete="remove")),
        first=b"id,name\n1,anna\n2,bert\n",
        second=b"id,name\n1,anton\n3,cora\n4,dora\n",
        corrupt=b"\x1f\x8b\x08 no archive",
        shown=_csv_shown,
        tamper=_csv_tamper,
    )


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "csv_to_iceberg": lambda home: _csv(home, "cooked"),
    "csv_to_iceberg, streamed": lambda home: _csv(home, "streamed"),
}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    return SUBJECTS[request.param](tmp_path)


async def test_applying_twice_has_the_effect_of_once(subject: Subject) -> None:
    first = await subject.apply(subject.first, "t1")
    once = subject.shown(subject.home)
    second = await subject.apply(subject.first, "t2")

    assert once
    assert subject.shown(subject.home) == once
    assert first.counts == second.counts
    assert first.fingerprint == second.fingerprint


async def test_new_version_replaces_the_old_one(subject: Subject) -> None:
    await subject.apply(subject.second, "t1")
    expected = subject.shown(subject.home)
    await subject.apply(subject.first, "t2")
    await subject.apply(subject.second, "t3")

    assert subject.shown(subject.home) == expected


async def test_unit_without_objects_leaves_the_sink(subject: Subject) -> None:
    await subject.apply(subject.first, "t1")
    async with subject.handler() as (handler, _):
        receipt = await handler.apply(subject.unit, [], Claim("t2", "", None))

    assert receipt.fingerprint == ""
    assert not subject.shown(subject.home)


async def test_corrupt_object_fails_for_good_and_changes_nothing(subject: Subject) -> None:
    await subject.apply(subject.first, "t1")
    before = subject.shown(subject.home)
    with pytest.raises(PermanentError) as caught:
        await subject.apply(subject.corrupt, "t2")

    assert caught.value.message
    assert subject.shown(subject.home) == before


@pytest.mark.parametrize("error", [TransientError("connection reset"), ObjectGone()])
async def test_error_of_the_store_is_passed_on_and_changes_nothing(subject: Subject, error: Exception) -> None:
    await subject.apply(subject.first, "t1")
    before = subject.shown(subject.home)
    with pytest.raises(type(error)):
        await subject.apply(subject.second, "t2", error=error)

    assert subject.shown(subject.home) == before


@pytest.mark.parametrize("alone", [False, True])
async def test_process_killed_at_any_step_leaves_one_whole_version(subject: Subject, alone: bool) -> None:
    await subject.apply(subject.first, "t1")
    first = subject.shown(subject.home)
    await subject.apply(subject.second, "t2")
    second = subject.shown(subject.home)
    await subject.apply(subject.first, "t3")
    killed = 0
    for step in itertools.count(1):
        context = Context(subject.home)
        context.dies_at = step
        handler = subject.create(context)
        applying = asyncio.ensure_future(subject.apply_with(handler, subject.second, f"k{step}", alone=alone))
        done = await _until_killed(applying, context)
        assert subject.shown(subject.home) in (first, second), f"half a version after step {step}"
        if done:
            break
        killed += 1
        await subject.apply(subject.second, f"a{step}")
        assert subject.shown(subject.home) == second, f"not repaired after step {step}"
        await subject.apply(subject.first, f"b{step}")

    assert killed >= 2, "the handler was killed at fewer steps than it takes"


async def _until_killed(applying: asyncio.Future[Receipt], context: Context) -> bool:
    """Wait for the end of the call or of the process; a killed process runs nothing more."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    while not applying.done():
        if context.dies_at is not None and context.steps >= context.dies_at:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            with suppress(BaseException):
                await applying
            return False
        await asyncio.sleep(0)
    with suppress(Killed):
        await applying
        return True
    return False


async def test_worker_that_paused_past_its_lease_changes_nothing(subject: Subject) -> None:
    await subject.apply(subject.first, "t1")
    before = subject.shown(subject.home)
    async with subject.handler() as (handler, context):
        context.lost = {"t2"}
        with pytest.raises(ClaimLost):
            await subject.apply_with(handler, subject.second, "t2")

    assert subject.shown(subject.home) == before


async def test_verify_counts_in_the_sink(subject: Subject) -> None:
    receipt = await subject.apply(subject.first, "t1")
    async with subject.handler() as (handler, _):
        right = await handler.verify(subject.unit, receipt)
        subject.tamper(subject.home)
        wrong = await handler.verify(subject.unit, receipt)

    assert right.ok, right.message
    assert right.expected == right.found
    assert not wrong.ok
    assert wrong.expected != wrong.found
    assert wrong.message


async def test_inventory_tells_what_the_sink_holds_and_what_failed(subject: Subject) -> None:
    receipt = await subject.apply(subject.first, "t1")
    failure = Outcome(
        bucket=subject.unit.bucket,
        unit=subject.unit.name + ".bad.csv",
        token="t2",
        fingerprint="e2",
        status="failed",
        at=1_790_000_000_000,
        receipt=None,
        error_class="NotText",
        error="The file is not text.",
        route="csv",
    )
    async with subject.handler() as (handler, _):
        await handler.record([failure])
        await handler.record([failure])
        told = [item async for item in handler.inventory()]

    units = {unit: found for _, unit, found in told}
    assert len(told) == 2
    held = units[subject.unit.name]
    assert isinstance(held, Receipt)
    assert (held.fingerprint, held.counts["rows"]) == (receipt.fingerprint, receipt.counts["rows"])
    assert (units[failure.unit].error_class, units[failure.unit].message) == ("NotText", "The file is not text.")  # type: ignore[union-attr]


async def test_ping_answers(subject: Subject) -> None:
    async with subject.handler() as (handler, _):
        await handler.ping()
