"""
"Success Criteria" of the ESCO specification ("ESCO Ingestion System Improvements"): a test for each, named after it.

A start of the init container is a run of `esco-init` on a real Weaviate. The specification's "Testing Instructions" are
among the criteria: cold start, warm start, failed ingestion, concurrent start. Its "Required Changes" are tested by

| Change | Here | And in |
|---|---|---|
| 1, environment detection | no prompts | tests/unit/esco/test_esco_init.py |
| 2, state; `metadata.yaml` | state | tests/unit/esco/test_schema.py |
| 3 and 4, idempotent operations | no duplicates | tests/integration/test_esco.py |
| 5, progress, staleness | state | tests/unit/esco/test_races.py |
| 6, init container script | all of them | tests/integration/test_esco.py: `--check`, a verification that fails |
| 7, Docker Compose | search | tests/unit/test_infra.py |
| 8, validation | state | tests/integration/test_esco.py |
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from handlers.esco_index.books import Books
from handlers.esco_index.state import State, Status
from tests.esco_index import ROUTE, Index, expected, index
from tests.esco_release import Release
from tests.waits import PATIENCE

__all__ = ["index"]

pytestmark = pytest.mark.xdist_group("weaviate")


def ingestions(index: Index) -> int:
    """Return how often a release was brought into Weaviate, by the ledger."""
    ((found,),) = index.home.in_ledger(
        "select count(*) from history where event = 'done' and detail like '%\"begin\"%'"
    )
    return int(found)


def test_no_interactive_prompts_in_docker_environment(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """No interactive prompts in Docker environment."""
    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return True

    index.drop(Release())
    assert index.init() == 0
    before = index.written_at()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    monkeypatch.delenv("NON_INTERACTIVE")

    monkeypatch.setenv("DOCKER_ENV", "true")
    assert index.init() == 0
    assert (asked, index.written_at()) == ([], before)
    monkeypatch.delenv("DOCKER_ENV")
    assert index.init() == 0
    assert len(asked) == 1, "whoever sits before a terminal is asked"
    assert not [uuid for uuid, at in index.written_at().items() if at == before[uuid]]


def test_ingestion_runs_only_once_on_cold_start(index: Index) -> None:
    """Ingestion runs only once on cold start."""
    release = Release()
    folder = index.drop(release)
    assert index.init("--check") == 2

    assert index.init() == 0

    assert index.all() == expected(folder, release)
    assert ingestions(index) == 1
    assert index.init("--check") == 0


def test_ingestion_is_skipped_on_warm_start(index: Index) -> None:
    """Ingestion is skipped on warm start."""
    index.drop(Release())
    assert index.init() == 0
    before, state = index.written_at(), index.state()

    assert index.init() == 0

    assert (index.written_at(), index.state(), ingestions(index)) == (before, state, 1)


def test_failed_ingestions_can_be_recovered(index: Index) -> None:
    """
    Failed ingestions can be recovered: killed in a step, the next start goes on, and may be killed in its turn.

    At every request: tests/unit/esco/test_kills.py; while objects are created: tests/integration/test_esco_replicas.py.
    """
    release = Release()
    folder = index.drop(release)
    whole = expected(folder, release)
    for step in ("writing", "verifying"):
        kill(index, step)
        assert (index.all() == whole) is (step == "verifying")
    assert index.init() == 0
    assert index.all() == whole

    del release.files["skills"][-5:]
    index.drop(release)
    left = expected(folder, release)
    kill(index, "removing")
    assert len(index.all()) == len(left) + 1, "four of five were removed"
    index.configure(", stale_seconds = 0.001")
    assert index.init("--check") == 2, "without a sign of life for so long, it counts as dead"
    assert index.init() == 0
    assert index.all() == left
    assert index.state()["status"] == "completed"


def kill(index: Index, step: str) -> None:
    """Start an ingestion that is killed in a step, and see that it was."""
    assert index.begin_init("-m", "tests.esco_kills", step, "SIGKILL").wait(PATIENCE) == -signal.SIGKILL
    state = index.state()
    assert (state["status"], state["step"]) == ("in_progress", step)
    assert index.init("--check") == 1


def test_no_duplicate_data_on_multiple_runs(index: Index) -> None:
    """No duplicate data on multiple runs."""
    release = Release()
    whole = expected(index.drop(release), release)

    assert index.init() == 0
    assert index.init("--force-reingest") == 0
    assert index.home.lakedrop("replay", "--prefix", "esco/", "--force", "--yes").returncode == 0

    assert ingestions(index) == 3
    assert index.all() == whole, "neither an object nor a reference is there twice"


def test_search_service_only_starts_after_successful_ingestion(index: Index) -> None:
    """
    Search service only starts after successful ingestion: until then, `esco-init` does not end with 0.

    That the service waits for that: tests/unit/test_infra.py.
    """
    release = Release()
    index.drop(release, only=[name for name in release.files if name != "skills"])
    assert index.init() == 1
    early = index.home.lakedrop("esco", "search", "pumps")
    assert (early.returncode != 0, "nothing was ingested yet" in early.stderr) == (True, True)

    release.change("skills", 3, "preferredLabel", "carve pumpkins")
    index.drop(release, only=["skills"])
    assert index.init() == 0
    assert index.home.json("esco", "search", "pumpkins", "--json")[0]["preferredLabel_en"] == "carve pumpkins"


def test_concurrent_ingestion_attempts_are_prevented(index: Index) -> None:
    """Concurrent ingestion attempts are prevented: one works, the other waits, and both end with 0."""
    release = Release(400, 100, 1500)
    folder = index.drop(release)
    first, second = index.begin_init(), index.begin_init()

    assert first.wait(PATIENCE) == 0
    assert second.wait(PATIENCE) == 0
    assert index.all() == expected(folder, release)
    assert ingestions(index) == 1


def test_state_is_properly_tracked_and_queryable(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """State is properly tracked and queryable."""
    told: list[State] = []
    set_state = Books.set

    async def noted(books: Books, state: State) -> None:
        told.append(state)
        await set_state(books, state)

    monkeypatch.setattr(Books, "set", noted)
    assert index.state()["status"] == "not_started"
    release = Release()
    index.drop(release)
    assert index.init() == 0

    *under_way, last = told
    assert {state.status for state in under_way} == {Status.IN_PROGRESS}
    progress = [(state.details["step"], state.details["progress"]) for state in under_way]
    assert list(dict.fromkeys(progress)) == [
        ("comparing", "1/5"),
        ("creating", "2/5"),
        ("writing", "3/5"),
        ("verifying", "5/5"),
    ]
    state = index.state()
    assert (state["status"], state["total_skills"], state["total_occupations"]) == ("completed", 40, 12)
    assert state["total_relations"] > release.relations
    assert state["completion_time"] <= state["timestamp"]
    (queried,) = as_the_specification_asks(index)
    assert (queried["status"], json.loads(queried["details"])) == ("completed", last.details)
    (validated,) = json.loads(index.home.lakedrop("esco", "validate", "--json").stdout)
    assert (validated["ingestion_status"], validated["errors"]) == ("completed", [])

    index.home.configure(ROUTE.format(url="http://127.0.0.1:9", port=index.weaviate.grpc_port, more=""))
    assert (index.state()["status"], index.init("--check")) == ("unknown", 2)


def as_the_specification_asks(index: Index) -> list[dict[str, Any]]:
    """Query the state as `get_ingestion_status` of the specification does."""
    where = 'where: {path: ["metaType"], operator: Equal, valueText: "ingestion_status"}'
    newest = 'sort: {path: ["timestamp"], order: desc}, limit: 1'
    query = f"{{Get {{Metadata({where}, {newest}) {{metaType status timestamp details}}}}}}"
    found: list[dict[str, Any]] = index.weaviate.call("POST", "graphql", {"query": query})["data"]["Get"]["Metadata"]
    return found
