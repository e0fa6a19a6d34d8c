"""Releases of ESCO into a real Weaviate: what it holds afterwards is what was dropped."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import psutil
import pytest

from consumer.verify import Verification
from handlers.contract import SinkAway
from handlers.embedders import WordLlamaEmbedder
from handlers.esco_index.objects import uuid_of
from tests.acceptance.conftest import _restored_logs
from tests.esco_index import Index, expected, index
from tests.esco_release import Release
from tests.waits import PATIENCE, wait_for

__all__ = ["_restored_logs", "index"]

pytestmark = pytest.mark.xdist_group("weaviate")


def test_a_release_is_ingested_once_and_then_only_what_changes(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []
    embed = WordLlamaEmbedder.embed

    def noted(self: WordLlamaEmbedder, texts: Sequence[str]) -> list[list[float]]:
        embedded.extend(texts)
        return embed(self, texts)

    monkeypatch.setattr(WordLlamaEmbedder, "embed", noted)
    index.configure(', embedder = "wordllama"')
    release = Release()
    folder = index.drop(release)
    assert index.init("--check") == 2
    assert index.run() == 0
    assert index.init("--check") == 0

    whole = expected(folder, release, "wordllama")
    assert index.all() == whole
    state = index.state()
    assert (state["status"], state["total_skills"], state["total_occupations"]) == ("completed", 40, 12)
    assert state["total_relations"] > release.relations
    verified = index.home.lakedrop("verify")
    assert verified.returncode == 0, verified.stdout
    assert index.home.lakedrop("esco", "validate").returncode == 0

    assert len(embedded) == len(whole)
    before = index.written_at()
    assert index.home.lakedrop("replay", "--prefix", "esco/", "--force", "--yes").returncode == 0
    assert index.written_at() == before, "an unchanged object was written"
    one, other = release.of("skills", "conceptUri")[5:7]
    release.files["skillSkillRelations"].append([one, "", "optional", "", other])
    folder = index.drop(release, only=["skillSkillRelations"])
    assert index.run() == 0
    assert index.all() == expected(folder, release, "wordllama")
    assert len(embedded) == len(whole), "a text was embedded that had its vector"
    assert index.weaviate.call("GET", f"objects/Skill/{uuid_of(one)}?include=vector")["vector"]
    before = index.written_at()

    release.change("skills", 3, "preferredLabel", "carve pumpkins")
    index.drop(release, only=["skills"])
    assert index.run() == 0
    after = index.written_at()
    assert [uuid for uuid in after if after[uuid] != before[uuid]] == [
        uuid
        for uuid, one in index.objects("Skill").items()
        if one["properties"]["preferredLabel_en"] == "carve pumpkins"
    ]
    hits = index.home.json("esco", "search", "carve pumpkins", "--json")
    assert (hits[0]["class"], hits[0]["preferredLabel_en"]) == ("Skill", "carve pumpkins")

    for path in index.home.path.glob("ledger.db*"):
        path.unlink()
    assert index.home.lakedrop("ledger", "rebuild").returncode == 0
    assert index.run() == 0
    assert index.written_at() == after, "a lost ledger had a release ingested again"


def test_what_a_release_no_longer_has_is_removed_and_what_it_lacks_is_waited_for(index: Index) -> None:
    release = Release()
    folder = index.drop(release, only=[name for name in release.files if name != "skills"])
    assert index.run() == 0
    why = index.home.lakedrop("why", "csv-uploads/esco/1.2/en/").stdout
    assert "skills_en.csv missing" in why
    index.drop(release, only=["skills"])
    assert index.run() == 0
    assert index.all() == expected(folder, release)

    gone = release.files["skills"].pop()[1]
    index.drop(release)
    assert index.run() == 0
    assert index.all() == expected(folder, release)
    assert index.weaviate.call("GET", "schema")
    receipt = index.home.json("why", "csv-uploads/esco/1.2/en/", "--json")["holds"]
    ends = [row for row in release.files["occupationSkillRelations"] if gone in row]
    assert receipt["counts"]["outside"] >= len(ends) > 0
    assert receipt["counts"]["Skill"] == release.skills - 1


def test_a_tampered_index_fails_its_verification_and_is_repaired_by_the_next_start(index: Index) -> None:
    release = Release()
    folder = index.drop(release)
    assert index.init() == 0
    skill, one = next(
        (uuid, one) for uuid, one in index.objects("Skill").items() if "memberOfSkillGroup" in one["properties"]
    )
    beacon = one["properties"]["memberOfSkillGroup"][0]["beacon"]
    index.weaviate.call("POST", f"objects/Skill/{skill}/references/memberOfSkillGroup", {"beacon": beacon})

    assert index.init() == 1
    state = index.state()
    assert (state["status"], state["final_status_observed"]) == ("failed", "completed")
    assert "41 Skill.memberOfSkillGroup instead of 40" in state["reason"]
    assert state["previous_status_details"]["total_skills"] == 40
    assert index.home.lakedrop("verify").returncode == 1
    assert index.home.lakedrop("esco", "validate").returncode == 1
    assert index.init("--check") == 2

    assert index.init() == 0
    assert index.all() == expected(folder, release)
    before = index.written_at()
    assert index.init() == 0
    assert index.written_at() == before, "a start that finds all done writes nothing"
    assert index.init("--force-reingest") == 0
    assert not [uuid for uuid, at in index.written_at().items() if at == before[uuid]]


def test_a_verification_that_breaks_off_is_told_of_as_failed_and_done_again_by_the_next_start(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise SinkAway("nobody counts any more")

    index.drop(Release())
    with monkeypatch.context() as patched:
        patched.setattr(Verification, "run", broken)
        assert index.init() == 1
    state = index.state()
    assert (state["status"], state["reason"]) == ("failed", "Exception during post-ingestion verification")
    assert (state["error"], state["final_status_observed"]) == ("SinkAway: nobody counts any more", "completed")
    assert state["previous_status_details"]["total_skills"] == 40
    assert index.init("--check") == 2

    before = index.written_at()
    assert index.init() == 0
    assert (index.written_at(), index.state()["status"]) == (before, "completed")


def test_of_two_languages_only_the_one_that_was_tampered_with_fails_and_is_written_again(index: Index) -> None:
    index.configure(', class_prefix = "{language}_"')
    for language in ("de", "en"):
        index.drop(Release(language=language))
    assert index.init() == 0
    german, english = index.objects("De_Skill"), index.objects("En_Skill")
    gone = next(iter(german))
    index.weaviate.call("DELETE", f"objects/De_Skill/{gone}")

    assert index.init() == 1
    states = {state["language"]: state for state in index.states()}
    assert {name: state["status"] for name, state in states.items()} == {"de": "failed", "en": "completed"}
    assert "39 Skill instead of 40" in states["de"]["reason"]
    assert index.init("--check") == 2

    assert index.init() == 0
    assert {state["status"] for state in index.states()} == {"completed"}
    assert index.objects("De_Skill").keys() == german.keys()
    assert index.objects("En_Skill") == english, "what was not wrong was written again"


def test_objects_that_weaviate_refuses_are_named_with_its_reason(index: Index) -> None:
    properties = [{"name": "contentHash", "dataType": ["text"]}, {"name": "code", "dataType": ["int"]}]
    index.weaviate.call("POST", "schema", {"class": "SkillGroup", "vectorizer": "none", "properties": properties})
    release = Release()
    folder = index.drop(release)

    assert index.init() == 1
    state = index.state()
    assert state["status"] == "failed"
    assert "refused" in state["reason"]
    refused = state["previous_status_details"]["refused"]
    assert {one["uuid"] for one in refused} == set(index.objects("SkillGroup"))
    assert "code" in refused[0]["reason"]
    assert len(index.objects("Skill")) == release.skills, "the others were not written"

    index.weaviate.call("DELETE", "schema/SkillGroup")
    assert index.init() == 0
    assert index.all() == expected(folder, release)


def test_classes_of_somebody_else_are_left_alone(index: Index) -> None:
    index.weaviate.call("POST", "schema", {"class": "Skill", "vectorizer": "none"})
    index.drop(Release())

    assert index.run() == 1
    assert "somebody else made" in index.home.lakedrop("why", "csv-uploads/esco/1.2/en/").stdout
    assert [one["class"] for one in index.weaviate.call("GET", "schema")["classes"] if one["class"] == "Skill"]


def test_a_newer_release_takes_the_place_of_the_older_one(index: Index) -> None:
    index.drop(Release(seed=2), "1.1")
    assert index.run() == 0
    newer = Release(seed=3)
    folder = index.drop(newer, "1.2")
    assert index.run() == 0
    assert index.all() == expected(folder, newer)
    assert index.home.lakedrop("verify").returncode == 0

    index.home.lakedrop("replay", "--prefix", "esco/1.1/", "--force", "--yes")
    assert "which is newer" in index.home.lakedrop("why", "csv-uploads/esco/1.1/en/").stdout
    assert index.all() == expected(folder, newer)


def test_a_weaviate_that_dies_in_the_middle_is_waited_for(index: Index) -> None:
    release = Release()
    folder = index.drop(release)
    process = index.begin_init("-m", "tests.esco_kills", "writing", "SIGSTOP")
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    index.weaviate.kill()
    try:
        process.send_signal(signal.SIGCONT)
        assert index.init("--check") == 2
        assert index.state()["status"] == "unknown"
    finally:
        index.weaviate.start()

    assert process.wait(PATIENCE) == 0
    assert index.all() == expected(folder, release)
