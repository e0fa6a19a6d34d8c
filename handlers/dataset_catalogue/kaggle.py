"""Kaggle in three steps: seeded from Meta Kaggle, enriched by its API, kept up with by its listing."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NotRequired, TypedDict
from zipfile import is_zipfile

from pydantic import PositiveInt

from handlers.dataset_catalogue import meta_kaggle
from handlers.dataset_catalogue.descriptions import Seed, listed
from handlers.dataset_catalogue.dropped import unpack
from handlers.dataset_catalogue.enriching import Enriched, enrich
from handlers.dataset_catalogue.faults import NoSuchDataset, RateLimited
from handlers.dataset_catalogue.kaggle_client import SOURCE, Kaggle
from handlers.dataset_catalogue.named import DAY, HOUR, task
from handlers.dataset_catalogue.seeding import Seeding
from handlers.dataset_catalogue.site import Site

OWNER, SLUG = "kaggle", "meta-kaggle"
"""The dataset that is Meta Kaggle."""

FILES: Final = (meta_kaggle.DATASETS, meta_kaggle.VERSIONS, meta_kaggle.USERS, meta_kaggle.ORGANIZATIONS)

PAGE_SIZE: Final = 100

UNIT: Final = "kaggle.seed_initial"
"""What seeds datasets where no route does."""


class Seeded(TypedDict):
    """What became of a listing, or of a seed."""

    total_processed: int
    total_inserted: int
    source: str
    continues_in: NotRequired[float]
    """It ended before its time; seconds until it is to go on."""


@task("kaggle.seed_initial")
def seed_initial(site: Site, batch_size: PositiveInt = 1000, force_redownload: bool = False) -> Seeded:
    """
    Seed the catalogue with what Meta Kaggle tells of every dataset; downloads its files unless they are there.

    Args:
        site: What is worked with.
        batch_size: Datasets at a time.
        force_redownload: Download files again that are in the cache.
    """
    done = Seeded(total_processed=0, total_inserted=0, source="kaggle_meta_csv")
    if pause := site.paused(SOURCE):
        return {**done, "continues_in": pause}
    folder = site.cache / SLUG
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _download(site, folder, again=force_redownload)
    except RateLimited as error:
        site.pause(SOURCE, error.pause)
        return {**done, "continues_in": error.pause}
    found = meta_kaggle.batches(folder, batch_size)
    with Seeding(site.database, SOURCE, Seed(UNIT, site.new_id()), found, site.now) as seeding:
        while seeding.step():
            site.check_stop()
        seeding.finish()
        seeding.commit()
    return {**done, "total_processed": seeding.processed, "total_inserted": seeding.inserted}


@task("kaggle.enrich_pending", every=HOUR)
def enrich_pending(site: Site, batch_size: PositiveInt = 50) -> Enriched:
    """
    Ask Kaggle for what is not known of datasets, one request a second.

    Args:
        site: What is worked with.
        batch_size: Datasets, at most.
    """
    with Kaggle(site) as kaggle:
        return enrich(site, SOURCE, batch_size, kaggle.dataset)


@task("kaggle.fetch_latest", every=DAY)
def fetch_latest(
    site: Site, limit: PositiveInt = 100, sort_by: Literal["updated", "hottest", "votes"] = "updated"
) -> Seeded:
    """
    Note what Kaggle lists first: new datasets, and new versions, are to be enriched.

    Args:
        site: What is worked with.
        limit: Datasets, at most.
        sort_by: What Kaggle lists first.
    """
    done = Seeded(total_processed=0, total_inserted=0, source="kaggle_api")
    if pause := site.paused(SOURCE):
        return {**done, "continues_in": pause}
    try:
        with Kaggle(site) as kaggle:
            for page in kaggle.pages(sort_by, min(limit, PAGE_SIZE)):
                some = page[: limit - done["total_processed"]]
                with site.database.begin() as connection:
                    done["total_inserted"] += listed(connection, SOURCE, some, site.now)
                done["total_processed"] += len(some)
                if done["total_processed"] >= limit:
                    break
    except RateLimited as error:
        site.pause(SOURCE, error.pause)
        return {**done, "continues_in": error.pause}
    return done


def _download(site: Site, folder: Path, *, again: bool) -> None:
    """Kaggle sends a file of a dataset as it is, or packed where that is smaller."""
    with Kaggle(site) as kaggle:
        for name in FILES:
            place = folder / name
            if again or not place.exists():
                try:
                    kaggle.download(OWNER, SLUG, name, place)
                except NoSuchDataset:
                    if name in meta_kaggle.NEEDED:
                        raise
                else:
                    if is_zipfile(place):
                        unpack(place.replace(place.with_suffix(".zip")), site.max_uncompressed_bytes)
