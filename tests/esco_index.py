"""A home with a route to a real Weaviate, and what that holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import main
from consumer.cli_esco_init import esco_init
from handlers.esco_index.joins import join
from handlers.esco_index.objects import Objects
from handlers.esco_index.schema import CLASSES, Place
from tests.acceptance.conftest import Home
from tests.esco_release import Release
from tests.stack.weaviate import Weaviate

ROUTE = """
waker_seconds = 0.2
grace_seconds = 0.1
lease_seconds = 3
heartbeat_seconds = 0.5
retry_delays = [0.1]
[[routes]]
name = "esco"
bucket = "csv-uploads"
prefix = "esco/"
handler = "esco_index"
options = {{ url = "{url}", grpc_port = {port}, vector_index = "flat"{more} }}
"""

CODE = "import sys; from consumer.cli_esco_init import main; sys.exit(main())"


class Index:
    """A home with a route to Weaviate, and what that holds."""

    def __init__(self, home: Home, weaviate: Weaviate) -> None:
        self.home = home
        self.weaviate = weaviate
        self._started: list[subprocess.Popen[bytes]] = []
        self.configure()

    def configure(self, more: str = "") -> None:
        self.home.configure(ROUTE.format(url=self.weaviate.url, port=self.weaviate.grpc_port, more=more))

    def drop(self, release: Release, version: str = "1.2", *, only: list[str] | None = None) -> Path:
        folder = self.home.bucket / "esco" / version / release.language
        release.write(folder, only)
        return folder

    def run(self) -> int:
        return self.home.lakedrop("run", "--once").returncode

    def init(self, *words: str) -> int:
        return main([*words, "--home", str(self.home.path)], entry=esco_init, name="esco-init")

    def begin_init(self, *program: str) -> subprocess.Popen[bytes]:
        """Start `esco-init`, or a program that is it, as a process of its own."""
        environment = {**os.environ, "LAKEDROP_HOME": str(self.home.path), "PYTHONPATH": str(Path(__file__).parents[1])}
        log = (self.home.path.parent / f"init{len(self._started)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, *(program or ("-c", CODE))],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()

    def state(self) -> dict[str, Any]:
        (found,) = self.states()
        return found

    def states(self) -> list[dict[str, Any]]:
        done = self.home.lakedrop("esco", "status", "--json")
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def objects(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what Weaviate stores of a class, by UUID."""
        found: dict[str, dict[str, Any]] = {}
        if name not in {one["class"] for one in self.weaviate.call("GET", "schema")["classes"]}:
            return found
        after = ""
        while page := self.weaviate.call("GET", f"objects?class={name}&limit=500&after={after}")["objects"]:
            found |= {one["id"]: one for one in page}
            after = page[-1]["id"]
        return found

    def all(self) -> dict[str, dict[str, Any]]:
        """Return the properties of all objects, references as sets, by class and UUID."""
        return {
            f"{name} {uuid}": {prop: _plain(value) for prop, value in one["properties"].items()}
            for name in CLASSES
            for uuid, one in self.objects(name).items()
        }

    def written_at(self) -> dict[str, int]:
        return {uuid: one["lastUpdateTimeUnix"] for name in CLASSES for uuid, one in self.objects(name).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        targets = [one["beacon"].rpartition("/")[2] for one in value]
        assert len(set(targets)) == len(targets), "a reference is stored twice"
        return sorted(targets)
    return value


def expected(folder: Path, release: Release, model: str = "none") -> dict[str, dict[str, Any]]:
    """Return what Weaviate must hold of a release, as `Index.all` tells it."""
    files = {name: folder / f"{name}_{release.language}.csv" for name in release.files}
    made = Objects(join(files), Place("", release.language), model)
    return {
        f"{name} {one.uuid}": {**one.properties, **one.references}
        for name in CLASSES
        for some in made.of(name, range(len(made.uuids(name))))
        for one in some
    }


@pytest.fixture
def index(weaviate: Weaviate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    weaviate.clear()
    monkeypatch.setenv("WEAVIATE_API_KEY", weaviate.api_key)
    monkeypatch.setenv("NON_INTERACTIVE", "true")
    made = Index(Home(tmp_path / "home"), weaviate)
    yield made
    made.end()
