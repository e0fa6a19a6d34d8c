"""Redis, in which Argilla keeps its jobs; it must answer when Argilla starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Self

from tests.stack import ports
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.server import Elsewhere, Instance, Server


class Redis(Server):
    """One server that keeps nothing on disk."""

    name = "redis"
    variable = "LAKEDROP_TEST_REDIS_URL"

    def __init__(self, instance: Instance, url: str) -> None:
        super().__init__(instance)
        self.url = url

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which("redis-server") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        return cls(Elsewhere(cls.variable), url)

    @classmethod
    def native(cls, folder: Path) -> Self:
        port = ports.reserve()
        process = Process(
            cls.name,
            ["redis-server", "--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no"],
            log=folder / "redis.log",
            ready=lambda: ports.answers(port),
            environment={},
        )
        return cls(process, f"redis://{LOOPBACK}:{port}/0")
