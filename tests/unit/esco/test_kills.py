"""A process that is killed at any of its requests, and the next start: the classes hold what they were to hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from handlers.contract import Claim, HandlerContext, Receipt, Unit
from handlers.esco_index import ingestion
from handlers.esco_index.books import Books, releases
from handlers.esco_index.index import Index, Known, Refusal
from handlers.esco_index.joins import Joined, join
from handlers.esco_index.options import Options
from handlers.esco_index.release import Name
from handlers.esco_index.schema import CLASSES, CONTENT_HASH, METADATA, VECTOR_HASH, Place, classes
from handlers.esco_index.state import REWRITE, State, Status
from handlers.esco_index.work import Aim, Work
from tests.esco_release import Release

T = TypeVar("T")

PLACE = Place("", "en")


class Killed(BaseException):
    """The process ends here."""


class Context:
    """Runs work at once; every look at the clock finds ten seconds gone, so every sign of life is given."""

    def __init__(self) -> None:
        self.now = 1_790_000_000_000

    def clock(self) -> int:
        self.now += 10_000
        return self.now

    async def alive(self, tokens: Collection[str]) -> set[str]:
        return set(tokens)

    async def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> T:
        del lane
        return function(*args)


class MemoryIndex:
    """
    Weaviate in memory, as far as its ways matter: an object is replaced whole, refers only to what is there, and has a
    vector as long as those of its class.

    Dies before its request number `dies_at` has its effect; who is dead asks for nothing more.
    """

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, tuple[dict[str, Any], dict[str, list[str]], Any]]] = {}
        self.requests: list[str] = []
        self.dies_at: int | None = None

    def request(self, name: str, effect: Callable[[], T]) -> T:
        if len(self.requests) == self.dies_at:
            raise Killed
        self.requests.append(name)
        return effect()

    async def ensure(self, place: Place, names: Sequence[str] = (*CLASSES, METADATA)) -> None:
        for name in names:
            self.request(f"make {name}", partial(self.collections.setdefault, place.collection(name), {}))

    async def drop(self, place: Place, check: Callable[[], Awaitable[None]]) -> None:
        for name in CLASSES:
            await check()
            self.request(f"drop {name}", partial(self.collections.pop, place.collection(name), None))

    async def known(self, collection: str) -> dict[str, Known]:
        return self.request(
            "known",
            lambda: {
                uuid: Known(properties.get(CONTENT_HASH, ""), properties.get(VECTOR_HASH, ""))
                for uuid, (properties, _, _) in self.collections[collection].items()
            },
        )

    async def vectors(self, collection: str, uuids: Sequence[str]) -> dict[str, Any]:
        held = self.collections[collection]
        return {uuid: held[uuid][2] for uuid in uuids if held[uuid][2] is not None}

    async def insert(self, collection: str, objects: Iterable[Any]) -> list[Refusal]:
        await asyncio.sleep(0)
        given = list(objects)
        return self.request("insert", lambda: [why for one in given if (why := self._put(collection, *one))])

    def _put(
        self, collection: str, uuid: str, properties: Mapping[str, Any], references: Mapping[str, Any], vector: Any
    ) -> Refusal | None:
        there = {uuid for objects in self.collections.values() for uuid in objects}
        for name, targets in references.items():
            if missing := set(targets) - there:
                return Refusal(uuid, f"{name} refers to {missing}")
        lengths = {len(one) for _, _, one in self.collections[collection].values() if one is not None}
        if vector is not None and lengths - {len(vector)}:
            return Refusal(uuid, f"vectors of the class have lengths {lengths}")
        self.collections[collection][uuid] = (dict(properties), deepcopy(dict(references)), vector)
        return None

    async def remove(self, collection: str, uuids: Sequence[str]) -> None:
        def gone() -> None:
            for uuid in uuids:
                del self.collections[collection][uuid]

        self.request("remove", gone)

    async def counts(self, place: Place) -> dict[str, int]:
        def count() -> dict[str, int]:
            found = {name: len(self.collections[place.collection(name)]) for name in CLASSES}
            for name in CLASSES:
                for one in classes()[name].references:
                    objects = self.collections[place.collection(name)].values()
                    found[f"{name}.{one.name}"] = sum(len(references.get(one.name, ())) for _, references, _ in objects)
            return found

        return self.request("count", count)

    async def told(self, place: Place, uuid: str) -> Mapping[str, Any] | None:
        found = self.collections.get(place.collection(METADATA), {}).get(uuid)
        return None if found is None else found[0]

    async def tell(self, place: Place, uuid: str, properties: Mapping[str, Any]) -> None:
        metadata = place.collection(METADATA)
        self.request(f"tell {properties['metaType']}", lambda: self._put(metadata, uuid, properties, {}, None))

    async def notes(self, metadata: str, kind: str) -> list[Mapping[str, Any]]:
        return [one for one, _, _ in self.collections[metadata].values() if one["metaType"] == kind]

    def concepts(self) -> dict[str, Any]:
        return {name: self.collections[name] for name in CLASSES}


class Lengths:
    """Makes vectors of a text's length, each as long as the model's name."""

    def __init__(self, model: str) -> None:
        self.name = model
        self.dimensions: int | None = len(model)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text))] * len(self.name) for text in texts]


class Scenario:
    """A release on its way into an index that may hold another one."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.index = MemoryIndex()
        self.context = Context()

    async def ingest(self, joined: Joined, version: str, model: str) -> Receipt:
        """Do what the next start does."""
        options = Options(embedder="openai", embedder_url="http://models", embedder_model=model)
        aim = Aim(
            Unit("esco", f"esco/{version}/en/", "esco", "esco/", options),
            Name(version, "en"),
            PLACE,
            Claim(f"t{self.context.clock()}", f"v{version}", None),
        )
        index = cast("Index", self.index)
        before = await Books(index, PLACE).state()
        work = Work(aim, index, cast("HandlerContext", self.context), lambda _state: None)
        return await work.bring(joined, before, Lengths(model), [])

    async def holds(self) -> tuple[dict[str, Any], State, list[str]]:
        """Return the objects, the state without its times, and the releases that are noted."""
        index = cast("Index", self.index)
        state = await Books(index, PLACE).state()
        kept = {name: value for name, value in state.details.items() if name in ("version", "model", "total_relations")}
        noted = [f"{unit} {receipt.fingerprint}" for _, unit, receipt, _ in await releases(index, METADATA) if receipt]
        return self.index.concepts(), State(state.status, 0, kept), sorted(noted)


def joined_of(release: Release, folder: Path) -> Joined:
    release.write(folder)
    return join({name: folder / f"{name}_en.csv" for name in release.files})


def older(folder: Path) -> Joined:
    return joined_of(Release(skills=24, occupations=8, relations=40), folder / "older")


def newer(folder: Path) -> Joined:
    """Return a release that lacks some of the skills, and has others changed."""
    release = Release(skills=24, occupations=8, relations=40)
    for _ in range(5):
        release.files["skills"].pop()
    release.change("skills", 3, "preferredLabel", "carve pumpkins")
    return joined_of(release, folder / "newer")


async def nothing(_scenario: Scenario) -> None:
    """Nothing is there."""


async def older_there(scenario: Scenario) -> None:
    await scenario.ingest(scenario.joined, "1.1", "one")


async def doubled_there(scenario: Scenario) -> None:
    """The same release, in which somebody doubled a reference; the last verification found it."""
    await scenario.ingest(scenario.joined, "1.2", "one")
    references = next(references for _, references, _ in scenario.index.collections["Skill"].values() if references)
    next(iter(references.values())).append("somebody's")
    books = Books(cast("Index", scenario.index), PLACE)
    state = await books.state()
    await books.set(State(Status.FAILED, scenario.context.clock(), {**state.owner, REWRITE: True}))


CASES: dict[str, tuple[Callable[[Path], Joined], Callable[[Scenario], Awaitable[None]], str, set[str]]] = {
    "cold": (older, nothing, "one", {"make Skill", "insert", "count", "tell ingestion_status", "tell release"}),
    "newer": (newer, older_there, "one", {"insert", "remove", "count", "tell release"}),
    "another model": (older, older_there, "another", {"drop Skill", "make Skill", "insert", "count"}),
    "found wrong": (older, doubled_there, "one", {"insert", "count"}),
}


@pytest.mark.parametrize("case", CASES)
async def test_killed_at_any_request_the_next_start_ends_in_the_same_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(ingestion, "BATCH", 12)
    monkeypatch.setattr(ingestion, "MOST_REMOVED", 2)
    make, prepare, model, comes_by = CASES[case]
    before = Scenario(older(tmp_path))
    await prepare(before)
    before.index.requests.clear()
    joined = make(tmp_path)
    whole = deepcopy(before)
    receipt = await whole.ingest(joined, "1.2", model)
    expected = await whole.holds()
    assert expected[1].status is Status.COMPLETED
    assert comes_by <= set(whole.index.requests)

    for number, request in enumerate(whole.index.requests):
        scenario = deepcopy(before)
        scenario.index.dies_at = number
        with pytest.raises(Killed):
            await scenario.ingest(joined, "1.2", model)
        assert scenario.index.requests == whole.index.requests[:number]
        scenario.index.dies_at = None

        again = await scenario.ingest(joined, "1.2", model)

        assert await scenario.holds() == expected, f"killed before {number}: {request}"
        assert again.counts == receipt.counts
