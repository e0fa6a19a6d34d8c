"""Files of Meta Kaggle dropped into a bucket, and the catalogue's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumer import exits
from tests.acceptance.conftest import Home
from tests.catalogue_site import write_meta_kaggle

NEVER = ", ".join(
    f'"{name}" = 0'
    for name in (
        "hf.fetch_datasets",
        "kaggle.enrich_pending",
        "kaggle.fetch_latest",
        "zenodo.fetch_datasets",
        "cleanup.check_broken_links",
    )
)

ROUTE = f"""
waker_seconds = 0.2
grace_seconds = 0.1
retry_delays = [0.1]
[[routes]]
name = "catalogue"
bucket = "csv-uploads"
prefix = "catalogue/"
handler = "dataset_catalogue"
options = {{ on_delete = "remove", every = {{ {NEVER} }} }}
"""

FOLDER = "catalogue/kaggle/"


class Datasets:
    """A home with a catalogue."""

    def __init__(self, home: Home) -> None:
        self.home = home
        home.configure(ROUTE)

    @property
    def folder(self) -> Path:
        return self.home.bucket / FOLDER

    def drop(self, titles: dict[int, str | None]) -> None:
        write_meta_kaggle(self.folder, titles)

    def found(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.home.json("catalogue", "search", text, "--json")
        return found


@pytest.fixture
def datasets(home: Home) -> Datasets:
    return Datasets(home)


def test_dropped_files_are_seeded_embedded_and_found_by_what_they_mean(datasets: Datasets) -> None:
    datasets.drop({1: "Iris flower measurements", 2: "Stock prices by the minute", 3: "Wine reviews"})

    done = datasets.home.lakedrop("run", "--once")

    assert done.returncode == 0, done.stderr
    assert datasets.found("shares traded at an exchange")[0]["title"] == "Stock prices by the minute"
    why = datasets.home.json("why", FOLDER, "--json")
    assert (why["state"], why["holds"]["target"], why["holds"]["counts"]) == ("done", "kaggle", {"rows": 3})
    counts = datasets.home.json("catalogue", "status", "--json")
    assert (counts["kaggle"]["minimal"], counts["kaggle"]["embedded"]) == (3, 3)
    assert datasets.home.lakedrop("verify").returncode == 0


def test_files_wait_for_each_other_and_what_they_no_longer_tell_of_is_not_found(datasets: Datasets) -> None:
    datasets.drop({1: "Iris flower measurements", 2: "Wine reviews"})
    versions = (datasets.folder / "DatasetVersions.csv").read_bytes()
    (datasets.folder / "DatasetVersions.csv").unlink()
    assert datasets.home.lakedrop("run", "--once").returncode == 0
    why = datasets.home.json("why", FOLDER, "--json")
    assert (why["state"], "waits for DatasetVersions.csv" in why["error"]) == ("skipped", True)

    (datasets.folder / "DatasetVersions.csv").write_bytes(versions)
    datasets.home.lakedrop("run", "--once")
    assert len(datasets.found("wine")) == 2
    datasets.drop({1: "Iris flower measurements"})
    datasets.home.lakedrop("run", "--once")

    assert [one["external_id"] for one in datasets.found("wine")] == ["1"]


def test_a_damaged_archive_fails_with_its_reason_and_a_replay_repairs(datasets: Datasets) -> None:
    datasets.folder.mkdir(parents=True)
    (datasets.folder / "archive.zip").write_bytes(b"PK no archive")

    assert datasets.home.lakedrop("run", "--once").returncode == exits.FAILED
    why = datasets.home.json("why", FOLDER, "--json")
    assert (why["state"], why["error"]) == ("failed", "archive.zip: File is not a zip file")
    (datasets.folder / "archive.zip").unlink()
    datasets.drop({1: "Iris"})

    assert datasets.home.lakedrop("replay", "--prefix", FOLDER, "--yes").returncode == 0
    assert len(datasets.found("iris")) == 1


def test_a_task_is_run_by_its_name_with_arguments_that_are_checked(datasets: Datasets) -> None:
    datasets.drop({number: f"Number {number}" for number in range(1, 6)})
    datasets.home.lakedrop("run", "--once")
    datasets.home.lakedrop("tasks", "list")

    (done,) = datasets.home.json("tasks", "run", "cleanup.remove_old_cache", "--arg", "max_age_days=0", "--json")
    wrong = datasets.home.lakedrop("tasks", "run", "cleanup.remove_old_cache", "--arg", "age=0")
    unknown = datasets.home.lakedrop("tasks", "run", "hf.fetch")

    assert (done["state"], done["detail"]) == ("done", {"removed": 0, "freed_bytes": 0})
    assert (wrong.returncode, "age = '0': unknown; there are: max_age_days" in wrong.stderr) == (exits.USAGE, True)
    assert (unknown.returncode, "kaggle.seed_initial" in unknown.stderr) == (exits.USAGE, True)


def test_tasks_are_listed_with_what_they_take_and_the_schedule_with_its_intervals(datasets: Datasets) -> None:
    listed = datasets.home.lakedrop("run", "--once")
    listed = datasets.home.lakedrop("tasks", "list")
    slots = {slot["name"]: slot for slot in datasets.home.json("tasks", "schedule", "--json")}

    assert "kaggle.seed_initial(batch_size: int = 1000, force_redownload: bool = False)" in listed.stdout
    assert slots["enrich.generate_embeddings"]["every"] == 3600
    assert slots["enrich.generate_embeddings"]["state"] == "done"
    assert (slots["kaggle.seed_initial"]["every"], slots["kaggle.seed_initial"]["next_at"]) == (None, None)


def test_check_asks_the_catalogue_and_wrong_options_are_told(datasets: Datasets) -> None:
    datasets.home.lakedrop("run", "--once")
    assert datasets.home.lakedrop("check").returncode == 0
    datasets.home.configure(ROUTE.replace('"hf.fetch_datasets"', '"hf.fetch"'))

    done = datasets.home.lakedrop("check")

    assert (done.returncode, "no task 'hf.fetch'" in done.stderr) == (exits.CONFIGURATION, True)
