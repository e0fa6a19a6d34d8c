"""
RhyDB, SILO's engine, in an environment of its own with a command in front: a SILO that really preprocesses.

Its licence is AGPL-3.0, so it is no dependency, not of the development tools either.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.stack import cache
from tests.stack.building import make_environment, version_of

REQUIREMENTS: Final = Path(__file__).with_name("rhydb-requirements.txt")
FRONT: Final = Path(__file__).with_name("silo_engine_front.py")


def folder() -> Path:
    """Return where this version of it lies, or will."""
    return cache.folder() / f"rhydb-{version_of(REQUIREMENTS)}"


def is_there() -> bool:
    """Tell whether it is installed, whole."""
    return (folder() / "made").exists()


def build() -> None:
    """
    Install it, some 250 MB.

    Raises:
        CannotInstall: It has no build for this machine, or cannot be fetched.
    """
    place = folder()
    shutil.rmtree(place, ignore_errors=True)  # what an earlier attempt left
    cache.folder().mkdir(parents=True, exist_ok=True)
    make_environment(place, REQUIREMENTS, "--only-binary", ":all:")
    (place / "made").touch()


def program(where: Path) -> Path:
    """Write the command `silo` into a folder."""
    path = where / "silo"
    path.write_text(f'#!/bin/sh\nexec "{folder() / "bin/python"}" "{FRONT}" "$@"\n')
    path.chmod(0o755)
    return path


def query(output: Path, statement: str) -> list[dict[str, Any]]:
    """Run a statement of RhyDB's language on the newest database in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [str(program(Path(scratch))), "query", str(output), statement]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])  # after lines of its log
    return found
