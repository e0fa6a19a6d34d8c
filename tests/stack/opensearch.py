"""OpenSearch, the search engine of Argilla: jars by Maven, and a node of our own compiled against them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, Self

from tests.stack import cache, maven, ports
from tests.stack.building import version_of
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import is_healthy
from tests.stack.server import Elsewhere, Instance, Server

SOURCE: Final = Path(__file__).with_name("opensearch_server")

JAVA_WORDS: Final = (
    # Of a server that lives for some minutes and does little.
    *("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Djava.net.preferIPv4Stack=true",
)


def folder() -> Path:
    """Return where this version of it lies, or will: below `lib` the jars, beside them the class."""
    return cache.folder() / f"opensearch-{version_of(SOURCE)}"


def build() -> None:
    """Make it, from 45 MB of jars; raises as `maven.compile_server` does."""
    maven.compile_server(SOURCE, "OpenSearchNode.java", folder())


class OpenSearch(Server):
    """
    One node, which makes no index by itself.

    Args:
        instance: What runs it.
        url: Its address.
        data: Its folder; None where it is not ours.
    """

    name = "opensearch"
    variable = "LAKEDROP_TEST_OPENSEARCH_URL"

    def __init__(self, instance: Instance, url: str, data: Path | None = None) -> None:
        super().__init__(instance)
        self.url = url
        self._data = data

    @classmethod
    def is_installed(cls) -> bool:
        return folder().exists() and shutil.which("java") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        return cls(Elsewhere(cls.variable), url)

    @classmethod
    def native(cls, folder_of_run: Path) -> Self:
        port, transport = ports.reserve(), ports.reserve()
        jars, data = folder(), folder_of_run / "data"
        url = f"http://{LOOPBACK}:{port}"
        process = Process(
            cls.name,
            [
                *("java", *JAVA_WORDS, "-cp", f"{jars}:{jars}/lib/*"),
                *("OpenSearchNode", str(data), str(port), str(transport)),
            ],
            log=folder_of_run / "opensearch.log",
            ready=lambda: is_healthy(f"{url}/_cluster/health?wait_for_status=yellow&timeout=1s"),
            environment={"HOME": str(folder_of_run)},
        )
        return cls(process, url, data)

    def wipe(self) -> None:
        """Start it anew on an empty folder, as if its disk had been lost."""
        self.kill()
        assert self._data is not None, "it is not ours to wipe"
        shutil.rmtree(self._data)
        self.start()
