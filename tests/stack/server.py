"""What all servers of the test stack have in common: how they are found, and what tests may do to them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol, Self

import pytest

from tests.stack import container


class Missing(Exception):
    """A server neither runs nor is installed, and no container engine answers."""


class Instance(Protocol):
    """What runs a server: a process, or a container. What its methods do is said at `process.Process`."""

    @property
    def running(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...
    def configure(self, environment: Mapping[str, str]) -> None: ...
    def log(self) -> str: ...


class Elsewhere:
    """A server named by a variable: it runs, and is not ours to end."""

    running = True
    paused = False

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def start(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...

    def log(self) -> str:
        return f"kept by the server that {self._variable} names"

    def _refuse(self) -> None:
        pytest.skip(f"{self._variable} names a server that is not ours to end or configure: unset it, and make stack")

    stop = kill = pause = _refuse

    def configure(self, environment: Mapping[str, str]) -> None:
        del environment
        self._refuse()


class Server(ABC):
    """
    A server that tests use, and may kill and start again on the same ports and data.

    Starting blocks for seconds: code on an event loop that must go on meanwhile awaits
    `asyncio.to_thread(server.start)`.
    """

    name: ClassVar[str]
    variable: ClassVar[str]
    """Names the URL of a server that runs already; it comes before all others."""
    image: ClassVar[str | None] = None
    """Of a container that is one."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    @classmethod
    def find(cls, folder: Path) -> Self:
        """
        Return the server, not yet started.

        Args:
            folder: empty; for its files and log.

        Raises:
            Missing: it can be had in no way.
        """
        if url := os.environ.get(cls.variable):
            return cls.elsewhere(url)
        if cls.is_installed():
            return cls.native(folder)
        if cls.image is not None and container.engine_answers():
            return cls.contained(cls.image)
        raise Missing(cls.name)

    @classmethod
    def can_be_had(cls) -> bool:
        """Tell whether `find` will find one."""
        return (
            cls.variable in os.environ or cls.is_installed() or (cls.image is not None and container.engine_answers())
        )

    @classmethod
    @abstractmethod
    def is_installed(cls) -> bool:
        """Tell whether this machine has its programs."""

    @classmethod
    @abstractmethod
    def elsewhere(cls, url: str) -> Self:
        """Return the one that runs at an address."""

    @classmethod
    @abstractmethod
    def native(cls, folder: Path) -> Self:
        """Return one that will be a process of this machine."""

    @classmethod
    def contained(cls, image: str) -> Self:
        """Return one that will be a container."""
        raise NotImplementedError(image)

    @property
    def running(self) -> bool:
        return self.instance.running

    def start(self) -> None:
        """Start it, again if it was killed, or let it go on; return when it is ready."""
        self.instance.resume()
        self.instance.start()

    def stop(self) -> None:
        """Let it end in good order."""
        self.instance.stop()

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self.instance.kill()

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): connections stay open, nobody answers."""
        self.instance.pause()

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT)."""
        self.instance.resume()

    def close(self) -> None:
        """End it for good."""
        self.instance.close()
