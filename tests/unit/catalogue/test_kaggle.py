"""The tasks of Kaggle, through its own client, against a server that answers as Kaggle does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from handlers.dataset_catalogue import claims, statuses
from handlers.dataset_catalogue.descriptions import Description, Seed, seeded
from handlers.dataset_catalogue.enriching import MOST_IN_A_ROW
from handlers.dataset_catalogue.faults import SourceAway, SourceRefuses, Stopped
from handlers.dataset_catalogue.kaggle import enrich_pending, fetch_latest, seed_initial
from handlers.dataset_catalogue.tables import logs
from tests.catalogue_site import Made, write_meta_kaggle
from tests.catalogue_sources import Fault, Sources, basic, kaggle_dataset

REFS = ("anna/iris", "bert/wine", "cora/birds", "dora/stocks")


@pytest.fixture
def minimal(asking: Made, sources: Sources) -> Made:
    """Four datasets of which a file has told."""
    found = [Description(external_id=str(number), ref=ref) for number, ref in enumerate(REFS, 1)]
    with asking.site.database.begin() as connection:
        seeded(connection, "kaggle", found, Seed("u", "v"), asking.site.now)
    sources.kaggle = [kaggle_dataset(number, ref) for number, ref in enumerate(REFS, 1)]
    return asking


def put_files(sources: Sources, made: Made, titles: dict[int, str | None]) -> None:
    folder = write_meta_kaggle(made.site.cache.parent / "remote", titles)
    sources.files = {path.name: path.read_bytes() for path in folder.iterdir()}


# kaggle.seed_initial


def test_seed_initial_downloads_once_and_returns_what_it_processed_and_inserted(asking: Made, sources: Sources) -> None:
    put_files(sources, asking, {1: "Iris", 2: "Wine", 3: "Birds"})

    first = seed_initial(asking.site, batch_size=2)
    asked = len(sources.requests)
    again = seed_initial(asking.site)

    assert first == {"total_processed": 3, "total_inserted": 3, "source": "kaggle_meta_csv"}
    assert again == {"total_processed": 3, "total_inserted": 0, "source": "kaggle_meta_csv"}
    assert asking.statuses() == {"1": "minimal", "2": "minimal", "3": "minimal"}
    assert set(sources.paths()[asked:]) == {"DownloadDataset"}, "only what was not there the first time"
    assert [body["fileName"] for _, _, body in sources.requests[asked:]] == ["Users.csv", "Organizations.csv"]


def test_seed_initial_downloads_again_when_it_is_told_to(asking: Made, sources: Sources) -> None:
    put_files(sources, asking, {1: "Iris"})
    seed_initial(asking.site)
    put_files(sources, asking, {1: "Iris", 2: "Wine"})

    cached = seed_initial(asking.site)
    fresh = seed_initial(asking.site, force_redownload=True)

    assert (cached["total_processed"], fresh["total_processed"], fresh["total_inserted"]) == (1, 2, 1)


def test_seed_initial_takes_up_a_download_that_was_cut_or_limited(asking: Made, sources: Sources) -> None:
    put_files(sources, asking, {1: "Iris"})
    sources.faults.extend(["cut"])
    with pytest.raises(SourceAway):
        seed_initial(asking.site)
    assert asking.rows() == []
    sources.faults.extend([None, "limited"])

    limited = seed_initial(asking.site)
    asking.time.pass_by(8)
    done = seed_initial(asking.site)

    assert limited == {"total_processed": 0, "total_inserted": 0, "source": "kaggle_meta_csv", "continues_in": 7.0}
    assert done["total_inserted"] == 1
    assert sources.fired == ["cut", "limited"]
    assert [body["fileName"] for _, _, body in sources.requests].count("Datasets.csv") == 2


# kaggle.enrich_pending


def test_enrich_pending_asks_one_request_a_second_and_returns_what_it_enriched(minimal: Made, sources: Sources) -> None:
    done = enrich_pending(minimal.site, batch_size=3)

    assert done == {"enriched": 3, "failed": 0, "source": "kaggle"}
    assert minimal.statuses() == {"1": "enriched", "2": "enriched", "3": "enriched", "4": "minimal"}
    assert minimal.log() == [("api_metadata", "success", 1)] * 3
    assert minimal.time.waits == [0.0, 1.0, 1.0]
    row = minimal.row("1")
    assert (row.title, row.description, row.license) == ("Iris", "All about anna/iris", "CC0-1.0")
    assert row.source_updated_at == datetime(2026, 9, 1, 10, 0, 0, 123000, tzinfo=UTC)
    assert (minimal.row("3").last_enriched_at, row.enrichment_attempts, row.claim) == (minimal.site.now, 0, None)
    assert sources.authorizations == [basic("anna", "secret")] * 3


def test_a_429_in_the_middle_of_a_batch_loses_nothing_and_continues_later(minimal: Made, sources: Sources) -> None:
    sources.faults.extend([None, "limited"])

    stopped = enrich_pending(minimal.site)
    meanwhile = enrich_pending(minimal.site)
    minimal.time.pass_by(7)
    rest = enrich_pending(minimal.site)

    assert stopped == {"enriched": 1, "failed": 0, "source": "kaggle", "continues_in": 7.0}
    assert meanwhile == {"enriched": 0, "failed": 0, "source": "kaggle", "continues_in": 7.0}
    assert rest == {"enriched": 3, "failed": 0, "source": "kaggle"}
    assert set(minimal.statuses().values()) == {"enriched"}
    assert [result for _, result, _ in minimal.log()] == ["success", "rate_limited", "success", "success", "success"]
    assert minimal.log()[2] == ("api_metadata", "success", 1), "the attempt that was limited does not count"
    assert sources.fired == ["limited"]


@pytest.mark.parametrize(("given", "seconds"), [(None, 60.0), ("Tue, 22 Sep 2026 14:13:50 GMT", 70.0), ("0", 1.0)])
def test_a_pause_is_as_long_as_the_source_says(
    minimal: Made, sources: Sources, given: str | None, seconds: float
) -> None:
    minimal.time.now = round(datetime(2026, 9, 22, 14, 12, 40, tzinfo=UTC).timestamp() * 1000)
    sources.retry_after = given
    sources.faults.append("limited")

    assert enrich_pending(minimal.site)["continues_in"] == seconds


@pytest.mark.parametrize("fault", ["broken", "cut", "slow", "down", "odd"])
def test_each_failure_is_its_own_and_is_tried_again_later(minimal: Made, sources: Sources, fault: Fault) -> None:
    sources.faults.extend([None, fault])

    if fault == "slow":
        minimal.wait_no_longer()
    done = enrich_pending(minimal.site)
    failed = minimal.row("2")
    at_once = enrich_pending(minimal.site)
    minimal.time.pass_by(statuses.FIRST_DELAY)
    later = enrich_pending(minimal.site)

    assert done == {"enriched": 3, "failed": 1, "source": "kaggle"}
    assert (failed.enrichment_status, failed.enrichment_attempts, failed.is_active) == ("failed", 1, True)
    assert failed.last_enrichment_error.startswith("kaggle: bert/wine" if fault != "down" else "kaggle: /v1/")
    assert (at_once["enriched"], later["enriched"]) == (0, 1)
    assert set(minimal.statuses().values()) == {"enriched"}
    assert minimal.row("2").last_enrichment_error is None
    assert sources.fired == [fault]


def test_a_dataset_that_fails_again_and_again_is_asked_for_less_often_and_never_given_up(
    minimal: Made, sources: Sources
) -> None:
    waits = []
    for attempt in range(12):
        sources.faults.extend([None, "down"] if attempt == 0 else ["down"])
        assert enrich_pending(minimal.site)["failed"] == 1
        due = minimal.row("2").next_attempt_at
        waits.append((due - minimal.site.now).total_seconds() / 3600)
        minimal.time.pass_by((due - minimal.site.now).total_seconds())

    assert waits[0] < 1
    assert waits[1:4] == [2, 4, 8]
    assert waits[-1] == 7 * 24
    assert minimal.row("2").is_active
    assert enrich_pending(minimal.site)["enriched"] == 1


def test_what_kaggle_does_not_show_is_skipped_and_asked_for_again_after_a_month(
    minimal: Made, sources: Sources
) -> None:
    sources.kaggle = [kaggle_dataset(12, "anna/iris"), *sources.kaggle[2:]]

    done = enrich_pending(minimal.site)

    assert done == {"enriched": 2, "failed": 2, "source": "kaggle"}
    assert minimal.statuses() == {"1": "skipped", "2": "skipped", "3": "enriched", "4": "enriched"}
    assert minimal.row("1").last_enrichment_error == "kaggle: anna/iris is number 12 now, not 1"
    minimal.time.pass_by(statuses.SKIPPED_DELAY)
    sources.kaggle = [kaggle_dataset(1, "anna/iris"), kaggle_dataset(2, "bert/wine")]
    assert enrich_pending(minimal.site)["enriched"] == 2


def test_a_source_that_fails_on_everything_is_left_alone_for_a_while(minimal: Made, sources: Sources) -> None:
    found = [Description(external_id=str(number), ref=f"x/{number}") for number in range(10, 20)]
    with minimal.site.database.begin() as connection:
        seeded(connection, "kaggle", found, Seed("u", "v"), minimal.site.now)
    sources.faults.extend(["down"] * 20)

    done = enrich_pending(minimal.site)

    assert done == {"enriched": 0, "failed": MOST_IN_A_ROW, "source": "kaggle", "continues_in": 300.0}
    assert len(sources.requests) == MOST_IN_A_ROW


def test_refused_credentials_end_the_batch_and_cost_no_attempt(minimal: Made, sources: Sources) -> None:
    sources.faults.append("refused")

    with pytest.raises(SourceRefuses, match="401"):
        enrich_pending(minimal.site)

    assert minimal.statuses()["1"] == "minimal"
    assert minimal.row("1").enrichment_attempts == 0
    assert minimal.log() == [("api_metadata", "failed", 1)]


def test_a_process_that_dies_leaves_nothing_enriching_for_ever(minimal: Made) -> None:
    assert claims.claim(minimal.site, "kaggle", "a run that dies") is not None
    assert enrich_pending(minimal.site)["enriched"] == 3
    assert minimal.statuses()["1"] == "enriching"

    minimal.time.pass_by(statuses.CLAIM_SECONDS)

    assert enrich_pending(minimal.site)["enriched"] == 1
    assert minimal.log()[-2:] == [("api_metadata", "failed", 1), ("api_metadata", "success", 2)]
    with minimal.site.database.read() as connection:
        (dead,) = connection.execute(sa.select(logs).where(logs.c.task_id == "a run that dies")).all()
    assert (dead.error_type, dead.duration_ms) == ("ClaimLost", 600_000)


def test_a_dataset_that_failed_whose_next_asker_died_and_whose_third_was_limited_is_asked_for_again(
    minimal: Made, sources: Sources
) -> None:
    sources.faults.append("broken")
    assert enrich_pending(minimal.site)["failed"] == 1
    minimal.time.pass_by(statuses.FIRST_DELAY)
    assert claims.claim(minimal.site, "kaggle", "a run that dies") is not None
    minimal.time.pass_by(statuses.CLAIM_SECONDS)
    sources.faults.append("limited")
    assert enrich_pending(minimal.site)["continues_in"] == 7.0
    assert (minimal.row("1").enrichment_status, minimal.row("1").next_attempt_at) == ("pending", None)
    minimal.time.pass_by(7)

    assert enrich_pending(minimal.site)["enriched"] == 1
    assert set(minimal.statuses().values()) == {"enriched"}
    assert sources.fired == ["broken", "limited"]


def test_a_pending_dataset_with_the_time_of_an_earlier_failure_is_asked_for(minimal: Made) -> None:
    """As an earlier version of lakedrop left some."""
    minimal.set("1", enrichment_status="pending", next_attempt_at=minimal.site.now)

    assert enrich_pending(minimal.site)["enriched"] == 4


def test_a_holder_that_comes_back_too_late_changes_nothing(minimal: Made) -> None:
    late = claims.claim(minimal.site, "kaggle", "late")
    assert late is not None
    minimal.time.pass_by(statuses.CLAIM_SECONDS)
    enrich_pending(minimal.site)
    before = minimal.row("1")

    claims.failed(minimal.site, late, SourceAway("too late"))
    assert not claims.enriched(minimal.site, late, Description(external_id="1", title="Wrong"))

    assert minimal.row("1") == before


def test_a_process_that_is_to_end_puts_its_dataset_back(minimal: Made) -> None:
    minimal.time.stop_after = 2

    with pytest.raises(Stopped):
        enrich_pending(minimal.site)

    assert minimal.statuses() == {"1": "enriched", "2": "enriched", "3": "minimal", "4": "minimal"}
    assert len(minimal.log()) == 2


def test_a_dataset_without_an_owner_is_found_by_its_slug_and_number(asking: Made, sources: Sources) -> None:
    found = [
        Description(external_id="2", source_meta={"slug": "iris"}),
        Description(external_id="3", source_meta={"slug": "iris"}),
    ]
    with asking.site.database.begin() as connection:
        seeded(connection, "kaggle", found, Seed("u", "v"), asking.site.now)
    sources.kaggle = [kaggle_dataset(1, "bert/iris"), kaggle_dataset(2, "anna/iris")]

    enrich_pending(asking.site)

    assert asking.statuses() == {"2": "enriched", "3": "skipped"}
    assert asking.row("2").ref == "anna/iris"


def test_every_attempt_is_in_the_log_with_who_made_it_and_why_it_failed(minimal: Made, sources: Sources) -> None:
    sources.faults.append("down")
    enrich_pending(minimal.site, batch_size=1)
    with minimal.site.database.read() as connection:
        entry: Any = connection.execute(sa.select(logs)).one()

    assert (entry.worker_id, entry.task_id, entry.error_type) == ("lakedrop", "run 1", "SourceAway")
    assert "answered 500" in entry.error_message
    assert entry.at == minimal.site.now


# kaggle.fetch_latest


@pytest.mark.parametrize("sort_by", ["updated", "hottest", "votes"])
def test_fetch_latest_pages_through_the_listing_and_returns_what_it_processed(
    asking: Made, sources: Sources, sort_by: Any
) -> None:
    sources.kaggle = [kaggle_dataset(number, f"anna/{number}") for number in range(1, 8)]

    done = fetch_latest(asking.site, limit=5, sort_by=sort_by)

    assert done == {"total_processed": 5, "total_inserted": 5, "source": "kaggle_api"}
    assert set(asking.statuses().values()) == {"pending"}
    assert sources.paths() == ["ListDatasets"] * 3
    assert sources.requests[0][2].get("sortBy", "DATASET_SORT_BY_HOTTEST") == f"DATASET_SORT_BY_{sort_by.upper()}"


def test_fetch_latest_has_new_versions_enriched_again_and_leaves_the_others(minimal: Made, sources: Sources) -> None:
    enrich_pending(minimal.site)
    sources.kaggle[1] = kaggle_dataset(2, "bert/wine", lastUpdated="2026-09-05T10:00:00Z", description=None)

    done = fetch_latest(minimal.site)

    assert done == {"total_processed": 4, "total_inserted": 0, "source": "kaggle_api"}
    assert minimal.statuses() == {"1": "enriched", "2": "pending", "3": "enriched", "4": "enriched"}
    assert minimal.row("2").description == "All about bert/wine", "what is not told is not lost"


def test_fetch_latest_keeps_what_it_has_when_it_is_limited_and_goes_on_later(asking: Made, sources: Sources) -> None:
    sources.kaggle = [kaggle_dataset(number, f"anna/{number}") for number in range(1, 6)]
    sources.faults.extend([None, "limited"])

    limited = fetch_latest(asking.site)
    asking.time.pass_by(7)
    rest = fetch_latest(asking.site)

    assert limited == {"total_processed": 2, "total_inserted": 2, "source": "kaggle_api", "continues_in": 7.0}
    assert rest == {"total_processed": 5, "total_inserted": 3, "source": "kaggle_api"}


def test_credentials_are_those_that_were_given_and_no_others(
    asking: Made, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "somebody else's")

    fetch_latest(asking.site)

    assert sources.authorizations == [basic("anna", "secret")]


WAYS: list[Callable[[Any], Any]] = [fetch_latest, enrich_pending, seed_initial]


@pytest.mark.parametrize("way", WAYS)
def test_a_source_that_wants_a_pause_is_asked_by_no_task(
    minimal: Made, sources: Sources, way: Callable[[Any], Any]
) -> None:
    minimal.site.pause("kaggle", 40)

    assert way(minimal.site)["continues_in"] == 40
    assert sources.requests == []
