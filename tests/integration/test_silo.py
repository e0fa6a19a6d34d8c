"""Releases into SILO's real engine: what it answers is what was released."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from handlers.silo_staging.config import Config
from handlers.silo_staging.downloader import Backend
from handlers.silo_staging.importer import Importer, Outcome
from handlers.silo_staging.runner import DirectRunner
from handlers.silo_staging.sentinels import SiloFailed
from tests.silo_backend import record, serving
from tests.stack import silo_engine

pytestmark = [pytest.mark.needs("silo_engine"), pytest.mark.xdist_group("silo")]

REFERENCE = "ATCGATCGATCG"

FILES = {
    "preprocessing_config.yaml": "ndjsonInputFilename: data.ndjson.zst\n",
    "database_config.yaml": """\
schema:
  instanceName: test
  opennessLevel: OPEN
  primaryKey: accessionVersion
  metadata:
    - {name: accessionVersion, type: string}
    - {name: country, type: string, generateIndex: true}
    - {name: qc, type: float}
    - {name: collected, type: date}
    - {name: isFirst, type: boolean}
    - {name: pipelineVersion, type: int}
""",
    "reference_genomes.json": json.dumps(
        {
            "nucleotideSequences": [{"name": "main", "sequence": REFERENCE}],
            "genes": [{"name": "gene1", "sequence": "MD*"}],
        }
    ),
}


def release(count: int, seed: int) -> list[dict[str, Any]]:
    """Return records with a mutation at random places; some have no sequence."""
    chance = random.Random(seed)  # noqa: S311 (the same release every time)
    records = []
    for number in range(count):
        place = chance.randrange(len(REFERENCE))
        other = chance.choice([base for base in "ACGT" if base != REFERENCE[place]])
        sequence = None if chance.random() < 0.1 else REFERENCE[:place] + other + REFERENCE[place + 1 :]
        records.append(
            record(
                f"LOC_{number}.1",
                sequence=sequence,
                country=chance.choice(["CH", "DE", None]),
                qc=chance.random(),
                collected="2026-11-21",
                isFirst=number == 0,
            )
        )
    return records


@pytest.fixture
def root(tmp_path: Path) -> Path:
    given = tmp_path / "preprocessing/input"
    given.mkdir(parents=True)
    for name, text in FILES.items():
        (given / name).write_text(text)
    return tmp_path


def folders(root: Path) -> dict[str, str]:
    place = root / "preprocessing"
    return {"SILO_INPUT_DIRECTORY": str(place / "input"), "SILO_OUTPUT_DIRECTORY": str(place / "output")}


def importer_of(root: Path, url: str) -> Importer:
    config = root / "preprocessing/input/preprocessing_config.yaml"
    silo = DirectRunner(silo_engine.program(root), config, 120, folders(root))
    importer = Importer(Config(backend=url, root=root), Backend(url), silo)
    importer.prepare()
    return importer


def ask(root: Path, statement: str) -> list[dict[str, Any]]:
    return silo_engine.query(root / "preprocessing/output", statement)


def test_counts_and_mutations_are_those_of_the_release(root: Path) -> None:
    records = release(500, seed=1)
    with serving() as backend:
        backend.release(records)
        ended = importer_of(root, backend.url).run()

    assert (ended.outcome, ended.records) == (Outcome.IMPORTED, 500)
    by_country = {one["country"]: one["n"] for one in ask(root, "default.group({country}, {n := count()})")}
    assert by_country == Counter(one["metadata"]["country"] for one in records)
    sequences = [one["alignedNucleotideSequences"]["main"] for one in records]
    expected = Counter(
        (at + 1, base)
        for sequence in sequences
        if sequence is not None
        for at, base in enumerate(sequence)
        if base != REFERENCE[at]
    )
    mutations = ask(root, "default.mutations(sequenceNames := {main}, minProportion := 0.0)")
    assert {(one["position"], one["mutationTo"]): one["count"] for one in mutations} == expected


def test_a_later_release_takes_the_place_of_the_earlier_one(root: Path) -> None:
    with serving() as backend:
        backend.release(release(50, seed=1))
        importer = importer_of(root, backend.url)
        importer.run()
        backend.release(release(70, seed=2), '"2"')
        importer.run()

    assert ask(root, "default.group({}, {n := count()})") == [{"n": 70}]


def test_a_release_that_the_engine_refuses_leaves_the_earlier_database(root: Path) -> None:
    with serving() as backend:
        backend.release(release(50, seed=1))
        importer = importer_of(root, backend.url)
        importer.run()
        wrong = release(3, seed=2)
        wrong[1]["metadata"]["qc"] = "not a number"
        backend.release(wrong, '"2"')
        with pytest.raises(SiloFailed, match="exit code 1"):
            importer.run()
        assert importer.etag == '"1"'

    assert ask(root, "default.group({}, {n := count()})") == [{"n": 50}]


def test_the_command_brings_a_release_through_watcher_and_engine(root: Path) -> None:
    watch = Path(__file__).parents[2] / "infra/silo/kubernetes/watch.sh"
    given = root / "preprocessing/input"
    environment = {
        **os.environ,
        **folders(root),
        "SILO_BINARY": str(silo_engine.program(root)),
        "SILO_INPUT_DIR": str(given),
        "SILO_RUNNER_SLEEP_SECONDS": "0.05",
        "SILO_PREPROCESSING_CONFIG": str(given / "preprocessing_config.yaml"),
        "ROOT_DIR": str(root),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    code = "import sys; from handlers.silo_staging.cli import main; sys.exit(main(['--once']))"
    with serving() as backend:
        backend.release(release(40, seed=3))
        environment["BACKEND_BASE_URL"] = backend.url
        watcher = subprocess.Popen(["/bin/sh", str(watch)], env=environment, stdout=subprocess.DEVNULL)
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
            )
        finally:
            watcher.terminate()
            watcher.wait()

    assert done.returncode == 0, done.stderr
    assert ask(root, "default.group({}, {n := count()})") == [{"n": 40}]
    assert (given / "last_silo_run").exists()
