"""An importer that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path


def test_killed_at_any_line_it_leaves_a_whole_input_and_imports_when_it_begins_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.silo_kills", str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    kills = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 0, done.stderr
    assert [kill for kill in kills if kill["ended"] != -signal.SIGKILL] == []
    assert {kill["at"].partition(":")[0] for kill in kills} >= {"importer.py", "paths.py", "transform.py"}
    assert len(kills) > 100
    assert [kill for kill in kills if kill["staged"] not in {2, 3}] == []  # of the old release, or of the new one
    assert {kill["staged"] for kill in kills} == {2, 3}
    assert [kill for kill in kills if kill["again"] != 0] == []
