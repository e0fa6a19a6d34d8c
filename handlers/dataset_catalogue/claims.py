"""Datasets under work: claimed one at a time, and given back with what became of them; every attempt is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from handlers.contract import ClaimLost
from handlers.dataset_catalogue.attempts import Attempt, text_of
from handlers.dataset_catalogue.descriptions import Description, described
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.statuses import CLAIM_SECONDS, SKIPPED_DELAY, Result, Stage, Status, delay_after
from handlers.dataset_catalogue.tables import datasets

FREE: Final = {"claim": None, "claimed_until": None}

UNHEARD: Final = ClaimLost("nothing was heard of this attempt in its time; noted by who took the dataset over")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A dataset that nobody else works on."""

    attempt: Attempt
    source: str
    external_id: str
    ref: str | None
    slug: str | None
    status: Status
    """Before it was claimed."""


def claim(site: Site, source: str, run: str) -> Claimed | None:
    """
    Claim the dataset whose turn it is: what its source listed goes before what only a file told, then the oldest.

    Args:
        site: What is worked with.
        source: Of the dataset.
        run: The run of the task, which the claim and the log name.
    """
    now = site.now
    with site.database.begin() as connection:
        row = _next(connection, source, now)
        if row is None:
            return None
        before = Status(row.enrichment_status)
        number = row.enrichment_attempts + 1
        if before is Status.ENRICHING:
            _unheard(connection, site, row)
        values = {
            "enrichment_status": Status.ENRICHING,
            "enrichment_attempts": number,
            "claim": run,
            "claimed_until": now + timedelta(seconds=CLAIM_SECONDS),
        }
        connection.execute(sa.update(datasets).where(datasets.c.id == row.id).values(values))
    return Claimed(
        Attempt(dataset=row.id, stage=Stage.API_METADATA, run=run, began=site.clock(), number=number),
        source,
        row.external_id,
        row.ref,
        (row.source_meta or {}).get("slug"),
        Status.PENDING if before is Status.ENRICHING else before,  # whoever had it is gone
    )


def _unheard(connection: sa.Connection, site: Site, row: Any) -> None:
    """Write down the attempt of somebody who is gone, or so late that what it finds is not put in."""
    began = site.clock() - round(CLAIM_SECONDS * 1000)
    attempt = Attempt(
        dataset=row.id, stage=Stage.API_METADATA, run=row.claim, began=began, number=row.enrichment_attempts
    )
    attempt.ended(connection, site, Result.FAILED, UNHEARD)


def _next(connection: sa.Connection, source: str, now: datetime) -> Any:
    """One query for each part of the index; OR would have the whole of a status sorted."""
    columns = datasets.c
    fresh = columns.next_attempt_at.is_(None)
    due = columns.next_attempt_at <= now
    for status, ready, order in (
        (Status.PENDING, fresh, columns.id),
        (Status.PENDING, due, columns.next_attempt_at),
        (Status.ENRICHING, columns.claimed_until <= now, columns.id),
        (Status.FAILED, due, columns.next_attempt_at),
        (Status.MINIMAL, fresh, columns.id),
        (Status.SKIPPED, due, columns.next_attempt_at),
    ):
        mine = (columns.source_name == source, columns.enrichment_status == status, ready, columns.is_active)
        query = sa.select(datasets).where(*mine).order_by(order).limit(1).with_for_update(skip_locked=True)
        row = connection.execute(query).first()
        if row is not None:
            return row
    return None


def enriched(site: Site, claimed: Claimed, found: Description) -> bool:
    """Put in what the source told; False when the claim was lost meanwhile, and nothing is changed."""
    with site.database.begin() as connection:
        if not _settle(connection, claimed, {}):
            return False
        described(connection, claimed.source, [found], site.now)
        claimed.attempt.ended(connection, site, Result.SUCCESS)
    return True


def failed(site: Site, claimed: Claimed, error: Exception) -> None:
    """The attempt failed for a reason of the dataset's own: it is tried again after a while, each time a longer one."""
    again = {"next_attempt_at": site.later(delay_after(claimed.attempt.number)), "enrichment_status": Status.FAILED}
    _ended(site, claimed, error, Result.FAILED, again)


def skipped(site: Site, claimed: Claimed, error: Exception) -> None:
    """The source does not show it; it is asked again after a month."""
    again = {"next_attempt_at": site.later(SKIPPED_DELAY), "enrichment_status": Status.SKIPPED}
    _ended(site, claimed, error, Result.SKIPPED, again)


def put_back(site: Site, claimed: Claimed, error: Exception | None, result: Result = Result.FAILED) -> None:
    """It was not the dataset's fault: it is as it was, and the attempt does not count."""
    as_it_was: dict[str, Any] = {
        "enrichment_status": claimed.status,
        "enrichment_attempts": claimed.attempt.number - 1,
    }
    if claimed.status is Status.PENDING:  # what it failed for before it was taken over is no reason to wait
        as_it_was["next_attempt_at"] = None
    with site.database.begin() as connection:
        if _settle(connection, claimed, as_it_was) and error is not None:
            claimed.attempt.ended(connection, site, result, error)


def _ended(site: Site, claimed: Claimed, error: Exception, result: Result, again: dict[str, Any]) -> None:
    with site.database.begin() as connection:
        if _settle(connection, claimed, {**again, "last_enrichment_error": text_of(error)}):
            claimed.attempt.ended(connection, site, result, error)


def _settle(connection: sa.Connection, claimed: Claimed, values: dict[str, Any]) -> bool:
    mine = sa.and_(datasets.c.id == claimed.attempt.dataset, datasets.c.claim == claimed.attempt.run)
    return connection.execute(sa.update(datasets).where(mine).values({**FREE, **values})).rowcount == 1
