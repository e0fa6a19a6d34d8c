"""One `lakedrop run` of a world of faults, as a process that can be killed and stopped where it is."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from tests.log_lines import log_lines
from tests.stack.process import LINES_SHOWN, Process

ROOT = Path(__file__).parents[2]
"""The code under test is this checkout's, whichever is installed."""

BACK = "consumer.back"
AWAY = ("consumer.lost", "consumer.cannot_subscribe")


class Replica(Process):
    """
    A service, with a home of its own.

    Args:
        home: has its `lakedrop.toml`; its log is written beside it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._path = home.parent / f"{home.name}.log"
        self._begin = 0
        super().__init__(
            home.name,
            [sys.executable, "-m", "consumer", "run", "--home", str(home)],
            log=self._path,
            ready=lambda: any(line["event"] == "run.started" for line in self.lines(self._begin)),
            environment={"HOME": str(home), "LAKEDROP_LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)},
            ends_at=signal.SIGTERM,
        )

    def start(self) -> None:
        if not self.running:
            self._begin = self.size
        super().start()

    @property
    def size(self) -> int:
        """Bytes of its log so far; where the lines of what comes next begin."""
        return self._path.stat().st_size if self._path.exists() else 0

    def lines(self, begin: int = 0) -> list[dict[str, Any]]:
        """Return the lines of its log behind a place."""
        return log_lines(self._path, begin)

    def subscribed(self, queue: str) -> bool:
        """Say whether it reads a queue, as far as it knows: since its start its consumer was not lost, or is back."""
        if not self.running:
            return False
        told = [line["event"] for line in self.lines(self._begin) if line.get("queue") == queue]
        return next((event == BACK for event in reversed(told) if event in (BACK, *AWAY)), True)

    def complaints(self) -> str:
        """Return the last warnings and errors of its log."""
        lines = [line for line in self.lines() if line["level"] in ("warning", "error", "critical")]
        for line in lines:
            if "exception" in line:
                line["exception"] = line["exception"].rstrip().rpartition("\n")[2]
        return "\n".join(f"{self.name}: {line}" for line in lines[-LINES_SHOWN:])
