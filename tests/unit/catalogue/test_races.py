"""What crashes, races and silent sources must not do to the catalogue."""

from __future__ import annotations

import io
import os
import sqlite3
import zipfile
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from handlers.contract import (
    ABSENT,
    Claim,
    ClaimLost,
    Failure,
    HandlerContext,
    Outcome,
    PermanentError,
    Receipt,
    SinkAway,
    Unit,
)
from handlers.dataset_catalogue import claims, meta_kaggle, unit_notes
from handlers.dataset_catalogue.cleanup import remove_old_cache
from handlers.dataset_catalogue.database import FILE
from handlers.dataset_catalogue.descriptions import Description, Seed, described, seeded
from handlers.dataset_catalogue.dropped import DamagedArchive
from handlers.dataset_catalogue.enrich import AT_ONCE, REFUSED_SECONDS, generate_embeddings
from handlers.dataset_catalogue.enriching import enrich
from handlers.dataset_catalogue.handler import DatasetCatalogue
from handlers.dataset_catalogue.kaggle import fetch_latest, seed_initial
from handlers.dataset_catalogue.named import DAY
from handlers.dataset_catalogue.options import Options, embedder_of
from handlers.dataset_catalogue.search import Catalogue
from handlers.dataset_catalogue.seeding import Seeding
from handlers.dataset_catalogue.site import Credentials
from handlers.dataset_catalogue.vectors import Entry, InTable, Kept
from handlers.dataset_catalogue.zenodo import fetch_datasets
from tests.catalogue_site import Made, made_site, write_meta_kaggle
from tests.catalogue_sources import Sources

T = TypeVar("T")


def put(made: Made, *found: Description, source: str = "kaggle") -> None:
    with made.site.database.begin() as connection:
        seeded(connection, source, found, Seed("u", "v"), made.site.now)


# Files


def packed_badly(name: str, content: bytes) -> bytes:
    """Return an archive whose file is damaged at its end, after almost all of it was read."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
    damaged = archive.getvalue().replace(content, content[:-2] + b"9\n")
    assert damaged != archive.getvalue()
    return damaged


def test_a_file_that_could_not_be_unpacked_whole_is_downloaded_again(asking: Made, sources: Sources) -> None:
    folder = write_meta_kaggle(asking.site.cache.parent / "remote", {1: "Iris", 2: "Wine"})
    sources.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    whole = sources.files["Datasets.csv"]
    sources.files["Datasets.csv"] = packed_badly("Datasets.csv", whole.replace(b"\r\n", b"\n"))
    with pytest.raises(DamagedArchive):
        seed_initial(asking.site)
    sources.files["Datasets.csv"] = whole

    assert seed_initial(asking.site)["total_inserted"] == 2


def test_files_that_tell_of_no_dataset_deactivate_none(asking: Made, sources: Sources) -> None:
    folder = write_meta_kaggle(asking.site.cache.parent / "remote", {1: "Iris", 2: "Wine"})
    sources.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    seed_initial(asking.site)
    sources.files["Datasets.csv"] = b"Id,OwnerUserId,CurrentDatasetVersionId\n"

    with pytest.raises(PermanentError, match="tell of no dataset"):
        seed_initial(asking.site, force_redownload=True)

    assert [row.is_active for row in asking.rows()] == [True, True]


def test_a_dataset_that_is_told_of_twice_is_counted_once(made: Made, tmp_path: Path) -> None:
    owners = [{"Id": "7", "UserName": "anna"}, {"Id": "7.0", "UserName": "bert"}]
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris"}, Users=owners)

    with Seeding(
        made.site.database, "kaggle", Seed("u", "v"), meta_kaggle.batches(folder, 10), made.site.now
    ) as seeding:
        while seeding.step():
            pass

    assert (seeding.processed, seeding.inserted) == (1, 1)


class Context:
    """Runs work at once, for claims that hold or not; `asked` is called when somebody wants to know."""

    def __init__(self, home: Path, *, alive: bool) -> None:
        self.home = str(home)
        self.asked: Callable[[], None] = lambda: None
        self._alive = alive

    def clock(self) -> int:
        return 1_790_000_000_000

    def new_id(self) -> str:
        return "one"

    async def alive(self, tokens: Collection[str]) -> set[str]:
        self.asked()
        return set(tokens) if self._alive else set()

    async def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> T:
        del lane
        return function(*args)


async def remove(context: Context) -> list[Any]:
    """Have all of a unit removed; returns what is noted of units then."""
    options = Options(on_delete="remove", embedder="none")
    handler = DatasetCatalogue(
        options, None, Credentials(), cast("HandlerContext", context), embedder=None, vectors=InTable()
    )
    unit = Unit("lake", "catalogue/kaggle/", "catalogue", "catalogue/", options)
    try:
        await handler.apply(unit, [], Claim("token", ABSENT, None))
        await handler.record([failed("catalogue/kaggle/", at=1_789_999_999_999)])
        return [noted async for noted in handler.inventory()]
    finally:
        await handler.aclose()


def failed(unit: str, *, at: int) -> Outcome:
    return Outcome(
        route="catalogue", bucket="lake", unit=unit, fingerprint="v1", token="t", status="failed",
        at=at, receipt=None, error_class="NotMetaKaggle", error="cut",
    )  # fmt: skip


def put_file(made: Made) -> None:
    receipt = Receipt("v", "1", "kaggle", {"rows": 1})
    with made.site.database.begin() as connection:
        seed = Seed("lake/catalogue/kaggle/", "v")
        seeded(connection, "kaggle", [Description(external_id="1")], seed, made.site.now)
        unit_notes.received(connection, "lake", "catalogue/kaggle/", receipt, 1)


async def test_a_removal_whose_claim_ended_changes_nothing(made: Made, tmp_path: Path) -> None:
    put_file(made)

    with pytest.raises(ClaimLost):
        await remove(Context(tmp_path, alive=False))

    assert made.row("1").is_active


async def test_a_removal_asks_for_its_claim_when_nothing_is_left_but_to_commit(made: Made, tmp_path: Path) -> None:
    put_file(made)
    context, locked = Context(tmp_path, alive=True), []

    def asked() -> None:
        with closing(sqlite3.connect(tmp_path / FILE, timeout=0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                locked.append(str(error))

    context.asked = asked
    await remove(context)

    assert locked == ["database is locked"], "nobody can put in anything between the answer and the commit"
    assert not made.row("1").is_active


async def test_a_failure_from_before_a_removal_says_nothing_of_what_is_removed(made: Made, tmp_path: Path) -> None:
    put_file(made)

    assert await remove(Context(tmp_path, alive=True)) == []


def test_a_failure_that_is_told_after_its_unit_was_put_in_is_over(made: Made) -> None:
    receipt = Receipt("v2", "1", "kaggle", {"rows": 1})

    with made.site.database.begin() as connection:
        unit_notes.received(connection, "lake", "kaggle/", receipt, 200)
        unit_notes.failed(connection, failed("kaggle/", at=100))
        after_the_receipt = list(unit_notes.all_of(connection))
        unit_notes.failed(connection, failed("kaggle/", at=300))
        later = list(unit_notes.all_of(connection))

    assert after_the_receipt == [("lake", "kaggle/", receipt)]
    assert later[1:] == [("lake", "kaggle/", Failure("v1", "NotMetaKaggle", "cut"))]


def test_the_cache_is_cleaned_though_files_vanish_meanwhile_and_empty_folders_go(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = made.site.cache / "dropped" / "of a process that died"
    left.mkdir(parents=True)
    when = made.time.now / 1000 - 8 * DAY
    os.utime(left, (when, when))
    monkeypatch.setattr(Path, "rglob", lambda self, _pattern: [self / "vanished", left])

    assert remove_old_cache(made.site) == {"removed": 0, "freed_bytes": 0}
    assert not left.exists()


# Sources


def test_what_kaggle_does_not_tell_blanks_nothing(asking: Made, sources: Sources) -> None:
    put(asking, Description(external_id="1", title="Iris", license="CC0", total_size_bytes=7))
    sources.kaggle = [{"id": 1, "ref": "anna/iris"}]

    assert fetch_latest(asking.site)["total_processed"] == 1

    row = asking.row("1")
    assert (row.title, row.license, row.total_size_bytes, row.ref) == ("Iris", "CC0", 7, "anna/iris")


def test_a_source_that_tells_of_another_dataset_leaves_none_enriching(made: Made) -> None:
    put(made, Description(external_id="1"))

    done = enrich(made.site, "kaggle", 5, lambda _: Description(external_id="99", title="Other"))

    assert done == {"enriched": 0, "failed": 1, "source": "kaggle"}
    assert made.statuses() == {"1": "failed"}


def test_a_table_that_is_away_costs_a_dataset_no_attempt(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bool:
        raise SinkAway("database is locked")

    put(made, Description(external_id="1"))
    monkeypatch.setattr(claims, "enriched", away)

    with pytest.raises(SinkAway, match="locked"):
        enrich(made.site, "kaggle", 5, lambda _: Description(external_id="1", title="Iris"))

    assert (made.row("1").enrichment_status, made.row("1").enrichment_attempts) == ("minimal", 0)


def test_credentials_are_not_shown(asking: Made) -> None:
    assert asking.site.credentials.kaggle_key == "secret"
    assert "secret" not in repr(asking.site)


def test_a_listing_whose_pages_are_empty_is_over(asking: Made, sources: Sources) -> None:
    sources.endless = True

    assert fetch_datasets(asking.site)["total_fetched"] == 0
    assert len(sources.requests) == 1


# Vectors


class Ones:
    """Makes the same vector of everything but what it refuses."""

    name = "ones"
    dimensions: int | None = 2

    def __init__(self) -> None:
        self.refuses: Callable[[str], bool] = lambda _text: False
        self.meanwhile: Callable[[], None] = lambda: None

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.meanwhile()
        if any(self.refuses(text) for text in texts):
            raise PermanentError("not that")
        return [[1.0, 1.0] for _ in texts]


def describe(made: Made, **titles: str) -> None:
    found = [Description(external_id=name, title=title, tags=["old"]) for name, title in titles.items()]
    with made.site.database.begin() as connection:
        described(connection, "huggingface", found, made.site.now)


def test_a_vector_of_tags_that_changed_meanwhile_is_not_kept(tmp_path: Path) -> None:
    ones = Ones()
    with made_site(tmp_path, embedder=ones) as made:
        describe(made, a="iris")
        ones.meanwhile = lambda: made.set("a", tags=["new"])
        generate_embeddings(made.site)
        assert made.row("a").embedding_of is None
        ones.meanwhile = lambda: None
        generate_embeddings(made.site)
        assert made.row("a").embedding_of == "ones"


def test_a_text_that_the_model_refuses_is_tried_again_after_a_day(tmp_path: Path) -> None:
    ones = Ones()
    ones.refuses = lambda text: "poison" in text
    with made_site(tmp_path, embedder=ones) as made:
        describe(made, a="poison", b="iris")

        assert generate_embeddings(made.site) == {"embedded": 1, "failed": 1, "model": "ones"}
        assert generate_embeddings(made.site)["failed"] == 0
        made.time.pass_by(REFUSED_SECONDS)
        assert generate_embeddings(made.site)["failed"] == 1


def test_a_model_that_refuses_every_text_is_not_asked_for_all_of_them(tmp_path: Path) -> None:
    ones = Ones()
    ones.refuses = lambda _text: True
    with made_site(tmp_path, embedder=ones) as made:
        describe(made, **{f"d{number}": "iris" for number in range(100)})
        with pytest.raises(PermanentError, match="not that"):
            generate_embeddings(made.site)

        assert len(made.log()) == 64


def test_vectors_of_another_length_under_the_same_name_are_passed_over(tmp_path: Path) -> None:
    embedder = embedder_of(Options(), {})
    with made_site(tmp_path, embedder=embedder) as made:
        describe(made, a="iris", b="wine")
        generate_embeddings(made.site)
        made.set("a", embedding=bytes(8))
        catalogue = Catalogue(Options(), None, {}, tmp_path)
        found = catalogue.search("wine", 5)
        catalogue.close()

    assert [one["external_id"] for one in found] == ["b"]


class Picky(InTable):
    """Refuses vectors of datasets by their titles."""

    def keep(self, model: str, entries: Sequence[Entry], new_id: Callable[[], str]) -> Kept:
        mark, columns = super().keep(model, entries, new_id)
        refused = [
            PermanentError(f"not {one.title}") if one.title.startswith("poison") else column
            for one, column in zip(entries, columns, strict=True)
        ]
        return Kept(mark, refused)


def test_a_vector_that_is_refused_always_stops_no_other(tmp_path: Path) -> None:
    with made_site(tmp_path, embedder=Ones(), vectors=Picky()) as made:
        describe(made, a="iris", b="poison", c="wine")

        assert generate_embeddings(made.site) == {"embedded": 2, "failed": 1, "model": "ones"}
        assert [row.embedding_of for row in made.rows()] == ["ones", None, "ones"]
        assert [result for _, result, _ in made.log()] == ["success", "failed", "success"]
        assert generate_embeddings(made.site) == {"embedded": 0, "failed": 0, "model": "ones"}
        made.time.pass_by(REFUSED_SECONDS)
        assert generate_embeddings(made.site)["failed"] == 1


def test_a_place_that_refuses_every_vector_is_told_and_the_next_run_begins_with_others(tmp_path: Path) -> None:
    with made_site(tmp_path, embedder=Ones(), vectors=Picky()) as made:
        describe(made, **{f"d{number}": "poison" for number in range(64)}, last="iris")

        with pytest.raises(PermanentError, match="not poison"):
            generate_embeddings(made.site)
        assert generate_embeddings(made.site) == {"embedded": 1, "failed": 0, "model": "ones"}


class Remade(InTable):
    """A place that is made anew by somebody else as soon as the first vectors are in it, without these."""

    def __init__(self) -> None:
        self._making = 1
        self.asked = 0

    def mark(self, model: str) -> str | None:
        self.asked += 1
        return f"{self._making} {model}"

    def keep(self, model: str, entries: Sequence[Entry], new_id: Callable[[], str]) -> Kept:
        mark = f"{self._making} {model}"
        self._making = 2
        return Kept(mark, super().keep(model, entries, new_id).columns)


def test_vectors_of_a_place_that_is_made_anew_meanwhile_are_not_taken_for_those_of_the_new_one(tmp_path: Path) -> None:
    place = Remade()
    with made_site(tmp_path, embedder=Ones(), vectors=place) as made:
        describe(made, **{f"d{number}": "iris" for number in range(AT_ONCE + 1)})

        assert generate_embeddings(made.site)["embedded"] == AT_ONCE + 1
        assert [row.embedding_of for row in made.rows()] == ["1 ones"] * AT_ONCE + ["2 ones"]
        assert place.asked == 1, "by each batch"
        assert generate_embeddings(made.site)["embedded"] == AT_ONCE
        assert {row.embedding_of for row in made.rows()} == {"2 ones"}
