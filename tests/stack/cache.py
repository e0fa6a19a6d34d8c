"""Where installed servers lie: outside the checkout, so that all checkouts share them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class CannotInstall(Exception):
    """Something is missing that an installation stands on; the message says what to do."""


def folder() -> Path:
    """Return the folder of everything that `make stack` installs by itself."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lakedrop-stack")


def binary(name: str) -> Path | None:
    """Return a program, from PATH or else from the cache."""
    found = shutil.which(name) or shutil.which(name, path=str(folder() / "bin"))
    return Path(found) if found else None
