"""What Argilla 2.8 refuses of records and suggestions, with its words: for the small Argilla of the tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StrictInt, StrictStr, field_validator, model_validator

MAX_ITEMS: Final = 500
"""Records in one call."""

AGENT: Final = r"^[a-zA-Z0-9-_:\.\/\s]*[a-zA-Z0-9][a-zA-Z0-9-_:\.\/\s]*$"

NUMBERS: Final = {"integer": (int, "an integer"), "float": (float, "a float")}


class RefusedError(Exception):
    """A call is refused with 422 and this text."""


class Span(BaseModel):
    """A marked piece of a text; offsets in characters, the end exclusive."""

    label: str
    start: int = Field(ge=0)
    end: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> Span:
        if self.end <= self.start:
            raise ValueError("span question response value 'end' must have a value greater than 'start'")
        return self


class SuggestionItem(BaseModel):
    """A suggestion as it is sent."""

    question_id: UUID
    type: Literal["model", "human"] | None = None
    value: list[Span] | list[str] | StrictInt | StrictStr
    agent: Annotated[str, Field(pattern=AGENT, min_length=1, max_length=200)] | None = None
    score: float | list[float] | None = None

    @field_validator("score")
    @classmethod
    def _check_score(cls, score: float | list[float] | None) -> float | list[float] | None:
        scores = score if isinstance(score, list) else [] if score is None else [score]
        if score == []:
            raise ValueError("score must have at least one item")
        if not all(0 <= one <= 1 for one in scores):
            raise ValueError("score must be between 0 and 1")
        return score


class RecordItem(BaseModel):
    """A record as it is sent; what it does not name stays as it was."""

    id: UUID | None = None
    external_id: str | None = None
    fields: dict[str, StrictStr | None] | None = None
    metadata: dict[str, Any] | None = None
    suggestions: list[SuggestionItem] | None = None

    @field_validator("metadata")
    @classmethod
    def _check_numbers(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        for name, value in (metadata or {}).items():
            if isinstance(value, float) and math.isnan(value):
                raise ValueError(f"NaN is not allowed as metadata value, found NaN for key {name!r}")
        return metadata


class RecordItems(BaseModel):
    """The body of a bulk call."""

    items: list[RecordItem] = Field(min_length=1, max_length=MAX_ITEMS)

    @field_validator("items")
    @classmethod
    def _check_ids(cls, items: list[RecordItem]) -> list[RecordItem]:
        names = [item.external_id for item in items if item.external_id is not None]
        if len(names) != len(set(names)):
            raise ValueError("External IDs must be unique")
        return items


class Rules:
    """
    The rules of one dataset.

    Args:
        dataset: Its id.
        extra_metadata: Whether a record may have metadata that no property describes.
        fields: As they were created; so the others.
    """

    def __init__(
        self,
        dataset: str,
        *,
        extra_metadata: bool,
        fields: Sequence[Mapping[str, Any]],
        questions: Sequence[Mapping[str, Any]],
        properties: Sequence[Mapping[str, Any]],
    ) -> None:
        self._dataset = dataset
        self._extra_metadata = extra_metadata
        self._fields = {field["name"]: field for field in fields}
        self._questions = {question["id"]: question["settings"] for question in questions}
        self._properties = {each["name"]: each["settings"] for each in properties}

    def check(self, item: RecordItem, stored: Mapping[str, Any] | None) -> None:
        """
        Check one record.

        Args:
            item: As it was sent.
            stored: The fields of the record that it updates; None for a new one.

        Raises:
            RefusedError: It breaks a rule; the first one that it breaks.
        """
        if stored is None or "fields" in item.model_fields_set:
            self._check_fields(item.fields)
        for name, value in (item.metadata or {}).items():
            self._check_metadata(name, value)
        # The texts that spans point into: of a record that is there, those it has.
        try:
            self._check_suggestions(item.suggestions or [], (item.fields or {}) if stored is None else stored)
        except RefusedError as reason:
            raise RefusedError(f"record does not have valid suggestions: {reason}") from reason

    def _check_fields(self, fields: Mapping[str, str | None] | None) -> None:
        if not fields:
            raise RefusedError("fields cannot be empty")
        for name, field in self._fields.items():
            if field["required"] and fields.get(name) is None:
                raise RefusedError(f"missing required value for field: {name!r}")
        if unknown := [name for name in fields if name not in self._fields]:
            raise RefusedError(f"found fields values for non configured fields: {unknown}")

    def _check_metadata(self, name: str, value: object) -> None:
        settings = self._properties.get(name)
        if settings is None:
            if not self._extra_metadata:
                raise RefusedError(
                    f"metadata is not valid: '{name}' metadata property does not exists for dataset "
                    f"'{self._dataset}' and extra metadata is not allowed for this dataset"
                )
            return
        kind, words = NUMBERS.get(settings["type"], (object, ""))
        if value is not None and not isinstance(value, kind):
            raise RefusedError(
                f"metadata is not valid: '{name}' metadata property validation failed because '{value}' is not {words}."
            )

    def _check_suggestions(self, suggestions: Sequence[SuggestionItem], fields: Mapping[str, str | None]) -> None:
        ids = [suggestion.question_id for suggestion in suggestions]
        if len(ids) != len(set(ids)):
            raise RefusedError("found duplicate suggestions question IDs")
        for suggestion in suggestions:
            question = self._questions.get(str(suggestion.question_id))
            if question is None:
                raise RefusedError(f"question id={suggestion.question_id} does not exists")
            _check_value(question, suggestion.value, fields)
            _check_score(suggestion)


def _check_value(question: Mapping[str, Any], value: object, fields: Mapping[str, str | None]) -> None:
    labels = [option["value"] for option in question.get("options", ())]
    match question["type"]:
        case "span":
            if not isinstance(value, list):
                raise RefusedError(f"span question expects a list of values, found {type(value)}")
            _check_spans(question, value, fields, labels)
        case "text" if not isinstance(value, str):
            raise RefusedError(f"text question expects a text value, found {type(value)}")
        case "label_selection" if value not in labels:
            raise RefusedError(
                f"{value!r} is not a valid label for label selection question.\nValid labels are: {labels!r}"
            )
        case "multi_label_selection":
            _check_labels(value, labels)
        case "rating" if value not in labels:
            raise RefusedError(f"{value!r} is not a valid rating for rating question.\nValid ratings are: {labels!r}")


def _check_labels(value: object, labels: Sequence[str]) -> None:
    expects = "multi label selection questions expects a list of values, found"
    if not isinstance(value, list):
        raise RefusedError(f"{expects} {type(value)}")
    if not value:
        raise RefusedError(f"{expects} empty list")
    if len(value) != len(set(value)):
        raise RefusedError("multi label selection questions expect a list of unique values, but duplicates were found")
    if unknown := sorted(set(value) - set(labels)):
        raise RefusedError(
            f"{unknown!r} are not valid labels for multi label selection question.\nValid labels are: {labels!r}"
        )


def _check_spans(
    question: Mapping[str, Any], spans: Sequence[Span], fields: Mapping[str, str | None], labels: Sequence[str]
) -> None:
    name = question["field"]
    if name not in fields:
        raise RefusedError(f"span question requires record to have field `{name}`")
    length = len(fields[name] or "")
    told = f"record field `{name}` length that is `{length}`"
    for span in spans:
        if span.start > length - 1:
            raise RefusedError(f"span question response value `start` must have a value lower than {told}")
        if span.end > length:
            raise RefusedError(f"span question response value `end` must have a value lower or equal than {told}")
    for span in spans:
        if span.label not in labels:
            raise RefusedError(f"undefined label '{span.label}' for span question.\nValid labels are: {labels!r}")
    if not question["allow_overlapping"]:
        _check_overlaps(spans)


def _check_overlaps(spans: Sequence[Span]) -> None:
    for i, one in enumerate(spans):
        for j, other in enumerate(spans):
            if i != j and one.start < other.end and one.end > other.start:
                raise RefusedError(f"overlapping values found between spans at index idx={i} and idx={j}")


def _check_score(suggestion: SuggestionItem) -> None:
    value, score = suggestion.value, suggestion.score
    if not isinstance(value, list):
        if isinstance(score, list):
            raise RefusedError("a list of score values is not allowed for a suggestion with a single value")
    elif isinstance(score, list):
        if len(value) != len(score):
            raise RefusedError("number of items on value and score attributes doesn't match")
    elif score is not None:
        raise RefusedError("a single score value is not allowed for a suggestion with a multiple items value")
