"""Requests under way, and what is said of them when something goes wrong meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from handlers.contract import ClaimLost, HandlerContext, OutcomeUnknown, TransientError
from handlers.esco_index import ingestion
from handlers.esco_index.index import Index, Known, Refusal
from handlers.esco_index.ingestion import Ingestion, Miscounted, Refused
from handlers.esco_index.joins import Joined, join
from handlers.esco_index.schema import HASHES, Place
from tests.esco_release import Release

T = TypeVar("T")


class Context:
    """Runs work at once; `alive` says whether the claim holds."""

    def __init__(self) -> None:
        self.alive_for = 1_000_000

    async def alive(self, tokens: Collection[str]) -> set[str]:
        self.alive_for -= 1
        return set(tokens) if self.alive_for >= 0 else set()

    async def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> T:
        del lane
        return function(*args)


class EmptyIndex:
    """Holds nothing, and takes requests as it is told."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self.has: dict[str, Known] = {}
        """Skills, by UUID."""
        self.removed: list[str] = []
        self.asked = 0
        self.under_way = 0
        self.most = 0
        self.answer: Callable[[int, list[Any]], Awaitable[list[Refusal]]] | None = None

    async def known(self, collection: str) -> dict[str, Known]:
        return dict(self.has) if collection == "Skill" else {}

    async def remove(self, collection: str, uuids: Sequence[str]) -> None:
        assert collection == "Skill"
        self.removed += uuids

    async def insert(self, collection: str, objects: Iterable[Any]) -> list[Refusal]:
        del collection
        self.asked += 1
        number = self.asked
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            return [] if self.answer is None else await self.answer(number, list(objects))
        finally:
            self.under_way -= 1

    async def counts(self, place: Place) -> dict[str, int]:
        del place
        return self._counts


class Case:
    """A release on its way into an index that holds nothing."""

    def __init__(self, joined: Joined, *, keep: bool = False, module: str | None = None) -> None:
        self.joined = joined
        self.index = EmptyIndex(joined.counts)
        self.context = Context()
        self.told: list[str] = []
        self.ingestion = Ingestion(
            cast("Index", self.index),
            joined,
            Place("", "en", vectorizer=module),
            cast("HandlerContext", self.context),
            embedder=None,
            model="none",
            keep=keep,
            rewrite=False,
            token="t1",
        )

    async def tell(self, step: str, done: int, total: int) -> None:
        del done, total
        self.told.append(step)

    async def carry_out(self) -> ingestion.Ingested:
        await self.ingestion.compare()
        return await self.ingestion.carry_out(self.tell)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(ingestion, "BATCH", 5)
    release = Release()
    release.write(tmp_path)
    return Case(join({name: tmp_path / f"{name}_en.csv" for name in release.files}))


async def test_so_many_requests_are_under_way_and_no_more(case: Case) -> None:
    done = await case.carry_out()

    assert case.index.most == ingestion.REQUESTS
    assert (done.written, done.unchanged, done.removed) == (60, 0, 0)
    assert list(dict.fromkeys(case.told)) == ["creating", "writing", "verifying"]


async def test_a_request_of_unknown_end_is_told_of_though_something_else_failed_first(case: Case) -> None:
    failed = asyncio.Event()

    async def answer(number: int, objects: list[Any]) -> list[Refusal]:
        del objects
        if number == 1:
            await failed.wait()
            raise OutcomeUnknown("no answer")
        return []

    async def tell(step: str, done: int, total: int) -> None:
        del step, total
        if done:
            failed.set()
            raise TransientError("the state cannot be read")

    case.index.answer = answer
    await case.ingestion.compare()
    with pytest.raises(OutcomeUnknown, match="no answer"):
        await case.ingestion.carry_out(tell)

    assert case.index.under_way == 0


async def test_who_is_stopped_leaves_no_request_behind(case: Case) -> None:
    reached = asyncio.Event()

    async def answer(number: int, objects: list[Any]) -> list[Refusal]:
        del objects
        if number == 2:
            reached.set()
        await asyncio.Event().wait()
        return []

    case.index.answer = answer
    task = asyncio.create_task(case.carry_out())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert case.index.under_way == 0


async def test_nothing_is_written_once_the_claim_is_lost(case: Case) -> None:
    case.context.alive_for = 3
    with pytest.raises(ClaimLost):
        await case.carry_out()

    assert case.index.asked == 3


async def test_refused_objects_are_counted_and_the_first_are_kept_with_their_reasons(case: Case) -> None:
    async def answer(number: int, objects: list[Any]) -> list[Refusal]:
        del number
        return [Refusal(objects[0][0], "not an int, but text")] if objects[0][2] else []

    case.index.answer = answer
    with pytest.raises(Refused, match=r"refused \d+ of 60 objects, such as .*: not an int, but text") as caught:
        await case.carry_out()

    assert 0 < len(caught.value.refusals) <= ingestion.SHOWN


@pytest.mark.parametrize("keep", [False, True])
async def test_objects_that_a_release_no_longer_has_are_removed_unless_the_route_keeps_them(
    case: Case, keep: bool
) -> None:
    later = Case(case.joined, keep=keep)
    later.index.has = {"of an earlier release": Known("a", "b")}
    if keep:
        later.index._counts = {**later.index._counts, "Skill": later.index._counts["Skill"] + 1}

    done = await later.carry_out()

    assert later.index.removed == ([] if keep else ["of an earlier release"])
    assert done.removed == len(later.index.removed)
    assert ("removing" in later.told) is not keep


async def test_an_index_that_holds_something_else_afterwards_is_not_taken_for_done(case: Case) -> None:
    case.index._counts = {**case.index._counts, "Skill.hasRelatedSkill": 21}
    with pytest.raises(Miscounted, match=r"counts 21 Skill\.hasRelatedSkill, the release has 20"):
        await case.carry_out()


async def test_who_loses_the_claim_while_objects_are_removed_removes_nothing_more(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "MOST_REMOVED", 2)
    case.index.has = {f"of an earlier release {number}": Known("a", "b") for number in range(5)}

    async def tell(step: str, done: int, total: int) -> None:
        del done, total
        if step == "removing":
            case.context.alive_for = 1

    await case.ingestion.compare()
    with pytest.raises(ClaimLost):
        await case.ingestion.carry_out(tell)

    assert len(case.index.removed) == 2


async def test_a_claim_that_ends_while_a_request_is_waited_for_has_nothing_more_written(case: Case) -> None:
    async def answer(number: int, objects: list[Any]) -> list[Refusal]:
        del number, objects
        if case.index.asked == ingestion.REQUESTS:
            case.context.alive_for = 0
        return []

    case.index.answer = answer
    with pytest.raises(ClaimLost):
        await case.carry_out()

    assert case.index.asked == ingestion.REQUESTS


async def test_a_module_of_weaviate_gets_the_text_at_once_and_never_a_vector(case: Case) -> None:
    later = Case(case.joined, module="text2vec-transformers")
    written: dict[str, list[Any]] = {}

    async def answer(number: int, objects: list[Any]) -> list[Refusal]:
        del number
        for uuid, *one in objects:
            written.setdefault(uuid, []).append(one)
        return []

    later.index.answer = answer
    await later.carry_out()

    twice = [passes for passes in written.values() if len(passes) == 2]
    assert len(written) == 60
    assert twice
    for (text, references, _), (whole, _, _) in twice:
        assert text == {name: value for name, value in whole.items() if name not in HASHES}, "its vector is made twice"
        assert references == {}
    assert all(passes[-1][0].keys() > set(HASHES) for passes in written.values())
    assert {vector for passes in written.values() for _, _, vector in passes} == {None}
