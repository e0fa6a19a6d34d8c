"""Vectors of the catalogue in a real Weaviate: what is found there is what the table would find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from handlers.contract import PermanentError
from handlers.dataset_catalogue.descriptions import Description, described
from handlers.dataset_catalogue.enrich import generate_embeddings
from handlers.dataset_catalogue.options import Options
from handlers.dataset_catalogue.search import Catalogue
from handlers.dataset_catalogue.tables import logs
from handlers.dataset_catalogue.vectors_weaviate import InWeaviate, uuid_of
from handlers.embedders import WordLlamaEmbedder
from tests.catalogue_site import Made, made_site
from tests.stack.weaviate import Weaviate

pytestmark = pytest.mark.xdist_group("weaviate")

TITLES = {
    "a": "Iris flower measurements",
    "b": "Stock prices",
    "c": "Petals and sepals of plants",
    "d": 'Weather "in"\nBerlin',
    "e": "Recipes of bread",
}


class Catalogued:
    """A catalogue whose vectors are in Weaviate."""

    def __init__(self, made: Made, weaviate: Weaviate, home: Path) -> None:
        self.made = made
        self.weaviate = weaviate
        self._home = home

    def put(self, titles: dict[str, str], source: str = "huggingface") -> None:
        found = [Description(external_id=name, title=title, url=f"https://x/{name}") for name, title in titles.items()]
        with self.made.site.database.begin() as connection:
            described(connection, source, found, self.made.site.now)

    def embed(self) -> int:
        return generate_embeddings(self.made.site)["embedded"]

    def search(self, text: str, limit: int = 5, source: str | None = None) -> list[dict[str, Any]]:
        options = Options(vectors="weaviate", weaviate_url=self.weaviate.url)
        catalogue = Catalogue(options, None, {"WEAVIATE_API_KEY": self.weaviate.api_key}, self._home)
        found = catalogue.search(text, limit, source)
        catalogue.close()
        return found

    def ids(self, text: str, limit: int = 5, source: str | None = None) -> list[str]:
        return [one["external_id"] for one in self.search(text, limit, source)]

    def written_at(self) -> dict[str, int]:
        objects = self.weaviate.call("GET", "objects?class=Dataset&limit=100")["objects"]
        return {one["id"]: one["lastUpdateTimeUnix"] for one in objects}


@pytest.fixture
def catalogued(weaviate: Weaviate, tmp_path: Path) -> Iterator[Catalogued]:
    weaviate.clear()
    vectors = InWeaviate(weaviate.url, weaviate.api_key, "Dataset")
    with made_site(tmp_path, embedder=WordLlamaEmbedder(), vectors=vectors) as made:
        yield Catalogued(made, weaviate, tmp_path)


def test_vectors_in_weaviate_find_what_those_in_the_table_find(catalogued: Catalogued, tmp_path: Path) -> None:
    catalogued.put(TITLES)
    catalogued.put({"a": "Flowers"}, source="zenodo")
    assert catalogued.ids("bread") == ["e"], "without vectors, words are looked for"
    assert catalogued.embed() == 6
    assert all(row.embedding is None for row in catalogued.made.rows())
    elsewhere = tmp_path / "table"
    elsewhere.mkdir()
    with made_site(elsewhere, embedder=WordLlamaEmbedder()) as made:
        beside = Catalogued(made, catalogued.weaviate, elsewhere)
        beside.put(TITLES)
        beside.put({"a": "Flowers"}, source="zenodo")
        assert beside.embed() == 6
    catalogue = Catalogue(Options(), None, {}, elsewhere)
    for text, source in (("botany: flowers", None), ("finance", None), ("flowers", "zenodo"), ("x", 'no "source"')):
        expected = catalogue.search(text, 4, source)
        found = catalogued.search(text, 4, source)
        assert [(one["source"], one["external_id"]) for one in found] == [
            (one["source"], one["external_id"]) for one in expected
        ]
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-5)
    catalogue.close()


def test_only_what_changed_is_written_to_weaviate_and_what_is_not_active_is_removed(catalogued: Catalogued) -> None:
    catalogued.put(TITLES)
    assert catalogued.embed() == 5
    before = catalogued.written_at()
    assert set(before) == {uuid_of("huggingface", name) for name in TITLES}
    assert catalogued.embed() == 0
    assert catalogued.written_at() == before

    catalogued.put({"b": "Songs of birds"})
    assert "b" not in catalogued.ids("birds"), "a vector of the earlier text is not looked at"
    assert catalogued.embed() == 1
    after = catalogued.written_at()
    assert [one for one in after if after[one] != before[one]] == [uuid_of("huggingface", "b")]
    assert catalogued.ids("birds", 1) == ["b"]

    catalogued.made.set("b", is_active=False)
    assert "b" not in catalogued.ids("birds")
    assert catalogued.embed() == 0
    assert set(catalogued.written_at()) == set(before) - {uuid_of("huggingface", "b")}
    catalogued.made.set("b", is_active=True)
    assert catalogued.embed() == 1
    assert catalogued.ids("birds", 1) == ["b"]


class Odd(WordLlamaEmbedder):
    """Makes a vector of another length of one text, as a server may whose model was changed under way."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors = super().embed(texts)
        return [vector[:100] if text == "odd" else vector for text, vector in zip(texts, vectors, strict=True)]


def test_an_object_that_weaviate_refuses_always_stops_no_other(catalogued: Catalogued) -> None:
    object.__setattr__(catalogued.made.site, "embedder", Odd())
    catalogued.put(TITLES)
    assert catalogued.embed() == 5

    catalogued.put({"f": "Songs of birds", "g": "odd", "h": "Fish"})
    done = generate_embeddings(catalogued.made.site)

    assert (done["embedded"], done["failed"]) == (2, 1)
    assert catalogued.ids("birds", 1) == ["f"]
    with catalogued.made.site.database.read() as connection:
        (refused,) = connection.execute(sa.select(logs).where(logs.c.result == "failed")).all()
    assert refused.dataset_id == catalogued.made.row("g").id
    assert "Weaviate refuses" in refused.error_message
    assert "100" in refused.error_message, "why"


class Short(WordLlamaEmbedder):
    """Another model, of vectors that do not fit to the others."""

    name = "short"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [vector[:100] for vector in super().embed(texts)]


def test_vectors_are_made_again_for_a_weaviate_that_lost_them_and_by_another_model(catalogued: Catalogued) -> None:
    catalogued.put(TITLES)
    assert catalogued.embed() == 5
    catalogued.weaviate.clear()
    assert catalogued.search("flower")[0]["score"] is None, "without vectors, words are looked for"
    assert catalogued.embed() == 5
    assert catalogued.ids("plants and petals", 1) == ["c"]

    object.__setattr__(catalogued.made.site, "embedder", Short())
    assert catalogued.embed() == 5
    assert catalogued.embed() == 0
    assert len(catalogued.written_at()) == 5


def test_a_class_dataset_of_somebody_else_is_left_alone(catalogued: Catalogued) -> None:
    catalogued.weaviate.call("POST", "schema", {"class": "Dataset", "vectorizer": "none"})
    catalogued.put(TITLES)

    with pytest.raises(PermanentError, match="weaviate_class"):
        catalogued.embed()
    assert catalogued.written_at() == {}
