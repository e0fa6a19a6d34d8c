"""
A release of ESCO dropped into MinIO is ingested by two replicas, one of which is killed at work.

With LAKEDROP_TEST_ESCO=full it has the size of ESCO's own, and it takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from handlers.esco_index.schema import CLASSES
from tests import waits
from tests.acceptance.conftest import Home, _restored_logs
from tests.esco_index import Index, expected
from tests.esco_release import Release, whole
from tests.integration.replicas import Replicas, replicated
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.weaviate import Weaviate
from tests.waits import wait_for

__all__ = ("_restored_logs",)

pytestmark = [pytest.mark.needs("minio"), pytest.mark.slow]

BUCKET = "occupations"
UNIT = "esco/1.2/en/"

ROUTES = """
[[routes]]
name = "esco"
bucket = "{bucket}"
prefix = "esco/"
handler = "esco_index"
options = {{ url = "{url}", grpc_port = {port}, embedder = "wordllama" }}
"""

FULL = os.environ.get("LAKEDROP_TEST_ESCO") == "full"

PATIENCE = 1800.0 if FULL else waits.PATIENCE
"""Seconds; a release of full size takes some minutes on a machine that does other things too."""


@pytest.fixture
def replicas(
    weaviate: Weaviate,
    rabbitmq: RabbitMQ,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Replicas]:
    weaviate.clear()
    monkeypatch.setenv("WEAVIATE_API_KEY", weaviate.api_key)
    routes = ROUTES.format(bucket=BUCKET, url=weaviate.url, port=weaviate.grpc_port)
    key = {"WEAVIATE_API_KEY": weaviate.api_key}
    servers = (rabbitmq, postgres)
    with replicated(servers, tmp_path_factory, BUCKET, settings={}, routes=routes, environment=key) as both:
        yield both


def test_release_is_whole_though_its_replica_was_killed_and_then_only_what_changes_is_written(
    replicas: Replicas, weaviate: Weaviate, tmp_path: Path
) -> None:
    release = whole() if FULL else Release(600, 100, 3000)
    folder = tmp_path / "release"
    release.write(folder)
    files = {f"{UNIT}{path.name}": path.read_bytes() for path in folder.iterdir()}
    index = Index(Home(tmp_path / "looks-only"), weaviate)
    replicas.put(files)

    wait_for(lambda: _begun(index), "nothing was written", PATIENCE)
    replicas.first.kill()
    left = index.all()
    replicas.second.start()
    done = replicas.until_done(UNIT, seconds=PATIENCE)

    expecting = expected(folder, release, "wordllama")
    assert left != expecting, "it was killed at work"
    assert index.all() == expecting
    assert sum(done[name] for name in CLASSES) == len(expecting)
    assert (done["Skill"], done["Occupation"]) == (release.skills, release.occupations)
    occupations = done["Occupation.hasEssentialSkill"] + done["Occupation.hasOptionalSkill"]
    skills = done["Skill.isEssentialForOccupation"] + done["Skill.isOptionalForOccupation"]
    assert occupations == skills == release.relations
    _verify(replicas)

    before = index.written_at()
    replicas.put(files)
    assert replicas.home.lakedrop("replay", "--prefix", "esco/", "--force", "--yes").returncode == 0
    done_twice = [line for line in _timeline(replicas) if line["event"] == "done"]
    assert len(done_twice) == 2, "the replay came to its end"
    assert index.written_at() == before, "what is the same was written"

    times = len(replicas.done(UNIT))
    release.change("skills", 7, "preferredLabel", "prune vines")
    release.write(folder, only=["skills"])
    replicas.put({f"{UNIT}skills_en.csv": (folder / "skills_en.csv").read_bytes()})
    replicas.until_done(UNIT, times + 1)
    after = index.written_at()
    (changed,) = [uuid for uuid in after if after[uuid] != before.get(uuid)]
    assert index.objects("Skill")[changed]["properties"]["preferredLabel_en"] == "prune vines"
    assert after.keys() == before.keys()
    _verify(replicas)


def _timeline(replicas: Replicas) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = replicas.home.json("why", f"{BUCKET}/{UNIT}", "--json")["timeline"]
    return found


def _verify(replicas: Replicas) -> None:
    verified = replicas.home.lakedrop("verify")
    assert verified.returncode == 0, verified.stdout


def _begun(index: Index) -> bool:
    with suppress(AssertionError):  # for a moment a class is in the schema, and asked for its objects it is not found
        return bool(index.objects("ISCOGroup"))
    return False
