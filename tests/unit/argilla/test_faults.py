"""Servers that fail, and datasets that are not as they must be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handlers.argilla_records.api import Api
from handlers.contract import OutcomeUnknown, PermanentError, SinkAway, SinkRefuses, Skip, TransientError
from tests.argilla import record, shown
from tests.fake_argilla import Fault
from tests.unit.argilla.bench import Bench

SPAN = (0, 2, "VESSEL")
BULK = r"datasets/[^/]+/records/bulk"
ROWS = [record(f"D:{number}", "FV Ocean", SPAN) for number in range(7)]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_call_that_argilla_says_it_failed_at_is_repeated(bench: Bench, stored: bool) -> None:
    fault = Fault("PUT", BULK, status=500, body={"detail": "broken"}, stored=stored)
    bench.fake.faults.append(fault)

    await bench.apply(ROWS)

    assert fault.fired == 1
    assert len(shown(bench.fake)["vessels"]) == 7


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    ("status", "body"), [(None, None), (502, {"detail": "x"}), (503, {}), (504, {}), (500, {"error": "of a proxy"})]
)
async def test_a_call_without_an_answer_is_not_repeated_under_the_same_claim(
    bench: Bench, status: int | None, body: Any, stored: bool
) -> None:
    fault = Fault("PUT", BULK, status=status, body=body, stored=stored, times=9)
    bench.fake.faults.append(fault)

    with pytest.raises(OutcomeUnknown):
        await bench.apply(ROWS)

    assert fault.fired == 1  # aiohttp did not repeat it either
    fault.times = 1
    await bench.apply(ROWS)
    assert len(shown(bench.fake)["vessels"]) == 7


@pytest.mark.parametrize("path", [r"datasets/[^/]+/records", r"records/[^/]+/suggestions"])
async def test_a_deletion_without_an_answer_is_not_repeated_under_the_same_claim(bench: Bench, path: str) -> None:
    await bench.apply(ROWS)
    fault = Fault("DELETE", path, status=None, times=9)
    bench.fake.faults.append(fault)

    with pytest.raises(OutcomeUnknown):
        await bench.apply([record("D:0", "FV Ocean")], on_vanished="delete")

    assert fault.fired == 1


async def test_records_stored_while_the_engine_was_down_are_indexed_by_the_next_try(bench: Bench) -> None:
    await bench.apply(ROWS)
    bench.fake.engine.state = "down"
    rows = [record("D:0", "FV Ocean", (3, 8, "VESSEL")), *ROWS[1:], record("D:9", "FV", SPAN)]
    with pytest.raises(TransientError):
        await bench.apply(rows)
    assert len(shown(bench.fake)["vessels"]) == 7  # it was asked before anything was written
    bench.fake.engine.state = "up"
    fault = Fault("PUT", BULK, status=500, body={"detail": "broken"}, stored=True, times=3)
    bench.fake.faults.append(fault)
    with pytest.raises(OutcomeUnknown):
        await bench.apply(rows)
    assert fault.fired == 3
    bench.asked()

    await bench.apply(rows)

    dataset = bench.fake.dataset("vessels").about["id"]
    assert bench.asked() == [f"PUT datasets/{dataset}/records/bulk 2"]  # though the database has them already
    bench.asked()
    await bench.apply(rows)
    assert bench.asked() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "workspaces"), ("POST", "datasets"), ("POST", ".*/fields"), ("POST", ".*/questions"),
     ("POST", ".*/metadata-properties")],
)  # fmt: skip
@pytest.mark.parametrize("status", [409, 500])
async def test_a_part_that_was_made_without_us_knowing_is_found(
    bench: Bench, method: str, path: str, status: int
) -> None:
    fault = Fault(method, path, status=status, body={"detail": "is not unique"}, stored=True)
    bench.fake.faults.append(fault)
    if status == 500:
        with pytest.raises(OutcomeUnknown):
            await bench.apply(ROWS)
    await bench.apply(ROWS)

    assert fault.fired == 1
    dataset = bench.fake.dataset("vessels")
    assert (len(dataset.fields), len(dataset.questions), len(dataset.properties)) == (1, 1, 3)
    assert dataset.about["status"] == "ready"
    assert len(dataset.records) == 7


async def test_a_dataset_that_somebody_published_meanwhile_is_as_good(bench: Bench) -> None:
    refused = {"detail": "Dataset has already been published"}
    fault = Fault("PUT", ".*/publish", status=422, body=refused, stored=True)
    bench.fake.faults.append(fault)

    await bench.apply(ROWS)

    assert fault.fired == 1
    assert len(shown(bench.fake)["vessels"]) == 7


async def test_a_dataset_published_while_the_engine_was_away_is_made_again(bench: Bench) -> None:
    send = bench.handler._api.send

    async def engine_fails_at_the_publishing(method: str, path: str, **more: Any) -> Any:
        if path.endswith("/publish"):
            bench.fake.engine.state = "down"
        return await send(method, path, **more)

    bench.handler._api.send = engine_fails_at_the_publishing  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        await bench.apply(ROWS)
    assert bench.fake.dataset("vessels").about["status"] == "ready"
    assert bench.fake.dataset("vessels").index is None
    bench.handler._api.send = send  # type: ignore[method-assign]
    bench.fake.engine.state = "up"

    await bench.apply(ROWS)

    assert len(bench.fake.dataset("vessels").index or {}) == 7


async def test_an_index_that_was_wiped_is_told_with_what_repairs_it(bench: Bench) -> None:
    await bench.apply(ROWS)
    bench.fake.engine.state = "wiped"
    with pytest.raises(TransientError, match="its index is gone: python -m argilla_server search-engine reindex"):
        await bench.apply([*ROWS, record("D:9", "FV", SPAN)])
    receipt = bench.receipt
    assert receipt is not None
    verdict = (await bench.handler.verify("data", {"unit": receipt}))["unit"]
    assert not verdict.ok
    assert "stored but not indexed" in verdict.message

    bench.fake.reindex()
    await bench.apply([*ROWS, record("D:9", "FV", SPAN)])

    assert len(bench.fake.dataset("vessels").index or {}) == 8


@pytest.mark.parametrize("detail", [
    "Record at position 3 is not valid because of something new",
    {"code": "argilla.api.errors::ValidationError", "params": {"errors": [
        {"type": "x", "loc": ["body", "items", 3, "fields"], "msg": "something new"}]}},
    "something new",
])  # fmt: skip
async def test_a_refused_call_is_divided_until_exactly_the_bad_records_are_left(bench: Bench, detail: Any) -> None:
    send = bench.handler._api.send

    async def picky(method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        items = (body or {}).get("items", ())
        bad = [number for number, one in enumerate(items) if one["external_id"] == "D:3"]
        if bad:
            text = str(detail).replace("3 is", f"{bad[0]} is") if isinstance(detail, str) else detail
            bench.fake.faults.append(Fault("PUT", BULK, status=422, body={"detail": text}))
        return await send(method, path, body=body, **more)

    bench.handler._api.send = picky  # type: ignore[method-assign]
    receipt = await bench.apply(ROWS)

    assert sorted(shown(bench.fake)["vessels"]) == ["D:0", "D:1", "D:2", "D:4", "D:5", "D:6"]
    assert (receipt.counts["rows"], receipt.counts["rejected"]) == (6, 1)
    assert "something new" in receipt.detail["rejects"][0]["reason"]


async def test_a_wrong_key_is_told_as_a_refusal(bench: Bench) -> None:
    bench.fake.api_key = "another"

    with pytest.raises(SinkRefuses, match="ARGILLA_API_KEY"):
        await bench.apply(ROWS)
    with pytest.raises(SinkRefuses, match="ARGILLA_API_KEY"):
        await bench.handler.ping()


async def test_an_engine_that_is_down_is_told_by_the_ping(bench: Bench) -> None:
    await bench.handler.ping()
    bench.fake.engine.state = "down"

    with pytest.raises(SinkAway, match="does not reach its search engine"):
        await bench.handler.ping()


async def test_a_server_that_is_not_there_is_away(bench: Bench) -> None:
    api = Api(bench.settings.model_copy(update={"url": "http://127.0.0.1:9"}))

    with pytest.raises(SinkAway, match="does not answer"):
        await api.get("me")
    await api.aclose()


async def test_a_slow_server_is_not_waited_for_forever(bench: Bench) -> None:
    bench.fake.faults.append(Fault("GET", "me", until=asyncio.Event()))
    bench.fake.faults.append(Fault("PUT", "x", until=asyncio.Event()))
    api = Api(bench.settings, answer_seconds=0.05)

    with pytest.raises(SinkAway, match="did not answer GET me"):
        await api.get("me")
    with pytest.raises(OutcomeUnknown, match="did not answer PUT x"):
        await api.send("PUT", "x")
    await api.aclose()


async def test_what_is_no_argilla_is_named(bench: Bench) -> None:
    api = Api(bench.settings.model_copy(update={"url": f"{bench.fake.url}/elsewhere"}))

    with pytest.raises(Exception, match="404"):
        await api.get("me")
    await api.aclose()


async def test_a_user_who_may_not_is_told_whose_key_to_use(bench: Bench) -> None:
    bench.fake.faults.append(Fault("POST", "workspaces", status=403, body={"detail": "Operation not allowed"}))

    with pytest.raises(PermanentError, match="use the key of an owner"):
        await bench.apply(ROWS)


async def test_a_busy_server_says_when_to_come_again(bench: Bench) -> None:
    bench.fake.faults.append(Fault("GET", "me/workspaces", status=429, body={"detail": "slow down"}))

    with pytest.raises(TransientError, match="slow down"):
        await bench.apply(ROWS)


# The dataset is not as the mapping says


async def test_labels_that_a_published_question_lacks_reject_their_records_alone(bench: Bench) -> None:
    await bench.apply(ROWS)

    receipt = await bench.apply([*ROWS, record("D:9", "FV", (0, 2, "FLAG"))])

    assert receipt.counts["rejected"] == 1
    assert "label 'FLAG' is not among those of the question: VESSEL" in receipt.detail["rejects"][0]["reason"]
    (warning,) = receipt.detail["warnings"]
    assert warning.startswith("1 records were rejected for labels that the dataset does not have")
    assert "give it another `name`, with all `labels` of its questions" in warning
    assert warning.endswith(": FLAG")


async def test_a_file_with_nothing_but_new_labels_says_what_to_do(bench: Bench) -> None:
    await bench.apply(ROWS)

    with pytest.raises(PermanentError) as caught:
        await bench.apply([record(f"E:{n}", "FV", (0, 2, label)) for n, label in enumerate(["FLAG", "FLAG", "PORT"])])

    assert "give it another `name`, with all `labels` of its questions" in caught.value.message
    assert caught.value.message.endswith(": FLAG, PORT")


async def test_labels_named_before_are_there_for_later_files(bench: Bench) -> None:
    questions = {"entities": {"type": "span", "labels": ["VESSEL", "FLAG"]}}
    await bench.apply(ROWS, questions=questions)

    receipt = await bench.apply([*ROWS, record("D:9", "FV", (0, 2, "FLAG"))], questions=questions)

    assert (receipt.counts["rows"], receipt.counts["rejected"]) == (8, 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"questions": {"entities": {"type": "text"}}}, "question 'entities' is of type span, not text"),
        ({"questions": {"entities": {"type": "span", "labels": ["FLAG"]}}}, "question 'entities' lacks FLAG"),
        ({"questions": {"more": {"type": "text"}}, "suggestions_column": None}, "no question 'more'"),
        ({"text_column": "text_sha256"}, "it has fields that no column is for: text"),
        ({"metadata_columns": ["number"]}, "metadata 'number' is of type terms, and the column is integer"),
    ],
)
async def test_a_dataset_that_differs_is_named_with_the_difference(
    bench: Bench, options: dict[str, Any], reason: str
) -> None:
    await bench.apply([record("D:1", "FV", SPAN, number="one")], metadata_columns=["number"])
    bench.asked()

    with pytest.raises(PermanentError) as caught:
        await bench.apply([record("D:1", "FV", SPAN, number=1)], **{"metadata_columns": [], **options})

    assert reason in caught.value.message
    assert not any("records" in one for one in bench.asked())


async def test_two_folders_cannot_share_a_dataset(bench: Bench) -> None:
    await bench.apply(ROWS)

    with pytest.raises(PermanentError, match="is that of data/argilla/in/vessels/, and two folders cannot share"):
        await bench.apply(ROWS, folder="others", yaml="name: vessels")


async def test_a_question_without_labels_asks_for_them(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="question 'entities' needs 1 labels, and the suggestions have 0"):
        await bench.apply([record("D:1", "FV")])


async def test_a_folder_with_nothing_but_its_mapping_waits(bench: Bench) -> None:
    with pytest.raises(Skip, match="its records are still to come"):
        await bench.apply(None, yaml="name: vessels")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (b"PAR1 no parquet", "is not Parquet, or damaged"),
        ([{"id": "1", "text": "FV"}], "has no column 'doc_id', which the mapping names; it has id, text"),
        ([{**record("D:1", "FV", SPAN), "text": 7}], "column 'text' is Int64"),
        ([record("D:1", "FV", SPAN, doc_id=["a"])], "metadata is text, a number or a date"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(bench: Bench, rows: Any, reason: str) -> None:
    with pytest.raises(PermanentError) as caught:
        await bench.apply(rows)

    assert reason in caught.value.message
    assert bench.fake.datasets == {}
    assert bench.logged()[0]["status"] == "failed"


async def test_a_deleted_suggestion_that_the_engine_did_not_hear_of_is_indexed_by_the_next_try(bench: Bench) -> None:
    await bench.apply(ROWS)
    fault = Fault("DELETE", r"records/.*/suggestions", status=500, body={"detail": "broken"}, stored=True)
    bench.fake.faults.append(fault)
    rows = [record("D:0", "FV Ocean"), *ROWS[1:]]
    with pytest.raises(OutcomeUnknown):
        await bench.apply(rows)
    bench.asked()

    await bench.apply(rows)

    assert fault.fired == 1
    dataset = bench.fake.dataset("vessels").about["id"]
    assert bench.asked() == [f"PUT datasets/{dataset}/records/bulk 1"]


async def test_a_dataset_that_another_folder_made_at_the_same_moment_is_not_written(bench: Bench) -> None:
    send = bench.handler._api.send

    async def another_was_faster(method: str, path: str, **more: Any) -> Any:
        if (method, path) == ("POST", "datasets"):
            await send(method, path, body={**more["body"], "metadata": {"lakedrop": "data/another/"}})
        return await send(method, path, **more)

    bench.handler._api.send = another_was_faster  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match="is that of data/another/"):
        await bench.apply(ROWS)

    assert shown(bench.fake)["vessels"] == {}


async def test_records_that_only_the_index_has_are_told(bench: Bench) -> None:
    receipt = await bench.apply(ROWS)
    bench.fake.faults.append(
        Fault("GET", ".*/progress", status=200, body={"total": 8, "completed": 0, "pending": 8, "users": []})
    )
    verdict = (await bench.handler.verify("data", {"unit": receipt}))["unit"]

    assert not verdict.ok
    assert "7 records stored but 8 indexed, some of which are gone" in verdict.message


async def test_more_labels_than_argilla_takes_are_told_before_anything_is_made(bench: Bench) -> None:
    rows = [record(f"D:{number}", "FV", (0, 2, f"L{number}")) for number in range(501)]

    with pytest.raises(PermanentError, match="more than 500 labels"):
        await bench.apply(rows)

    assert bench.fake.datasets == {}
