"""
Two processes on one home, killed and stopped past their leases at random moments under load.

After every round each table holds exactly the rows of its bucket: none lost, none doubled, none of an older version.
`LAKEDROP_KILL_ROUNDS` rounds (default 3); a failure prints the seed, `LAKEDROP_KILL_SEED` repeats it.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

pytestmark = pytest.mark.xdist_group("kills")

ROUNDS = int(os.environ.get("LAKEDROP_KILL_ROUNDS", "3"))
SEED = int(os.environ.get("LAKEDROP_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)

LEASE_SECONDS = 2.0
CONVERGE_SECONDS = 180.0
START_SECONDS = 180.0
"""Far more than a start takes; on a machine with ten times the work that it can do, it was 60."""
TABLES = ("alpha", "beta", "gamma")
FILES = 30
"""Per table."""

CONFIG = f"""
lease_seconds = {LEASE_SECONDS}
heartbeat_seconds = 0.5
waker_seconds = 0.3
sweep_seconds = 4
max_commit_latency = 0.3
retry_delays = [0.2, 0.5, 1, 2, 4]
max_vanish_units = 100000
log_format = "json"

[[routes]]
name = "csv"
bucket = "csv-uploads"
handler = "csv_to_iceberg"
options = {{ on_delete = "remove" }}
"""


class Service:
    """One `lakedrop run` process."""

    def __init__(self, home: Path, name: str) -> None:
        self._home = home
        self._log = home.parent / f"{name}.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._begins = log.tell()
            command = [sys.executable, "-m", "consumer", "--home", str(self._home), "run"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def until_started(self) -> None:
        """Wait until the service works, and listens to signals."""
        assert wait_until(lambda: b"run.started" in self._log.read_bytes()[self._begins :], START_SECONDS), self.log()

    def end(self) -> int:
        """Ask the service to end; returns its exit code."""
        self.until_started()
        self.process.terminate()
        return self.process.wait(CONVERGE_SECONDS)

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


class Load:
    """Writes, replaces and deletes files in the bucket until stopped."""

    def __init__(self, bucket: Path, rng: random.Random) -> None:
        self._bucket = bucket
        self._rng = rng
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._rng.random() * 0.02):
            self.change()

    def change(self) -> None:
        path = self._bucket / self._rng.choice(TABLES) / f"{self._rng.randrange(FILES):03}.csv"
        if self._rng.random() < 0.2:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        version = self._rng.randrange(1 << 30)
        rows = self._rng.choice((1, 5, 200))
        text = "id,version\n" + "".join(f"{number},{version}\n" for number in range(rows))
        if self._rng.random() < 0.5:
            staged = path.with_suffix(".tmp")
            staged.write_text(text)
            staged.rename(path)
        else:
            path.write_text(text)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def bucket_rows(bucket: Path) -> Counter[tuple[str, int, int]]:
    """Return (key, id, version) of every row of every file, with its number."""
    found: Counter[tuple[str, int, int]] = Counter()
    for path in bucket.rglob("*.csv"):
        key = path.relative_to(bucket).as_posix()
        with path.open(newline="") as file:
            found.update((key, int(row["id"]), int(row["version"])) for row in csv.DictReader(file))
    return found


def table_rows(home: Path) -> Counter[tuple[str, int, int]]:
    """Return the same from the tables, read by PyIceberg."""
    catalog = SqlCatalog("lakedrop", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")
    found: Counter[tuple[str, int, int]] = Counter()
    with closing(catalog):
        for name in TABLES:
            try:
                table = catalog.load_table(f"lakehouse.{name}")
            except NoSuchTableError:
                continue
            columns = table.scan(selected_fields=("_source_file", "id", "version")).to_arrow().to_pydict()
            found.update(zip(columns["_source_file"], columns["id"], columns["version"], strict=True))
    return found


def held(home: Path) -> int:
    """Count the rows somebody holds."""
    return _count(home, "lease_token IS NOT NULL")


def unsettled(home: Path) -> int:
    """Count the rows that are held or have a deadline."""
    return _count(home, "lease_token IS NOT NULL OR wake_at IS NOT NULL")


def _count(home: Path, where: str) -> int:
    with closing(sqlite3.connect(f"file:{home}/ledger.db?mode=ro", uri=True, timeout=30)) as ledger:
        try:
            return int(ledger.execute(f"SELECT count(*) FROM units WHERE {where}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def wait_until(condition: object, seconds: float) -> bool:
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("kill") / "home"
    (home / "buckets" / "csv-uploads").mkdir(parents=True)
    (home / "lakedrop.toml").write_text(CONFIG)
    return home


@pytest.fixture(scope="module")
def services(home: Path) -> Iterator[list[Service]]:
    both = [Service(home, "one"), Service(home, "two")]
    try:
        for service in both:
            service.until_started()
        yield both
    finally:
        for service in both:
            if service.process.poll() is None:
                service.process.send_signal(signal.SIGCONT)
                service.process.kill()
            service.process.wait()


@pytest.fixture(scope="module")
def fired() -> Counter[str]:
    """Count the faults that hit a process at work, over all rounds."""
    return Counter()


# A test for each round, on one home and two processes that go on from round to round: all rounds as one test would
# outlast the watch for tests that hang.
@pytest.mark.parametrize("number", range(ROUNDS))
def test_tables_equal_their_buckets_after_a_kill_or_a_stop_past_the_lease(
    home: Path, services: list[Service], fired: Counter[str], number: int
) -> None:
    rng = random.Random(f"{SEED} {number}")  # noqa: S311 (a repeatable test)
    bucket = home / "buckets" / "csv-uploads"
    load = Load(bucket, random.Random(rng.random()))  # noqa: S311 (a repeatable test)
    try:
        victim = rng.choice(services)
        for pause in (0.0, rng.random() * 0.8):  # claims that were held before it may all have ended after it
            wait_until(lambda: False, pause)
            assert wait_until(lambda: held(home) > 0, CONVERGE_SECONDS), "nobody takes what the load changes"
        if rng.random() < 0.6:
            fired["killed while claims were held"] += held(home) > 0
            victim.kill_and_restart()
        else:
            victim.send(signal.SIGSTOP)
            fired["stopped past the lease"] += held(home) > 0
            wait_until(lambda: False, LEASE_SECONDS * 1.5)
            victim.send(signal.SIGCONT)
        wait_until(lambda: False, rng.random())
    finally:
        load.stop()
    equal = wait_until(lambda: unsettled(home) == 0 and table_rows(home) == bucket_rows(bucket), CONVERGE_SECONDS)
    assert equal, _difference(home, bucket, number, services)


def test_processes_that_were_killed_and_stopped_end_in_good_order_and_leave_nothing_undone(
    home: Path, services: list[Service], fired: Counter[str]
) -> None:
    assert [service.end() for service in services] == [0, 0], services[0].log() + services[1].log()
    command = [sys.executable, "-m", "consumer", "--home", str(home), "run", "--once"]
    once = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert once.returncode == 0, once.stdout + once.stderr
    assert table_rows(home) == bucket_rows(home / "buckets" / "csv-uploads")
    assert unsettled(home) == 0
    assert any(fired.values()) or not fired, "no fault hit a process at work"


def _difference(home: Path, bucket: Path, number: int, services: list[Service]) -> str:
    tables, files = table_rows(home), bucket_rows(bucket)
    lost, extra = files - tables, tables - files
    return (
        f"seed {SEED} (LAKEDROP_KILL_SEED repeats it), round {number}: {sum(lost.values())} rows missing, "
        f"{sum(extra.values())} rows too many, {unsettled(home)} units unsettled\n"
        f"missing of {sorted({row[0] for row in lost})[:5]}, too many of {sorted({row[0] for row in extra})[:5]}\n"
        + "\n".join(service.log() for service in services)
    )
