"""Maintenance as a whole: other tables of ours, other processes, death half-way, a stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from handlers.contract import Outcome, Receipt
from handlers.csv_to_iceberg import maintenance
from handlers.csv_to_iceberg.handler import CsvToIceberg, create
from handlers.csv_to_iceberg.kept import Kept, load_kept
from handlers.csv_to_iceberg.lake import rewrite as rewrite_module
from handlers.csv_to_iceberg.lake.compaction import Compaction
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.lake.query import query
from handlers.csv_to_iceberg.lake.staged import STAGED_MILLISECONDS
from handlers.upkeep import Maintained
from tests.unit.lake.upkeep import KeptBench, WallContext

NewBench = Callable[..., KeptBench]

ROOT: Final = Path(__file__).parents[3]

HOUR: Final = 3_600_000

OTHER_PROCESS = """
import asyncio, os, sys
from pathlib import Path
from tests.unit.lake.upkeep import KeptBench

async def main():
    home = Path(sys.argv[1])
    bench = KeptBench(home, compact_small_files=2, snapshots_kept=1, expire_every=1)
    {body}

asyncio.run(main())
"""

LOOPS = """
    compactions = 0
    print("ready", flush=True)
    while not (home / "stop").exists() or compactions < 3:
        async for upkeep in bench.maintenance.round():
            compactions += upkeep.counts.get("compactions", 0)
        if (home / "stop").exists() and compactions:
            break
    print(compactions)
    bench.close()
"""

DIES = """
    from handlers.csv_to_iceberg.lake import rewrite, unreferenced
    {patch}
    bench.context.ahead = int(sys.argv[2])
    async for upkeep in bench.maintenance.round(["lakehouse.t"]):
        print(upkeep)
"""

DEATHS = {
    "when the new files are written": """
    rewrite.Rewriter._compare = lambda *_: os._exit(9)
""",
    "before the swap": """
    bench.lake.catalog.commit_table = lambda *_: os._exit(9)
""",
    "after the swap": """
    real = bench.lake.catalog.commit_table
    def commit(*arguments):
        real(*arguments)
        os._exit(9)
    bench.lake.catalog.commit_table = commit
""",
    "between two deletions": """
    real, deleted = unreferenced.TableFolder.delete, []
    def delete(self, file):
        deleted.append(real(self, file))
        if len(deleted) == 2:
            os._exit(9)
        return deleted[-1]
    unreferenced.TableFolder.delete = delete
""",
    "while it remembers what it saw": """
    unreferenced.Path.replace = lambda *_: os._exit(9)
""",
}


def command(body: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", OTHER_PROCESS.format(body=body.strip()), *arguments]


@pytest.fixture
def new_bench(tmp_path: Path) -> Iterator[NewBench]:
    """Make benches on one lake: each is a process of its own to it."""
    benches: list[KeptBench] = []

    def make(**settings: Any) -> KeptBench:
        benches.append(KeptBench(tmp_path, **settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def outcome(number: int, claim: str) -> Outcome:
    receipt = Receipt("e1", "1", "lakehouse.t", {"rows": number})
    at = 1_790_000_000_000 + number
    return Outcome("b", f"t/{number % 7}.csv", claim, "e1", "success", at, receipt, None, None, "csv")


@pytest.fixture
async def handler(tmp_path: Path) -> AsyncIterator[CsvToIceberg]:
    context = WallContext(str(tmp_path))
    made = create(LakeSettings(home=tmp_path, compact_small_files=3), context)
    yield made
    await made.aclose()
    context.close()


def history(handler: CsvToIceberg) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = query(
        handler._lake, "from lakehouse._ingest_registry order by ingested_at, dag_run_id"
    ).to_pylist()
    return rows


async def test_the_registry_is_compacted_and_its_history_stays_exact(handler: CsvToIceberg) -> None:
    assert isinstance(handler, Maintained)
    for number in range(12):
        await handler.record([outcome(number, f"claim-{number}"), outcome(number, f"other-{number}")])
    before = history(handler)
    done = [upkeep async for upkeep in handler.maintain()]
    table = handler._lake.load("lakehouse._ingest_registry")
    assert table is not None

    assert [upkeep.target for upkeep in done] == ["lakehouse._ingest_registry"]
    assert len(list(table.scan().plan_files())) == 1
    assert history(handler) == before
    assert sorted(table.scan().to_arrow().to_pylist(), key=repr) == sorted(before, key=repr)
    times = table.scan().to_arrow()["ingested_at"].to_pylist()
    assert times == sorted(times)


async def test_an_outcome_recorded_before_a_compaction_is_not_recorded_again(handler: CsvToIceberg) -> None:
    outcomes = [outcome(number, f"claim-{number}") for number in range(8)]
    for one in outcomes:
        await handler.record([one])
    assert [upkeep.counts["compactions"] async for upkeep in handler.maintain()] == [1]
    await handler.record([*outcomes[2:5], outcome(99, "claim-99"), replace(outcomes[0], token="new")])

    claims = [row["dag_run_id"] for row in history(handler)]
    assert sorted(claims) == sorted([*(one.token for one in outcomes), "claim-99", "new"])


async def test_another_process_compacts_while_this_one_replaces(new_bench: NewBench, tmp_path: Path) -> None:
    bench = new_bench(snapshots_kept=1, expire_every=3)
    committer = bench.committer()
    await bench.put({f"t/{key}.csv": {"n": [-1, -1]} for key in range(8)}, committer=committer)
    words = command(LOOPS, str(tmp_path))
    other = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert other.stdout is not None
    assert (await other.stdout.readline()).strip() == b"ready"
    for number in range(40):
        keys = [number % 8, (number * 3 + 1) % 8]
        await bench.put(
            {f"t/{key}.csv": {"n": [number, number]} for key in keys}, committer=committer, etag=f"e{number}"
        )
        rows = bench.rows("lakehouse.t", "n")
        assert len(rows) == 16
        assert len(set(rows)) == 8
    last = {key: number for number in range(40) for key in (number % 8, (number * 3 + 1) % 8)}
    (tmp_path / "stop").touch()
    compactions = int((await other.communicate())[0].splitlines()[-1])

    assert compactions >= 1
    assert other.returncode == 0
    expected = sorted((f"t/{key}.csv", last.get(key, -1)) for key in range(8) for _ in range(2))
    assert bench.rows("lakehouse.t", "n") == expected


@pytest.mark.parametrize("death", DEATHS)
async def test_a_process_that_dies_half_way_changes_no_row(new_bench: NewBench, tmp_path: Path, death: str) -> None:
    bench = new_bench(snapshots_kept=1, expire_every=1, compact_deleted_share=0.9, compact_delete_files=99)
    for number in range(6):
        await bench.put({f"t/{key}.csv": {"n": [number, key]} for key in (number, number + 1)})
    await bench.maintain(["lakehouse.t"])  # what is unneeded has been seen
    before = bench.rows("lakehouse.t", "n")
    body = DIES.format(patch=DEATHS[death].strip())
    words = command(body, str(tmp_path), str(2 * HOUR))
    ended = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    _, told = await ended.communicate()

    assert ended.returncode == 9, told.decode()
    assert bench.rows("lakehouse.t", "n") == before
    await bench.put({"t/0.csv": {"n": [77]}})
    for _ in range(6):
        bench.context.ahead += 2 * HOUR
        await bench.maintain(["lakehouse.t"])
    folder = Path(bench.loaded().location().removeprefix("file://"))
    data = {path for path in (folder / "data").rglob("*") if path.is_file()}
    live = {Path(path.removeprefix("file://")) for path in bench.files()}
    deletes = {path for path in data if path.name.endswith("-deletes.parquet")}
    assert data - deletes == live
    assert not (tmp_path / "staging").exists() or not list((tmp_path / "staging").iterdir())
    assert bench.rows("lakehouse.t", "n") == sorted([*(row for row in before if row[0] != "t/0.csv"), ("t/0.csv", 77)])


async def test_snapshots_are_expired_that_a_committer_did_not_live_to_expire(new_bench: NewBench) -> None:
    bench = new_bench(snapshots_kept=2, expire_every=5)
    for number in range(8):
        await bench.put({"t/a.csv": {"n": [number]}})  # each by a committer of its own
    (done,) = await bench.maintain()

    assert done.counts["snapshots_expired"] == 6
    assert len(bench.loaded().snapshots()) == 2


async def test_slow_runs_over_one_table_keep_no_other_from_its_turn(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside it the time that runs take by themselves is nothing; after half of it new files are still young enough.
    monkeypatch.setattr(maintenance, "TURN", STAGED_MILLISECONDS)
    bench = new_bench(compact_small_files=2, compact_bytes=1)
    for key in range(8):
        await bench.put({f"t/{key}.csv": {"n": [key]}})
    swap = Compaction.swap

    def slowly(compaction: Compaction) -> object:
        bench.context.ahead += maintenance.TURN // 2
        return swap(compaction)

    monkeypatch.setattr(Compaction, "swap", slowly)
    (upkeep,) = await bench.maintain(["lakehouse.t"])

    assert upkeep.counts["compactions"] == 2
    monkeypatch.undo()
    (upkeep,) = await bench.maintain(["lakehouse.t"])
    assert upkeep.counts["compactions"] >= 1


async def test_a_run_that_has_nothing_left_to_change_is_told_of_as_no_compaction(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench(compact_small_files=2)
    keys = [f"t/{number}.csv" for number in range(4)]
    for key in keys:
        await bench.put({key: {"n": [1]}})
    loop, removed = asyncio.get_running_loop(), []
    real = Compaction.prepare

    def prepare(self: Compaction, *arguments: Any) -> None:
        real(self, *arguments)
        removed.extend(asyncio.run_coroutine_threadsafe(bench.remove(*keys), loop).result(60))

    monkeypatch.setattr(Compaction, "prepare", prepare)
    with capture_logs() as logs:
        (done,) = await bench.maintain(["lakehouse.t"])

    assert len(removed) == 4
    assert "compactions" not in done.counts
    assert [entry["event"] for entry in logs if "compact" in entry["event"]] == ["compaction.overtaken"]
    assert bench.rows("lakehouse.t", "n") == []


async def test_a_stop_ends_a_run_and_waits_for_its_thread(new_bench: NewBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = new_bench(compact_small_files=2)
    for key in range(4):
        await bench.put({f"t/{key}.csv": {"n": [key]}})
    before = bench.rows("lakehouse.t", "n")
    loop, begun, ended = asyncio.get_running_loop(), asyncio.Event(), []
    real = rewrite_module.Rewriter._write

    def write(self: Any, *arguments: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        assert self._called_off.wait(60)
        try:
            return real(self, *arguments)
        finally:
            ended.append(True)

    monkeypatch.setattr(rewrite_module.Rewriter, "_write", write)
    task = asyncio.create_task(bench.maintain())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended
    assert bench.rows("lakehouse.t", "n") == before
    assert len(bench.files()) == 4


async def test_a_table_that_cannot_be_maintained_keeps_no_other_from_it(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench(compact_small_files=2)
    for name in ("lakehouse.a", "lakehouse.b"):
        committer = bench.committer(bench.table(name))
        for key in range(4):
            await bench.put({f"{name}/{key}.csv": {"n": [key]}}, committer=committer)

    def load(lake: Lake, name: str) -> Kept | None:
        if name == "lakehouse.a":
            raise OSError("the disk is gone")
        return load_kept(lake, name)

    monkeypatch.setattr(maintenance, "load_kept", load)
    done = [upkeep async for upkeep in bench.maintenance.round()]

    assert [upkeep.target for upkeep in done] == ["lakehouse.a", "lakehouse.b"]
    assert "the disk is gone" in (done[0].error or "")
    assert done[1].counts["compactions"] == 1


async def test_tables_of_others_are_not_touched(new_bench: NewBench) -> None:
    bench = new_bench(compact_small_files=2)
    await bench.put({"t/a.csv": {"n": [1]}})
    schema = bench.loaded().schema()
    bench.lake.catalog.create_table("lakehouse.foreign", schema)
    bench.lake.catalog.create_table("lakehouse._ingest_registry", schema)
    told = [upkeep async for upkeep in bench.maintenance.round(dry_run=True)]
    (refused,) = [upkeep async for upkeep in bench.maintenance.round(["lakehouse.foreign"])]

    assert [upkeep.target for upkeep in told] == ["lakehouse.t"]
    assert refused.error == "there is no such table of ours"
