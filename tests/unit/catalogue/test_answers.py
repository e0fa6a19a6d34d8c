"""What a source answers is read only as far as it may be long, whoever reads it: its own client, or ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from handlers.dataset_catalogue import hf, hub_client, kaggle, web, zenodo
from handlers.dataset_catalogue.descriptions import Description, Seed, seeded
from handlers.dataset_catalogue.dropped import TooLarge
from handlers.dataset_catalogue.faults import NoSuchDataset, SourceAway
from tests.catalogue_site import Made, write_meta_kaggle
from tests.catalogue_sources import LARGE, Fault, Sources, hub_dataset, kaggle_dataset, zenodo_record

LISTINGS: list[Callable[[Any], Any]] = [hf.fetch_datasets, kaggle.fetch_latest, zenodo.fetch_datasets]


@pytest.fixture(autouse=True)
def _listed(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (web, hub_client):
        monkeypatch.setattr(module, "MOST_BYTES", LARGE - 1)
    sources.hub = [hub_dataset("anna/iris", "2026-09-21T10:00:00.000Z")]
    sources.kaggle = [kaggle_dataset(1, "anna/iris")]
    sources.zenodo = [zenodo_record(10, "Ice")]


CASES = [
    *((listing, fault) for listing in LISTINGS for fault in ("large", "packed")),
    # Hugging Face's session lets go of what comes with a redirection; that of Kaggle and Zenodo would read it.
    *((listing, "moved") for listing in (*LISTINGS[1:], kaggle.seed_initial)),
]


@pytest.mark.parametrize(("listing", "fault"), CASES)
def test_an_answer_that_is_too_long_is_not_read_and_says_where_to_look(
    asking: Made, sources: Sources, listing: Callable[[Any], Any], fault: Fault
) -> None:
    sources.faults.append(fault)

    with pytest.raises(SourceAway, match=r"answers with more than 0 MiB: see whether `endpoints` of the route leads"):
        listing(asking.site)

    assert (asking.rows(), sources.fired, len(sources.requests)) == ([], [fault], 1)


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_redirection_to_somewhere_short_is_followed(
    asking: Made, sources: Sources, monkeypatch: pytest.MonkeyPatch, listing: Callable[[Any], Any]
) -> None:
    for module in (web, hub_client):
        monkeypatch.setattr(module, "MOST_BYTES", LARGE)
    sources.faults.append("moved")

    with pytest.raises((SourceAway, NoSuchDataset), match="404"):
        listing(asking.site)

    assert [path for _, path, _ in sources.requests][1:] == ["/elsewhere"]


def test_a_dataset_whose_answer_is_too_long_fails_alone(asking: Made, sources: Sources) -> None:
    found = [Description(external_id=str(number), ref=f"anna/{number}") for number in (1, 2)]
    sources.kaggle = [kaggle_dataset(number, f"anna/{number}") for number in (1, 2)]
    with asking.site.database.begin() as connection:
        seeded(connection, "kaggle", found, Seed("u", "v"), asking.site.now)
    sources.faults.append("large")

    done = kaggle.enrich_pending(asking.site)

    assert (done["enriched"], done["failed"], sources.fired) == (1, 1, ["large"])
    assert "more than 0 MiB" in asking.row("1").last_enrichment_error


def test_a_download_that_is_too_long_names_the_setting_and_leaves_no_file(asking: Made, sources: Sources) -> None:
    folder = write_meta_kaggle(asking.site.cache.parent / "remote", {1: "Iris", 2: "Wine"})
    sources.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    length = max(len(content) for content in sources.files.values())

    with pytest.raises(TooLarge, match=rf"max_uncompressed_bytes = {length - 1:,}: raise that in the options"):
        kaggle.seed_initial(replace(asking.site, max_uncompressed_bytes=length - 1))
    assert not list(asking.site.cache.rglob("*.part"))
    assert asking.rows() == []

    done = kaggle.seed_initial(replace(asking.site, max_uncompressed_bytes=length))
    assert done["total_inserted"] == 2
