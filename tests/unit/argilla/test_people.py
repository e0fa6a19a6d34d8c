"""What people answered is never lost, and what they touched is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.argilla import record, shown
from tests.fake_argilla import Fault
from tests.unit.argilla.bench import Bench

SPAN = (0, 2, "VESSEL")
ANSWER = {"values": {"entities": {"value": []}}, "status": "submitted"}


def there(bench: Bench, identity: str) -> Any:
    dataset = bench.fake.dataset("vessels")
    return next(one for one in dataset.records.values() if one.external_id == identity)


def answer(bench: Bench, identity: str) -> None:
    bench.fake.dataset("vessels").respond(there(bench, identity), ANSWER)


async def annotated(bench: Bench, **options: Any) -> None:
    await bench.apply([record("D:1", "FV Ocean", SPAN), record("D:2", "FV Star", SPAN)], **options)
    answer(bench, "D:1")


async def test_an_annotated_record_keeps_its_text(bench: Bench) -> None:
    await annotated(bench)

    receipt = await bench.apply([record("D:1", "FV other", SPAN), record("D:2", "FV other", SPAN)])

    texts = {identity: one["text"] for identity, one in shown(bench.fake)["vessels"].items()}
    assert texts == {"D:1": "FV Ocean", "D:2": "FV other"}
    assert len(there(bench, "D:1").responses) == 1
    assert receipt.counts["kept"] == 1
    assert receipt.detail["warnings"] == [
        "1 records have responses, and keep their text though the file has another (on_text_change = keep): D:1"
    ]


async def test_an_annotated_record_still_gets_new_suggestions_to_its_text(bench: Bench) -> None:
    await annotated(bench)

    await bench.apply([record("D:1", "FV Ocean", (3, 8, "VESSEL")), record("D:2", "FV Star", SPAN)])

    assert shown(bench.fake)["vessels"]["D:1"]["suggestions"]["entities"][0][0]["start"] == 3
    assert len(there(bench, "D:1").responses) == 1


async def test_a_new_text_can_be_a_record_beside_the_annotated_one(bench: Bench) -> None:
    await annotated(bench, on_text_change="new_record")
    rows = [record("D:1", "FV other", SPAN), record("D:2", "FV Star", SPAN)]

    await bench.apply(rows, on_text_change="new_record", on_vanished="delete")
    bench.asked()
    await bench.apply(rows, on_text_change="new_record", on_vanished="delete")

    assert bench.asked() == []
    (beside,) = shown(bench.fake)["vessels"].keys() - {"D:1", "D:2"}
    assert beside.startswith("D:1@")
    assert there(bench, "D:1").fields["text"] == "FV Ocean"
    assert there(bench, beside).fields["text"] == "FV other"


async def test_a_text_is_overwritten_where_the_route_says_so_and_the_responses_stay(bench: Bench) -> None:
    await annotated(bench)

    receipt = await bench.apply([record("D:1", "FV other", SPAN)], on_text_change="overwrite")

    assert there(bench, "D:1").fields["text"] == "FV other"
    assert len(there(bench, "D:1").responses) == 1
    assert "offsets are of the old one: D:1" in receipt.detail["warnings"][0]


@pytest.mark.parametrize(
    ("policy", "left"),
    [("keep", ["D:1", "D:2", "D:3"]), ("delete", ["D:1", "D:3"]), ("delete_annotated", ["D:3"])],
)
async def test_records_that_vanished_follow_the_policy(bench: Bench, policy: str, left: list[str]) -> None:
    await annotated(bench)

    receipt = await bench.apply([record("D:3", "FV", SPAN)], on_vanished=policy)

    assert sorted(shown(bench.fake)["vessels"]) == left
    assert receipt.counts["others"] == len(left) - 1


async def test_a_rejected_record_did_not_vanish(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV Ocean", SPAN), record("D:2", "FV Star", SPAN)])

    receipt = await bench.apply(
        [record("D:1", "FV", (0, 99, "VESSEL")), record("D:2", "FV Star", SPAN)], on_vanished="delete"
    )

    assert sorted(shown(bench.fake)["vessels"]) == ["D:1", "D:2"]
    assert receipt.counts["rejected"] == 1


@pytest.mark.parametrize("change", ["text", "gone"])
async def test_an_answer_that_comes_while_records_are_compared_is_not_lost(bench: Bench, change: str) -> None:
    await bench.apply([record("D:1", "FV Ocean", SPAN), record("D:2", "FV Star", SPAN)])
    rows = [record("D:2", "FV Star", SPAN), *([record("D:1", "FV other", SPAN)] if change == "text" else [])]
    send = bench.handler._api.send
    answered: list[str] = []

    async def while_compared(method: str, path: str, **more: Any) -> Any:
        if path.startswith("records/") and not answered:
            answered.append(path)
            answer(bench, "D:1")
        return await send(method, path, **more)

    bench.handler._api.send = while_compared  # type: ignore[method-assign]
    await bench.apply(rows, on_vanished="delete")

    assert answered
    assert there(bench, "D:1").fields["text"] == "FV Ocean"
    assert len(there(bench, "D:1").responses) == 1


async def test_records_of_others_are_left_alone(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV Ocean", SPAN)])
    dataset = bench.fake.dataset("vessels")
    dataset.upsert({"items": [{"fields": {"text": "by hand"}}]})
    there(bench, "D:1").metadata = {**there(bench, "D:1").metadata, "reviewer": "anna"}

    receipt = await bench.apply([record("D:1", "FV Ocean", SPAN, page_num=9)], on_vanished="delete")

    assert [one.fields["text"] for one in dataset.records.values()] == ["FV Ocean", "by hand"]
    assert there(bench, "D:1").metadata["reviewer"] == "anna"
    assert there(bench, "D:1").metadata["page_num"] == 9
    assert receipt.counts["others"] == 1


@pytest.mark.parametrize(("policy", "left"), [("keep", ["D:1", "D:2"]), ("remove", ["D:1"])])
async def test_a_folder_that_is_gone_leaves_what_people_answered(bench: Bench, policy: str, left: list[str]) -> None:
    await annotated(bench)

    await bench.apply(None, on_delete=policy)

    assert sorted(shown(bench.fake)["vessels"]) == left
    assert bool(bench.logged()) == (policy == "keep")


async def test_a_dataset_nobody_answered_in_is_removed_with_its_folder(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV", SPAN)])

    await bench.apply(None, on_delete="remove")

    assert bench.fake.datasets == {}


async def test_a_dataset_that_was_there_before_is_not_removed(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV", SPAN)])
    bench.fake.dataset("vessels").about["metadata"] = None

    await bench.apply(None, on_delete="remove")

    assert sorted(shown(bench.fake)["vessels"]) == ["D:1"]


async def test_a_page_of_the_listing_that_fails_writes_nothing(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV", SPAN)])
    bench.asked()
    fault = Fault("GET", r"datasets/[^/]+/records", status=500, body={"detail": "broken"}, times=9)
    bench.fake.faults.append(fault)

    with pytest.raises(Exception, match="broken"):
        await bench.apply([record("D:1", "FV other", SPAN)])

    assert fault.fired
    assert bench.asked() == []


async def test_an_annotated_record_that_keeps_its_text_gets_into_an_index_that_lacks_it(bench: Bench) -> None:
    await annotated(bench)
    bench.fake.dataset("vessels").index = {}

    await bench.apply([record("D:1", "FV other", SPAN), record("D:2", "FV Star", SPAN)])

    assert len(bench.fake.dataset("vessels").index or {}) == 2
    assert there(bench, "D:1").fields["text"] == "FV Ocean"


async def test_an_answer_that_comes_while_others_are_sent_saves_its_record_from_deletion(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV Ocean", SPAN), record("D:2", "FV Star", SPAN)])
    send = bench.handler._api.send
    answered: list[str] = []

    async def while_sent(method: str, path: str, **more: Any) -> Any:
        found = await send(method, path, **more)
        if path.endswith("/bulk") and not answered:
            answered.append(path)
            answer(bench, "D:1")
        return found

    bench.handler._api.send = while_sent  # type: ignore[method-assign]
    receipt = await bench.apply([record("D:2", "FV other", SPAN)], on_vanished="delete")

    assert answered
    assert sorted(shown(bench.fake)["vessels"]) == ["D:1", "D:2"]
    assert receipt.detail["done"]["vanished_annotated"] == 1


async def test_an_answer_that_comes_while_a_dataset_is_removed_is_not_lost(bench: Bench) -> None:
    await bench.apply([record(f"D:{number}", "FV Ocean", SPAN) for number in range(250)])
    send = bench.handler._api.send
    listed: list[str] = []

    async def while_removed(method: str, path: str, **more: Any) -> Any:
        found = await send(method, path, **more)
        if method == "GET" and path.endswith("/records") and not listed:
            listed.append(path)
            answer(bench, "D:249")
        return found

    bench.handler._api.send = while_removed  # type: ignore[method-assign]
    receipt = await bench.apply(None, on_delete="remove")

    assert listed
    assert sorted(shown(bench.fake)["vessels"]) == ["D:249"]
    assert len(there(bench, "D:249").responses) == 1
    assert receipt.counts["others"] == 1


async def test_records_of_a_dataset_that_was_there_before_do_not_vanish(bench: Bench) -> None:
    await bench.apply([record("D:1", "FV Ocean", SPAN)])
    bench.fake.dataset("vessels").about["metadata"] = None

    receipt = await bench.apply([record("D:2", "FV Star", SPAN)], on_vanished="delete_annotated")

    assert sorted(shown(bench.fake)["vessels"]) == ["D:1", "D:2"]
    assert receipt.detail["done"]["vanished_kept"] == 1
