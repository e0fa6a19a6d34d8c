"""Vectors in Weaviate, as far as no Weaviate is needed for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from handlers.contract import SinkAway
from handlers.dataset_catalogue.descriptions import Description, described
from handlers.dataset_catalogue.enrich import generate_embeddings
from handlers.dataset_catalogue.options import Options, vectors_of
from handlers.dataset_catalogue.vectors import InTable
from handlers.dataset_catalogue.vectors_weaviate import InWeaviate, uuid_of
from tests.catalogue_site import made_site
from tests.unit.catalogue.test_enrich import Letters


def test_a_weaviate_that_is_away_leaves_datasets_without_vectors_to_the_next_run(tmp_path: Path) -> None:
    away = InWeaviate("http://127.0.0.1:9", None, "Dataset")
    with made_site(tmp_path, embedder=Letters(), vectors=away) as made:
        with made.site.database.begin() as connection:
            described(connection, "huggingface", [Description(external_id="a", title="iris")], made.site.now)
        with pytest.raises(SinkAway, match=r"127\.0\.0\.1:9"):
            generate_embeddings(made.site)

        assert made.row("a").embedding_of is None
        assert made.log() == []


def test_the_uuid_of_a_dataset_is_the_same_always() -> None:
    assert uuid_of("kaggle", "17") == "361a3ef4-d5d2-5403-9339-1116f8f01dee"
    assert uuid_of("kaggle", "17") != uuid_of("zenodo", "17")


def test_vectors_are_in_the_table_unless_the_route_says_otherwise() -> None:
    assert isinstance(vectors_of(Options(), {}), InTable)
    assert isinstance(vectors_of(Options(vectors="weaviate"), {}), InWeaviate)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vectors": "elsewhere"},
        {"weaviate_class": "dataset"},
        {"weaviate_class": "Data(set)"},
        {"weaviate_url": "http://user:secret@weaviate:8080"},
    ],
)
def test_options_of_no_weaviate_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate(wrong)
