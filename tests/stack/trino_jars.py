"""Trino of the test stack: server and Iceberg connector as jars by Maven, and a main class of our own."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.stack import cache, debian, maven
from tests.stack.building import run, version_of
from tests.stack.cache import CannotInstall

SOURCE = Path(__file__).with_name("trino_server")

VERSION: Final = re.findall(r"<trino>(\d+)</trino>", (SOURCE / "server.xml").read_text())[0]

JAVA: Final = 25
"""Lowest version of Java that it runs on."""

PLUGIN: Final = "io.trino.plugin.iceberg.IcebergPlugin"


def folder() -> Path:
    """Return where this version of it lies, or will: `lib`, `plugin/iceberg`, and the main class."""
    return cache.folder() / f"trino-{VERSION}-{version_of(SOURCE)}"


def is_there() -> bool:
    return folder().exists() and java_home() is not None


def java_home() -> Path | None:
    """Return the folder of a Java development kit that is new enough; None where there is none."""
    return next((home for home in _java_homes() if _java_version(home) >= JAVA), None)


def _java_homes() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if java := shutil.which("javac"):
        yield Path(java).resolve().parents[1]
    # Where packages put those that PATH does not name.
    yield from sorted(Path("/usr/lib/jvm").glob("*"))


def _java_version(home: Path) -> int:
    """Return the first part of its version, which every kit tells in a file; 0 when it is none."""
    release = home / "release"
    if not (release.is_file() and (home / "bin" / "javac").is_file()):
        return 0
    found = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def build() -> None:
    """
    Fetch the jars, compile, and keep both: half a gigabyte, some minutes.

    Raises:
        CannotInstall: Maven or a JDK that is new enough is missing, or fails.
    """
    if not shutil.which("mvn"):
        debian.install(["maven"])
    home = java_home()
    if home is None:
        debian.install([f"openjdk-{JAVA}-jdk-headless"])
        home = java_home()
    if home is None:
        raise CannotInstall(f"Trino needs a JDK of version {JAVA} or newer: install one, and name it in JAVA_HOME")
    if folder().exists():
        return
    cache.folder().mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it comes there whole or not at all.
    with tempfile.TemporaryDirectory(dir=cache.folder()) as name:
        made = Path(name, "made")
        plugin = made / "plugin" / "iceberg"
        maven.copy_jars(SOURCE / "server.xml", made / "lib")
        maven.copy_jars(SOURCE / "iceberg.xml", plugin)
        # Trino's archive of the connector has this file; its jar does not.
        with zipfile.ZipFile(plugin / "services.jar", "w") as jar:
            jar.writestr("META-INF/services/io.trino.spi.Plugin", PLUGIN)
        run(home / "bin" / "javac", "-cp", f"{made / 'lib'}/*", "-d", made, SOURCE / "TrinoServer.java")
        made.replace(folder())
