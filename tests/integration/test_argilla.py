"""Records dropped into a bucket become datasets of a real Argilla: once, whole, whatever people said kept."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from consumer import exits
from tests.acceptance.conftest import _restored_logs
from tests.argilla import record
from tests.integration.argilla_world import BUCKET, World, opened
from tests.stack.argilla import Argilla
from tests.stack.opensearch import OpenSearch
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.redis import Redis
from tests.waits import wait_for

__all__ = ("_restored_logs",)

pytestmark = [pytest.mark.needs("minio"), pytest.mark.slow]

TEXT = "FV Ocean Star, flag NO"
SHIP = (3, 13, "SHIP")
FLAG = (20, 22, "FLAG")

MANY = 1100
"""Records of a dataset that is sent in three calls, so that there is time to see the first and act before the last."""


@pytest.fixture(scope="module")
def parts(argilla: Argilla, opensearch: OpenSearch, redis: Redis) -> tuple[Argilla, OpenSearch, Redis]:
    return argilla, opensearch, redis


@pytest.fixture(scope="module")
def opened_world(
    parts: tuple[Argilla, OpenSearch, Redis],
    rabbitmq: RabbitMQ,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    with opened((*parts, rabbitmq, postgres), tmp_path_factory) as world:
        yield world


@pytest.fixture
def world(opened_world: World) -> Iterator[World]:
    """Return the world with one replica at work; what a test broke is mended afterwards."""
    yield opened_world
    opened_world.mend()


def rows(count: int) -> list[dict[str, Any]]:
    return [record(f"D:{number}", TEXT, SHIP, FLAG) for number in range(count)]


def answer(world: World, found: dict[str, Any]) -> dict[str, Any]:
    """Answer about a record as a person does."""
    values = {"entities": {"value": [{"label": "SHIP", "start": 0, "end": 13}]}}
    body = {"values": values, "status": "submitted"}
    response: dict[str, Any] = world.argilla.call("POST", f"records/{found['id']}/responses", body)
    return response


def test_dropped_records_are_shown_with_their_suggestions_and_logged(world: World) -> None:
    etag = world.drop("vessels", rows(3))
    world.until_done("vessels")

    path = world.dataset("vessels")
    assert world.argilla.call("GET", f"{path}")["status"] == "ready"
    (question,) = world.argilla.call("GET", f"{path}/questions")["items"]
    assert {option["value"] for option in question["settings"]["options"]} == {"SHIP", "FLAG"}
    found = world.records("vessels")
    assert sorted(found) == ["D:0", "D:1", "D:2"]
    assert found["D:1"]["fields"] == {"text": TEXT}
    assert found["D:1"]["metadata"]["doc_id"] == "D"
    (suggestion,) = found["D:1"]["suggestions"]
    assert [(one["start"], one["end"], one["label"]) for one in suggestion["value"]] == [SHIP, FLAG]
    assert (suggestion["score"], suggestion["agent"]) == ([0.5, 0.5], "model:v1")
    assert world.indexed("vessels") == 3
    row = world.logged("vessels")
    assert row is not None
    assert (row["status"], row["object_etag"]) == ("ingested", etag)
    assert row["object_uri"] == f"s3://{BUCKET}/argilla/in/vessels/argilla_records.parquet"
    assert row["object_bytes"] > 0
    assert row["ingested_at"] >= row["discovered_at"]


def test_same_records_again_change_nothing_and_others_change_what_is_other(world: World) -> None:
    first = rows(5)
    world.bring("again", first)
    before = world.records("again")

    world.drop("again", first)
    world.bring("again", [{**row, "unused": "other bytes, and the same records"} for row in first])
    same = world.records("again")
    changed = deepcopy(first)
    changed[1] = record("D:1", TEXT, SHIP)
    changed[2] = record("D:2", "FV North Star, flag GB", (3, 13, "SHIP"), (20, 22, "FLAG"))
    changed[4] = record("D:5", TEXT, FLAG)
    world.bring("again", changed)

    assert len(world.settled("again")) == 3, "the same object was not worked on again"
    assert same == before, "neither records nor suggestions, nor when they changed last"
    after = world.records("again")
    assert sorted(after) == ["D:0", "D:1", "D:2", "D:3", "D:5"]
    assert {name: after[name] for name in ("D:0", "D:3")} == {name: before[name] for name in ("D:0", "D:3")}
    assert [one["label"] for one in after["D:1"]["suggestions"][0]["value"]] == ["SHIP"]
    assert after["D:1"]["updated_at"] == before["D:1"]["updated_at"], "its text is as it was"
    assert (after["D:2"]["id"], after["D:2"]["fields"]["text"]) == (before["D:2"]["id"], "FV North Star, flag GB")
    assert world.indexed("again") == 5


def test_annotated_records_keep_their_responses_and_their_text(world: World) -> None:
    world.bring("annotated", rows(4))
    before = world.records("annotated")
    responses = {name: answer(world, before[name]) for name in ("D:0", "D:1")}
    others = [record(f"D:{n}", "Another text.", (0, 7, "SHIP")) for n in (0, 2)] + rows(4)[3:]

    world.bring("annotated", others)

    after = world.records("annotated")
    assert sorted(after) == ["D:0", "D:1", "D:2", "D:3"], "D:1 is not in the file, and somebody answered about it"
    for name, response in responses.items():
        assert [(one["id"], one["values"]) for one in after[name]["responses"]] == [
            (response["id"], response["values"])
        ]
        assert (after[name]["status"], after[name]["fields"]) == ("completed", {"text": TEXT})
    assert after["D:2"]["fields"] == {"text": "Another text."}
    told = world.home.json("why", f"{BUCKET}/argilla/in/annotated/", "--json")
    assert "keep their text though the file has another" in str(told)


def test_replica_killed_between_two_calls_leaves_the_rest_to_another(world: World) -> None:
    first, second = world.replicas
    world.drop("killed", rows(MANY))
    wait_for(lambda: world.count("killed") or None)
    first.kill()
    stored = world.count("killed")
    second.start()
    world.until_done("killed")

    assert 0 < stored < MANY, "it was killed at work"
    assert sorted(world.records("killed")) == sorted(f"D:{number}" for number in range(MANY))
    assert all(len(one["suggestions"]) == 1 for one in world.records("killed").values())
    assert world.indexed("killed") == MANY
    row = world.logged("killed")
    assert row is not None
    assert row["status"] == "ingested"


def test_replica_paused_between_two_calls_comes_too_late_and_harms_nothing(world: World) -> None:
    first, second = world.replicas
    world.drop("paused", rows(MANY))
    wait_for(lambda: world.count("paused") or None)
    first.pause()
    stored = world.count("paused")
    world.both.cut_off()
    second.start()
    world.until_done("paused")
    before = world.records("paused")
    mark = first.size
    first.resume()
    wait_for(lambda: [line for line in first.lines(mark) if line.get("unit") == "argilla/in/paused/"])

    assert 0 < stored < MANY, "it was paused at work"
    assert sorted(before) == sorted(f"D:{number}" for number in range(MANY))
    after = world.records("paused")
    assert {name: one["id"] for name, one in after.items()} == {name: one["id"] for name, one in before.items()}
    assert world.indexed("paused") == MANY
    assert [line["outcome"] for line in world.settled("paused")].count("done") == 1


def test_records_wait_for_the_search_engine_and_need_no_redis(world: World) -> None:
    world.redis.kill()
    world.bring("away", rows(2))
    world.opensearch.kill()

    world.drop("away", [*rows(2), record("D:2", TEXT, SHIP)])
    waiting = wait_for(
        lambda: found if (found := world.logged("away")) and found["message"] and "tried" in found["message"] else None
    )
    stored = world.count("away")
    world.opensearch.start()
    wait_for(lambda: (world.dataset("away") and world.indexed("away") == 3) or None)
    row = wait_for(lambda: found if (found := world.logged("away")) and found["status"] == "ingested" else None)

    assert sorted(world.records("away")) == ["D:0", "D:1", "D:2"]
    assert "ConnectionError" in waiting["message"], "the log says what it waits for"
    assert stored == 2, "nothing is sent that would not be indexed"
    assert row["ingested_at"] > waiting["discovered_at"]


def test_index_that_is_gone_is_told_with_the_command_that_makes_it_anew(world: World) -> None:
    world.bring("wiped", rows(2))
    world.opensearch.wipe()

    missing = world.home.lakedrop("verify", f"{BUCKET}/argilla/in/wiped/")
    world.argilla.reindex()
    there = world.home.lakedrop("verify", f"{BUCKET}/argilla/in/wiped/")

    assert missing.returncode == exits.FAILED
    assert "2 records stored but not indexed" in missing.stdout
    assert "python -m argilla_server search-engine reindex" in missing.stdout
    assert there.returncode == exits.OK, there
