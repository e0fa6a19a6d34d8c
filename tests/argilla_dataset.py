"""
What Argilla 2.8 does with a dataset and its records: for the small Argilla of the tests.

It keeps apart what the real one keeps in SQL and what in its search engine, for these can disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from tests.argilla_rules import RecordItem, RecordItems, RefusedError, Rules

USER: Final = {"id": str(uuid4()), "username": "owner", "role": "owner", "first_name": "O", "last_name": None}

PAGE: Final = 1000
"""Most records of one answer."""

DELETED_AT_ONCE: Final = 100

ENGINE_AWAY: Final = ("opensearchpy.exceptions.ConnectionError", "ConnectionError: Cannot connect to host")
INDEX_AWAY: Final = ("opensearchpy.exceptions.NotFoundError", "NotFoundError(404, 'index_not_found_exception')")

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

RELATIONS: Final = ("suggestions", "responses")


class AnswerError(Exception):
    """
    A call is answered otherwise than with success.

    Args:
        status: Of the answer.
        detail: What its body says below `detail`: a text or an object.
    """

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


@dataclass
class Engine:
    """The search engine: up; down; or up with its indexes wiped, so that nothing is indexed and nobody told."""

    state: Literal["up", "down", "wiped"] = "up"

    def reach(self) -> None:
        if self.state == "down":
            raise _broken(*ENGINE_AWAY)


@dataclass
class Record:
    """A record as SQL has it."""

    id: str
    external_id: str | None
    fields: dict[str, Any]
    metadata: dict[str, Any] | None
    inserted_at: str
    updated_at: str
    suggestions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the id of their question."""
    responses: list[dict[str, Any]] = field(default_factory=list)

    def update(self, item: RecordItem, now: str) -> None:
        """Take over what was sent; suggestions that were not are kept."""
        before = (self.fields, self.metadata)
        if "metadata" in item.model_fields_set:
            self.metadata = item.metadata
        if "fields" in item.model_fields_set:
            self.fields = dict(item.fields or {})
        if before != (self.fields, self.metadata):
            self.updated_at = now
        self.suggest(item, now)

    def suggest(self, item: RecordItem, now: str) -> None:
        for suggestion in item.suggestions or []:
            new = json.loads(suggestion.model_dump_json())
            old = self.suggestions.get(new["question_id"], {"id": str(uuid4()), "inserted_at": now})
            self.suggestions[new["question_id"]] = old | new | {"updated_at": now}


class Dataset:
    """
    A dataset with all that belongs to it.

    Args:
        about: What the server tells of it.
        engine: Where its index lies.
    """

    def __init__(self, about: dict[str, Any], engine: Engine) -> None:
        self.about = about
        self.fields: list[dict[str, Any]] = []
        self.questions: list[dict[str, Any]] = []
        self.properties: list[dict[str, Any]] = []
        self.records: dict[str, Record] = {}
        """By id, in the order in which they came."""
        self.index: dict[str, dict[str, Any]] | None = None
        """What the search engine knows, by id; None without an index."""
        self._ids: dict[str, str] = {}
        self._engine = engine

    def add(self, among: list[dict[str, Any]], what: str, body: Mapping[str, Any], refused: str | None) -> Any:
        """Create a field, a question or a metadata property; `refused` is said when it is published and must not be."""
        if self.about["status"] == "ready" and refused is not None:
            raise AnswerError(422, refused)
        if any(each["name"] == body["name"] for each in among):
            said = f"{what} with name `{body['name']}` already exists for dataset with id `{self.about['id']}`"
            raise AnswerError(409, said)
        made = {"id": str(uuid4()), "required": False, **body, "dataset_id": self.about["id"], **times()}
        among.append(made)
        return made

    def publish(self) -> Any:
        if self.about["status"] == "ready":
            raise AnswerError(422, "Dataset has already been published")
        if not self.fields:
            raise AnswerError(422, "Dataset cannot be published without fields")
        if not any(question["required"] for question in self.questions):
            raise AnswerError(422, "Dataset cannot be published without required questions")
        self.about["status"] = "ready"  # before it has an index, and it stays so without one
        self._engine.reach()
        self.index = {}
        return self.about

    def upsert(self, body: object) -> Any:
        """Store all records of a call, or none."""
        items = parsed(RecordItems, body).items
        rules = self._rules()
        known = [self._known(item) for item in items]
        for position, (item, record) in enumerate(zip(items, known, strict=True)):
            try:
                rules.check(item, None if record is None else record.fields)
            except RefusedError as reason:
                raise AnswerError(422, f"Record at position {position} is not valid because {reason}") from reason
        records = [self._store(item, record) for item, record in zip(items, known, strict=True)]
        self._keep_indexed(records)
        return {"items": [self.shown(record, RELATIONS) for record in records]}

    def list_records(self, query: Mapping[str, str]) -> Any:
        found = list(self.records.values())
        return {"items": [self.shown(each, _included(query)) for each in _page(found, query)], "total": len(found)}

    def delete_records(self, ids: str) -> None:
        numbers = _numbers(ids, "records")
        for number in numbers:
            gone = self.records.pop(number, None)
            if gone is not None and gone.external_id is not None:
                del self._ids[gone.external_id]
        self._engine.reach()
        for number in numbers:
            (self.index or {}).pop(number, None)

    def search(self, query: Mapping[str, str], body: Mapping[str, Any]) -> Any:
        """Search the index; by terms of the record or its metadata alone."""
        filters = (body.get("filters") or {}).get("and") or []
        found = [number for number, entry in self._indexed().items() if all(_fits(entry, each) for each in filters)]
        shown = [self.shown(self.records[number], _included(query)) for number in _page(found, query)]
        return {"items": [{"record": each, "query_score": 1.0} for each in shown], "total": len(found)}

    def progress(self) -> Any:
        index = self._indexed()
        completed = sum(entry["status"] == "completed" for entry in index.values())
        users = [{"username": USER["username"]}] if any(each.responses for each in self.records.values()) else []
        return {"total": len(index), "completed": completed, "pending": len(index) - completed, "users": users}

    def respond(self, record: Record, body: Mapping[str, Any]) -> Any:
        if record.responses:
            said = f"Response already exists for record with id `{record.id}` and by user with id `{USER['id']}`"
            raise AnswerError(409, said)
        response = {"id": str(uuid4()), **body, "record_id": record.id, "user_id": USER["id"], **times()}
        record.responses.append(response)
        self._keep_indexed([record])
        return response

    def delete_suggestions(self, record: Record, ids: str) -> None:
        numbers = _numbers(ids, "suggestions")
        record.suggestions = {key: one for key, one in record.suggestions.items() if one["id"] not in numbers}
        self._keep_indexed([record])

    def patch(self, record: Record, body: Mapping[str, Any]) -> Any:
        """Change one record; unlike `upsert`, suggestions that are sent take the place of all it has."""
        item = parsed(RecordItem, body)
        try:
            self._rules().check(item, record.fields)
        except RefusedError as reason:
            raise AnswerError(422, str(reason)) from reason
        if item.suggestions is not None:
            record.suggestions = {}
        record.update(item, now())
        record.updated_at = now()
        self._keep_indexed([record])
        return self.shown(record, RELATIONS)

    def reindex(self) -> None:
        """Make its index anew from what SQL has."""
        self.index = {}
        self._keep_indexed(self.records.values())

    def shown(self, record: Record, parts: Iterable[str]) -> dict[str, Any]:
        """Return a record as it is answered."""
        relations = {"suggestions": list(record.suggestions.values()), "responses": record.responses}
        return {
            "id": record.id,
            "status": self._status(record),
            "fields": record.fields,
            "metadata": record.metadata,
            "external_id": record.external_id,
            **{part: relations[part] for part in RELATIONS if part in parts},
            "dataset_id": self.about["id"],
            "inserted_at": record.inserted_at,
            "updated_at": record.updated_at,
        }

    def _status(self, record: Record) -> str:
        submitted = sum(response["status"] == "submitted" for response in record.responses)
        return "completed" if submitted >= self.about["distribution"]["min_submitted"] else "pending"

    def _rules(self) -> Rules:
        return Rules(
            self.about["id"],
            extra_metadata=self.about["allow_extra_metadata"],
            fields=self.fields,
            questions=self.questions,
            properties=self.properties,
        )

    def _known(self, item: RecordItem) -> Record | None:
        return self.records.get(str(item.id)) or self.records.get(self._ids.get(item.external_id or "", ""))

    def _store(self, item: RecordItem, record: Record | None) -> Record:
        moment = now()
        if record is not None:
            record.update(item, moment)
            return record
        record = Record(str(uuid4()), item.external_id, dict(item.fields or {}), item.metadata, moment, moment)
        record.suggest(item, moment)
        self.records[record.id] = record
        if item.external_id is not None:
            self._ids[item.external_id] = record.id
        return record

    def _indexed(self) -> dict[str, dict[str, Any]]:
        self._engine.reach()
        if self.index is None or self._engine.state == "wiped":
            raise _broken(*INDEX_AWAY)
        return self.index

    def _keep_indexed(self, records: Iterable[Record]) -> None:
        self._engine.reach()
        if self._engine.state == "wiped":
            self.index = None
        if self.index is None:
            return
        for record in records:
            self.index[record.id] = {
                "status": self._status(record),
                "external_id": record.external_id,
                "metadata": record.metadata or {},
            }


def parsed(model: type[M], body: object) -> M:
    """Read a body as a model; `AnswerError` with every fault when it is none."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _invalid(*((["body", *one["loc"]], one["type"], one["msg"]) for one in error.errors())) from error


def now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def times() -> dict[str, str]:
    moment = now()
    return {"inserted_at": moment, "updated_at": moment}


def _invalid(*errors: tuple[list[str | int], str, str]) -> AnswerError:
    found = [{"type": kind, "loc": where, "msg": message} for where, kind, message in errors]
    return AnswerError(422, {"code": "argilla.api.errors::ValidationError", "params": {"errors": found}})


def _broken(kind: str, message: str) -> AnswerError:
    params = {"type": kind, "message": message}
    return AnswerError(500, {"code": "argilla.api.errors::GenericServerError", "params": params})


def _included(query: Mapping[str, str]) -> list[str]:
    return query.get("include", "").split(",")


def _page(found: list[T], query: Mapping[str, str]) -> list[T]:
    limit, offset = int(query.get("limit", "50")), int(query.get("offset", "0"))
    if limit > PAGE:
        raise _invalid((["query", "limit"], "less_than_equal", f"Input should be less than or equal to {PAGE}"))
    return found[offset : offset + limit]


def _numbers(ids: str, what: str) -> list[str]:
    numbers = ids.split(",")
    if len(numbers) > DELETED_AT_ONCE:
        raise AnswerError(422, f"Cannot delete more than {DELETED_AT_ONCE} {what} at once")
    return numbers


def _fits(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    scope = wanted["scope"]
    if scope["entity"] == "metadata":
        return str(entry["metadata"].get(scope["metadata_property"])) in wanted["values"]
    return entry[scope["property"]] in wanted["values"]
