"""Tests that share servers run in one process, so that there is one server of each."""

import re
from pathlib import Path

from tests.nested import run_pytest

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_alone(number):
    pass

@pytest.mark.parametrize("number", range(6))
@pytest.mark.xdist_group("marked")
def test_marked(number):
    pass
"""


def test_tests_of_one_group_run_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    for folder in ("unit", "integration"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"test_{folder}.py").write_text(TESTS)

    report = run_pytest(tmp_path, "-v", "-n", "2", "--dist", "loadgroup")

    processes: dict[str, set[str]] = {}
    for process, group in re.findall(r"\[(gw\d)\].* PASSED \S+@(\w+)", report):
        processes.setdefault(group, set()).add(process)
    assert {group: len(found) for group, found in processes.items()} == {"marked": 1, "servers": 1}, report
