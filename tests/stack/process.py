"""A server process of the test stack: started until it is ready, killed, stopped, paused, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 240.0
"""
Seconds until a server must be ready or gone; far more than any needs.

On two cores with twelve times the work that they can do, Trino takes some 100 s instead of 13.
"""

LOOK_AGAIN = 0.02
"""Seconds between two looks whether a server is ready, which it tells nobody."""

LINES_SHOWN = 40
"""Of a log, when a server did not start or a test failed."""

_LAUNCH = Path(__file__).with_name("launch.py")

# A process started with PR_SET_PDEATHSIG ends with the thread that started it. This one lives as long as we do; the
# threads in which tests start a server again do not.
_starter = ThreadPoolExecutor(1, "starter")


class ServerFailed(Exception):
    """A server did not start, or ended by itself; the message ends with its log."""


class Process:
    """
    One process and its children, on ports and data that stay the same from start to start.

    Args:
        name: for messages.
        words: the command. It must replace itself with the server (`exec`), which is killed by its id.
        log: file to which the server's output is appended.
        ready: looks whether the server does its work.
        environment: all it gets, beside PATH.
        user: id of the user and group to run as, for servers that refuse to run as root.
        ends_at: signal that asks the server to stop in good order.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str],
        user: tuple[int, int] | None = None,
        ends_at: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._words = [str(word) for word in words]
        self._log = log
        self._ready = ready
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), **environment}
        self._user = user or (os.geteuid(), os.getegid())
        self._ends_at = ends_at
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def paused(self) -> bool:
        return self.running and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def ended_by(self) -> signal.Signals | None:
        """Signal that ended it; None while it runs, and when it ended by itself."""
        code = None if self._process is None else self._process.poll()
        return None if code is None or code >= 0 else signal.Signals(-code)

    def start(self) -> None:
        """
        Start, on the data of the last time if there was one, and wait until it is ready; nothing if it runs.

        Raises:
            ServerFailed: it ended, or is not ready in time.
        """
        if self.running:
            return
        end = time.monotonic() + PATIENCE
        self._process = _starter.submit(self._launch).result()
        while not self._ready():
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(LOOK_AGAIN)
                raise ServerFailed(f"{self.name} ended with {code}. Its log:\n{self.log()}")
            if time.monotonic() > end:
                self.kill()
                raise ServerFailed(f"{self.name} is not ready after {PATIENCE:.0f} s. Its log:\n{self.log()}")

    def _launch(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *map(str, self._user), *self._words]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._log.parent,
                start_new_session=True,  # Ctrl-C ends the tests, which then end their servers
            )

    def configure(self, environment: Mapping[str, str]) -> None:
        """Add variables, from the next start on."""
        self._environment.update(environment)

    def kill(self) -> None:
        """End it and its children at once, as `kill -9` does; nothing if it does not run."""
        if self._process is None:
            return
        self._each(psutil.Process.kill)
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """Let it end in good order; nothing if it does not run."""
        if self._process is None or not self.running:
            return
        children = self.tree()[1:]
        self._process.send_signal(self._ends_at)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.name} did not stop in {PATIENCE:.0f} s. Its log:\n{self.log()}") from None
        psutil.wait_procs(children, timeout=PATIENCE)

    def pause(self) -> None:
        """Stop it and its children where they are (SIGSTOP): connections stay open, nobody answers."""
        self._each(psutil.Process.suspend)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT); nothing if it was not paused."""
        self._each(psutil.Process.resume)

    def close(self) -> None:
        """End it for good."""
        self.kill()

    def _each(self, act: Callable[[psutil.Process], None]) -> None:
        for member in self.tree():
            with suppress(psutil.NoSuchProcess):  # PostgreSQL has a process for each connection, which comes and goes
                act(member)

    def tree(self) -> list[psutil.Process]:
        """Return it and its children; empty if it does not run."""
        if not self.running:
            return []
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def listening(self) -> set[str]:
        """Return the addresses on which it or a child accepts connections."""
        return {
            connection.laddr.ip
            for member in self.tree()
            for connection in member.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

    def log(self) -> str:
        """Return the last lines of its output."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-LINES_SHOWN:])
