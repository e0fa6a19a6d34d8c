from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.workitem import (
    LATEST,
    BadMessage,
    Hint,
    Message,
    UnitKey,
    bulk_queue,
    dead_queue,
    decode,
    encode,
    work_queue,
)

HINT = Hint(UnitKey("csv_to_iceberg", "b", "dir/k.csv"), "changed", "event", "id-1", 1795218843114, route="csv")


def test_hint_is_a_structured_cloud_event() -> None:
    message = encode(HINT)

    assert message.content_type == "application/cloudevents+json"
    assert message.id == "id-1"
    assert json.loads(message.body) == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/lakedrop/event",
        "type": "lakedrop.unit.changed",
        "subject": "b/dir/k.csv",
        "time": "2026-11-20T23:54:03.114Z",
        "datacontenttype": "application/json",
        "data": {
            "handler": "csv_to_iceberg",
            "bucket": "b",
            "unit": "dir/k.csv",
            "reason": "event",
            "route": "csv",
            "error": None,
        },
    }


def test_headers_let_a_person_read_the_queue() -> None:
    assert encode(HINT).headers == {"key": "b/dir/k.csv", "reason": "event"}
    failed = HINT._replace(kind="replay", error="row 7: no")
    assert encode(failed).headers == {"key": "b/dir/k.csv", "reason": "event", "error": "row 7: no"}


def test_task_is_named_without_a_bucket() -> None:
    message = encode(Hint(UnitKey("csv_to_iceberg", "", "task/maintain/0"), "task", "schedule", "i", 0))

    assert message.headers["key"] == "task/maintain/0"
    assert json.loads(message.body)["type"] == "lakedrop.task.requested"


def test_hint_moved_by_hand_without_its_properties_is_read() -> None:
    assert decode(Message(encode(HINT).body, "", {}, "")) == HINT


def test_hint_that_stays_in_the_process_is_not_written() -> None:
    assert decode(encode(HINT)) is HINT


@pytest.mark.parametrize("unit", ["a\0b", "a\ud83d"])
def test_hint_that_stays_in_the_process_names_nothing_that_no_ledger_holds(unit: str) -> None:
    with pytest.raises(BadMessage, match="a NUL or half a surrogate pair"):
        decode(encode(HINT._replace(key=HINT.key._replace(unit=unit))))


def test_message_gets_more_headers() -> None:
    message = encode(HINT)
    assert message.with_headers(error="no") == Message(
        message.body, message.content_type, {**message.headers, "error": "no"}, message.id
    )


def written(hint: Hint) -> Message:
    message = encode(hint)
    return Message(message.body, message.content_type, message.headers, message.id)


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
hints = st.builds(
    Hint,
    key=st.builds(UnitKey, handler=names, bucket=names | st.just(""), unit=names),
    kind=st.sampled_from(["changed", "replay", "task"]),
    reason=st.text(),
    id=names,
    time=st.integers(0, LATEST),
    route=st.text(),
    error=st.none() | st.text(),
)


@given(hints)
def test_written_hint_reads_back(hint: Hint) -> None:
    assert decode(written(hint)) == hint


@given(hints, st.integers())
def test_hint_of_any_time_can_be_written(hint: Hint, time: int) -> None:
    assert decode(written(hint._replace(time=time))).time == min(max(time, 0), LATEST)


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(encode(HINT).body) | changes).encode()


DATA = json.loads(encode(HINT).body)["data"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a CloudEvent"),
        (changed(specversion="0.3"), "not a CloudEvent"),
        (changed(type="lakedrop.unit.exploded"), "type 'lakedrop.unit.exploded' is none of lakedrop.unit.changed"),
        (changed(type=None), "field `type` is missing"),
        (changed(data=None), "field `data` is not an object"),
        (changed(data=DATA | {"handler": 7}), "field `handler` is not a string"),
        (changed(data=DATA | {"unit": ""}), "fields `data.handler` and `data.unit` must not be empty"),
        (changed(data=DATA | {"unit": "a\0b"}), "a NUL or half a surrogate pair in `data`"),
        (changed(data=DATA | {"bucket": "a\ud83d"}), "a NUL or half a surrogate pair in `data`"),
        (changed(data=DATA | {"error": 7}), "field `error` is not a string"),
        (changed(time="soon"), "field `time` is no timestamp: 'soon'"),
        (changed(time="2026-11-20T23:54:03"), "field `time` has no offset"),
        (changed(id=None), "field `id` is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_hint_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadMessage) as caught:
        decode(Message(body, "application/cloudevents+json", {}, "i"))

    assert str(caught.value).startswith(reason)


def test_queues_are_named_by_purpose() -> None:
    assert (work_queue("h"), bulk_queue("h"), dead_queue("h")) == (
        "lakedrop.work.h",
        "lakedrop.bulk.h",
        "lakedrop.dead.h",
    )
