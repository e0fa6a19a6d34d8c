"""zenodo.fetch_datasets: a source that was added by one module and one line."""

from __future__ import annotations

import pytest

from handlers.dataset_catalogue.faults import SourceAway
from handlers.dataset_catalogue.zenodo import fetch_datasets
from tests.catalogue_site import Made
from tests.catalogue_sources import Fault, Sources, zenodo_record


@pytest.fixture(autouse=True)
def _zenodo(sources: Sources) -> None:
    sources.zenodo = [zenodo_record(number, f"Record {number}") for number in range(10, 15)]


def test_fetch_datasets_follows_the_links_and_returns_what_it_fetched(asking: Made) -> None:
    done = fetch_datasets(asking.site, limit=3)

    assert done == {"total_fetched": 3, "total_inserted": 3, "source": "zenodo"}
    assert asking.time.waits == [0.0, 1.0]
    row = asking.row("10")
    assert (row.title, row.description, row.license, row.ref) == (
        "Record 10", "Ice & snow", "cc-by-4.0", "10.5281/zenodo.10",
    )  # fmt: skip
    assert (row.file_formats, row.total_size_bytes, row.enrichment_status) == (["csv", "nc"], 11, "enriched")


def test_a_429_loses_nothing_and_continues_later(asking: Made, sources: Sources) -> None:
    sources.faults.extend([None, "limited"])

    limited = fetch_datasets(asking.site)
    asking.time.pass_by(7)
    rest = fetch_datasets(asking.site)

    assert (limited["total_inserted"], limited["continues_in"]) == (2, 7.0)
    assert rest == {"total_fetched": 5, "total_inserted": 3, "source": "zenodo"}


@pytest.mark.parametrize("fault", ["broken", "cut", "slow", "down", "odd"])
def test_an_answer_that_makes_no_sense_is_told(asking: Made, sources: Sources, fault: Fault) -> None:
    sources.faults.extend([None, fault])

    if fault == "slow":
        asking.wait_no_longer()
    with pytest.raises(SourceAway, match="zenodo"):
        fetch_datasets(asking.site)

    assert (len(asking.rows()), sources.fired) == (2, [fault])
