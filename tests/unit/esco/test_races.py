"""What races and lost answers must not do to the classes, and to what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from handlers.contract import (
    ABSENT,
    Claim,
    ClaimLost,
    HandlerContext,
    Outcome,
    OutcomeUnknown,
    PermanentError,
    Receipt,
    SinkAway,
    TransientError,
    Unit,
)
from handlers.esco_index import ingestion
from handlers.esco_index.books import Books, releases
from handlers.esco_index.handler import EscoIndex
from handlers.esco_index.index import Index, Refusal
from handlers.esco_index.joins import Joined, join
from handlers.esco_index.options import Options
from handlers.esco_index.placing import Busy
from handlers.esco_index.release import Name
from handlers.esco_index.rest import Rest
from handlers.esco_index.schema import CLASSES, CONTENT_HASH, METADATA, Place
from handlers.esco_index.state import State, Status, moment
from handlers.esco_index.work import Aim, Work
from tests.esco_release import Release

T = TypeVar("T")

PLACE = Place("", "en")

HELD = {"bucket": "esco", "unit": "esco/1.2/en/", "version": "1.2", "language": "en", "model": "none"}


class Context:
    """Runs work at once; every look at the clock finds ten seconds gone."""

    def __init__(self) -> None:
        self.holds = True
        self.checks = 1_000_000
        """How often the claim is still held when it is asked for."""
        self.now = 1_790_000_000_000

    def clock(self) -> int:
        self.now += 10_000
        return self.now

    async def alive(self, tokens: Collection[str]) -> set[str]:
        self.checks -= 1
        return set(tokens) if self.holds and self.checks >= 0 else set()

    async def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> T:
        del lane
        return function(*args)


class OneIndex:
    """Holds no concepts, and what is told of the ingestion."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self.told_of: dict[str, Mapping[str, Any]] = {}
        self.written = 0
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens at the first request to write."""
        self.classes = 5
        """How many of them are there."""
        self.at_drop: Callable[[], None] = lambda: None
        """Happens after each class that is removed."""

    async def ensure(self, place: Place, names: Sequence[str] = ()) -> None:
        """They are there."""

    async def drop(self, place: Place, check: Callable[[], Awaitable[None]]) -> None:
        del place
        while self.classes:
            await check()
            self.classes -= 1
            self.at_drop()

    async def notes(self, metadata: str, kind: str) -> list[Mapping[str, Any]]:
        assert metadata == METADATA
        return [one for one in self.told_of.values() if one["metaType"] == kind]

    async def known(self, collection: str) -> dict[str, Any]:
        del collection
        return {}

    async def insert(self, collection: str, objects: Iterable[Any]) -> list[Refusal]:
        del collection, objects
        self.written += 1
        if self.written == 1:
            self.meanwhile()
        return []

    async def counts(self, place: Place) -> dict[str, int]:
        del place
        return self._joined.counts

    async def told(self, place: Place, uuid: str) -> Mapping[str, Any] | None:
        del place
        return self.told_of.get(uuid)

    async def tell(self, place: Place, uuid: str, properties: Mapping[str, Any]) -> None:
        del place
        self.told_of[uuid] = properties


class Case:
    """A release on its way into an index."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.context = Context()
        self.index = OneIndex(joined)
        unit = Unit("esco", HELD["unit"], "esco", "esco/", Options())
        aim = Aim(unit, Name("1.2", "en"), PLACE, Claim("t1", "v1", None))
        index = cast("Index", self.index)
        self.books = Books(index, PLACE)
        self.states: list[State] = []
        self.work = Work(aim, index, cast("HandlerContext", self.context), self.states.append)

    def set(self, state: State) -> None:
        """Have somebody else set the state."""
        (uuid,) = [uuid for uuid, one in self.index.told_of.items() if one["metaType"] == "ingestion_status"]
        self.index.told_of[uuid] = state.properties()

    async def bring(self, before: State = State(Status.NOT_STARTED)) -> Receipt:  # noqa: B008 (it cannot be changed)
        return await self.work.bring(self.joined, before, None, [])


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(ingestion, "BATCH", 5)
    release = Release()
    release.write(tmp_path)
    return Case(join({name: tmp_path / f"{name}_en.csv" for name in release.files}))


async def test_an_ingestion_tells_steps_and_signs_of_life_and_at_its_end_its_totals(case: Case) -> None:
    await case.bring()

    *under_way, last = case.states
    assert {state.status for state in under_way} == {Status.IN_PROGRESS}
    steps = list(dict.fromkeys((state.details["step"], state.details["progress"]) for state in under_way))
    assert steps == [("comparing", "1/5"), ("creating", "2/5"), ("writing", "3/5"), ("verifying", "5/5")]
    beats = [state.details["last_heartbeat"] for state in under_way]
    assert beats == sorted(set(beats)), "each sign of life is a later one"
    assert await case.books.state() == last
    assert last.status is Status.COMPLETED
    assert (last.details["total_skills"], last.details["total_occupations"]) == (40, 12)
    assert last.details["total_relations"] == case.joined.relations
    assert last.details["completion_time"] < moment(case.context.clock())


async def test_who_has_lost_the_claim_leaves_the_state_that_his_successor_set(case: Case) -> None:
    done = State(Status.COMPLETED, 1_790_000_000_000, HELD)

    def taken_over() -> None:
        case.context.holds = False
        case.set(done)

    case.index.meanwhile = taken_over
    with pytest.raises(ClaimLost):
        await case.bring()

    assert await case.books.state() == done


async def test_a_release_that_has_to_wait_leaves_the_state_of_the_one_that_works(case: Case) -> None:
    other = State(Status.IN_PROGRESS, 1_790_000_000_000, {**HELD, "unit": "esco/1.3/en/", "version": "1.3"})
    case.index.meanwhile = lambda: case.set(other)

    with pytest.raises(Busy, match=r"esco/esco/1\.3/en/ is being ingested"):
        await case.bring()

    assert await case.books.state() == other


# States that are set from outside of an ingestion


class Outside(EscoIndex):
    """A handler whose one connection is made."""

    def __init__(self, case: Case) -> None:
        super().__init__({}, cast("HandlerContext", case.context))
        self._index = case.index

    @asynccontextmanager
    async def connected(self, options: Options) -> AsyncIterator[Index]:
        del options
        yield cast("Index", self._index)


async def test_a_state_from_outside_keeps_who_holds_the_classes(case: Case) -> None:
    await case.books.set(State(Status.COMPLETED, 1_790_000_000_000, {**HELD, "total_skills": 40}))

    await Outside(case).set_state(Options(), PLACE, State(Status.NOT_STARTED, 1, {"rewrite": True}), "t2")

    assert await case.books.state() == State(Status.NOT_STARTED, 1, {**HELD, "rewrite": True})


async def test_a_state_from_outside_is_not_set_over_that_of_whoever_works_by_now(case: Case) -> None:
    works = State(Status.IN_PROGRESS, 1_790_000_000_000, HELD)
    await case.books.set(works)
    case.context.holds = False

    with pytest.raises(ClaimLost):
        await Outside(case).set_state(Options(), PLACE, State(Status.FAILED, 1), "t2")
    case.context.holds = True
    seen = State(Status.COMPLETED, 1_780_000_000_000, HELD).json()
    await Outside(case).set_state(Options(), PLACE, State(Status.FAILED, 1), "t2", seen=seen)

    assert await case.books.state() == works


# Failures that are told late, and releases that are gone


def failure(at: int) -> Outcome:
    return Outcome("esco", HELD["unit"], "t0", "v0", "failed", at, None, "Refused", "too late", "esco")


@pytest.mark.parametrize(("at", "status"), [(1, Status.IN_PROGRESS), (2, Status.FAILED), (3, Status.FAILED)])
async def test_a_failure_that_is_told_late_leaves_the_state_of_whoever_works_since(
    case: Case, at: int, status: Status
) -> None:
    await case.books.set(State(Status.IN_PROGRESS, 2, HELD))

    await case.books.failed(failure(at))

    assert (await case.books.state()).status is status


REMOVING = Unit("esco", HELD["unit"], "esco", "esco/", Options(on_delete="remove"))


async def test_a_failure_from_before_a_removal_is_not_told_after_it(case: Case) -> None:
    await case.books.received("esco", HELD["unit"], Receipt("v1", "1", "w", {"rows": 1}), 1_790_000_000_000)
    await case.books.set(State(Status.COMPLETED, 1_790_000_000_000, HELD))
    index = cast("Index", case.index)
    assert len(await releases(index, METADATA)) == 1

    await Outside(case).apply(REMOVING, [], Claim("t1", ABSENT, None))
    assert await releases(index, METADATA) == []
    (noted,) = await case.index.notes(METADATA, "release")
    assert noted["status"] == "removed"
    await case.books.failed(failure(1_790_000_000_001))
    assert await releases(index, METADATA) == []

    await case.books.failed(failure(case.context.clock()))
    ((_, _, receipt, failed),) = await releases(index, METADATA)
    assert receipt is None
    assert failed is not None


# Claims that are lost while classes are removed


async def test_who_loses_the_claim_while_a_release_is_removed_removes_nothing_more(case: Case) -> None:
    held = State(Status.COMPLETED, 1_790_000_000_000, HELD)
    await case.books.set(held)
    case.index.at_drop = lambda: setattr(case.context, "holds", False)

    with pytest.raises(ClaimLost):
        await Outside(case).apply(REMOVING, [], Claim("t1", ABSENT, None))

    assert case.index.classes == 4
    assert await case.books.state() == held


@pytest.mark.parametrize("left", [0, 1])
async def test_who_loses_the_claim_after_the_classes_are_gone_tells_nothing_of_it(case: Case, left: int) -> None:
    held = State(Status.COMPLETED, 1_790_000_000_000, HELD)
    await case.books.set(held)
    case.context.checks = 5 + left
    with pytest.raises(ClaimLost):
        await Outside(case).apply(REMOVING, [], Claim("t1", ABSENT, None))

    assert case.index.classes == 0
    assert await case.books.state() == held
    assert len(await case.index.notes(METADATA, "release")) == left


async def test_classes_of_another_model_are_under_way_before_the_first_of_them_is_removed(case: Case) -> None:
    before = State(Status.COMPLETED, 1_790_000_000_000, {**HELD, "model": "wordllama"})
    await case.books.set(before)
    case.index.at_drop = lambda: setattr(case.context, "holds", False)

    with pytest.raises(ClaimLost):
        await case.bring(before)

    assert case.index.classes == 4
    state = await case.books.state()
    assert (state.status, state.details["step"]) == (Status.IN_PROGRESS, "comparing")
    assert state.details["model"] == "wordllama", "the next start would keep what is left of it"


async def test_classes_of_another_model_are_made_anew_and_then_are_of_the_new_one(case: Case) -> None:
    before = State(Status.COMPLETED, 1_790_000_000_000, {**HELD, "model": "wordllama"})
    await case.books.set(before)
    models: list[str] = []
    case.index.meanwhile = lambda: models.append(case.states[-1].details["model"])

    await case.bring(before)

    assert case.index.classes == 0
    assert models == ["none"], "objects were written while the state named the old one"
    assert (await case.books.state()).details["model"] == "none"


# Classes


class CountingRest:
    """A schema of which classes are removed; the claim is lost with the first."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    async def schema(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({CONTENT_HASH}) for name in CLASSES}

    async def call(self, method: str, path: str) -> None:
        assert method == "DELETE"
        self.removed.append(path)


async def test_the_claim_is_asked_for_before_each_class_is_removed() -> None:
    rest = CountingRest()

    async def check() -> None:
        if rest.removed:
            raise ClaimLost

    with pytest.raises(ClaimLost):
        await Index(cast("Any", None), cast("Rest", rest)).drop(PLACE, check)

    assert rest.removed == ["schema/ISCOGroup"]


class RacingRest:
    """A schema to which somebody else adds the same class just before us."""

    def __init__(self, *, refuses: bool) -> None:
        self.classes: dict[str, frozenset[str]] = {}
        self.refuses = refuses
        self.asked = 0

    async def schema(self) -> dict[str, frozenset[str]]:
        return dict(self.classes)

    async def call(self, method: str, path: str, body: Any) -> None:
        assert (method, path) == ("POST", "schema")
        self.asked += 1
        if not self.refuses:
            self.classes[body["class"]] = frozenset(prop["name"] for prop in body["properties"])
        raise PermanentError("422: class name Metadata already exists")


async def test_a_class_that_somebody_else_makes_meanwhile_is_there() -> None:
    rest = RacingRest(refuses=False)

    await Index(cast("Any", None), cast("Rest", rest)).ensure(PLACE, (METADATA,))

    assert (rest.asked, list(rest.classes)) == (1, ["Metadata"])


async def test_a_class_that_weaviate_refuses_is_asked_for_once() -> None:
    rest = RacingRest(refuses=True)

    with pytest.raises(PermanentError, match="422"):
        await Index(cast("Any", None), cast("Rest", rest)).ensure(PLACE, (METADATA,))

    assert rest.asked == 1


@asynccontextmanager
async def mute() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve what takes requests and hangs up; yields its address and the requests."""
    requests: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(("method", "error"), [("DELETE", OutcomeUnknown), ("POST", OutcomeUnknown), ("GET", SinkAway)])
async def test_nobody_knows_what_became_of_a_change_whose_answer_was_lost(
    method: str, error: type[TransientError]
) -> None:
    async with mute() as (url, requests), Rest(url, None) as rest:
        with pytest.raises(error, match="does not answer") as caught:
            await rest.call(method, "schema/Skill")

    assert type(caught.value) is error
    assert requests[0].startswith(method.encode())
    assert method == "GET" or len(requests) == 1, "it was sent again, and the first may yet do its work"


async def test_a_change_that_was_never_sent_did_not_happen() -> None:
    async with Rest("http://127.0.0.1:9", None) as rest:
        with pytest.raises(SinkAway):
            await rest.call("DELETE", "schema/Skill")


# Routes


async def test_a_release_whose_route_is_gone_is_verified_without_its_weaviate() -> None:
    handler = EscoIndex({}, cast("HandlerContext", Context()))

    verdicts = await handler.verify("esco", {"esco/1.2/en/": Receipt("v1", "1", "http://w:8080 *", {"rows": 1})})

    assert "no route has it" in verdicts["esco/1.2/en/"].message


@pytest.mark.parametrize(
    "url", ["http://anna:secret@weaviate:8080", "http://weaviate :8080", "http://weaviate:8080/v1"]
)
def test_the_address_of_weaviate_holds_no_password(url: str) -> None:
    with pytest.raises(ValueError, match="without a user"):
        Options(url=url)
