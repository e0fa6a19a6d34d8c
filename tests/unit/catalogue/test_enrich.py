"""enrich.generate_embeddings and cleanup's tasks, and the search that stands on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers.contract import PermanentError, TransientError
from handlers.dataset_catalogue.cleanup import check_broken_links, remove_old_cache
from handlers.dataset_catalogue.descriptions import GONE, Description, described
from handlers.dataset_catalogue.enrich import generate_embeddings
from handlers.dataset_catalogue.options import Options
from handlers.dataset_catalogue.search import Catalogue
from handlers.dataset_catalogue.site import Site
from tests.catalogue_site import Made, made_site
from tests.catalogue_sources import Sources


class Letters:
    """Counts letters; refuses what it is told to."""

    name = "letters"
    dimensions: int | None = 26

    def __init__(self) -> None:
        self.given: list[str] = []
        self.refuses = "nothing"
        self.away = False

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.away:
            raise TransientError("away", retry_after=5)
        if any(self.refuses in text for text in texts):
            raise PermanentError("not that")
        self.given += texts
        return [[float(text.lower().count(chr(97 + number))) for number in range(26)] for text in texts]


def put(made: Made, **titles: str) -> None:
    found = [Description(external_id=name, title=title, url=f"https://x/{name}") for name, title in titles.items()]
    with made.site.database.begin() as connection:
        described(connection, "huggingface", found, made.site.now)


@pytest.fixture
def letters() -> Letters:
    return Letters()


# enrich.generate_embeddings


def test_generate_embeddings_makes_each_vector_once_and_again_when_the_text_changes(
    tmp_path: Path, letters: Letters
) -> None:
    with made_site(tmp_path, embedder=letters) as made:
        put(made, a="iris", b="wine")
        first = generate_embeddings(made.site)
        again = generate_embeddings(made.site)
        put(made, a="iris", b="wine, red")
        changed = generate_embeddings(made.site)

        assert first == {"embedded": 2, "failed": 0, "model": "letters"}
        assert (again["embedded"], changed["embedded"]) == (0, 1)
        assert letters.given == ["iris", "wine", "wine, red"]
        assert made.log() == [("embedding", "success", 1)] * 3
        assert len(made.row("a").embedding) == 4 * 26


def test_generate_embeddings_goes_on_after_a_text_that_is_refused(tmp_path: Path, letters: Letters) -> None:
    letters.refuses = "poison"
    with made_site(tmp_path, embedder=letters) as made:
        put(made, a="iris", b="poison", c="wine")

        assert generate_embeddings(made.site) == {"embedded": 2, "failed": 1, "model": "letters"}
        assert [row.embedding is not None for row in made.rows()] == [True, False, True]
        assert min(made.log()) == ("embedding", "failed", 1)


def test_generate_embeddings_is_tried_again_when_the_model_is_away(tmp_path: Path, letters: Letters) -> None:
    letters.away = True
    with made_site(tmp_path, embedder=letters) as made:
        put(made, a="iris")
        with pytest.raises(TransientError, match="away"):
            generate_embeddings(made.site)
        letters.away = False

        assert generate_embeddings(made.site)["embedded"] == 1


def test_generate_embeddings_without_a_model_does_nothing(made: Made) -> None:
    put(made, a="iris")

    assert generate_embeddings(made.site) == {"embedded": 0, "failed": 0, "model": "none"}


# Search


def test_without_vectors_all_words_are_looked_for_in_titles_tags_and_descriptions(made: Made, tmp_path: Path) -> None:
    put(made, a="Iris flowers", b="Wine 100%", c="Iris and wine")
    catalogue = Catalogue(Options(embedder="none"), None, {}, tmp_path)

    assert [one["external_id"] for one in catalogue.search("WINE iris", 5)] == ["c"]
    assert [one["external_id"] for one in catalogue.search("100%", 5)] == ["b"]
    assert catalogue.search("iris", 5, "kaggle") == []
    assert catalogue.search("iris", 1)[0]["score"] is None
    catalogue.close()


def test_words_of_any_alphabet_are_found_in_tags_whatever_their_case(made: Made, tmp_path: Path) -> None:
    tagged = {"a": ["Ärzte", "café"], "b": ["данные"], "c": ["Iris"]}
    found = [Description(external_id=name, title="Ökologie", tags=tags) for name, tags in tagged.items()]
    with made.site.database.begin() as connection:
        described(connection, "huggingface", found, made.site.now)
    catalogue = Catalogue(Options(embedder="none"), None, {}, tmp_path)

    for text, ids in {
        "ärzte CAFÉ": ["a"],
        "ДАННЫЕ": ["b"],
        "ökologie IRIS": ["c"],
        "ÖKOLOGIE": ["a", "b", "c"],
    }.items():
        assert [one["external_id"] for one in catalogue.search(text, 5)] == ids, text
    catalogue.close()


def test_the_nearest_vectors_come_first_and_only_of_what_is_active(tmp_path: Path) -> None:
    options = Options()
    with made_site(tmp_path) as made:
        put(made, a="Iris flower measurements", b="Stock prices", c="Petals and sepals of plants")
        from handlers.dataset_catalogue.options import embedder_of  # noqa: PLC0415

        embedder = embedder_of(options, {})
        assert embedder is not None
        object.__setattr__(made.site, "embedder", embedder)
        generate_embeddings(made.site)
        made.set("a", is_active=False)
        catalogue = Catalogue(options, None, {}, tmp_path)
        found = catalogue.search("botany: flowers", 2)
        catalogue.close()

    assert [one["external_id"] for one in found] == ["c", "b"]
    assert found[0]["score"] > found[1]["score"]


# cleanup.check_broken_links


def test_check_broken_links_deactivates_what_is_gone_until_it_is_back(asking: Made, sources: Sources) -> None:
    put(asking, a="there", b="gone", c="unwell")
    for name in "abc":
        asking.set(name, url=f"{sources.url}/{name}")
    sources.pages = {"/a": 200, "/b": 404, "/c": 503}

    first = check_broken_links(asking.site)
    assert first == {"checked": 2, "broken": 1, "mended": 0, "unclear": 1}
    assert [row.is_active for row in asking.rows()] == [True, False, True]
    sources.pages["/b"] = 200
    asking.time.pass_by(1)
    back = check_broken_links(asking.site)

    assert back == {"checked": 2, "broken": 0, "mended": 1, "unclear": 1}
    assert all(row.is_active for row in asking.rows())
    assert {stage for stage, _, _ in asking.log()} == {"link_validation"}


def test_check_broken_links_begins_with_those_looked_at_longest_ago(asking: Made, sources: Sources) -> None:
    put(asking, a="x", b="y", c="z")
    for name in "abc":
        asking.set(name, url=f"{sources.url}/{name}")
    sources.pages = {"/a": 200, "/b": 200, "/c": 200}

    check_broken_links(asking.site, batch_size=2)
    check_broken_links(asking.site, batch_size=2)

    assert sources.paths() == ["a", "b", "c", "a"]


def test_check_broken_links_leaves_a_host_alone_that_limits_us(asking: Made, sources: Sources) -> None:
    put(asking, a="x", b="y")
    for name in "ab":
        asking.set(name, url=f"{sources.url}/{name}")
    sources.faults.append("limited")

    done = check_broken_links(asking.site)

    assert done == {"checked": 0, "broken": 0, "mended": 0, "unclear": 0, "continues_in": 7.0}
    assert len(sources.requests) == 1
    assert all(row.is_active for row in asking.rows())


def test_check_broken_links_has_other_hosts_looked_at_in_place_of_one_that_limits_us(
    asking: Made, sources: Sources
) -> None:
    put(asking, a="x", b="y", c="z")
    for name in "ab":
        asking.set(name, url=f"{sources.url}/{name}")
    asking.set("c", url=f"{sources.url.replace('127.0.0.1', 'localhost')}/c")
    sources.pages = {"/c": 200}
    sources.faults.append("limited")

    done = check_broken_links(asking.site, batch_size=2)

    assert done == {"checked": 1, "broken": 0, "mended": 0, "unclear": 0, "continues_in": 7.0}
    assert (sources.paths(), sources.fired) == (["a", "c"], ["limited"])


def told_meanwhile(made: Made, **values: Any) -> Site:
    """Return a site in whose waits a source tells of the dataset `a`."""

    def wait(seconds: float) -> bool:
        made.set("a", **values)
        return made.time.wait(seconds)

    return replace(made.site, wait=wait)


def test_a_link_check_does_not_activate_what_a_seed_deactivated_meanwhile(asking: Made, sources: Sources) -> None:
    put(asking, a="x")
    asking.set("a", url=f"{sources.url}/a")
    sources.pages = {"/a": 200}

    done = check_broken_links(told_meanwhile(asking, is_active=False, inactive_reason=GONE))

    assert done == {"checked": 1, "broken": 0, "mended": 0, "unclear": 0}
    assert (asking.row("a").is_active, asking.row("a").inactive_reason) == (False, GONE)


def test_a_link_check_does_not_deactivate_what_moved_meanwhile_and_looks_at_its_new_page(
    asking: Made, sources: Sources
) -> None:
    put(asking, a="x")
    asking.set("a", url=f"{sources.url}/a")
    sources.pages = {"/a": 404, "/moved": 200}

    done = check_broken_links(told_meanwhile(asking, url=f"{sources.url}/moved"))

    assert done == {"checked": 2, "broken": 0, "mended": 0, "unclear": 0}
    assert asking.row("a").is_active
    assert sources.paths()[-1] == "moved"


# cleanup.remove_old_cache


def test_remove_old_cache_removes_what_is_older_and_returns_how_much(made: Made) -> None:
    folder = made.site.cache / "meta-kaggle"
    folder.mkdir(parents=True)
    for name, days in (("old.csv", 8), ("new.csv", 6)):
        (folder / name).write_bytes(b"12345")
        when = made.time.now / 1000 - days * 86_400
        os.utime(folder / name, (when, when))

    assert remove_old_cache(made.site) == {"removed": 1, "freed_bytes": 5}
    assert [path.name for path in folder.iterdir()] == ["new.csv"]
    assert remove_old_cache(made.site, max_age_days=5.5) == {"removed": 1, "freed_bytes": 5}
