"""A skipped test names what would provide what it needs, and fails where that ought to be installed."""

from pathlib import Path

from tests.nested import run_pytest

TESTS = """
import pytest

def test_that_skips_itself():
    pytest.skip("no server; to have it: install one")

@pytest.mark.skipif(True, reason="not here")
def test_marked():
    pass

@pytest.mark.xfail(strict=True, raises=ZeroDivisionError)
def test_expected_to_fail():
    1 / 0

@pytest.mark.needs("a unicorn")
def test_of_something_rare():
    pass
"""

PLUGIN = """
from tests.conftest import *
from tests.needs import NEEDS, Need
NEEDS["a unicorn"] = Need(lambda: False, "look in the woods", may_be_missing_in_ci=True)
"""


def run_tests(folder: Path, **variables: str) -> str:
    (folder / "conftest.py").write_text(PLUGIN)
    (folder / "test_something.py").write_text(TESTS)
    return run_pytest(folder, "-ra", **variables)


def test_skips_name_the_command_that_provides_what_is_missing(tmp_path: Path) -> None:
    report = run_tests(tmp_path)

    assert "3 skipped, 1 xfailed" in report
    assert "no a unicorn; to have it: look in the woods" in report


def test_a_skip_is_a_failure_where_everything_is_installed(tmp_path: Path) -> None:
    report = run_tests(tmp_path, LAKEDROP_TEST_INSTALL="1")

    assert "1 failed, 1 skipped, 1 xfailed, 1 error" in report
    assert "LAKEDROP_TEST_INSTALL=1 forbids skipping. Skipped: no server; to have it: install one" in report


def test_stray_settings_do_not_reach_the_tests(tmp_path: Path) -> None:
    (tmp_path / "test_environment.py").write_text(
        "import os\ndef test_clean():\n    assert 'LAKEDROP_HOME' not in os.environ\n"
        "    assert 'LAKEDROP_KILL_ROUNDS' in os.environ\n"
    )

    report = run_tests(tmp_path, LAKEDROP_HOME="/elsewhere", LAKEDROP_KILL_ROUNDS="1")

    assert "1 passed, 3 skipped" in report
