"""What the column with suggestions may hold, and what becomes of it: the rules of docs/argilla.md."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.argilla_records.options import Question
from handlers.argilla_records.suggestions import BadRecord, labels_in, suggestions_of

TEXT = "FV Ocean Star"
SPAN = {"start": 0, "end": 2, "label": "PREFIX"}
NAME = {"start": 3, "end": 13, "label": "VESSEL"}

QUESTIONS = {
    "entities": Question(type="span"),
    "kind": Question(type="label_selection", labels=("a", "b", "1")),
    "tags": Question(type="multi_label_selection", labels=("a", "b")),
    "stars": Question(type="rating"),
    "note": Question(type="text"),
}
LABELS = {"entities": frozenset(("PREFIX", "VESSEL")), "kind": frozenset("ab1"), "tags": frozenset("ab")}


def one(value: Any = (SPAN,), score: Any = 0.5, name: str | None = "entities", **more: Any) -> dict[str, Any]:
    given = {} if name is None else {"question_name": name}
    value = list(value) if isinstance(value, tuple) else value
    return {**given, "value": value, "score": score, "agent": "model:v1", "type": "model", **more}


def read(cell: Any, questions: dict[str, Question] | None = None) -> list[Any]:
    found = suggestions_of(cell, TEXT, questions or QUESTIONS, LABELS)
    return [(each.value, each.score) for each in found]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        pytest.param(None, [], id="null"),
        pytest.param("", [], id="no text"),
        pytest.param("  ", [], id="blanks"),
        pytest.param("null", [], id="JSON null"),
        pytest.param("[]", [], id="empty list"),
        pytest.param([], [], id="empty list of Parquet"),
        pytest.param("{}", [], id="empty table"),
        pytest.param([None], [], id="list of null"),
        pytest.param([one(value=None)], [], id="null value"),
        pytest.param([one(value=[])], [], id="value without spans"),
        pytest.param([one(name="note", value="")], [], id="empty text"),
        pytest.param(json.dumps([one()]), [([SPAN], [0.5])], id="JSON list"),
        pytest.param(json.dumps([one()]).encode(), [([SPAN], [0.5])], id="JSON as bytes"),
        pytest.param(json.dumps(one()), [([SPAN], [0.5])], id="one table"),
        pytest.param(json.dumps(json.dumps([one()])), [([SPAN], [0.5])], id="JSON in JSON"),
        pytest.param([one()], [([SPAN], [0.5])], id="list of Parquet"),
        pytest.param([one((SPAN, NAME))], [([SPAN, NAME], [0.5, 0.5])], id="one score for all spans"),
        pytest.param([one((SPAN, NAME), [0.1, 1])], [([SPAN, NAME], [0.1, 1.0])], id="a score for each span"),
        pytest.param([one((SPAN, NAME), None)], [([SPAN, NAME], None)], id="no score"),
        pytest.param([one((SPAN, NAME), [None, None])], [([SPAN, NAME], None)], id="scores that are null"),
        pytest.param([one(score=[])], [([SPAN], None)], id="no scores"),
        pytest.param([one(score="0.25")], [([SPAN], [0.25])], id="score as text"),
        pytest.param('[{"question_name": "entities", "score": NaN, "value": [{"start": 0, "end": 2, '
                     '"label": "PREFIX"}]}]', [([SPAN], None)], id="score NaN"),
        pytest.param([one(({**SPAN, "score": 0.2},), None)], [([SPAN], [0.2])], id="score in the span"),
        pytest.param([one(({**SPAN, "start": 0.0, "end": 2.0},))], [([SPAN], [0.5])], id="offsets with a point"),
        pytest.param([one(SPAN)], [([SPAN], [0.5])], id="one span without a list"),
        pytest.param([one(({**SPAN, "end": 13},))], [([{**SPAN, "end": 13}], [0.5])], id="a span of all the text"),
        pytest.param([one(name="kind", value="a")], [("a", 0.5)], id="label"),
        pytest.param([one(name="kind", value=["a"], score=[0.5])], [("a", 0.5)], id="label in a list"),
        pytest.param([one(name="kind", value=1)], [("1", 0.5)], id="label that is a number"),
        pytest.param([one(name="tags", value=["a", "b"])], [(["a", "b"], [0.5, 0.5])], id="labels"),
        pytest.param([one(name="tags", value="a", score=None)], [(["a"], None)], id="labels, one without a list"),
        pytest.param([one(name="stars", value=4.0)], [(4, 0.5)], id="rating"),
        pytest.param([one(name="note", value="hm")], [("hm", 0.5)], id="text"),
    ],
)  # fmt: skip
def test_forms_that_are_taken(cell: Any, expected: list[Any]) -> None:
    assert read(cell) == expected


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("[{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (r'[{"question_name": "note", "value": "half a pair: \ud800"}]', "not JSON"),
        ("7", "expected a list, found int"),
        ([7], "expected tables in the list, found int"),
        ([one(name="other")], "question 'other' is not configured; there are: entities, kind, tags, stars, note"),
        ([one(name=None)], "question None is not configured"),
        ([one(), one()], "two suggestions"),
        ([one("text")], "expected spans, found str"),
        ([one((7,))], "expected a span with start, end and label, found int"),
        ([one(({**SPAN, "end": 14},))], "span 0..14 is not within the text of 13 characters"),
        ([one(({**SPAN, "start": -1},))], "span -1..2 is not within"),
        ([one(({**SPAN, "start": 2},))], "span 2..2 is not within"),
        ([one(({**SPAN, "end": "2"},))], "a span's end is '2', not a whole number"),
        ([one(({**SPAN, "start": True},))], "a span's start is True"),
        ([one(({"start": 0, "end": 2},))], "None is no label"),
        ([one(({**SPAN, "label": "FLAG"},))], "label 'FLAG' is not among those of the question: PREFIX, VESSEL"),
        ([one((SPAN, {**NAME, "start": 1}))], "spans 0..2 and 1..13 overlap"),
        ([one((SPAN, NAME), [0.5])], "1 scores for 2 values"),
        ([one((SPAN, NAME), [0.5, None])], "some of its scores are missing"),
        ([one(score=1.5)], "score 1.5 is not within 0 and 1"),
        ([one(score="high")], "score 'high' is no number"),
        ([one(score=10**400)], f"score '1{'0' * 99}' is no number"),
        ([one(score=True)], "score True is no number"),
        ([one(type="machine")], "type 'machine' is neither model nor human"),
        ([one(name="kind", value=["a", "b"])], "2 values; the question takes one"),
        ([one(name="kind", value="a", score=[0.5, 0.5])], "2 scores for one value"),
        ([one(name="tags", value=["a", "a"])], "a label is repeated"),
        ([one(name="stars", value=9)], "9 is none of the ratings 1, 2, 3, 4, 5"),
        ([one(name="note", value=7)], "expected text, found int"),
        ([one(name="note", value="a\0b")], "the character NUL"),
        ([one(({**SPAN, "label": "a\0b"},))], "is no label"),
    ],
)
def test_forms_that_reject_the_record(cell: Any, reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read(cell)

    assert reason in str(caught.value)


def test_spans_may_overlap_where_the_question_allows_it() -> None:
    question = {"entities": Question(type="span", allow_overlapping=True)}

    assert read([one((SPAN, {**NAME, "start": 1}))], question)


def test_a_single_question_needs_no_name() -> None:
    assert read([one(name=None)], {"entities": QUESTIONS["entities"]}) == [([SPAN], [0.5])]


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("llama3.3:70b", "llama3.3:70b"),
        ("model (v1)", "model _v1_"),
        (None, None),
        ("((", None),
        (3, "3"),
        ("x" * 300, "x" * 200),
    ],
)
def test_agents_get_names_that_argilla_takes(agent: Any, expected: str | None) -> None:
    (found,) = suggestions_of([one(agent=agent)], TEXT, QUESTIONS, LABELS)

    assert found.agent == expected


def test_labels_are_gathered_from_all_that_can_be_read() -> None:
    cells = [json.dumps([one((SPAN, NAME)), one(name="tags", value=["x", "y"])]), "[{", None, [one(name="other")]]

    found = {pair for cell in cells for pair in labels_in(cell, QUESTIONS)}

    assert found == {("entities", "PREFIX"), ("entities", "VESSEL"), ("tags", "x"), ("tags", "y")}
