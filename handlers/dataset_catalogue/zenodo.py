"""Zenodo: the example of docs/catalogue.md of how a source is added. Its listing tells all there is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from pydantic import PositiveInt

from handlers.dataset_catalogue.descriptions import Description, aware, described
from handlers.dataset_catalogue.faults import NoSuchDataset, RateLimited, SourceAway
from handlers.dataset_catalogue.hf import Fetched
from handlers.dataset_catalogue.named import DAY, task
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.web import Web

SOURCE: Final = "zenodo"

PAGE_SIZE: Final = 25
"""Records that Zenodo gives to somebody it does not know, at most."""

TAG: Final = re.compile(r"<[^>]+>")


@task("zenodo.fetch_datasets", every=DAY)
def fetch_datasets(site: Site, limit: PositiveInt = 100) -> Fetched:
    """
    Take in the datasets that were published on Zenodo last.

    Args:
        site: What is worked with.
        limit: Datasets, at most.
    """
    done = Fetched(total_fetched=0, total_inserted=0, source=SOURCE)
    if pause := site.paused(SOURCE):
        return {**done, "continues_in": pause}
    try:
        for page in _pages(site):
            some = page[: limit - done["total_fetched"]]
            with site.database.begin() as connection:
                done["total_inserted"] += described(connection, SOURCE, some, site.now)
            done["total_fetched"] += len(some)
            if done["total_fetched"] >= limit:
                break
    except RateLimited as error:
        site.pause(SOURCE, error.pause)
        return {**done, "continues_in": error.pause}
    return done


def _pages(site: Site) -> Iterator[list[Description]]:
    url: str | None = f"{site.endpoints[SOURCE]}/api/records"
    asked: dict[str, str | int] | None = {"type": "dataset", "sort": "mostrecent", "size": PAGE_SIZE}
    with Web(site, SOURCE) as web:
        while url is not None:
            try:
                answer = web.json(url, asked)
                page = [_description(found) for found in answer["hits"]["hits"]]
                yield page
                url, asked = answer["links"].get("next") if page else None, None
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise SourceAway(f"{SOURCE}: {url}: an answer that makes no sense: {error!r}") from error
            except NoSuchDataset as error:
                raise SourceAway(error.message) from error


def _description(found: dict[str, Any]) -> Description:
    about, files, stats = found["metadata"], found.get("files") or (), found.get("stats") or {}
    return Description(
        external_id=str(found["conceptrecid"]),  # of all versions of a dataset
        ref=found.get("doi"),
        title=about["title"],
        url=found["links"].get("self_html") or found["links"].get("html"),
        description=html.unescape(TAG.sub(" ", about.get("description") or "")).strip() or None,
        tags=about.get("keywords"),
        license=(about.get("license") or {}).get("id"),
        file_formats=sorted({_ending(file["key"]) for file in files if "." in file["key"]}) or None,
        total_size_bytes=sum(file["size"] for file in files) if files else None,
        download_count=stats.get("downloads"),
        view_count=stats.get("views"),
        source_created_at=_moment(found.get("created")),
        source_updated_at=_moment(found.get("modified")),
    )


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else aware(datetime.fromisoformat(text))
