"""Two processes commit to one table at the same time; one of them may be killed in the middle of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import structlog
from structlog.typing import EventDict, Processor

from handlers.contract import TransientError
from handlers.csv_to_iceberg.lake.commit_port import Entry
from handlers.csv_to_iceberg.lake.committer import TableCommitter, WindowLimits
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.table import Loaded
from tests.unit.lake.bench import Bench, Context, Kitchen
from tests.unit.lake.conftest import NewBench

KEYS = 12
ROUNDS = 8
MOST_ROUNDS = 200
"""Where no process has met a conflict yet."""

CONFLICT = "conflict"
"""File in the home: a process met one. The others need none of their own, which they could not meet alone."""


async def write(home: Path, name: str, seed: int) -> None:
    """Replace and remove keys that others write too, and some that nobody else does; print each that landed."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable test
    bench = Bench(Lake(LakeSettings(home=home)), Context(name), Kitchen(), WindowLimits(0.0, 2000, 1 << 25))
    committer = bench.committer()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and (home / CONFLICT).exists():
            break
        shared = [f"t/{key:02}.csv" for key in chance.sample(range(KEYS), 5)]
        values = {key: {"n": [number] * chance.randrange(1, 4)} for key in shared}
        files, etag = {**values, f"t/{name}.csv": {"n": [number]}}, f"{name}-{number}"
        await landed([bench.entry(key, rows, etag=etag) for key, rows in files.items()], committer)
        await landed([bench.entry(f"t/{chance.randrange(KEYS):02}.csv", mode="remove")], committer)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    bench.context.close()
    bench.lake.close()


async def landed(entries: list[Entry[Staged]], committer: TableCommitter[Loaded, Staged]) -> None:
    """Commit; who loses all races of a turn tries again, as a worker does."""
    while entries:
        done = await asyncio.gather(*(committer.submit(entry) for entry in entries), return_exceptions=True)
        if failed := [one for one in done if isinstance(one, BaseException) and not isinstance(one, TransientError)]:
            raise failed[0]
        entries = [entry for entry, one in zip(entries, done, strict=True) if isinstance(one, TransientError)]


def noting_conflicts(home: Path) -> Processor:
    """Have all processes know when one of them met a conflict."""

    def note(_logger: object, _method: str, event: EventDict) -> EventDict:
        if event["event"] == "commit.conflict":
            (home / CONFLICT).touch()
        raise structlog.DropEvent

    return note


def start(home: Path, name: str, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.lake.test_processes", str(home), name, str(seed)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


async def go(*processes: subprocess.Popen[str]) -> None:
    """Let processes begin once all of them are ready."""
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def check(bench: Bench) -> dict[str, set[str]]:
    """Return the versions of each key, having counted that all rows of one version are there and alike."""
    rows = bench.rows("lakehouse.t", "_source_etag", "n")
    versions: dict[str, set[str]] = {}
    for key, etag, n in rows:
        versions.setdefault(key, set()).add(etag)
        assert etag.endswith(f"-{n}")
    paths = [task.file.file_path for task in bench.loaded().scan().plan_files()]
    assert len(paths) == len(set(paths))
    return versions


async def test_two_processes_never_put_a_key_in_twice(new_bench: NewBench, tmp_path: Path) -> None:
    bench = new_bench()
    await bench.put({"t/00.csv": {"n": [0]}}, etag="e-0")
    processes = [start(tmp_path, name, number) for number, name in enumerate(("left", "right"))]
    await go(*processes)
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, timeout=600) for process in processes))

    assert [process.returncode for process in processes] == [0, 0]
    left, right = (output.split()[-1] for output, _ in outputs)
    assert (tmp_path / CONFLICT).exists(), "the fault: they got into each other's way"
    versions = check(bench)
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}
    assert versions["t/left.csv"] == {f"left-{left}"}
    assert versions["t/right.csv"] == {f"right-{right}"}


async def test_a_process_killed_while_it_commits_leaves_nothing_half_done(new_bench: NewBench, tmp_path: Path) -> None:
    bench = new_bench()
    await bench.put({"t/00.csv": {"n": [0]}}, etag="e-0")
    least = 0
    for seed in range(2):
        process = start(tmp_path, "killed", seed)
        await go(process)
        assert process.stdout is not None
        for _ in range(2 + seed):
            line = await asyncio.to_thread(process.stdout.readline)
            least = int(line)
        await landed([bench.entry("t/01.csv", {"n": [seed]}, etag=f"mine-{seed}")], bench.committer())
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)

        versions = check(bench)
        assert {key: found for key, found in versions.items() if len(found) > 1} == {}
        (own,) = versions["t/killed.csv"]
        assert int(own.rpartition("-")[2]) >= least
        # The next process works on the same units: whatever had landed is replaced, nothing is there twice.
        await bench.put({f"t/{key:02}.csv": {"n": [7]} for key in range(KEYS)}, etag="again-7")
        assert check(bench) | {"t/killed.csv": set()} == {
            **{f"t/{key:02}.csv": {"again-7"} for key in range(KEYS)},
            "t/killed.csv": set(),
        }


if __name__ == "__main__":
    structlog.configure(processors=[noting_conflicts(Path(sys.argv[1]))])
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
