"""How importer and SILO's container tell each other what to do: both sides for real, and each against a wrong other."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handlers.silo_staging.sentinels import DONE, LAST, RUN, SentinelRunner, SiloFailed

WATCHER = Path(__file__).parents[3] / "infra/silo/kubernetes/watch.sh"

PATIENCE = 180.0
"""Seconds until a test gives up; far more than anything here takes."""


class Watcher:
    """SILO's container: `infra/silo/kubernetes/watch.sh` with a SILO of the test's."""

    def __init__(self, folder: Path, silo: str, script: Path = WATCHER) -> None:
        self.folder = folder
        self._silo = folder / "silo"
        self._silo.write_text(f"#!/bin/sh\n{silo}\n")
        self._silo.chmod(0o755)
        environment = {
            "PATH": "/usr/bin:/bin",
            "SILO_BINARY": str(self._silo),
            "SILO_INPUT_DIR": str(folder),
            "SILO_RUNNER_SLEEP_SECONDS": "0.02",
        }
        self.process = subprocess.Popen(["/bin/sh", str(script)], env=environment)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[str], Watcher]]:
    started: list[Watcher] = []

    def start(silo: str) -> Watcher:
        started.append(Watcher(tmp_path, silo))
        return started[-1]

    yield start
    for watcher in started:
        watcher.end()


def looking(folder: Path, timeout: float = PATIENCE) -> SentinelRunner:
    """Return a runner that looks often."""
    return SentinelRunner(folder, timeout, sleep=lambda _: time.sleep(0.02))


class Other:
    """Somebody else in the folder, who acts while the importer sleeps; time passes only then."""

    def __init__(self, folder: Path, *acts: Callable[[], object]) -> None:
        self.now = 1_790_000_000.5
        self._acts = iter(acts)
        self.runner = SentinelRunner(folder, 10, clock=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        next(self._acts, lambda: None)()


def test_23_a_run_is_asked_for_by_its_id_in_a_file_that_appears_whole(tmp_path: Path) -> None:
    (tmp_path / DONE).write_text("run_id=1790000000\nstatus=success\n")  # of a run before, and stale
    asked: list[str] = []

    def answer() -> None:
        asked.append((tmp_path / RUN).read_text())
        assert not (tmp_path / DONE).exists()
        (tmp_path / RUN).unlink()
        (tmp_path / DONE).write_text("run_id=1790000000\nstatus=success\n")

    Other(tmp_path, answer).runner()

    assert asked == ["run_id=1790000000\n"]
    assert list(tmp_path.iterdir()) == []


def test_24_the_watcher_runs_silo_and_says_so(tmp_path: Path, watch: Callable[[str], Watcher]) -> None:
    watcher = watch(f'echo "$@" >{tmp_path}/words')

    looking(tmp_path)()
    looking(tmp_path)()

    assert (tmp_path / "words").read_text() == "preprocessing\n"
    told = dict(line.split("=") for line in (tmp_path / LAST).read_text().splitlines())
    assert set(told) == {"run_id", "ended"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, "silo", "words"]
    assert watcher.process.poll() is None


def test_24_a_silo_that_fails_fails_the_run_and_ends_the_watcher_with_its_code(
    tmp_path: Path, watch: Callable[[str], Watcher]
) -> None:
    watcher = watch("exit 7")

    with pytest.raises(SiloFailed, match="SILO exited with code 7"):
        looking(tmp_path)()

    assert watcher.process.wait(PATIENCE) == 7
    assert not (tmp_path / LAST).exists()


def test_24_a_request_without_an_id_is_left_alone(tmp_path: Path, watch: Callable[[str], Watcher]) -> None:
    (tmp_path / RUN).write_text("touched by hand\n")
    watcher = watch("exit 1")

    looking_again = threading.Event()
    looking_again.wait(0.2)  # some looks of the watcher's
    assert watcher.process.poll() is None
    assert (tmp_path / RUN).exists()
    (tmp_path / RUN).write_text("run_id=5\n")
    assert watcher.process.wait(PATIENCE) == 1


def test_24_a_watcher_that_is_ended_ends_its_silo(tmp_path: Path, watch: Callable[[str], Watcher]) -> None:
    (tmp_path / RUN).write_text("run_id=5\n")
    watcher = watch(
        f"trap 'echo ended >{tmp_path}/ended; exit 0' TERM; : >{tmp_path}/began; while :; do sleep 0.02; done"
    )
    while not (tmp_path / "began").exists():
        assert watcher.process.poll() is None

    assert watcher.end() == 143

    while not (tmp_path / "ended").exists():
        pass
    assert not (tmp_path / DONE).exists()


def test_24_a_watcher_that_is_ended_as_its_silo_begins_ends_it_too(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text("run_id=5\n")
    begins = '"$silo" preprocessing &\n'
    script, text = tmp_path / "watch.sh", WATCHER.read_text()
    assert begins in text
    script.write_text(
        text.replace(begins, f"{begins}  while [ ! -e {tmp_path}/began ]; do sleep 0.02; done; kill -TERM $$\n")
    )
    watcher = Watcher(
        tmp_path,
        f"trap 'echo ended >{tmp_path}/ended; exit 0' TERM; : >{tmp_path}/began; "
        f"while [ ! -e {tmp_path}/over ]; do sleep 0.02; done; : >{tmp_path}/outlived",
        script,
    )

    assert watcher.process.wait(PATIENCE) == 143
    (tmp_path / "over").touch()
    while not (tmp_path / "ended").exists():
        assert not (tmp_path / "outlived").exists()


def test_25_the_end_of_another_run_is_not_taken_for_this_one_s(tmp_path: Path) -> None:
    def answer(run_id: str) -> Callable[[], object]:
        return lambda: (tmp_path / DONE).write_text(f"run_id={run_id}\nstatus=success\n")

    other = Other(tmp_path, answer("17"), answer(""), answer("1790000000"))
    other.runner()

    assert other.now == 1_790_000_003.5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("run_id=1790000000\nstatus=error\nmessage=SILO exited with code 3", "SILO exited with code 3"),
        ("run_id=1790000000\nstatus=error", "SILO failed: error"),
        ("run_id=1790000000", "does not say why"),
    ],
)
def test_25_a_run_that_failed_leaves_no_sentinel(tmp_path: Path, said: str, reason: str) -> None:
    other = Other(tmp_path, lambda: (tmp_path / DONE).write_text(said))

    with pytest.raises(SiloFailed, match=reason):
        other.runner()

    assert list(tmp_path.iterdir()) == []


def test_25_nobody_who_answers_is_a_timeout_that_leaves_no_sentinel(tmp_path: Path) -> None:
    other = Other(tmp_path)

    with pytest.raises(TimeoutError, match="within 10 s"):
        other.runner()

    assert other.now == 1_790_000_010.5
    assert list(tmp_path.iterdir()) == []
