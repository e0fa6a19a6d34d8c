"""The catalogue in PostgreSQL: what it does in SQLite, and two processes that enrich at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.contract import SinkAway
from handlers.dataset_catalogue import claims, meta_kaggle
from handlers.dataset_catalogue.cleanup import check_broken_links
from handlers.dataset_catalogue.database import Database
from handlers.dataset_catalogue.descriptions import Description, Seed, described, listed
from handlers.dataset_catalogue.enrich import generate_embeddings
from handlers.dataset_catalogue.kaggle import enrich_pending, fetch_latest
from handlers.dataset_catalogue.options import Options
from handlers.dataset_catalogue.search import Catalogue
from handlers.dataset_catalogue.seeding import Seeding
from handlers.embedders import WordLlamaEmbedder
from tests.catalogue_site import Made, made_site, write_meta_kaggle
from tests.catalogue_sources import Sources, kaggle_dataset, serving_sources

USERS = [{"Id": "7", "UserName": "anna"}]


@pytest.fixture
def sources() -> Iterator[Sources]:
    with serving_sources() as sources:
        yield sources


@pytest.fixture
def made(database: str, sources: Sources, tmp_path: Path) -> Iterator[Made]:
    with made_site(tmp_path, url=database, endpoints=sources.endpoints, embedder=WordLlamaEmbedder()) as made:
        yield made


def seed(made: Made, folder: Path, version: str) -> Seeding:
    found = meta_kaggle.batches(folder, 2)
    seeds = Seed("lake/kaggle/", version, takes_over=True)
    with Seeding(made.site.database, "kaggle", seeds, found, made.site.now) as seeding:
        while seeding.step():
            pass
        seeding.finish()
        seeding.commit()
    return seeding


def test_datasets_are_seeded_enriched_listed_embedded_checked_and_found(
    made: Made, database: str, sources: Sources, tmp_path: Path
) -> None:
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris \0 flowers", 2: "Stocks", 3: "Wine"}, Users=USERS)
    first = seed(made, folder, "v1")
    assert (first.processed, first.inserted, first.gone) == (3, 3, 0)
    sources.kaggle = [
        kaggle_dataset(2, "anna/stocks", description="Half a pair: \ud83d"),
        kaggle_dataset(9, "bert/new"),
    ]
    sources.faults.extend([None, "limited"])

    assert enrich_pending(made.site) == {"enriched": 0, "failed": 1, "source": "kaggle", "continues_in": 7.0}
    made.time.pass_by(7)
    assert enrich_pending(made.site) == {"enriched": 1, "failed": 1, "source": "kaggle"}
    assert fetch_latest(made.site) == {"total_processed": 2, "total_inserted": 1, "source": "kaggle_api"}
    again = seed(made, write_meta_kaggle(tmp_path / "files", {1: "Iris flowers", 2: "Stocks"}), "v2")

    assert (again.processed, again.inserted, again.gone) == (2, 0, 1)
    assert made.statuses() == {"1": "skipped", "2": "enriched", "3": "skipped", "9": "pending"}
    assert generate_embeddings(made.site)["embedded"] == 3
    made.set("1", url=f"{sources.url}/gone")
    assert check_broken_links(made.site, batch_size=1)["broken"] == 1
    made.set("1", is_active=True)
    catalogue = Catalogue(Options(), database, {}, tmp_path)
    assert catalogue.search("plants and petals", 1)[0]["external_id"] == "1"
    assert catalogue.counts()["kaggle"]["inactive"] == 1
    catalogue.close()


async def test_two_processes_that_enrich_at_once_ask_for_each_dataset_once(
    made: Made, database: str, tmp_path: Path
) -> None:
    found = [Description(external_id=str(number), ref=f"anna/{number}") for number in range(20)]
    with made.site.database.begin() as connection:
        listed(connection, "kaggle", found, made.site.now)

    def claim_all(run: str) -> list[str]:
        with made_site(tmp_path, url=database) as other:
            mine = []
            while (claimed := claims.claim(other.site, "kaggle", run)) is not None:
                mine.append(claimed.external_id)
            return mine

    both = await asyncio.gather(asyncio.to_thread(claim_all, "a"), asyncio.to_thread(claim_all, "b"))

    assert sorted([*both[0], *both[1]], key=int) == [str(number) for number in range(20)]


async def test_two_processes_that_begin_at_once_make_the_tables_once(database: str, tmp_path: Path) -> None:
    def make() -> None:
        made = Database(database, tmp_path / "unused")
        made.make()
        made.close()

    await asyncio.gather(*(asyncio.to_thread(make) for _ in range(4)))


def test_times_come_back_with_their_offset(made: Made) -> None:
    with made.site.database.begin() as connection:
        described(connection, "x", [Description(external_id="1", source_created_at=made.site.now)], made.site.now)

    assert made.row("1").source_created_at == made.site.now


def test_a_database_that_is_away_or_not_there_says_so(database: str, tmp_path: Path) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    with pytest.raises(SinkAway, match=r"127\.0\.0\.1"):
        away.make()
    missing = Database(database.rpartition("/")[0] + "/nothing_here", tmp_path)
    with pytest.raises(SinkAway, match="nothing_here"):
        missing.make()
    away.close()
    missing.close()
