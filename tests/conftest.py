"""
What every test stands on: a clean environment, and skips that name the command which would provide what is missing.

At home a test whose needs are missing is skipped. With LAKEDROP_TEST_INSTALL=1, as `.ci/run` sets it, a skip is a
failure, except for what `NEEDS` in tests/needs.py allows to be missing.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

from tests.needs import NEEDS, MaySkip, everything_is_installed, skip_without

pytest_plugins = ["tests.stack.fixtures"]

KNOWN_VARIABLES = {
    "LAKEDROP_TEST_RABBITMQ_URL",
    "LAKEDROP_TEST_RABBITMQ_MANAGEMENT_URL",
    "LAKEDROP_TEST_RABBITMQ_IMAGE",
    "LAKEDROP_TEST_POSTGRES_URL",
    "LAKEDROP_TEST_MINIO_URL",
    "LAKEDROP_TEST_VERSITYGW_URL",
    "LAKEDROP_TEST_WEED_URL",
    "LAKEDROP_TEST_REST_CATALOG_URL",
    "LAKEDROP_TEST_TRINO_URL",
    "LAKEDROP_TEST_SUPERSET_URL",
    "LAKEDROP_TEST_WEAVIATE_URL",
    "LAKEDROP_TEST_OPENSEARCH_URL",
    "LAKEDROP_TEST_REDIS_URL",
    "LAKEDROP_TEST_ARGILLA_URL",
    "LAKEDROP_TEST_INSTALL",
    "LAKEDROP_SIM_SCHEDULES",
    "LAKEDROP_SIM_SEED",
    "LAKEDROP_KILL_ROUNDS",
    "LAKEDROP_KILL_SEED",
    "LAKEDROP_TEST_RANDOM",
    "LAKEDROP_TEST_ESCO",
}
"""Variables that speak to the tests; any other `LAKEDROP_…` would change the settings under test."""


SERVERS = {
    *("rabbitmq", "postgres", "minio", "versitygw", "weed", "rest_catalog", "trino", "superset", "weaviate"),
    *("opensearch", "redis", "argilla"),
    "find_server",
}
"""Fixtures that start one."""

GROUPS = {"trino": "lakehouse", "superset": "lakehouse", "argilla": "argilla", "weaviate": "weaviate"}
"""Groups of the tests of those that take their time; all other tests of servers are one group."""

OF_SERVERS = {"contract", "integration"}
"""Folders whose tests may ask for a server only when they run."""


PRINTABLE = 32
"""Most bytes of a parameter that a test's name may hold."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """
    Name a test after its bytes only when they can be read: archives hold the time when they were made.

    pytest-xdist refuses to run when two processes name the tests differently.
    """
    if isinstance(val, bytes) and not (len(val) <= PRINTABLE and val.isascii() and val.decode().isprintable()):
        return argname
    return None


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("LAKEDROP_") and name not in KNOWN_VARIABLES]:
        del os.environ[name]
    for name in ("S3_INGEST_BUCKET", "ARGILLA_API_URL", "ARGILLA_API_KEY", "MD_TOKEN", "INPUT_PREFIX"):
        os.environ.pop(name, None)
    # Each of the many processes that tests start would compile this project anew, a second of it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.pop("COLUMNS", None)  # xdist tells its workers the width of its terminal; commands would cut their lines
    # The same examples every time, so that a change fails by its own fault; LAKEDROP_TEST_RANDOM=1 looks for new ones.
    same = os.environ.get("LAKEDROP_TEST_RANDOM") != "1"
    # A busy machine is no failure.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("lakedrop", deadline=None, suppress_health_check=slow, derandomize=same)
    hypothesis.settings.load_profile("lakedrop")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        of_servers = item.path.parent.name in OF_SERVERS or not SERVERS.isdisjoint(fixtures_of(item))
        if of_servers and item.get_closest_marker("xdist_group") is None:
            # In one process where there are several, so that there is one server of each.
            group = next((GROUPS[name] for name in fixtures_of(item) if name in GROUPS), "servers")
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item: pytest.Item) -> None:
    marked = [str(marker.args[0]) for marker in item.iter_markers("needs")]
    for name in [*marked, *(name for name in fixtures_of(item) if name in NEEDS)]:
        skip_without(name)


def fixtures_of(item: pytest.Item) -> list[str]:
    """Return the names of all fixtures that a test requests, and those request, and so on."""
    return item.fixturenames if isinstance(item, pytest.Function) else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected_to_fail = hasattr(report, "wasxfail")
    may_skip = call.excinfo is not None and isinstance(call.excinfo.value, MaySkip)
    if report.skipped and not expected_to_fail and not may_skip:
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
    if everything_is_installed():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = (
            f"LAKEDROP_TEST_INSTALL=1 forbids skipping. {reason}\nMay it be missing? tests/needs.py, NEEDS."
        )
