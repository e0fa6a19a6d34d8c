"""Every process names the tests alike, or pytest-xdist runs none of them."""

from pathlib import Path

from tests.nested import run_pytest

TESTS = """
import gzip
import time

import pytest

def made_now():
    return gzip.compress(b"text", mtime=time.time_ns() % 2**32)

@pytest.mark.parametrize("data", [made_now(), made_now(), b"a,b", b"\\x00"])
def test_archives(data):
    pass
"""


def test_names_do_not_hold_what_is_made_anew_in_each_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_made.py").write_text(TESTS)

    report = run_pytest(tmp_path, "--collect-only", "-q")

    assert [line.partition("::")[2] for line in report.splitlines() if "::" in line] == [
        "test_archives[data0]",
        "test_archives[data1]",
        "test_archives[a,b]",
        "test_archives[data2]",
    ], report
