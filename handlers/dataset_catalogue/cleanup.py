"""Looking after the catalogue: links that lead nowhere any more, and files that nobody needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, NotRequired, TypedDict
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import NonNegativeFloat, PositiveInt

from handlers.dataset_catalogue.attempts import Attempt
from handlers.dataset_catalogue.faults import RateLimited, SourceAway, fault_of
from handlers.dataset_catalogue.named import DAY, task
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.statuses import Result, Stage
from handlers.dataset_catalogue.tables import datasets
from handlers.dataset_catalogue.web import Web

BROKEN: Final = "its page is gone"
"""Why a dataset is not active whose link leads nowhere; it is looked at again, and active when it is back."""

GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Checked(TypedDict):
    """What became of links."""

    checked: int
    broken: int
    mended: int
    unclear: int
    """No answer that says it: looked at again another time."""
    continues_in: NotRequired[float]
    """A host limited us; seconds until it may be asked again."""


class Removed(TypedDict):
    """What became of the cache."""

    removed: int
    freed_bytes: int


@task("cleanup.check_broken_links", every=DAY)
def check_broken_links(site: Site, batch_size: PositiveInt = 100) -> Checked:
    """
    Look whether the pages of datasets are there, those first that were looked at longest ago.

    Args:
        site: What is worked with.
        batch_size: Datasets, at most.
    """
    done = Checked(checked=0, broken=0, mended=0, unclear=0)
    run = site.new_id()
    limited: dict[str, float] = {}
    with Web(site, "links") as web:
        for row in _looked_at_longest_ago(site, batch_size, limited):
            host = urlsplit(row.url).netloc
            attempt = Attempt(dataset=row.id, stage=Stage.LINK_VALIDATION, run=run, began=site.clock())
            try:
                is_there = _is_there(site, web, host, row.url)
            except RateLimited as error:
                limited[host] = error.pause
                _note(site, row, attempt, Result.RATE_LIMITED, error)
            except SourceAway as error:
                done["unclear"] += 1
                _note(site, row, attempt, Result.FAILED, error, last_checked_at=site.now)
            else:
                done["checked"] += 1
                state = {"is_active": is_there, "inactive_reason": None if is_there else BROKEN}
                if _note(site, row, attempt, Result.SUCCESS, None, **state, last_checked_at=site.now):
                    done["broken"] += not is_there
                    done["mended"] += is_there and not row.is_active
    return {**done, "continues_in": max(limited.values())} if limited else done


@task("cleanup.remove_old_cache", every=DAY)
def remove_old_cache(site: Site, max_age_days: NonNegativeFloat = 7) -> Removed:
    """
    Remove files that were downloaded longer ago, and folders in which nothing is left.

    Args:
        site: What is worked with.
        max_age_days: Of a file that is kept, at most.
    """
    oldest = site.clock() / 1000 - max_age_days * DAY
    done = Removed(removed=0, freed_bytes=0)
    for path in sorted(site.cache.rglob("*"), reverse=True):
        with suppress(FileNotFoundError):  # a seed that is over takes its own files with it
            found = path.lstat()
            if found.st_mtime >= oldest:
                continue
            if path.is_dir():
                with suppress(OSError):  # something is in it
                    path.rmdir()
            else:
                path.unlink()
                done["removed"] += 1
                done["freed_bytes"] += found.st_size
    return done


def _looked_at_longest_ago(site: Site, number: int, limited: Collection[str]) -> Iterator[Any]:
    """Yield so many datasets; those of hosts that come to be `limited` meanwhile leave their turn to others."""
    columns, began = datasets.c, site.now
    while number > 0:
        ours = sa.or_(columns.is_active, columns.inactive_reason == BROKEN)
        due = sa.or_(columns.last_checked_at.is_(None), columns.last_checked_at < began)
        left_alone = [columns.url.contains(f"//{host}/", autoescape=True) for host in limited]
        read = (columns.id, columns.url, columns.is_active, columns.inactive_reason)
        query = sa.select(*read).where(columns.url.is_not(None), ours, due)
        query = query.where(sa.not_(sa.or_(sa.false(), *left_alone)))
        order = columns.last_checked_at.asc().nulls_first()
        with site.database.read() as connection:
            rows = connection.execute(query.order_by(order, columns.id).limit(number)).all()
        begun = number
        for row in rows:
            if urlsplit(row.url).netloc not in limited:
                number -= 1
                yield row
        if number == begun:
            return


def _is_there(site: Site, web: Web, host: str, url: str) -> bool:
    """HEAD, and GET where a server says no to that: some know only the one."""
    for method in ("HEAD", "GET"):
        site.pace(host).turn()
        status, headers = web.head(method, url)
        fault = fault_of(status, headers, url, site.clock() / 1000)
        if fault is None:
            return True
        if isinstance(fault, RateLimited):
            raise fault
    if status in GONE:
        return False
    raise SourceAway(f"{url}: answered {status}")


def _note(site: Site, row: Any, attempt: Attempt, result: Result, error: Exception | None, **state: Any) -> bool:
    """Write down how a look ended; False: nothing is changed of the dataset, as its source told of it meanwhile."""
    columns = datasets.c
    same = (
        columns.id == row.id,
        columns.url == row.url,
        columns.is_active == row.is_active,
        columns.inactive_reason.is_not_distinct_from(row.inactive_reason),
    )
    with site.database.begin() as connection:
        attempt.ended(connection, site, result, error)
        return bool(state) and connection.execute(sa.update(datasets).where(*same).values(state)).rowcount == 1
