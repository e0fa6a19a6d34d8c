"""Hugging Face: its listing tells all there is, so datasets are enriched at once."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from itertools import takewhile
from typing import Final, NotRequired, TypedDict

from pydantic import NonNegativeInt

from handlers.dataset_catalogue.batches import batched
from handlers.dataset_catalogue.descriptions import Description, described
from handlers.dataset_catalogue.faults import RateLimited
from handlers.dataset_catalogue.hub_client import SOURCE, newest
from handlers.dataset_catalogue.named import DAY, task
from handlers.dataset_catalogue.site import Site

BATCH: Final = 500
"""Datasets that are put in at a time."""


class Fetched(TypedDict):
    """What became of a listing."""

    total_fetched: int
    total_inserted: int
    source: str
    continues_in: NotRequired[float]
    """It ended before its time; seconds until it is to go on."""


@task("hf.fetch_datasets", every=DAY)
def fetch_datasets(site: Site, limit: NonNegativeInt = 10_000, days_back: NonNegativeInt = 1) -> Fetched:
    """
    Take in the datasets of Hugging Face that were modified last.

    Args:
        site: What is worked with.
        limit: Datasets, at most; 0 for all.
        days_back: Days since they were modified, at most; 0 for all.
    """
    done = Fetched(total_fetched=0, total_inserted=0, source=SOURCE)
    if pause := site.paused(SOURCE):
        return {**done, "continues_in": pause}
    oldest = site.now - timedelta(days=days_back) if days_back else None

    def is_new(found: Description) -> bool:
        return oldest is None or found.source_updated_at is None or found.source_updated_at >= oldest

    try:
        with closing(newest(site, limit)) as found:
            for batch in batched(takewhile(is_new, found), BATCH):
                with site.database.begin() as connection:
                    done["total_inserted"] += described(connection, SOURCE, batch, site.now)
                done["total_fetched"] += len(batch)
    except RateLimited as error:
        site.pause(SOURCE, error.pause)
        return {**done, "continues_in": error.pause}
    return done
