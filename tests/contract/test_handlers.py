"""
What every handler promises, held against each of them on its real sink.

A new handler joins with one `Subject`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import sqlite3
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr

from handlers import csv_to_iceberg
from handlers.argilla_records import options as argilla_options
from handlers.argilla_records.handler import ArgillaRecords
from handlers.contract import (
    Claim,
    ClaimLost,
    Handler,
    ObjectGone,
    Outcome,
    PermanentError,
    Receipt,
    TransientError,
    Unit,
    fingerprint,
)
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.dataset_catalogue.handler import create as create_catalogue
from handlers.dataset_catalogue.options import Options as CatalogueOptions
from handlers.esco_index import options as esco_options
from handlers.esco_index.handler import EscoIndex, Where
from handlers.silo_staging import frames
from handlers.silo_staging import options as silo_options
from handlers.silo_staging.handler import Place, SiloStaging
from handlers.silo_staging.paths import runs
from tests.argilla import parquet, serving
from tests.argilla import record as argilla_record
from tests.argilla import shown as argilla_shown
from tests.objects import BytesObject
from tests.silo_backend import packed, record
from tests.stack.weaviate import Weaviate
from tests.verdicts import verified

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
    key: str
    """Of the one object."""

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
        found = BytesObject(self.key, content, error)
        version = fingerprint([found], self.unit.name)
        return await handler.apply(self.unit, [found], Claim(token, version, None, alone=alone))


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
        key="orders/a.csv",
    )


SILO = """#!/bin/sh
set -eu
newest=$(ls "$SILO_OUTPUT_DIRECTORY" | sort -n | tail -n 1)
made="$SILO_OUTPUT_DIRECTORY/$((${newest:-0} + 1))"
mkdir "$made"
cp "$SILO_INPUT_DIRECTORY/data.ndjson.zst" "$made/data"
"""


def _silo_shown(home: Path) -> list[dict[str, Any]]:
    for made in runs(home / "silo/ebola/preprocessing/output"):
        return [json.loads(line) for line in frames.lines(made / "data")]
    return []


def _silo(home: Path) -> Subject:
    home.mkdir(exist_ok=True)
    program = home / "program"
    program.write_text(SILO)
    program.chmod(0o755)
    options = silo_options.Options(coordination="direct", silo=program, on_delete="remove")
    return Subject(
        home=home,
        create=lambda context: SiloStaging({"silo": Place("silo", "silo/in/", options)}, context),
        unit=Unit("silo", "silo/in/ebola/", "silo", "silo/in/", options),
        first=packed([record("LOC_1.1"), record("LOC_2.1")]),
        second=packed([record("LOC_1.2"), record("LOC_3.1"), record("LOC_4.1")]),
        corrupt=packed([record("LOC_5.1")])[:-9],
        shown=_silo_shown,
        tamper=lambda home: (home / "silo/ebola/preprocessing/input/data.ndjson.zst").unlink(),
        key="silo/in/ebola/release.ndjson.zst",
    )


def _catalogue_file(titles: dict[int, str]) -> bytes:
    datasets = "".join(f"{number},{number + 100}\n" for number in titles)
    versions = "".join(f"{number + 100},{title},slug-{number}\n" for number, title in titles.items())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("Datasets.csv", f"Id,CurrentDatasetVersionId\n{datasets}")
        archive.writestr("DatasetVersions.csv", f"Id,Title,Slug\n{versions}")
    return content.getvalue()


def _catalogue_rows(home: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "catalogue.db")) as database, database:
        return database.execute(statement).fetchall()


def _catalogue_tamper(home: Path) -> None:
    _catalogue_rows(home, "DELETE FROM datasets WHERE external_id = '1'")


def _catalogue(home: Path) -> Subject:
    home.mkdir(exist_ok=True)
    options = CatalogueOptions(embedder="none", on_delete="remove")
    return Subject(
        home=home,
        create=lambda context: create_catalogue(options, None, {}, context),
        unit=Unit("catalogue", "catalogue/kaggle/", "catalogue", "catalogue/", options),
        first=_catalogue_file({1: "Iris", 2: "Wine"}),
        second=_catalogue_file({1: "Iris corrected", 3: "Stocks", 4: "Birds"}),
        corrupt=_catalogue_file({5: "Fish"})[:-9],
        shown=lambda home: _catalogue_rows(
            home, "SELECT external_id, title, seed_version FROM datasets WHERE is_active ORDER BY external_id"
        ),
        tamper=_catalogue_tamper,
        key="catalogue/kaggle/archive.zip",
    )


def _argilla(home: Path, servers: ExitStack) -> Subject:
    fake = servers.enter_context(serving())
    options = argilla_options.Options(on_delete="remove", on_vanished="delete")
    settings = argilla_options.ArgillaSettings(
        url=fake.url, api_key=SecretStr(fake.api_key), log=str(home / "argilla.duckdb")
    )
    first = [argilla_record("D:1", "FV Ocean Star", (3, 13, "VESSEL")), argilla_record("D:2")]
    second = [argilla_record("D:1", "FV Ocean", (3, 8, "VESSEL")), argilla_record("D:3"), argilla_record("D:4")]

    def tamper(_home: Path) -> None:
        records = fake.dataset("vessels").records
        del records[next(iter(records))]

    return Subject(
        home=home,
        create=lambda context: ArgillaRecords(settings, context),
        unit=Unit("data", "argilla/in/vessels/", "argilla", "argilla/in/", options),
        first=parquet(first),
        second=parquet(second),
        corrupt=parquet(second)[:-9],
        shown=lambda _home: argilla_shown(fake),
        tamper=tamper,
        key="argilla/in/vessels/argilla_records.parquet",
    )


def _isco_groups(**labels: str) -> bytes:
    rows = [f"http://data.europa.eu/esco/isco/{code},{code},{label}" for code, label in labels.items()]
    return "\n".join(["conceptUri,code,preferredLabel", *rows, ""]).encode()


def _esco(home: Path, weaviate: Weaviate) -> Subject:
    weaviate.clear()
    options = esco_options.Options(
        url=weaviate.url,
        grpc_port=weaviate.grpc_port,
        required=("ISCOGroups",),
        vector_index="flat",
        on_delete="remove",
    )

    def objects() -> list[dict[str, Any]]:
        there = {one["class"] for one in weaviate.call("GET", "schema")["classes"]}
        found: list[dict[str, Any]] = (
            weaviate.call("GET", "objects?class=ISCOGroup")["objects"] if "ISCOGroup" in there else []
        )
        return found

    return Subject(
        home=home,
        create=lambda context: EscoIndex({"esco": Where("esco", "esco/", options)}, context),
        unit=Unit("esco", "esco/1.2/en/", "esco", "esco/", options),
        first=_isco_groups(C0="Armed forces", C1="Managers"),
        second=_isco_groups(C1="Those who manage", C2="Professionals", C3="Technicians"),
        corrupt=b'conceptUri,code,preferredLabel\nhttp://a,1,"cut sho',
        shown=lambda _home: sorted((one["id"], one["properties"]["preferredLabel_en"]) for one in objects()),
        tamper=lambda _home: weaviate.call("DELETE", f"objects/ISCOGroup/{objects()[0]['id']}"),
        key="esco/1.2/en/ISCOGroups_en.csv",
    )


SUBJECTS: dict[str, Callable[[Path, ExitStack], Subject]] = {
    "csv_to_iceberg": lambda home, _servers: _csv(home, "cooked"),
    "csv_to_iceberg, streamed": lambda home, _servers: _csv(home, "streamed"),
    "silo_staging": lambda home, _servers: _silo(home),
    "dataset_catalogue": lambda home, _servers: _catalogue(home),
    "argilla_records": _argilla,
}


@pytest.fixture(params=[*SUBJECTS, pytest.param("esco_index", marks=pytest.mark.xdist_group("weaviate"))])
def subject(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    if request.param == "esco_index":
        weaviate: Weaviate = request.getfixturevalue("weaviate")
        monkeypatch.setenv("WEAVIATE_API_KEY", weaviate.api_key)
        yield _esco(tmp_path, weaviate)
        return
    with ExitStack() as servers:
        yield SUBJECTS[request.param](tmp_path, servers)


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
        context.dies_at = None
        await handler.aclose()  # the system closes a process's connections
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


async def test_worker_that_paused_past_its_lease_removes_nothing(subject: Subject) -> None:
    await subject.apply(subject.first, "t1")
    before = subject.shown(subject.home)
    async with subject.handler() as (handler, context):
        context.lost = {"t2"}
        with pytest.raises(ClaimLost):
            await handler.apply(subject.unit, [], Claim("t2", "", None))

    assert before
    assert subject.shown(subject.home) == before


async def test_verify_counts_in_the_sink(subject: Subject) -> None:
    receipt = await subject.apply(subject.first, "t1")
    async with subject.handler() as (handler, _):
        right = await verified(handler, subject.unit, receipt)
        subject.tamper(subject.home)
        wrong = await verified(handler, subject.unit, receipt)

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
        route=subject.unit.route,
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
