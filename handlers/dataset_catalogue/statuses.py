"""
The status of a dataset, and what follows an attempt to enrich it. Pure.

    minimal ──┐                        ┌── enriched
    pending ──┼── enriching (claimed) ─┼── failed   (again after a while, always)
    failed ───┤                        ├── skipped  (the source does not show it; asked again after a month)
    skipped ──┘                        └── as it was, where it was not the dataset's fault

`enriching` has a deadline: whoever claimed it may have died, and then it counts as `pending`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

FIRST_DELAY: Final = 3600.0
"""Seconds until a dataset is tried again after its first failure; doubled with each further one."""

LONGEST_DELAY: Final = 7 * 86_400.0
SKIPPED_DELAY: Final = 30 * 86_400.0

CLAIM_SECONDS: Final = 600.0
"""How long a claimed dataset may stay `enriching`; more than its requests can take."""


class Status(StrEnum):
    """How much is known of a dataset."""

    MINIMAL = "minimal"
    """What a seed file tells."""
    PENDING = "pending"
    """Listed by the source, and to be asked for."""
    ENRICHING = "enriching"
    """Somebody asks for it now."""
    ENRICHED = "enriched"
    FAILED = "failed"
    """The last attempt failed; there will be another."""
    SKIPPED = "skipped"
    """The source does not show it."""


class Stage(StrEnum):
    """What was attempted, in the log."""

    API_METADATA = "api_metadata"
    EMBEDDING = "embedding"
    LINK_VALIDATION = "link_validation"


class Result(StrEnum):
    """How it ended, in the log."""

    SUCCESS = "success"
    FAILED = "failed"
    RATE_LIMITED = "rate_limited"
    SKIPPED = "skipped"


def delay_after(attempts: int) -> float:
    """Return the seconds until the next attempt after so many failed ones (1 or more)."""
    return min(FIRST_DELAY * 2.0 ** min(max(attempts, 1) - 1, 30), LONGEST_DELAY)
