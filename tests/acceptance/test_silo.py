"""Genome releases dropped into a bucket, with a SILO that copies its input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from handlers.silo_staging import frames, sentinels
from handlers.silo_staging.paths import runs
from tests.acceptance.conftest import Home, Service
from tests.silo_backend import packed, record, serving
from tests.waits import PATIENCE, wait_for

SILO = """#!/bin/sh
set -eu
test -f "$SILO_INPUT_DIRECTORY/reference_genomes.json" || { echo "no reference genomes"; exit 1; }
newest=$(ls "$SILO_OUTPUT_DIRECTORY" | sort -n | tail -n 1)
made="$((${newest:-0} + 1))"
mkdir "$SILO_OUTPUT_DIRECTORY/making"
cp "$SILO_INPUT_DIRECTORY"/*.* "$SILO_OUTPUT_DIRECTORY/making"
mv "$SILO_OUTPUT_DIRECTORY/making" "$SILO_OUTPUT_DIRECTORY/$made"
"""

ROUTE = """
waker_seconds = 0.2
grace_seconds = 0.1
retry_delays = [0.1]
[[routes]]
name = "silo"
bucket = "csv-uploads"
prefix = "silo/in/"
handler = "silo_staging"
options = {{ silo_timeout_seconds = 60{more} }}
"""

WATCHER = Path(__file__).parents[2] / "infra/silo/kubernetes/watch.sh"


class Genomes:
    """A home with a route to SILO."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.silo = home.path.parent / "silo"
        self.silo.write_text(SILO)
        self.silo.chmod(0o755)
        self.configure()

    def configure(self, more: str = "") -> None:
        """Have lakedrop run SILO."""
        self.home.configure(ROUTE.format(more=f', coordination = "direct", silo = "{self.silo}"{more}'))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have SILO's container run it: `watch.sh`, asked by sentinels, which is the default."""
        self.home.configure(ROUTE.format(more=""))
        place = self.home.path / "silo/ebola/preprocessing"
        environment = {
            "PATH": os.environ["PATH"],
            "SILO_BINARY": str(self.silo),
            "SILO_INPUT_DIR": str(place / "input"),
            "SILO_RUNNER_SLEEP_SECONDS": "0.02",
            "SILO_INPUT_DIRECTORY": str(place / "input"),
            "SILO_OUTPUT_DIRECTORY": str(place / "output"),
        }
        watcher = subprocess.Popen(["/bin/sh", str(WATCHER)], env=environment)
        try:
            yield
        finally:
            watcher.terminate()
            watcher.wait(PATIENCE)

    def drop(self, name: str, content: bytes | str) -> None:
        path = self.home.bucket / "silo/in/ebola" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def made(self, organism: str = "ebola") -> Path | None:
        """Return the newest folder that SILO made."""
        return next(iter(runs(self.home.path / "silo" / organism / "preprocessing/output")), None)

    def shown(self, organism: str = "ebola") -> list[str]:
        made = self.made(organism)
        lines = [] if made is None else frames.lines(made / "data.ndjson.zst")
        return [json.loads(line)["accessionVersion"] for line in lines]


@pytest.fixture
def genomes(home: Home) -> Genomes:
    return Genomes(home)


def release(*accessions: str) -> bytes:
    return packed([record(accession) for accession in accessions])


def test_a_folder_becomes_a_database_of_silo_once(genomes: Genomes) -> None:
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("b.ndjson.zst", release("LOC_2.1", "LOC_3.1"))
    genomes.drop("reference_genomes.json", "{}")

    done = genomes.home.lakedrop("run", "--once")
    made = genomes.made()
    again = genomes.home.lakedrop("run", "--once")
    why = genomes.home.json("why", "silo/in/ebola/", "--json")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr
    assert genomes.shown() == ["LOC_1.1", "LOC_2.1", "LOC_3.1"]
    assert genomes.made() == made
    assert (why["state"], why["holds"]["target"], why["holds"]["counts"]) == (
        "done",
        "ebola",
        {"records": 3, "rows": 3},
    )


def test_a_folder_becomes_a_database_by_the_silo_that_watches_for_sentinels(
    genomes: Genomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinels, "LOOK_SECONDS", 0.02)
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("reference_genomes.json", "{}")

    with genomes.watched():
        done = genomes.home.lakedrop("run", "--once")

    assert done.returncode == 0, done.stderr
    assert genomes.shown() == ["LOC_1.1"]
    made = genomes.made()
    assert made is not None
    left = {path.name for path in (made.parent.parent / "input").iterdir() if not path.name.isdigit()}
    assert left == {"data.ndjson.zst", "last_silo_run", "reference_genomes.json"}
    assert (made / "reference_genomes.json").read_text() == "{}"


def test_a_changed_release_and_a_changed_file_beside_it_are_each_imported(genomes: Genomes) -> None:
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("reference_genomes.json", "{}")
    genomes.home.lakedrop("run", "--once")
    genomes.drop("a.ndjson.zst", release("LOC_1.2"))
    genomes.home.lakedrop("run", "--once")
    assert genomes.shown() == ["LOC_1.2"]
    made = genomes.made()

    genomes.drop("reference_genomes.json", '{"genes": []}')
    genomes.home.lakedrop("run", "--once")

    newest = genomes.made()
    assert newest is not None
    assert newest != made
    assert (newest / "reference_genomes.json").read_text() == '{"genes": []}'


def test_a_damaged_release_fails_with_its_reason_and_silo_keeps_the_last_good_one(genomes: Genomes) -> None:
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("reference_genomes.json", "{}")
    genomes.home.lakedrop("run", "--once")
    genomes.drop("a.ndjson.zst", release("LOC_2.1")[:-7])

    done = genomes.home.lakedrop("run", "--once")
    why = genomes.home.lakedrop("why", "silo/in/ebola/")

    assert done.returncode == 1
    assert "ends within a frame of zstd" in why.stdout
    assert genomes.shown() == ["LOC_1.1"]
    genomes.drop("a.ndjson.zst", release("LOC_2.1"))
    assert genomes.home.lakedrop("run", "--once").returncode == 0
    assert genomes.shown() == ["LOC_2.1"]


def test_a_silo_that_fails_is_quoted_and_asked_again(genomes: Genomes) -> None:
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))

    done = genomes.home.lakedrop("run", "--once", "--wait", "30")
    why = genomes.home.lakedrop("why", "silo/in/ebola/")
    assert done.returncode == 1
    assert "SILO failed with exit code 1: no reference genomes" in why.stdout

    genomes.drop("reference_genomes.json", "{}")
    assert genomes.home.lakedrop("run", "--once").returncode == 0
    assert genomes.shown() == ["LOC_1.1"]


def test_a_replay_makes_a_database_that_was_lost_again_and_leaves_one_that_is_there(genomes: Genomes) -> None:
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("reference_genomes.json", "{}")
    genomes.home.lakedrop("run", "--once")
    made = genomes.made()
    replay = ("replay", "--prefix", "silo/in/ebola/", "--force", "--yes")

    there = genomes.home.lakedrop(*replay)
    assert (there.returncode, genomes.made()) == (0, made), there.stderr
    assert made is not None
    shutil.rmtree(made.parent)
    lost = genomes.home.lakedrop("verify")
    done = genomes.home.lakedrop(*replay)
    found = genomes.home.lakedrop("verify")

    assert (lost.returncode, done.returncode, found.returncode) == (1, 0, 0), done.stderr
    assert genomes.shown() == ["LOC_1.1"]


@pytest.mark.parametrize(("policy", "left"), [("keep", ["LOC_1.1"]), ("remove", [])])
def test_a_folder_that_is_deleted_is_kept_or_removed_as_the_route_says(
    genomes: Genomes, policy: str, left: list[str]
) -> None:
    genomes.configure(f', on_delete = "{policy}"')
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("reference_genomes.json", "{}")
    genomes.home.lakedrop("run", "--once")
    for path in (genomes.home.bucket / "silo/in/ebola").iterdir():
        path.unlink()

    done = genomes.home.lakedrop("run", "--once")

    assert done.returncode == 0, done.stderr
    assert genomes.shown() == left


def test_a_lost_ledger_is_rebuilt_without_importing_again(genomes: Genomes) -> None:
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))
    genomes.drop("reference_genomes.json", "{}")
    genomes.home.lakedrop("run", "--once")
    made = genomes.made()
    for path in genomes.home.path.glob("ledger.db*"):
        path.unlink()

    rebuilt = genomes.home.lakedrop("ledger", "rebuild")
    again = genomes.home.lakedrop("run", "--once")

    assert (rebuilt.returncode, again.returncode) == (0, 0), rebuilt.stderr
    assert genomes.made() == made


def test_a_service_polls_a_backend_and_shows_each_poll_as_a_task(genomes: Genomes, serve: Any) -> None:
    with serving() as backend:
        backend.release([record("LOC_1.1")])
        genomes.configure(f', backends = {{ ebola = "{backend.url}" }}, poll_seconds = 0.2')
        (genomes.home.path / "silo/ebola/preprocessing/input").mkdir(parents=True)
        (genomes.home.path / "silo/ebola/preprocessing/input/reference_genomes.json").write_text("{}")
        service: Service = serve()
        wait_for(lambda: genomes.shown() == ["LOC_1.1"])
        backend.release([record("LOC_1.2")], '"2"')
        wait_for(lambda: genomes.shown() == ["LOC_1.2"])
        (task,) = genomes.home.json("tasks", "list", "--json")

        assert (task["name"], task["target"]) == ("import", "ebola")
        assert service.end() == 0
    assert any("If-None-Match" in one.headers for one in backend.downloads)


def test_what_is_dropped_for_an_organism_with_a_backend_is_refused(genomes: Genomes) -> None:
    genomes.configure(', backends = { ebola = "http://127.0.0.1:9" }')
    genomes.drop("a.ndjson.zst", release("LOC_1.1"))

    genomes.home.lakedrop("run", "--once")

    assert "come from http://127.0.0.1:9" in genomes.home.lakedrop("why", "silo/in/ebola/").stdout
