"""
One organism's releases: download, transform, compare, stage, and have SILO preprocess them.

A release that SILO has is not staged twice: told by the backend's ETag, or else by the hash of what SILO would read.
What is known of earlier runs is in memory only, so a process that begins anew takes everything once more: nothing that
was begun before can make it skip.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from handlers.silo_staging.config import Config
from handlers.silo_staging.downloader import NO_ETAG, Released
from handlers.silo_staging.lineage import Hierarchies, fetch_lineages
from handlers.silo_staging.paths import DATA, UNTRANSFORMED, Paths, discard, keep_newest, runs
from handlers.silo_staging.transform import Transformed, Unreadable, transform

log = structlog.get_logger("silo.import")


class Outcome(Enum):
    """How a run ended that did not fail."""

    IMPORTED = "imported"
    """SILO has preprocessed the data."""
    NOT_MODIFIED = "not modified"
    """The backend has nothing new."""
    SAME = "same"
    """The data are those that SILO has."""
    UNREADABLE = "unreadable"
    """The data were cut short on their way, or are not whole: the next run downloads them again."""
    MISCOUNTED = "miscounted"
    """There are other records than the backend counted: some were released meanwhile, so the next run tries again."""


class Run(NamedTuple):
    """A run that did not fail."""

    outcome: Outcome
    records: int | None = None
    """In the data; None when there were none to read."""
    reason: str = ""
    """Why the data were not taken."""


class Staged(NamedTuple):
    """A release that SILO does not have, as it reads it."""

    folder: Path
    released: Released
    found: Transformed
    refreshed_at: float | None
    """When it was asked for, if whatever SILO had; epoch seconds."""


class Source(Protocol):
    """Where releases come from: `downloader.Backend`, or a folder of a bucket."""

    def download(self, place: Path, etag: str = NO_ETAG) -> Released | None:
        """Store the release in a file; return None when it is the one of this ETag. Raises when there is none."""
        ...


class Importer:
    """
    Imports the releases of one organism, run by run.

    Args:
        config: Its settings.
        source: Has the releases.
        run_silo: Has SILO preprocess what is staged; raises when that fails.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        run_silo: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._source = source
        self._run_silo = run_silo
        self._clock = clock
        self._paths = Paths(config.root)
        self._hierarchies = Hierarchies(config.hierarchical_filters)
        self.etag = NO_ETAG
        """Of the release that SILO has."""
        self.refreshed_at = 0.0
        """When all was last downloaded whatever the backend says, in epoch seconds."""

    def prepare(self) -> None:
        """Make the folders, and forget what other processes left in them: nobody told this one how far they came."""
        self._paths.make()
        self._paths.clear()

    def run(self) -> Run:
        """
        Import the newest release, unless SILO has it; raises as `stage` and `finish` do.

        Whatever is raised, nothing is remembered of the run, so the next one does it again.
        """
        staged = self.stage()
        return staged if isinstance(staged, Run) else self.finish(staged)

    def stage(self) -> Staged | Run:
        """
        Download the newest release and transform it; return it, or how the run ended when SILO needs none of it.

        Raises:
            TransformError: A record is not as it must be.
            Exception: Whatever the source raises: `DownloadError`, where that is a backend.
        """
        keep_newest(self._paths.output)
        began = self._clock()
        hard = began - self.refreshed_at >= self._config.hard_refresh_seconds
        folder = self._paths.new_run(began)
        try:
            released = self._source.download(folder / UNTRANSFORMED, NO_ETAG if hard else self.etag)
            staged = None if released is None else self._transformed(folder, released, began if hard else None)
        except BaseException:
            discard(folder)
            raise
        if isinstance(staged, Staged) and not self._has(folder):
            return staged
        discard(folder)
        if isinstance(staged, Staged):
            return self._ended(Outcome.SAME, staged.found.records, staged.released.etag, staged.refreshed_at)
        return staged or self._ended(Outcome.NOT_MODIFIED, None, self.etag, began if hard else None)

    def finish(self, staged: Staged) -> Run:
        """
        Have SILO preprocess a staged release.

        Raises:
            LineageError: What it needs besides cannot be had.
            SiloFailed: SILO failed.
            TimeoutError: SILO did not end.
        """
        keep_newest(self._paths.input)
        try:
            fetch_lineages(self._config.lineages, staged.found.versions, self._paths.input)
            self._hierarchies.fetch(staged.found.values, self._paths.input)
            self._paths.show(staged.folder)
            self._preprocess()
            self._paths.note_imported(staged.folder)
        except BaseException:
            self._paths.withdraw(staged.folder)
            raise
        return self._ended(Outcome.IMPORTED, staged.found.records, staged.released.etag, staged.refreshed_at)

    def _preprocess(self) -> None:
        """Run SILO; what it made is taken back when it fails, or the next run would keep that for the newest."""
        before = runs(self._paths.output)
        try:
            self._run_silo()
        except BaseException:
            for made in runs(self._paths.output):
                if made not in before:
                    self._paths.take_back(made)
            raise

    def _transformed(self, folder: Path, released: Released, refreshed_at: float | None) -> Staged | Run:
        try:
            found = transform(folder / UNTRANSFORMED, folder / DATA, self._hierarchies.fields)
        except Unreadable as error:
            log.warning("silo.data_unreadable", reason=str(error), next="downloaded again by the next run")
            return Run(Outcome.UNREADABLE, reason=str(error))
        if released.total is not None and released.total != found.records:
            reason = f"the backend counts {released.total} records and sent {found.records}"
            log.warning("silo.count_differs", reason=reason, next="tried again by the next run")
            return Run(Outcome.MISCOUNTED, found.records, reason)
        return Staged(folder, released, found, refreshed_at)

    def _has(self, folder: Path) -> bool:
        """Tell whether SILO has the data of a run, and what it made of them is still there."""
        before = self._paths.imported_before(folder) if runs(self._paths.output) else None
        return before is not None and _md5(before / DATA) == _md5(folder / DATA)

    def _ended(self, outcome: Outcome, records: int | None, etag: str, refreshed_at: float | None) -> Run:
        self.etag = etag
        if refreshed_at is not None:
            self.refreshed_at = refreshed_at
        hard = refreshed_at is not None
        log.info("silo.run_ended", outcome=outcome.value, records=records, hard_refresh=hard, etag=etag)
        return Run(outcome, records)


def _md5(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
