"""Folders of records become datasets: made, changed, and never more than that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.contract import Claim, PermanentError, fingerprint
from tests.argilla import parquet, record, shown
from tests.objects import BytesObject
from tests.unit.argilla.bench import Bench

OCEAN = (3, 13, "VESSEL")


async def test_a_file_becomes_a_published_dataset_with_its_suggestions(bench: Bench) -> None:
    receipt = await bench.apply([record("D:1", "FV Ocean Star, flag NO", OCEAN, (20, 22, "FLAG")), record("D:2")])

    dataset = bench.fake.dataset("vessels")
    assert dataset.about["status"] == "ready"
    assert receipt.counts == {"rows": 2, "rejected": 0, "others": 0}
    assert receipt.target == "argilla/vessels"
    first = shown(bench.fake)["vessels"]["D:1"]
    assert first["metadata"] == {"doc_id": "D", "page_num": 1, "text_sha256": "sha of FV Ocean Star, flag NO"}
    assert first["suggestions"] == {
        "entities": (
            [{"start": 3, "end": 13, "label": "VESSEL"}, {"start": 20, "end": 22, "label": "FLAG"}],
            [0.5, 0.5],
            "model:v1",
        )
    }
    assert [one["value"] for one in dataset.questions[0]["settings"]["options"]] == ["FLAG", "VESSEL"]


async def test_the_same_file_again_writes_nothing(bench: Bench) -> None:
    rows = [record("D:1", "FV Ocean Star", OCEAN), record("D:2")]
    first = await bench.apply(rows)
    bench.asked()

    again = await bench.apply(rows)

    assert bench.asked() == []
    assert again.counts == first.counts


async def test_only_what_changed_is_sent(bench: Bench) -> None:
    await bench.apply([record(f"D:{number}", "FV Ocean Star", OCEAN) for number in range(1, 9)])
    rows = [record(f"D:{number}", "FV Ocean Star", OCEAN) for number in range(1, 9)]
    rows[0] = record("D:1", "FV Ocean Star and more", OCEAN, (18, 22, "VESSEL"))  # spans beyond the old text
    rows[1] = record("D:2", "FV Ocean Star", (0, 2, "VESSEL"))
    rows[2] = record("D:3", "FV Ocean Star", OCEAN, doc_id="E")
    rows[3] = record("D:4", "FV Ocean Star")
    bench.asked()

    await bench.apply(rows)

    dataset = bench.fake.dataset("vessels").about["id"]
    sent = bench.asked()
    assert sent[:2] == [f"PUT datasets/{dataset}/records/bulk 1", f"PUT datasets/{dataset}/records/bulk 3"]
    assert [one.split("/")[0] for one in sent[2:]] == ["DELETE records"]
    there = shown(bench.fake)["vessels"]
    assert there["D:1"]["text"] == "FV Ocean Star and more"
    assert len(there["D:1"]["suggestions"]["entities"][0]) == 2
    assert there["D:2"]["suggestions"]["entities"][0][0]["start"] == 0
    assert there["D:3"]["metadata"]["doc_id"] == "E"
    assert there["D:4"]["suggestions"] == {}


async def test_a_record_that_cannot_be_taken_is_rejected_alone(bench: Bench) -> None:
    rows = [record("D:1", "FV", (0, 2, "VESSEL")), record("D:2", "FV", (0, 99, "VESSEL")), record("D:1", "again")]

    receipt = await bench.apply(rows)

    assert (receipt.counts["rows"], receipt.counts["rejected"]) == (1, 2)
    reasons = [one["reason"] for one in receipt.detail["rejects"]]
    assert reasons == [
        "question entities: span 0..99 is not within the text of 2 characters",
        "the identifier 'D:1' is that of row 1 too; the first one counts",
    ]


async def test_a_file_without_a_good_record_fails(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="None of its records can be taken; row 1: text is empty"):
        await bench.apply([record("D:1", " ", suggestions_json='[{"value": [{"start":0,"end":1,"label":"A"}]}]')])

    assert bench.fake.datasets == {}


async def test_records_go_in_calls_of_at_most_500_and_are_read_back_page_by_page(bench: Bench) -> None:
    rows = [record(f"D:{number}", "FV Ocean Star", OCEAN) for number in range(1201)]
    await bench.apply(rows)
    sent = [int(one.split()[-1]) for one in bench.asked() if one.startswith("PUT") and "bulk" in one]
    rows[1200] = record("D:1200", "FV", (0, 2, "VESSEL"))

    receipt = await bench.apply(rows)

    assert sent == [500, 500, 201]
    assert receipt.counts["rows"] == 1201
    assert [one.split()[-1] for one in bench.asked() if one.startswith("PUT")] == ["1", "1"]


async def test_several_files_of_a_folder_are_one_dataset(bench: Bench) -> None:
    unit = bench.unit()
    objects = [
        BytesObject(f"{unit.name}{name}.parquet", parquet([record(f"{name}:1", "FV Ocean Star", OCEAN)]))
        for name in "ab"
    ]

    await bench.handler.apply(unit, objects, Claim("t", fingerprint(objects, unit.name), None))

    assert sorted(shown(bench.fake)["vessels"]) == ["a:1", "b:1"]


async def test_nothing_is_left_of_what_was_read(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV Ocean Star", OCEAN)])

    assert list((bench.home / "argilla").iterdir()) == []


async def test_other_questions_are_asked_by_the_same_mapping(bench: Bench) -> None:
    questions: dict[str, Any] = {
        "kind": {"type": "label_selection"},
        "tags": {"type": "multi_label_selection", "labels": ["a", "b"], "required": False},
        "stars": {"type": "rating"},
        "note": {"type": "text", "title": "What else?"},
    }
    values = {"kind": "ship", "tags": ["a"], "stars": 4, "note": "hm"}
    suggested = [{"question_name": name, "value": value} for name, value in values.items()]
    more = [{"question_name": "kind", "value": "boat"}]
    rows = [record("D:1", suggestions_json=suggested), record("D:2", suggestions_json=more)]
    rows = [{**row, "suggestions_json": json.dumps(row["suggestions_json"])} for row in rows]

    await bench.apply(rows, questions=questions)
    bench.asked()
    await bench.apply(rows, questions=questions)

    assert bench.asked() == []
    there = shown(bench.fake)["vessels"]["D:1"]["suggestions"]
    assert {name: one[0] for name, one in there.items()} == values
    kinds = {one["name"]: one["settings"]["type"] for one in bench.fake.dataset("vessels").questions}
    assert kinds == {name: one["type"] for name, one in questions.items()}


async def test_a_mapping_that_is_too_large_to_be_one_is_not_read(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="a mapping has 262,144 at most"):
        await bench.apply([record("D:1", "FV Ocean Star", OCEAN)], yaml="# " + "x" * (256 << 10))
