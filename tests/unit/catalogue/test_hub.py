"""hf.fetch_datasets, through Hugging Face's own client, against a server that answers as the hub does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from handlers.dataset_catalogue.faults import SourceAway, Stopped
from handlers.dataset_catalogue.hf import fetch_datasets
from handlers.dataset_catalogue.site import Credentials
from tests.catalogue_site import Made, made_site
from tests.catalogue_sources import Fault, Sources, hub_dataset

DAYS = ["2026-09-21T10:00:00.000Z", "2026-09-20T23:00:00.000Z", "2026-09-19T00:00:00.000Z", "2026-08-01T00:00:00.000Z"]


@pytest.fixture(autouse=True)
def _hub(sources: Sources) -> None:
    sources.hub = [hub_dataset(f"anna/d{number}", day) for number, day in enumerate(DAYS)]


def test_fetch_datasets_pages_by_cursor_and_returns_what_it_fetched(asking: Made, sources: Sources) -> None:
    done = fetch_datasets(asking.site, limit=3, days_back=0)

    assert done == {"total_fetched": 3, "total_inserted": 3, "source": "huggingface"}
    assert sources.requests[0][2] == {"sort": "lastModified", "limit": "3", "full": "true"}
    assert sources.requests[1][2] == {"cursor": "2", "full": "true"}
    assert asking.time.waits == [0.0, 1.0], "one request a second"
    assert set(asking.statuses().values()) == {"enriched"}
    row = asking.row("anna/d0")
    assert (row.license, row.file_formats, row.download_count, row.like_count) == ("mit", ["parquet"], 5, 1)
    assert row.source_updated_at == datetime(2026, 9, 21, 10, tzinfo=UTC)
    assert row.url == f"{sources.url}/datasets/anna/d0"


def test_fetch_datasets_stops_at_what_was_modified_before(asking: Made, sources: Sources) -> None:
    done = fetch_datasets(asking.site, days_back=1)

    assert done["total_fetched"] == 2
    assert len(sources.requests) == 2, "the page after the first that is too old is not asked for"


def test_fetch_datasets_again_inserts_nothing_and_takes_in_what_changed(asking: Made, sources: Sources) -> None:
    fetch_datasets(asking.site, days_back=0)
    sources.hub[0] = hub_dataset("anna/d0", DAYS[0], description=None, downloads=6)

    again = fetch_datasets(asking.site, limit=0, days_back=0)

    assert again == {"total_fetched": 4, "total_inserted": 0, "source": "huggingface"}
    row = asking.row("anna/d0")
    assert (row.download_count, row.description) == (6, "About anna/d0")


def test_a_429_is_waited_out_as_long_as_the_hub_says(asking: Made, sources: Sources) -> None:
    sources.faults.extend([None, "limited"])

    done = fetch_datasets(asking.site, days_back=0)

    assert done["total_fetched"] == 4
    assert asking.time.waits == [0.0, 1.0, 7.0, 0.0]
    assert sources.fired == ["limited"]


def test_a_429_for_hours_ends_the_task_keeps_what_came_and_continues_later(asking: Made, sources: Sources) -> None:
    sources.retry_after = "7200"
    sources.faults.extend([None, "limited"])

    limited = fetch_datasets(asking.site, days_back=0)
    asking.time.pass_by(7200)
    rest = fetch_datasets(asking.site, days_back=0)

    assert limited == {"total_fetched": 2, "total_inserted": 2, "source": "huggingface", "continues_in": 7200.0}
    assert rest == {"total_fetched": 4, "total_inserted": 2, "source": "huggingface"}


def test_a_wait_ends_when_the_process_does(asking: Made, sources: Sources) -> None:
    sources.faults.append("limited")
    asking.time.stop_after = 1

    with pytest.raises(Stopped):
        fetch_datasets(asking.site)


@pytest.mark.parametrize("fault", ["broken", "cut", "slow", "down", "odd"])
def test_an_answer_that_makes_no_sense_is_told_and_what_came_before_is_kept(
    asking: Made, sources: Sources, fault: Fault
) -> None:
    sources.faults.extend([None, fault])

    if fault == "slow":
        asking.wait_no_longer()
    with pytest.raises(SourceAway, match="huggingface"):
        fetch_datasets(asking.site, days_back=0)

    assert len(asking.rows()) == 2
    assert sources.fired == [fault]


@pytest.mark.parametrize(("token", "sent"), [(None, None), ("hf_secret", "Bearer hf_secret")])
def test_only_the_token_that_was_given_is_sent_and_nobody_is_asked_about_agents(
    tmp_path: Any, sources: Sources, monkeypatch: pytest.MonkeyPatch, token: str | None, sent: str | None
) -> None:
    monkeypatch.setenv("HF_TOKEN", "somebody else's")
    credentials = Credentials(huggingface_token=token)
    with made_site(tmp_path, endpoints=sources.endpoints, credentials=credentials) as made:
        fetch_datasets(made.site, limit=1, days_back=0)

    assert sources.authorizations == [sent]
    assert sources.paths() == ["datasets"]
