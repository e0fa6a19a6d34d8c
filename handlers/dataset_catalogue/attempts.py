"""The log of the catalogue: every attempt to learn something of a dataset, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.statuses import Result, Stage
from handlers.dataset_catalogue.tables import logs

ERROR_LENGTH: Final = 2000
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One that is under way."""

    dataset: int
    stage: Stage
    run: str
    """Of the task."""
    began: int
    """Epoch milliseconds."""
    number: int = 1

    def entry(self, site: Site, result: Result, error: Exception | None = None) -> dict[str, Any]:
        """Return the row of the log, now that it ended."""
        return {
            "dataset_id": self.dataset,
            "stage": self.stage,
            "result": result,
            "attempt_number": self.number,
            "error_message": None if error is None else text_of(error),
            "error_type": None if error is None else type(error).__name__,
            "duration_ms": max(site.clock() - self.began, 0),
            "worker_id": site.worker,
            "task_id": self.run,
            "at": site.now,
        }

    def ended(self, connection: sa.Connection, site: Site, result: Result, error: Exception | None = None) -> None:
        """Write it down."""
        connection.execute(sa.insert(logs).values(self.entry(site, result, error)))


def text_of(error: Exception) -> str:
    """Return what is kept of an error."""
    return str(error).replace("\0", "\N{REPLACEMENT CHARACTER}")[:ERROR_LENGTH]
