"""Real processes on a home of their own."""

from __future__ import annotations

import io
import json
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from consumer.cli import main
from tests.log_lines import log_lines
from tests.waits import PATIENCE, wait_for

BUCKET = "csv-uploads"


class Service:
    """One `lakedrop run` process; its log lines can be waited for."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._log = home.parent / "service.log"
        with self._log.open("wb") as log:
            words = [sys.executable, "-m", "consumer", "run", "--home", str(home), *arguments]
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines so far."""
        return log_lines(self._log)

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait for a log line."""

        def look() -> dict[str, Any] | None:
            assert self.process.poll() is None or self._matching(event, fields), self._log.read_text("utf-8")
            return self._matching(event, fields)

        return wait_for(look)

    def _matching(self, event: str, fields: dict[str, object]) -> dict[str, Any] | None:
        wanted = {"event": event, **fields}
        return next((line for line in self.lines() if wanted.items() <= line.items()), None)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Home:
    """A home, and the commands run on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def bucket(self) -> Path:
        return self.path / "buckets" / BUCKET

    def configure(self, text: str) -> None:
        self.path.mkdir(exist_ok=True)
        (self.path / "lakedrop.toml").write_text(text)

    def drop(self, key: str, text: str) -> None:
        path = self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def lakedrop(self, *words: str) -> Done:
        """Run a command to its end, in this process: starting another one takes seconds of imports."""
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            code = main([*words, "--home", str(self.path)])
        return Done(code, out.getvalue(), error.getvalue())

    def json(self, *words: str) -> Any:
        """Run a command that must succeed; return what it says to machines."""
        done = self.lakedrop(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def query(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("query", sql, "--format", "json")
        return found

    def in_ledger(self, statement: str, *values: object) -> list[Any]:
        """Run a statement on the ledger behind everybody's back."""
        with closing(sqlite3.connect(self.path / "ledger.db", timeout=30)) as ledger, ledger:
            return ledger.execute(statement, values).fetchall()


@pytest.fixture(autouse=True)
def _restored_logs() -> Iterator[None]:
    """Commands configure the logs of the whole process; take that back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def serve(home: Home) -> Iterator[Callable[..., Service]]:
    """Start `lakedrop run` on the home; whatever still runs at the end is killed."""
    started: list[Service] = []

    def start(*arguments: str) -> Service:
        started.append(Service(home.path, *arguments))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
        service.process.wait()
