"""Seeding the dataset catalogue from Meta Kaggle: the whole of it, and a twentieth, whose memory must be the same."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.bench.bench import Bench, megabytes
from tests.bench.report import Section

DATASETS: Final = 500_000
VERSIONS: Final = 3
"""Of each dataset; the last one counts."""

DESCRIPTION: Final = 'Collected from public sources, cleaned, and described in "some" detail,\nover several lines. ' * 6


def catalogue(bench: Bench) -> Section:
    """First into an empty catalogue; few of them also again, which is what a refresh does."""
    section = Section(
        "catalogue",
        "Half a million datasets of Meta Kaggle",
        f"`Datasets.csv` joined with `DatasetVersions.csv`, which has {VERSIONS} versions of each dataset, with "
        "descriptions of many lines, in no order; into SQLite, in one transaction. Each in a process of its own.",
        ("what", "datasets/s", "seconds", "processor seconds", "peak memory"),
    )
    few, all_of_them = bench.of(DATASETS // 20, 100), bench.of(DATASETS, 1000)
    for count, runs in ((few, ("first", "again")), (all_of_them, ("first",))):
        folder = bench.folder / str(count)
        size = _files(folder, count)
        for what in runs:
            command = [sys.executable, "-m", "tests.bench.catalogue_jobs", str(folder)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            if found["datasets"] != count:
                raise AssertionError(f"{found['datasets']} of {count} datasets")
            section.note(
                f"{count:,} datasets ({megabytes(size / 1e6)}), {what}",
                f"{count / found['seconds']:,.0f}",
                f"{found['seconds']:.1f}",
                f"{found['cpu']:.1f}",
                megabytes(found["memory"]),
            )
    return section


def _files(folder: Path, count: int) -> int:
    """Write the files; return their size in bytes."""
    folder.mkdir()
    chance = random.Random(7)  # noqa: S311 (the same files every time)
    numbers = list(range(1, count * VERSIONS + 1))
    chance.shuffle(numbers)
    with (
        (folder / "Datasets.csv").open("w", newline="") as datasets,
        (folder / "DatasetVersions.csv").open("w", newline="") as versions,
    ):
        told, written = csv.writer(datasets), csv.writer(versions)
        told.writerow(("Id", "OwnerUserId", "CurrentDatasetVersionId", "CreationDate", "TotalViews", "TotalVotes"))
        written.writerow(("Id", "DatasetId", "LicenseName", "VersionNumber", "Title", "Slug", "Description"))
        for dataset in range(1, count + 1):
            mine = numbers[(dataset - 1) * VERSIONS : dataset * VERSIONS]
            told.writerow((dataset, f"{dataset % 9999}.0", f"{mine[-1]}.0", "01/31/2020 10:00:00", dataset, 3))
            for at, number in enumerate(mine):
                written.writerow((number, dataset, "CC0", at, f"Set {number}", f"set-{number}", DESCRIPTION))
    return sum(path.stat().st_size for path in folder.iterdir())
