"""The decision after each look: step 2 of the protocol, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.protocol import Row, Status, Step, decide
from consumer.workitem import UnitKey
from handlers.contract import ABSENT

NOW = 1_000_000

DONE = Row(
    key=UnitKey("h", "b", "u"),
    status=Status.DONE,
    applied_etag="a",
    receipt=None,
    observed_etag="a",
    open=False,
    attempts=0,
    dirty=False,
    force=False,
    lease_token="t",
    lease_until=NOW + 30_000,
    wake_at=None,
    suspect_until=None,
    error_class=None,
    error=None,
    size=None,
    modified=None,
    handler_version="1",
    updated_at=NOW,
    db_now=NOW,
)
NEW = DONE._replace(status=Status.PENDING, applied_etag=None, observed_etag=None, open=True)


def decided(row: Row, head: str, *, keep: bool = False, fenced: bool = True, **columns: Any) -> Step:
    return decide(row._replace(**columns), head, now=NOW, keep=keep, fenced=fenced)


def test_version_in_the_sink_is_unchanged() -> None:
    assert decided(DONE, "a") is Step.UNCHANGED


def test_removed_unit_that_is_still_absent_is_unchanged() -> None:
    assert decided(DONE, ABSENT, applied_etag=ABSENT, observed_etag=ABSENT) is Step.UNCHANGED


@pytest.mark.parametrize("column", ["open", "force"])
def test_r7_open_or_forced_row_never_counts_as_unchanged(column: str) -> None:
    assert decided(DONE, "a", **{column: True}) is Step.BEGIN


def test_other_version_is_begun() -> None:
    assert decided(DONE, "b") is Step.BEGIN


def test_new_row_is_begun_even_without_an_object() -> None:
    assert decided(NEW, ABSENT) is Step.BEGIN


def test_absent_unit_of_a_keeping_route_is_kept() -> None:
    assert decided(DONE, ABSENT, keep=True) is Step.KEEP
    assert decided(DONE, ABSENT, keep=True, open=True) is Step.KEEP


def test_person_may_force_an_absent_unit_of_a_keeping_route() -> None:
    assert decided(DONE, ABSENT, keep=True, force=True) is Step.BEGIN


def test_kept_unit_that_comes_back_unchanged_needs_no_work() -> None:
    assert decided(DONE, "a", keep=True, observed_etag=ABSENT) is Step.UNCHANGED


@pytest.mark.parametrize("status", [Status.FAILED, Status.SKIPPED])
def test_version_that_failed_or_was_skipped_stays_so(status: Status) -> None:
    assert decided(DONE, "b", status=status, observed_etag="b", open=True) is Step.STILL_FAILED


@pytest.mark.parametrize("status", [Status.FAILED, Status.SKIPPED])
def test_new_version_of_a_failed_unit_is_begun(status: Status) -> None:
    assert decided(DONE, "c", status=status, observed_etag="b", open=True) is Step.BEGIN


def test_forced_failed_unit_is_begun() -> None:
    assert decided(DONE, "b", status=Status.FAILED, observed_etag="b", force=True) is Step.BEGIN


def test_retry_waits_for_its_time() -> None:
    retrying = NEW._replace(status=Status.RETRYING, observed_etag="a", wake_at=NOW + 1)
    assert decided(retrying, "a") is Step.NOT_YET
    assert decided(retrying, "a", wake_at=NOW) is Step.BEGIN
    assert decided(retrying, "a", wake_at=None) is Step.BEGIN


def test_new_version_does_not_wait_for_the_retry_of_the_old_one() -> None:
    assert decided(NEW, "b", status=Status.RETRYING, observed_etag="a", wake_at=NOW + 1) is Step.BEGIN


def test_only_sinks_without_compare_and_swap_wait_for_an_earlier_holder() -> None:
    assert decided(NEW, "a", suspect_until=NOW + 1, fenced=False) is Step.SUSPECT
    assert decided(NEW, "a", suspect_until=NOW + 1, fenced=True) is Step.BEGIN
    assert decided(NEW, "a", suspect_until=NOW, fenced=False) is Step.BEGIN
    assert decided(NEW, "a", suspect_until=None, fenced=False) is Step.BEGIN


def test_row_is_settled_when_nobody_holds_it_and_nothing_is_due() -> None:
    assert DONE._replace(lease_token=None).settled
    assert not DONE.settled
    assert not DONE._replace(lease_token=None, wake_at=NOW).settled


def test_row_is_gone_when_done_without_an_object() -> None:
    assert DONE._replace(observed_etag=ABSENT).gone
    assert not DONE.gone
    assert not DONE._replace(status=Status.FAILED, observed_etag=ABSENT).gone
