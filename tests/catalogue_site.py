"""A catalogue for tests: time is a number, waiting adds to it, and its table is looked into."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from handlers.dataset_catalogue.database import FILE, Database
from handlers.dataset_catalogue.site import ENDPOINTS, Credentials, Site
from handlers.dataset_catalogue.tables import datasets, logs
from handlers.dataset_catalogue.vectors import InTable, Vectors
from handlers.embedders import Embedder

PATIENCE = 180.0
"""Seconds that a source may be silent: far more than those of the tests ever are, unless they shall."""

BEGIN = 1_790_000_000_000
"""Epoch milliseconds: 21 September 2026."""


@dataclass
class Time:
    """A clock that goes only when somebody waits."""

    now: int = BEGIN
    waits: list[float] = field(default_factory=list)
    stop_after: int | None = None
    """So many waits, the process is to end."""

    def clock(self) -> int:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += round(seconds * 1000)
        return self.stop_after is not None and len(self.waits) > self.stop_after

    def pass_by(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@dataclass
class Made:
    """A site, and a look behind it."""

    site: Site
    time: Time

    def wait_no_longer(self) -> None:
        """Give up a source that is silent, as one is that never answers."""
        self.site = replace(self.site, timeout_seconds=2.0)

    def rows(self, **where: Any) -> list[Any]:
        query = sa.select(datasets).order_by(datasets.c.id)
        for name, value in where.items():
            query = query.where(datasets.c[name] == value)
        with self.site.database.read() as connection:
            return list(connection.execute(query))

    def row(self, external_id: str) -> Any:
        (found,) = self.rows(external_id=external_id)
        return found

    def statuses(self) -> dict[str, str]:
        return {row.external_id: row.enrichment_status for row in self.rows()}

    def log(self) -> list[tuple[str, str, int]]:
        """Return stage, result and number of the attempts, in their order."""
        query = sa.select(logs.c.stage, logs.c.result, logs.c.attempt_number).order_by(logs.c.id)
        with self.site.database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def set(self, external_id: str, **values: Any) -> None:
        with self.site.database.begin() as connection:
            connection.execute(sa.update(datasets).where(datasets.c.external_id == external_id).values(values))


@contextmanager
def made_site(
    folder: Path,
    *,
    url: str | None = None,
    endpoints: Mapping[str, str] | None = None,
    credentials: Credentials | None = None,
    embedder: Embedder | None = None,
    vectors: Vectors | None = None,
) -> Iterator[Made]:
    time, ids = Time(), itertools.count(1)
    database = Database(url, folder / FILE)
    database.make()
    site = Site(
        database=database,
        cache=folder / "cache",
        clock=time.clock,
        wait=time.wait,
        new_id=lambda: f"run {next(ids)}",
        credentials=credentials or Credentials(),
        endpoints={**ENDPOINTS, **(endpoints or {})},
        timeout_seconds=PATIENCE,
        embedder=embedder,
        vectors=vectors or InTable(),
    )
    try:
        yield Made(site, time)
    finally:
        database.close()


DATASET = {"CurrentDatasetVersionId": "", "CreationDate": "01/31/2020 10:00:00", "TotalViews": "5", "TotalVotes": "1"}
VERSION = {"LicenseName": "CC0", "VersionNumber": "1.0"}


def write_meta_kaggle(folder: Path, titles: Mapping[int, str | None], **more: Sequence[Mapping[str, str]]) -> Path:
    """
    Write files of Meta Kaggle.

    Args:
        folder: Made.
        titles: Of datasets by their numbers; None: the dataset has no version.
        more: Rows of further files, by their names without the ending.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "Datasets.csv",
        [
            {"Id": str(number), "OwnerUserId": "7.0", **DATASET, "CurrentDatasetVersionId": f"{number + 1000}.0"}
            for number in titles
        ],
    )
    _write(
        folder / "DatasetVersions.csv",
        [
            {"Id": str(number + 1000), "Title": title, "Slug": title.lower().replace(" ", "-"), **VERSION}
            for number, title in titles.items()
            if title is not None
        ]
        or [{"Id": "", "Title": "", "Slug": "", **VERSION}],
    )
    for name, rows in more.items():
        _write(folder / f"{name}.csv", rows)
    return folder


def _write(place: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
