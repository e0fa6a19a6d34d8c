"""Enriching what is pending: a batch of datasets, one request after the other, each failure its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NotRequired, TypedDict

from handlers.contract import SinkAway
from handlers.dataset_catalogue import claims
from handlers.dataset_catalogue.claims import Claimed
from handlers.dataset_catalogue.descriptions import Description
from handlers.dataset_catalogue.faults import NoSuchDataset, RateLimited, SourceAway, SourceRefuses, Stopped
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.statuses import Result

MOST_IN_A_ROW: Final = 5
"""Datasets one after the other that a source fails on before it is taken for unwell."""

UNWELL_SECONDS: Final = 300.0


class Enriched(TypedDict):
    """What became of a batch."""

    enriched: int
    failed: int
    source: str
    continues_in: NotRequired[float]
    """The batch ended before its time; seconds until it is to go on."""


def enrich(site: Site, source: str, batch_size: int, ask: Callable[[Claimed], Description]) -> Enriched:
    """
    Ask a source for datasets that are not enriched, and are due.

    Args:
        site: What is worked with.
        source: Its name.
        batch_size: Datasets, at most.
        ask: One request; raises what `faults` lists.

    Raises:
        SourceRefuses: Nothing can be asked.
        Stopped: The process is to end.
        SinkAway: The table cannot be written to.
    """
    done = Enriched(enriched=0, failed=0, source=source)
    if pause := site.paused(source):
        return {**done, "continues_in": pause}
    run = site.new_id()
    bad_in_a_row = 0
    for _ in range(batch_size):
        claimed = claims.claim(site, source, run)
        if claimed is None:
            break
        try:
            fault = _ask(site, claimed, ask)
        except RateLimited as error:
            site.pause(source, error.pause)
            return {**done, "continues_in": error.pause}
        done["failed" if fault else "enriched"] += 1
        bad_in_a_row = bad_in_a_row + 1 if isinstance(fault, SourceAway) else 0
        if bad_in_a_row == MOST_IN_A_ROW:
            site.pause(source, UNWELL_SECONDS)
            return {**done, "continues_in": UNWELL_SECONDS}
    return done


def _ask(site: Site, claimed: Claimed, ask: Callable[[Claimed], Description]) -> Exception | None:
    """
    Ask for one dataset, and settle its claim.

    Returns:
        Why the attempt failed, None when it did not.

    Raises:
        RateLimited, SourceRefuses, Stopped, SinkAway: No fault of the dataset, which is as it was.
    """
    try:
        claims.enriched(site, claimed, _answer(claimed, ask(claimed)))
    except RateLimited as error:
        claims.put_back(site, claimed, error, Result.RATE_LIMITED)
        raise
    except SourceRefuses as error:
        claims.put_back(site, claimed, error)
        raise
    except (Stopped, SinkAway):  # the latter is our own database
        claims.put_back(site, claimed, None)
        raise
    except NoSuchDataset as error:
        claims.skipped(site, claimed, error)
        return error
    except Exception as error:  # noqa: BLE001 (whatever it is, the others do not suffer from it)
        claims.failed(site, claimed, error)
        return error
    return None


def _answer(claimed: Claimed, found: Description) -> Description:
    """Refuse what is told of another dataset: it would settle that one, and leave this one `enriching`."""
    if found.external_id != claimed.external_id:
        raise SourceAway(f"{claimed.source}: told of {found.external_id}, asked for {claimed.external_id}")
    return found
