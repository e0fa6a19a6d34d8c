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

from handlers.csv_to_iceberg.lake.committer import WindowLimits
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from tests.unit.lake.bench import Bench, Context, Kitchen
from tests.unit.lake.conftest import NewBench

KEYS = 12
ROUNDS = 8


async def write(home: Path, name: str, seed: int) -> None:
    """Replace and remove keys that others write too, and some that nobody else does; print each that landed."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable test
    bench = Bench(Lake(LakeSettings(home=home)), Context(name), Kitchen(), WindowLimits(0.0, 2000, 1 << 25))
    committer = bench.committer()
    for number in range(ROUNDS):
        shared = [f"t/{key:02}.csv" for key in chance.sample(range(KEYS), 5)]
        values = {key: {"n": [number] * chance.randrange(1, 4)} for key in shared}
        await bench.put({**values, f"t/{name}.csv": {"n": [number]}}, committer=committer, etag=f"{name}-{number}")
        await bench.submit([bench.entry(f"t/{chance.randrange(KEYS):02}.csv", mode="remove")], committer=committer)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    bench.context.close()
    bench.lake.close()


def start(home: Path, name: str, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.lake.test_processes", str(home), name, str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, timeout=120) for process in processes))

    assert [process.returncode for process in processes] == [0, 0]
    assert [output.split() for output, _ in outputs] == [[str(number) for number in range(ROUNDS)]] * 2
    assert "commit.conflict" in "".join(logged for _, logged in outputs)
    versions = check(bench)
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}
    assert versions["t/left.csv"] == {f"left-{ROUNDS - 1}"}
    assert versions["t/right.csv"] == {f"right-{ROUNDS - 1}"}


async def test_a_process_killed_while_it_commits_leaves_nothing_half_done(new_bench: NewBench, tmp_path: Path) -> None:
    bench = new_bench()
    await bench.put({"t/00.csv": {"n": [0]}}, etag="e-0")
    landed = 0
    for seed in range(2):
        process = start(tmp_path, "killed", seed)
        assert process.stdout is not None
        for _ in range(2 + seed):
            line = await asyncio.to_thread(process.stdout.readline)
            landed = int(line)
        await bench.put({"t/01.csv": {"n": [seed]}}, etag=f"mine-{seed}")
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)

        versions = check(bench)
        assert {key: found for key, found in versions.items() if len(found) > 1} == {}
        (own,) = versions["t/killed.csv"]
        assert int(own.rpartition("-")[2]) >= landed
        # The next process works on the same units: whatever had landed is replaced, nothing is there twice.
        await bench.put({f"t/{key:02}.csv": {"n": [7]} for key in range(KEYS)}, etag="again-7")
        assert check(bench) | {"t/killed.csv": set()} == {
            **{f"t/{key:02}.csv": {"again-7"} for key in range(KEYS)},
            "t/killed.csv": set(),
        }


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
