from __future__ import annotations

import json

import pytest

from consumer.retry import MESSAGE_LIMIT, Decision, RetryPolicy, error_class, message
from handlers.contract import OutcomeUnknown, PermanentError, TransientError

NOW = 1_000_000


def test_each_attempt_waits_for_its_own_delay_and_the_last_fails() -> None:
    policy = RetryPolicy((5, 30, 0.5))

    decisions = [policy.decide(attempt, OSError(), NOW) for attempt in (1, 2, 3, 4, 5)]

    assert decisions == [
        Decision("retry", NOW + 5_000),
        Decision("retry", NOW + 30_000),
        Decision("retry", NOW + 500),
        Decision("fail", None),
        Decision("fail", None),
    ]
    assert policy.max_attempts == 4


def test_default_gives_six_attempts_over_an_hour() -> None:
    assert RetryPolicy().max_attempts == 6
    assert RetryPolicy().decide(5, OSError(), NOW) == Decision("retry", NOW + 3_600_000)


def test_permanent_error_fails_at_once() -> None:
    assert RetryPolicy().decide(1, PermanentError("not a CSV"), NOW) == Decision("fail", None)


def test_unknown_outcome_is_retried() -> None:
    assert RetryPolicy((5,)).decide(1, OutcomeUnknown(), NOW) == Decision("retry", NOW + 5_000)


@pytest.mark.parametrize(("asked", "waited"), [(60.0, 60), (1.0, 5), (None, 5)])
def test_wait_asked_for_lengthens_the_delay_only(asked: float | None, waited: int) -> None:
    decision = RetryPolicy((5,)).decide(1, TransientError("busy", retry_after=asked), NOW)

    assert decision == Decision("retry", NOW + waited * 1000)


def test_without_delays_there_is_one_attempt() -> None:
    assert RetryPolicy(()).decide(1, OSError(), NOW) == Decision("fail", None)


def test_work_that_ended_before_its_first_attempt_waits_for_the_first_delay() -> None:
    assert RetryPolicy((5,)).decide(0, OSError(), NOW) == Decision("retry", NOW + 5_000)


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (PermanentError("row 7: no"), "PermanentError", "row 7: no"),
        (TransientError(), "TransientError", TransientError().message),
        (OSError(2, "No such file"), "FileNotFoundError", "FileNotFoundError: [Errno 2] No such file"),
        (ValueError(), "ValueError", "ValueError"),
        (json.JSONDecodeError("Bad", "", 0), "json.decoder.JSONDecodeError", "json.decoder.JSONDecodeError: Bad: "),
    ],
)
def test_errors_are_named_and_told(error: Exception, name: str, text: str) -> None:
    assert error_class(error) == name
    assert message(error).startswith(text)


def test_text_fits_any_database() -> None:
    assert message(PermanentError("a\0b\ud800c")) == "a\ufffdb?c"


def test_long_text_is_cut() -> None:
    text = message(PermanentError("x" * 10_000))

    assert len(text) == MESSAGE_LIMIT
    assert text.endswith("x…")
