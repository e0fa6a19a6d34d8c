"""What the handler relies on of Argilla 2.8: the small one of the tests does what the real one does."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.argilla_client import TEXT, Client, Made


async def test_server_tells_what_it_is_to_anyone(client: Client) -> None:
    client.headers = {}

    version, status = await client.get("version"), await client.get("status")

    assert version["version"] == status["version"] == "2.8.0"
    assert status["search_engine"]["cluster_name"] == "tests"


async def test_wrong_key_is_refused(client: Client) -> None:
    client.headers = {"X-Argilla-Api-Key": "wrong"}

    status, body = await client.send("GET", "me")

    assert status == 401
    assert body["detail"]["code"] == "argilla.api.errors::UnauthorizedError"


async def test_what_is_there_is_not_created_again(made: Made) -> None:
    client = made.client
    about = await client.get(made.path)
    (workspace,) = (w for w in (await client.get("me/workspaces"))["items"] if w["id"] == made.workspace)
    field = {"name": "text", "title": "Text", "settings": {"type": "text"}}
    late = {"name": "late", "title": "Late", "required": False, "settings": {"type": "text"}}
    terms = {"name": "doc_id", "title": "doc_id", "settings": {"type": "terms"}}

    answers = [
        await client.send("POST", "workspaces", {"name": workspace["name"]}),
        await client.send("POST", "datasets", {"name": "vessels", "workspace_id": made.workspace}),
        await client.send("POST", f"{made.path}/metadata-properties", terms),
        await client.send("POST", f"{made.path}/fields", field),
        await client.send("POST", f"{made.path}/questions", late),
        await client.send("PUT", f"{made.path}/publish"),
        await client.send("GET", f"datasets/{made.workspace}"),
    ]

    assert [(status, body["detail"]) for status, body in answers] == [
        (409, f"Workspace name `{workspace['name']}` is not unique"),
        (409, f"Dataset with name `vessels` already exists for workspace with id `{made.workspace}`"),
        (409, f"Metadata property with name `doc_id` already exists for dataset with id `{about['id']}`"),
        (422, "Field cannot be created for a published dataset"),
        (422, "questions cannot be created for a published dataset"),
        (422, "Dataset has already been published"),
        (404, f"Dataset with id `{made.workspace}` not found"),
    ]


async def test_dataset_is_found_by_its_name_with_all_that_belongs_to_it(made: Made) -> None:
    client = made.client

    found = (await client.get(f"me/datasets?name=vessels&workspace_id={made.workspace}"))["items"]

    assert [f"datasets/{each['id']}" for each in found] == [made.path]
    assert found[0]["distribution"] == {"strategy": "overlap", "min_submitted": 1}
    assert [each["name"] for each in (await client.get(f"{made.path}/fields"))["items"]] == ["text"]
    questions = (await client.get(f"{made.path}/questions"))["items"]
    assert {each["name"]: each["id"] for each in questions} == made.questions
    options = next(each["settings"]["options"] for each in questions if each["name"] == "entities")
    assert [option["value"] for option in options] == ["SHIP", "PORT"]
    properties = (await client.get(f"me/{made.path}/metadata-properties"))["items"]
    assert [(each["name"], each["settings"]["type"]) for each in properties] == [
        ("doc_id", "terms"),
        ("page_num", "integer"),
        ("weight", "float"),
    ]


async def test_dataset_without_what_it_needs_is_not_published(made: Made) -> None:
    client = made.client
    bare = await client.create("datasets", {"name": "bare", "workspace_id": made.workspace})
    path = f"datasets/{bare['id']}"

    _, no_field = await client.send("PUT", f"{path}/publish")
    field = {"name": "text", "title": "Text", "required": True, "settings": {"type": "text"}}
    await client.create(f"{path}/fields", field)
    _, no_question = await client.send("PUT", f"{path}/publish")

    assert no_field["detail"] == "Dataset cannot be published without fields"
    assert no_question["detail"] == "Dataset cannot be published without required questions"


async def test_upsert_keeps_ids_and_what_it_does_not_name(made: Made) -> None:
    first = made.item("D:1", made.spans((4, 10, "SHIP"), score=[0.5]), metadata={"doc_id": "D", "page_num": 1})
    (before,) = await made.store(first)
    (again,) = await made.store(first)
    (changed,) = await made.store(made.item("D:1", made.spans((23, 31, "PORT"), score=[0.75])))
    (bare,) = await made.store({"external_id": "D:1"})

    assert (before["external_id"], before["status"], before["fields"]) == ("D:1", "pending", {"text": TEXT})
    assert before["metadata"] == {"doc_id": "D", "page_num": 1}
    assert [again["id"], changed["id"], bare["id"]] == [before["id"]] * 3
    assert again["updated_at"] == before["updated_at"], "the same again changes nothing"
    (record,) = await made.records()
    assert record["metadata"] == {"doc_id": "D", "page_num": 1}
    (suggestion,) = record["suggestions"]
    assert suggestion["value"] == [{"start": 23, "end": 31, "label": "PORT"}]
    assert (suggestion["score"], suggestion["agent"]) == ([0.75], "m:1")
    assert suggestion["id"] == before["suggestions"][0]["id"]


async def test_changed_text_or_metadata_moves_updated_at(made: Made) -> None:
    (before,) = await made.store(made.item("D:1"))
    (text,) = await made.store(made.item("D:1", text="Other."))
    (metadata,) = await made.store(made.item("D:1", text="Other.", metadata={"doc_id": "E"}))

    assert before["updated_at"] < text["updated_at"] < metadata["updated_at"]
    assert before["inserted_at"] == metadata["inserted_at"]


async def test_new_spans_are_measured_by_the_text_that_is_stored(made: Made) -> None:
    await made.store(made.item("D:1", text="Short."))

    status, body = await made.upsert(made.item("D:1", made.spans((4, 10, "SHIP"))))
    unchanged = await made.records()
    await made.store({"external_id": "D:1", "fields": {"text": TEXT}})
    await made.store(made.item("D:1", made.spans((4, 10, "SHIP"))))

    assert status == 422
    assert "length that is `6`" in body["detail"]
    assert unchanged[0]["fields"] == {"text": "Short."}
    assert (await made.records())[0]["fields"] == {"text": TEXT}


async def test_suggestions_go_away_by_deletion_only(made: Made) -> None:
    comment = {"question_id": made.questions["comment"], "value": "old", "type": "model"}
    (record,) = await made.store(made.item("D:1", made.spans((4, 10, "SHIP")), comment))
    (kept,) = await made.store(made.item("D:1"))

    numbers = [each["id"] for each in record["suggestions"]]
    status, _ = await made.client.send("DELETE", f"records/{record['id']}/suggestions?ids={numbers[0]},{uuid4()}")
    left = await made.client.get(f"records/{record['id']}/suggestions")

    assert [each["id"] for each in kept["suggestions"]] == numbers
    assert status == 204
    assert [each["id"] for each in left["items"]] == numbers[1:]
    status, patched = await made.client.send("PATCH", f"records/{record['id']}", {"suggestions": []})
    assert (status, patched["suggestions"]) == (200, [])


async def test_records_go_away_by_their_ids(made: Made) -> None:
    records = await made.store(*(made.item(f"D:{n}") for n in range(3)))

    status, _ = await made.client.send("DELETE", f"{made.path}/records?ids={records[0]['id']},{records[2]['id']}")

    assert status == 204
    assert [each["external_id"] for each in await made.records()] == ["D:1"]
    await made.store(made.item("D:0"))
    assert {each["external_id"] for each in await made.records()} == {"D:0", "D:1"}


OF_SPANS = "span question response value"
LABELS = ".\nValid labels are:"

REFUSED_SUGGESTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "end beyond the text": (
        {"value": [{"start": 4, "end": 41, "label": "SHIP"}]},
        f"{OF_SPANS} `end` must have a value lower or equal than record field `text` length that is `40`",
    ),
    "start beyond the text": (
        {"value": [{"start": 40, "end": 41, "label": "SHIP"}]},
        f"{OF_SPANS} `start` must have a value lower than record field `text` length that is `40`",
    ),
    "unknown label": (
        {"value": [{"start": 4, "end": 10, "label": "CREW"}]},
        f"undefined label 'CREW' for span question{LABELS} ['SHIP', 'PORT']",
    ),
    "overlap": (
        {"value": [{"start": 4, "end": 10, "label": "SHIP"}, {"start": 8, "end": 12, "label": "PORT"}]},
        "overlapping values found between spans at index idx=0 and idx=1",
    ),
    "one score for a list": (
        {"value": [{"start": 4, "end": 10, "label": "SHIP"}], "score": 0.5},
        "a single score value is not allowed for a suggestion with a multiple items value",
    ),
    "scores of another number": (
        {"value": [{"start": 4, "end": 10, "label": "SHIP"}], "score": [0.5, 0.5]},
        "number of items on value and score attributes doesn't match",
    ),
    "label of no option": (
        {"question_id": "kind", "value": "poem"},
        f"'poem' is not a valid label for label selection question{LABELS} ['log', 'letter']",
    ),
    "labels of no option": (
        {"question_id": "kinds", "value": ["log", "poem"]},
        f"['poem'] are not valid labels for multi label selection question{LABELS} ['log', 'letter']",
    ),
    "no label": (
        {"question_id": "kinds", "value": []},
        "multi label selection questions expects a list of values, found empty list",
    ),
}

REFUSED_RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"fields": {"text": None}}, "missing required value for field: 'text'"),
    "no field": ({"fields": {}}, "fields cannot be empty"),
    "unknown field": (
        {"fields": {"text": TEXT, "doc_id": "D"}},
        "found fields values for non configured fields: ['doc_id']",
    ),
    "metadata of another type": (
        {"metadata": {"page_num": "one"}},
        "metadata is not valid: 'page_num' metadata property validation failed because 'one' is not an integer.",
    ),
    "integer for a float": (
        {"metadata": {"weight": 1}},
        "metadata is not valid: 'weight' metadata property validation failed because '1' is not a float.",
    ),
}


async def test_bad_record_fails_its_whole_call_and_is_named(made: Made) -> None:
    bad = {name: made.item("bad") | changed for name, (changed, _) in REFUSED_RECORDS.items()}
    reasons = {name: reason for name, (_, reason) in REFUSED_RECORDS.items()}
    for name, (changed, reason) in REFUSED_SUGGESTIONS.items():
        question = made.questions[changed.get("question_id", "entities")]
        bad[name] = made.item("bad", changed | {"question_id": question})
        reasons[name] = f"record does not have valid suggestions: {reason}"

    told = {name: await made.upsert(made.item("good"), item, item | {"external_id": "2"}) for name, item in bad.items()}

    assert {name: body["detail"] for name, (_, body) in told.items()} == {
        name: f"Record at position 1 is not valid because {reason}" for name, reason in reasons.items()
    }
    assert {status for status, _ in told.values()} == {422}
    assert await made.records() == []


async def test_undefined_metadata_is_refused_where_only_defined_is_allowed(made: Made) -> None:
    status, body = await made.upsert(made.item("D:1", metadata={"other": 1}))

    assert status == 422
    assert "'other' metadata property does not exists for dataset" in body["detail"]


MALFORMED: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "score above one": ({"score": [1.5]}, ["score"], "Value error, score must be between 0 and 1"),
    "no score in a list": ({"score": []}, ["score"], "Value error, score must have at least one item"),
    "agent in parentheses": ({"agent": "model (new)"}, ["agent"], "String should match pattern"),
    "agent too long": ({"agent": "a" * 201}, ["agent"], "String should have at most 200 characters"),
}


async def test_malformed_suggestions_are_all_named_by_an_object(made: Made) -> None:
    items = [made.item(name, made.spans((4, 10, "SHIP"), **faulty)) for name, (faulty, _, _) in MALFORMED.items()]

    status, body = await made.upsert(made.item("good"), *items)

    assert status == 422
    assert body["detail"]["code"] == "argilla.api.errors::ValidationError"
    errors = body["detail"]["params"]["errors"]
    for position, (_, where, reason) in enumerate(MALFORMED.values(), 1):
        (message,) = (e["msg"] for e in errors if e["loc"][:6] == ["body", "items", position, "suggestions", 0, *where])
        assert message.startswith(reason)
    assert await made.records() == []


async def test_backward_span_is_named_by_an_object(made: Made) -> None:
    status, body = await made.upsert(made.item("D:1", made.spans((10, 4, "SHIP"))))

    assert status == 422
    messages = [error["msg"] for error in body["detail"]["params"]["errors"]]
    assert "Value error, span question response value 'end' must have a value greater than 'start'" in messages


@pytest.mark.parametrize("names", [["D:1", "D:1"], [], [f"D:{n}" for n in range(501)]], ids=["twice", "none", "501"])
async def test_call_of_a_wrong_size_or_with_a_name_twice_is_refused(made: Made, names: list[str]) -> None:
    status, body = await made.upsert(*({"external_id": name, "fields": {"text": "T"}} for name in names))

    assert status == 422
    (error,) = body["detail"]["params"]["errors"]
    assert error["loc"] == ["body", "items"]
    assert error["msg"] in {
        "Value error, External IDs must be unique",
        "List should have at least 1 item after validation, not 0",
        "List should have at most 500 items after validation, not 501",
    }


async def test_response_completes_a_record_and_outlives_changes(made: Made) -> None:
    (record, _) = await made.store(made.item("D:1", made.spans((4, 10, "SHIP"))), made.item("D:2"))
    values = {"entities": {"value": [{"label": "PORT", "start": 23, "end": 31}]}}
    response = await made.client.create(f"records/{record['id']}/responses", {"values": values, "status": "submitted"})
    second, _ = await made.client.send("POST", f"records/{record['id']}/responses", {"status": "draft"})

    await made.store(made.item("D:1", text="Short."))

    changed = await made.client.get(f"records/{record['id']}")
    assert second == 409
    assert (changed["fields"], changed["status"]) == ({"text": "Short."}, "completed")
    assert [each["values"] for each in changed["responses"]] == [values]
    assert changed["responses"][0]["id"] == response["id"]


async def test_index_knows_what_was_stored_and_what_is_completed(made: Made) -> None:
    records = await made.store(*(made.item(f"D:{n}", metadata={"doc_id": f"d{n % 2}"}) for n in range(6)))
    body = {"values": {"entities": {"value": []}}, "status": "submitted"}
    await made.client.create(f"records/{records[0]['id']}/responses", body)
    await made.client.send("DELETE", f"{made.path}/records?ids={records[5]['id']}")

    async def search(scope: dict[str, str], *values: str) -> Any:
        filters = {"and": [{"type": "terms", "scope": scope, "values": values}]}
        path = f"{made.path}/records/search?limit=2&include=suggestions"
        status, found = await made.client.send("POST", path, {"filters": filters})
        assert status == 200, found
        return found

    async def settled() -> Any:
        progress = await made.client.get(f"{made.path}/progress")
        return progress if progress["total"] == 5 else None

    progress = None
    while progress is None:  # the engine shows a deletion soon, not at once
        progress = await settled()
        await asyncio.sleep(0)

    assert (progress["completed"], progress["pending"]) == (1, 4)
    even = await search({"entity": "metadata", "metadata_property": "doc_id"}, "d0")
    assert (even["total"], len(even["items"])) == (3, 2)
    (one,) = (await search({"entity": "record", "property": "external_id"}, "D:3", "D:99"))["items"]
    assert one["record"]["external_id"] == "D:3"
    assert one["record"]["suggestions"] == []
