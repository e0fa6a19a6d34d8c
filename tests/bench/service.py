"""A real `lakedrop run` process under measurement."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

POLL = 0.05
"""Seconds; each look at the ledger takes some milliseconds of the machine that the service could have."""


class Service:
    """A running service and its ledger, looked at from outside."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process

    @property
    def bucket(self) -> Path:
        """Folder of the one bucket."""
        return self.home / "buckets" / "csv-uploads"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the ledger; nothing when it is not there yet."""
        try:
            with closing(sqlite3.connect(f"file:{self.home}/ledger.db?mode=ro", uri=True, timeout=30)) as ledger:
                return ledger.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []

    def wait(self, condition: Callable[[], object], seconds: float = 300.0) -> None:
        """Wait for something seen from outside."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}")
            if time.monotonic() > end:
                raise TimeoutError(
                    f"nothing after {seconds} s: {self.query('SELECT status, count(*) FROM units GROUP BY 1')}"
                )
            time.sleep(POLL)

    def settled_since(self, moment_ms: int) -> int:
        """Count the units committed at or after a moment (epoch milliseconds)."""
        rows = self.query(f"SELECT count(*) FROM history WHERE event = 'done' AND at >= {moment_ms}")
        return rows[0][0] if rows else 0

    def entries(self) -> int:
        """Count the entries of all timelines so far, which takes no time, however many there are."""
        rows = self.query("SELECT coalesce(max(id), 0) FROM history")
        return rows[0][0] if rows else 0

    def sweeps(self) -> list[Mapping[str, Any]]:
        """Return the reports of finished sweeps, oldest first."""
        return [json.loads(row[0]) for row in self.query("SELECT report FROM sweeps ORDER BY started_at")]

    def memory_mb(self) -> tuple[float, float]:
        """Return peak and present resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmHWM", "VmRSS"))}
        return int(fields["VmHWM"]) / 1024, int(fields["VmRSS"]) / 1024

    def cpu_seconds(self) -> float:
        """Return processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def running(home: Path) -> Iterator[Service]:
    """Start a service and wait for its first sweep; stop it cleanly."""
    home.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.log").open("ab") as log:
        command = [sys.executable, "-m", "consumer", "--home", str(home), "run"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    service = Service(home, process)
    before = len(service.sweeps())
    try:
        service.wait(lambda: len(service.sweeps()) > before)
        yield service
    finally:
        process.terminate()
        process.wait(60)
