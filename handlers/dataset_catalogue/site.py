"""What the tasks of the catalogue work with, and on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from handlers.dataset_catalogue.database import Database
from handlers.dataset_catalogue.dropped import MOST
from handlers.dataset_catalogue.faults import Stopped
from handlers.dataset_catalogue.pace import SECONDS, Pace
from handlers.dataset_catalogue.tables import sources
from handlers.dataset_catalogue.vectors import InTable, Vectors
from handlers.embedders import Embedder

ENDPOINTS: Final[Mapping[str, str]] = {
    "huggingface": "https://huggingface.co",
    "kaggle": "https://api.kaggle.com",
    "zenodo": "https://zenodo.org",
}
"""Where sources are asked, unless something else is set."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """What sources know us by; each is left out where it is None. Shows none of it when it is printed."""

    kaggle_username: str | None = None
    kaggle_key: str | None = None
    kaggle_token: str | None = None
    huggingface_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """
    Handed to every task.

    Args:
        cache: Folder of what was downloaded.
        clock: Epoch milliseconds.
        wait: Waits so many seconds; True when the process is to end.
    """

    database: Database
    cache: Path
    clock: Callable[[], int]
    wait: Callable[[float], bool]
    new_id: Callable[[], str]
    worker: str = "lakedrop"
    """Who works, in the log."""
    credentials: Credentials = field(default_factory=Credentials)
    endpoints: Mapping[str, str] = field(default_factory=lambda: ENDPOINTS)
    pace_seconds: float = SECONDS
    timeout_seconds: float = 30.0
    """How long a source may be silent."""
    max_uncompressed_bytes: int = MOST
    """Of an archive, and of a file that is downloaded."""
    embedder: Embedder | None = None
    vectors: Vectors = field(default_factory=InTable)
    _paces: dict[str, Pace] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The time, with its offset."""
        return datetime.fromtimestamp(self.clock() / 1000, UTC)

    def later(self, seconds: float) -> datetime:
        """Return a time from now."""
        return self.now + timedelta(seconds=seconds)

    def pace(self, host: str) -> Pace:
        """Return what lets requests to a host pass, one after the other."""
        return self._paces.setdefault(host, Pace(self.clock, self.wait, self.pace_seconds))

    def check_stop(self) -> None:
        """
        Be asked whether to go on, where no request waits for its turn.

        Raises:
            Stopped: The process is to end.
        """
        if self.wait(0):
            raise Stopped

    def paused(self, source: str) -> float:
        """Return the seconds for which a source, which limited us, is left alone yet; 0 when it may be asked."""
        with self.database.read() as connection:
            until = connection.scalar(sa.select(sources.c.paused_until).where(sources.c.name == source))
        return 0.0 if until is None else max((until - self.now).total_seconds(), 0.0)

    def pause(self, source: str, seconds: float) -> None:
        """Leave a source alone, whichever process would ask it."""
        until = self.later(seconds)
        with self.database.begin() as connection:
            changed = connection.execute(
                sa.update(sources).where(sources.c.name == source).values(paused_until=until)
            ).rowcount
            if not changed:
                connection.execute(sa.insert(sources).values(name=source, paused_until=until))
