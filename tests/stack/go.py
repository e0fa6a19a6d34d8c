"""Programs that Go's own registry delivers as source, built from a pinned version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.stack import cache, debian
from tests.stack.cache import CannotInstall

OLDEST = (1, 21)
"""The first Go that fetches the newer one that a module asks for."""

ADVICE = "install Go 1.21 or newer (Debian 12 has an older one), and run `make stack` again"


@dataclass(frozen=True)
class Program:
    """A main package."""

    name: str
    package: str
    module: str
    version: str

    def is_there(self) -> bool:
        """Tell whether this version lies in the cache; without Go nobody can tell, and any will do."""
        path = cache.folder() / "bin" / self.name
        go = _go()
        if not path.exists() or go is None:
            return path.exists()
        told = subprocess.run([go, "version", "-m", path], capture_output=True, text=True, check=False).stdout
        return f"\tmod\t{self.module}\t{self.version}\t" in told

    def build(self) -> None:
        """
        Build it into the cache; takes minutes and fetches its dependencies.

        Raises:
            CannotInstall: Go is missing or too old, or fails.
        """
        if _go() is None:
            debian.install(["golang-go"])
        go = _go()
        if go is None or _version(go) < OLDEST:
            raise CannotInstall(f"{self.name} is built by Go, and there is none that can: {ADVICE}")
        binaries = cache.folder() / "bin"
        binaries.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.folder()) as built:
            done = subprocess.run(
                [go, "install", f"{self.package}@{self.version}"],
                env={**os.environ, "GOBIN": built, "CGO_ENABLED": "0"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise CannotInstall(f"go install {self.package}@{self.version} failed:\n{done.stderr.strip()}")
            (program,) = Path(built).iterdir()
            program.replace(binaries / self.name)


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")  # where Go's own archive is unpacked


def _version(go: str) -> tuple[int, int]:
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)
