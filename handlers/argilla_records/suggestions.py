"""
What a record's suggestions are, whatever form they come in. Pure; docs/argilla.md lists the rules.

What Argilla 2.8 would refuse is refused here with the same meaning (its `validators/response_values.py` and
`api/schemas/v1/suggestions.py`), so that a call is seldom refused for one record.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import orjson

from handlers.argilla_records.options import Question

MAX_SPANS: Final = 10_000
MAX_AGENT: Final = 200
NUL: Final = "\0"
"""What PostgreSQL, below Argilla, refuses in a text."""
_NOT_AGENT: Final = re.compile(r"[^a-zA-Z0-9_:./\s-]")
_NESTED: Final = 3
"""Times that JSON may be written as a text of JSON."""


class BadRecord(ValueError):
    """The record cannot be taken; the text says why."""

    def __init__(self, reason: str, label: str | None = None) -> None:
        super().__init__(reason)
        self.label = label
        """One that its question does not have, where that is the reason."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a model, or a person, says to one question."""

    question: str
    value: Any
    score: float | list[float] | None
    agent: str | None
    type: str | None


def decoded(cell: Any) -> list[dict[str, Any]]:
    """
    Return the suggestions of a cell as tables: from a list, one table, or JSON of either; null and blanks are none.

    Raises:
        BadRecord: It is nothing of these.
    """
    for _ in range(_NESTED):
        if not isinstance(cell, str | bytes):
            break
        if not cell.strip():
            return []
        try:
            cell = orjson.loads(cell)
        except ValueError:
            cell = _loads(cell)
    if cell is None:
        return []
    found = [cell] if isinstance(cell, dict) else cell
    if not isinstance(found, list):
        raise BadRecord(f"suggestions: expected a list, found {type(cell).__name__}")
    for one in found:
        if one is not None and not isinstance(one, dict):
            raise BadRecord(f"suggestions: expected tables in the list, found {type(one).__name__}")
    return [one for one in found if one]


def _loads(text: str | bytes) -> Any:
    """Read what Python writes, with NaN in it; half a surrogate pair is no text, and could not be sent."""
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"suggestions: not JSON: {error}") from None
    return found


def suggestions_of(
    cell: Any, text: str, questions: Mapping[str, Question], labels: Mapping[str, frozenset[str]]
) -> list[Suggestion]:
    """
    Return the suggestions of a record, one for a question at most; those without a value are none.

    Args:
        cell: Of the column with suggestions.
        text: Of the record; offsets count its characters.
        questions: Of the mapping.
        labels: That a question has, by its name; a question that is missing here takes any.

    Raises:
        BadRecord: One of them cannot be taken.
    """
    found: dict[str, Suggestion] = {}
    for table in decoded(cell):
        name = _question(table, questions)
        value = table.get("value")
        if value is None or value in ("", []):
            continue
        if name in found:
            raise BadRecord(f"question {name}: two suggestions; Argilla has one for each question of a record")
        question = questions[name]
        scores = table.get("score")
        try:
            match question.type:
                case "span":
                    value, scores = _spans(value, scores, text, question, labels.get(name))
                case "multi_label_selection":
                    value = _distinct(value if isinstance(value, list) else [value], labels.get(name))
                case "label_selection":
                    value = _label(_single(value), labels.get(name))
                case "rating":
                    value = _rating(_single(value), question)
                case _:
                    value = _text(_single(value))
            found[name] = Suggestion(name, value, _score(scores, value), _agent(table), _type(table))
        except BadRecord as error:
            raise BadRecord(f"question {name}: {error}", error.label) from None
    return list(found.values())


def labels_in(cell: Any, questions: Mapping[str, Question]) -> Iterable[tuple[str, str]]:
    """Yield (question, label) of all labels in a cell; nothing of one that cannot be read."""
    try:
        tables = decoded(cell)
    except BadRecord:
        return
    for table in tables:
        try:
            name = _question(table, questions)
        except BadRecord:
            continue
        value = table.get("value")
        for one in value if isinstance(value, list) else [value]:
            label = one.get("label") if isinstance(one, dict) else one
            if questions[name].type != "span" or isinstance(one, dict):
                try:
                    yield name, _label(label, None)
                except BadRecord:
                    continue


def _question(table: Mapping[str, Any], questions: Mapping[str, Question]) -> str:
    name = table.get("question_name")
    if name is None and len(questions) == 1:
        return next(iter(questions))
    if not isinstance(name, str) or name not in questions:
        raise BadRecord(f"question {name!r} is not configured; there are: {', '.join(questions)}")
    return name


def _spans(
    value: Any, scores: Any, text: str, question: Question, labels: frozenset[str] | None
) -> tuple[list[dict[str, Any]], Any]:
    given = [value] if isinstance(value, dict) else value
    if not isinstance(given, list):
        raise BadRecord(f"expected spans, found {type(value).__name__}")
    if len(given) > MAX_SPANS:
        raise BadRecord(f"{len(given):,} spans; Argilla takes {MAX_SPANS:,}")
    spans, places = [], []
    for one in given:
        if not isinstance(one, dict):
            raise BadRecord(f"expected a span with start, end and label, found {type(one).__name__}")
        start, end = _offset(one, "start"), _offset(one, "end")
        if not 0 <= start < end <= len(text):
            raise BadRecord(f"span {start}..{end} is not within the text of {len(text):,} characters")
        places.append((start, end))
        spans.append({"start": start, "end": end, "label": _label(one.get("label"), labels)})
    if not question.allow_overlapping:
        for (start, end), (begin, until) in pairwise(sorted(places)):
            if begin < end:
                raise BadRecord(f"spans {start}..{end} and {begin}..{until} overlap; the question does not allow that")
    if scores is None and all(one.get("score") is not None for one in given):
        scores = [one["score"] for one in given]
    return spans, scores


def _offset(span: Mapping[str, Any], name: str) -> int:
    value = span.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRecord(f"a span's {name} is {value!r}, not a whole number")
    return value


def _label(value: Any, labels: frozenset[str] | None) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or NUL in value:
        raise BadRecord(f"{value!r} is no label")
    if labels is not None and value not in labels:
        there = ", ".join(sorted(labels)[:20])
        raise BadRecord(f"label {value!r} is not among those of the question: {there}", value)
    return value


def _distinct(values: list[Any], labels: frozenset[str] | None) -> list[str]:
    found = [_label(one, labels) for one in values]
    if len(set(found)) != len(found):
        raise BadRecord("a label is repeated")
    return found


def _single(value: Any) -> Any:
    """Return the one answer; lists of one are taken for it."""
    if isinstance(value, list):
        if len(value) != 1:
            raise BadRecord(f"{len(value)} values; the question takes one")
        return value[0]
    return value


def _rating(value: Any, question: Question) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or value not in question.ratings:
        raise BadRecord(f"{value!r} is none of the ratings {', '.join(map(str, question.ratings))}")
    rating: int = value
    return rating


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRecord(f"expected text, found {type(value).__name__}")
    if NUL in value:
        raise BadRecord("the text holds the character NUL, which databases refuse")
    return value


def _score(score: Any, value: Any) -> float | list[float] | None:
    """Return a score for each item of a list, one for a single value; None when there is none."""
    if isinstance(score, list):
        numbers = [_number(one) for one in score]
        if not numbers or all(one is None for one in numbers):
            return None
        whole = [one for one in numbers if one is not None]
        if len(whole) != len(numbers):
            raise BadRecord("some of its scores are missing")
        if isinstance(value, list):
            if len(whole) != len(value):
                raise BadRecord(f"{len(whole)} scores for {len(value)} values")
            return whole
        if len(whole) != 1:
            raise BadRecord(f"{len(whole)} scores for one value")
        return whole[0]
    number = _number(score)
    return [number] * len(value) if isinstance(value, list) and number is not None else number


def _number(score: Any) -> float | None:
    if score is None:
        return None
    if isinstance(score, bool):
        raise BadRecord(f"score {score!r} is no number")
    try:
        number = float(score)
    except (TypeError, ValueError, OverflowError):
        raise BadRecord(f"score {str(score)[:100]!r} is no number") from None
    if math.isnan(number):
        return None
    if not 0 <= number <= 1:
        raise BadRecord(f"score {number:g} is not within 0 and 1")
    return number


def _agent(table: Mapping[str, Any]) -> str | None:
    """Return who suggests; what Argilla does not take in such a name becomes `_`."""
    agent = table.get("agent")
    name = "" if agent is None else _NOT_AGENT.sub("_", str(agent).strip())[:MAX_AGENT]
    return name if re.search("[a-zA-Z0-9]", name) else None


def _type(table: Mapping[str, Any]) -> str | None:
    kind = table.get("type")
    if kind not in (None, "model", "human"):
        raise BadRecord(f"type {kind!r} is neither model nor human")
    return kind
