"""
A server in a container, by testcontainers, where nothing of it is installed.

It uses the network of this machine and listens on loopback, so that its ports stay the same when it is started again
and that servers, processes or containers, reach each other at the addresses that tests use.
"""

from __future__ import annotations

import gc
import shlex
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import docker  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer

from tests.stack.process import LOOK_AGAIN, PATIENCE, ServerFailed


@cache
def engine_answers() -> bool:
    """Tell whether a container engine runs on this machine; asked once per run."""
    with warnings.catch_warnings():
        # The client forgets a socket that it could not connect; let it be found here, not in some test.
        warnings.simplefilter("ignore", ResourceWarning)
        answer = _answer()
        gc.collect()
    return answer


def _answer() -> bool:
    try:
        docker.from_env(timeout=5).close()
    except docker.errors.DockerException:
        return False
    return True


class Container:
    """
    One container, on ports and data that stay the same from start to start.

    Args:
        name: for messages.
        image: with its tag.
        words: the command; empty for the image's own.
        files: path in the container -> content.
        ready: looks whether the server does its work.
        environment: its variables.
    """

    def __init__(
        self,
        name: str,
        image: str,
        words: Sequence[str] = (),
        *,
        ready: Callable[[], bool],
        environment: Mapping[str, str],
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._ready = ready
        self._description = DockerContainer(
            image, command=shlex.join(words) or None, env=dict(environment), network_mode="host"
        )
        for path, content in (files or {}).items():
            self._description.with_copy_into_container(content.encode(), path)
        self._created = False

    @property
    def running(self) -> bool:
        return self._status() in {"running", "paused"}

    @property
    def paused(self) -> bool:
        return self._status() == "paused"

    def _status(self) -> str:
        if not self._created:
            return "not created"
        container = self._description.get_wrapped_container()
        container.reload()
        return str(container.status)

    def start(self) -> None:
        """
        Start, on the data of the last time if there was one, and wait until it is ready; nothing if it runs.

        Raises:
            ServerFailed: it ended, or is not ready in time.
        """
        if self.running:
            return
        end = time.monotonic() + PATIENCE
        if self._created:
            self._description.get_wrapped_container().start()
        else:
            self._created = True
            self._description.start()
        while not self._ready():
            if not self.running or time.monotonic() > end:
                raise ServerFailed(f"{self.name} ended, or is not ready after {PATIENCE:.0f} s. Its log:\n{self.log()}")
            time.sleep(LOOK_AGAIN)

    def configure(self, environment: Mapping[str, str]) -> None:
        """Add variables, before the first start: a container keeps those it was made with."""
        assert not self._created, f"{self.name} is a container, and was started"
        self._description.with_envs(**environment)

    def kill(self) -> None:
        """End it at once; nothing if it does not run."""
        if self.running:
            container = self._description.get_wrapped_container()
            container.kill()
            container.wait()

    def stop(self) -> None:
        """Let it end in good order; nothing if it does not run."""
        if self.running:
            self._description.get_wrapped_container().stop(timeout=int(PATIENCE))

    def pause(self) -> None:
        """Stop it where it is: connections stay open, nobody answers."""
        self._description.get_wrapped_container().pause()

    def resume(self) -> None:
        """Let a paused one go on; nothing if it was not paused."""
        if self.paused:
            self._description.get_wrapped_container().unpause()

    def close(self) -> None:
        """Remove it and its data."""
        self._description.stop()

    def log(self) -> str:
        """Return the last lines of its output."""
        if not self._created:
            return ""
        return "\n".join(part.decode("utf-8", "replace") for part in self._description.get_logs())
