"""
What every test stands on: a clean environment, and skips that name the command which would provide what is missing.

At home a test whose needs are missing is skipped. With LAKEDROP_TEST_INSTALL=1, as `.ci/run` sets it, a skip is a
failure, except for what `NEEDS` allows to be missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import hypothesis
import pytest

KNOWN_VARIABLES = {
    "LAKEDROP_TEST_INSTALL",
    "LAKEDROP_SIM_SCHEDULES",
    "LAKEDROP_SIM_SEED",
    "LAKEDROP_KILL_ROUNDS",
    "LAKEDROP_KILL_SEED",
    "LAKEDROP_TEST_RANDOM",
}
"""Variables that speak to the tests; any other `LAKEDROP_…` would change the settings under test."""


@dataclass(frozen=True)
class Need:
    """Something a test cannot do without."""

    is_there: Callable[[], bool]
    command: str
    """Provides it; shown with the skip."""
    may_be_missing_in_ci: bool = False


NEEDS: Mapping[str, Need] = {
    "unprivileged user": Need(
        is_there=lambda: os.geteuid() != 0,
        command="run the tests as another user than root, who may read every file",
        may_be_missing_in_ci=True,
    ),
}


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("LAKEDROP_") and name not in KNOWN_VARIABLES]:
        del os.environ[name]
    os.environ.pop("S3_INGEST_BUCKET", None)
    # The same examples every time, so that a change fails by its own fault; LAKEDROP_TEST_RANDOM=1 looks for new ones.
    same = os.environ.get("LAKEDROP_TEST_RANDOM") != "1"
    # A busy machine is no failure.
    hypothesis.settings.register_profile("lakedrop", deadline=None, derandomize=same)
    hypothesis.settings.load_profile("lakedrop")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        need = NEEDS[marker.args[0]]
        if not need.is_there():
            item.user_properties.append(("may skip", need.may_be_missing_in_ci))
            pytest.skip(f"no {marker.args[0]}; to have it: {need.command}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    del call
    report = yield
    expected_to_fail = hasattr(report, "wasxfail")
    if report.skipped and not expected_to_fail and ("may skip", True) not in item.user_properties:
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        refuse_skip(report)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where everything a test needs ought to be installed."""
    if os.environ.get("LAKEDROP_TEST_INSTALL") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = (
            f"LAKEDROP_TEST_INSTALL=1 forbids skipping. {reason}\nMay it be missing? tests/conftest.py, NEEDS."
        )
