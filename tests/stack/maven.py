"""The Iceberg REST catalog of the test stack: jars by Maven, and one class of our own compiled against them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.stack import cache, debian
from tests.stack.building import run, version_of

SOURCE = Path(__file__).with_name("rest_catalog_server")

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def folder() -> Path:
    """Return where this version of it lies, or will: below `lib` the jars, beside them the class."""
    return cache.folder() / f"rest-catalog-{version_of(SOURCE)}"


def is_there() -> bool:
    return folder().exists()


def build() -> None:
    """Make it; raises as `compile_server` does."""
    compile_server(SOURCE, "RestCatalog.java", folder())


def compile_server(source: Path, name_of_class: str, place: Path) -> None:
    """
    Fetch the jars of a project, compile a class of ours against them, and keep both.

    Args:
        source: Has `pom.xml` and the class.
        name_of_class: Its file.
        place: Folder that gets the class, and below `lib` the jars; whole or not at all.

    Raises:
        CannotInstall: Maven or the JDK is missing, or fails.
    """
    if not (shutil.which("mvn") and shutil.which("javac")):
        debian.install(["maven", "default-jdk-headless"])
    cache.folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.folder()) as name:
        made = Path(name, "made")
        copy_jars(source / "pom.xml", made / "lib")
        run("javac", "-cp", f"{made / 'lib'}/*", "-d", made, source / name_of_class)
        made.replace(place)


def copy_jars(project: Path, target: Path) -> None:
    """
    Copy the jars that a project runs with into a folder.

    Raises:
        CannotInstall: Maven fails.
    """
    run("mvn", "-B", "-q", "-f", project, COPY, "-DincludeScope=runtime", f"-DoutputDirectory={target}")
