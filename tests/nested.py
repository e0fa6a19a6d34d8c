"""Runs pytest within a test, on tests of its own but with our conftest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_pytest(folder: Path, *options: str, **variables: str) -> str:
    """
    Run the tests of a folder; returns what pytest reports.

    Args:
        folder: Has tests, and a `conftest.py` that imports ours.
        options: Of pytest.
        variables: Of the environment, besides those that are of no run of tests.
    """
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs\nasyncio_default_fixture_loop_scope = function\n")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("LAKEDROP_", "PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *options, str(folder)],
        cwd=folder,
        env={
            **outer,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [outer.get("PYTHONPATH")])]),
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout
