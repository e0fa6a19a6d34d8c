"""What installations of several servers have in common."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.stack.cache import CannotInstall


def version_of(*paths: Path) -> str:
    """Return a text that is another one when files are; a folder stands for its files."""
    content = hashlib.sha256()
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else (path,):
            content.update(file.read_bytes())
    return content.hexdigest()[:12]


def run(*words: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end; `CannotInstall` with its output when it fails."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise CannotInstall(f"{words[0]} failed:\n{(done.stdout + done.stderr).strip()}")


def make_environment(place: Path, requirements: Path, *options: str) -> None:
    """
    Make an environment of Python that has locked packages.

    Raises:
        CannotInstall: A package cannot be had.
    """
    run(sys.executable, "-m", "venv", place)
    pip = (place / "bin/python", "-m", "pip", "install", "--quiet", "--no-input", "--require-hashes")
    run(*pip, *options, "-r", requirements)
