"""
The tasks of the catalogue's specification ("Source-Specific Enrichment Tasks"), each by name, arguments and returns.

`lakedrop tasks run` stands for `.delay()`, `tasks schedule` for Celery Beat and for `celery inspect registered`.
Sources are servers of this machine that answer as Kaggle and Hugging Face do. What is called directly, and what goes
wrong with a source, is in tests/unit/catalogue; a source that was added, Zenodo, in its test_zenodo.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from tests.acceptance.conftest import Home
from tests.catalogue_site import write_meta_kaggle
from tests.catalogue_sources import Sources, basic, hub_dataset, kaggle_dataset, serving_sources

REGISTERED = {
    "enrich.generate_embeddings": 3600,
    "hf.fetch_datasets": 86_400,
    "kaggle.seed_initial": None,
    "kaggle.enrich_pending": 3600,
    "kaggle.fetch_latest": 86_400,
    "cleanup.check_broken_links": 86_400,
    "cleanup.remove_old_cache": 86_400,
}
"""Seconds between two runs; the specification gives those of Hugging Face and Kaggle."""

ROUTE = """
grace_seconds = 0.1
[[routes]]
name = "catalogue"
bucket = "csv-uploads"
prefix = "catalogue/"
handler = "dataset_catalogue"
[routes.options]
pace_seconds = 0
endpoints = {{ kaggle = "{url}", huggingface = "{url}" }}
"""

REFS = ("anna/iris", "bert/wine", "cora/birds")


class Catalogue:
    """A home with a catalogue, and its sources."""

    def __init__(self, home: Home, sources: Sources) -> None:
        self.home = home
        self.sources = sources
        home.configure(ROUTE.format(url=sources.url))
        sources.kaggle = [kaggle_dataset(number, ref) for number, ref in enumerate(REFS, 1)]

    def run(self, name: str, **arguments: object) -> dict[str, Any]:
        """Run a task; return what it returns."""
        words = [word for item in arguments.items() for word in ("--arg", "{}={}".format(*item))]
        (task,) = self.home.json("tasks", "run", name, *words, "--json")
        assert (task["name"], task["state"]) == (name, "done")
        found: dict[str, Any] = task["detail"]
        return found

    def counts(self, source: str) -> dict[str, int]:
        """Return how many datasets of a source there are, by their status."""
        told = self.home.json("catalogue", "status", "--json")[source]
        return {name: number for name, number in told.items() if number}

    def list_kaggle(self) -> None:
        """Have datasets listed that are to be enriched."""
        self.run("kaggle.fetch_latest")


@pytest.fixture
def catalogue(home: Home) -> Iterator[Catalogue]:
    known = {"KAGGLE_USERNAME": "anna", "KAGGLE_KEY": "secret"}
    with serving_sources() as sources, patch.dict(os.environ, known):
        yield Catalogue(home, sources)


def test_all_tasks_are_registered_and_scheduled(catalogue: Catalogue) -> None:
    slots = {slot["name"]: slot["every"] for slot in catalogue.home.json("tasks", "schedule", "--json")}

    assert slots == {**REGISTERED, "zenodo.fetch_datasets": 86_400}


def test_hf_fetch_datasets(catalogue: Catalogue) -> None:
    days = ("2026-09-21T10:00:00.000Z", "2026-09-20T23:00:00.000Z", "2020-01-01T00:00:00.000Z")
    catalogue.sources.hub = [hub_dataset(f"anna/d{number}", day) for number, day in enumerate(days)]

    assert catalogue.run("hf.fetch_datasets", limit=2, days_back=0) == {
        "total_fetched": 2,
        "total_inserted": 2,
        "source": "huggingface",
    }
    assert catalogue.run("hf.fetch_datasets", limit=1000, days_back=0)["total_inserted"] == 1
    assert catalogue.counts("huggingface") == {"enriched": 3}


def test_kaggle_seed_initial(catalogue: Catalogue) -> None:
    def put(titles: dict[int, str | None]) -> None:
        folder = write_meta_kaggle(catalogue.home.path.parent / "remote", titles)
        catalogue.sources.files = {path.name: path.read_bytes() for path in folder.iterdir()}

    put({1: "Iris", 2: "Wine", 3: "Birds"})
    returned = {"total_processed": 3, "total_inserted": 3, "source": "kaggle_meta_csv"}
    assert catalogue.run("kaggle.seed_initial", batch_size=1000, force_redownload=False) == returned
    assert catalogue.counts("kaggle") == {"minimal": 3}

    put({1: "Iris", 2: "Wine", 3: "Birds", 4: "Stocks"})
    assert catalogue.run("kaggle.seed_initial")["total_processed"] == 3, "out of the cache"
    assert catalogue.run("kaggle.seed_initial", batch_size=2, force_redownload=True)["total_inserted"] == 1


def test_kaggle_enrich_pending(catalogue: Catalogue) -> None:
    catalogue.list_kaggle()
    catalogue.sources.faults.append("down")

    assert catalogue.run("kaggle.enrich_pending", batch_size=50) == {"enriched": 2, "failed": 1, "source": "kaggle"}
    assert catalogue.counts("kaggle") == {"enriched": 2, "failed": 1}
    assert set(catalogue.sources.authorizations) == {basic("anna", "secret")}


def test_kaggle_fetch_latest(catalogue: Catalogue) -> None:
    returned = {"total_processed": 3, "total_inserted": 3, "source": "kaggle_api"}
    assert catalogue.run("kaggle.fetch_latest", limit=100, sort_by="updated") == returned
    assert catalogue.counts("kaggle") == {"pending": 3}

    catalogue.sources.kaggle.insert(0, kaggle_dataset(4, "dora/stocks"))
    returned = {"total_processed": 2, "total_inserted": 1, "source": "kaggle_api"}
    assert catalogue.run("kaggle.fetch_latest", limit=2, sort_by="votes") == returned
    assert catalogue.sources.requests[-1][2]["sortBy"] == "DATASET_SORT_BY_VOTES"


def test_enrich_generate_embeddings(catalogue: Catalogue) -> None:
    catalogue.list_kaggle()

    done = catalogue.run("enrich.generate_embeddings", batch_size=2)
    assert (done["embedded"], done["failed"]) == (2, 0)
    assert catalogue.run("enrich.generate_embeddings")["embedded"] == 1
    assert catalogue.home.json("catalogue", "search", "songs of birds", "--json")[0]["title"] == "Birds"


def test_cleanup_check_broken_links(catalogue: Catalogue) -> None:
    url = catalogue.sources.url
    catalogue.sources.kaggle = [
        kaggle_dataset(1, "anna/iris", url=f"{url}/a"),
        kaggle_dataset(2, "b/c", url=f"{url}/b"),
    ]
    catalogue.sources.pages = {"/a": 200, "/b": 404}
    catalogue.list_kaggle()

    done = catalogue.run("cleanup.check_broken_links", batch_size=100)
    assert done == {"checked": 2, "broken": 1, "mended": 0, "unclear": 0}
    assert catalogue.counts("kaggle")["inactive"] == 1


def test_cleanup_remove_old_cache(catalogue: Catalogue) -> None:
    old = catalogue.home.path / "catalogue-cache" / "old.csv"
    old.parent.mkdir()
    old.write_text("id\n1\n")
    os.utime(old, (0, 0))

    assert catalogue.run("cleanup.remove_old_cache", max_age_days=7) == {"removed": 1, "freed_bytes": 5}
    assert not old.exists()
