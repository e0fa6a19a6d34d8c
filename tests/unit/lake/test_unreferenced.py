"""Files nothing refers to are deleted in time, and none that anything refers to or is going to."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Plan
from handlers.csv_to_iceberg.lake.staged import STAGED_MILLISECONDS
from handlers.csv_to_iceberg.lake.unreferenced import FOREIGN_GRACE, Listed, find_unreferenced, overlapping
from tests.unit.lake.bench import part
from tests.unit.lake.upkeep import KeptBench

NewBench = Callable[..., KeptBench]
Logs = list[MutableMapping[str, Any]]

HOUR = 3_600_000
"""Milliseconds; the default grace time."""

ID = "00000000-0000-4000-8000-{:012}"


@pytest.fixture(autouse=True)
def _plan_with_pyiceberg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars warns when its own planner is not installed."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.fixture
def new_bench(tmp_path: Path) -> Iterator[NewBench]:
    """Make benches on one lake that keeps one snapshot: each is a process of its own to it."""
    benches: list[KeptBench] = []

    def make(**settings: Any) -> KeptBench:
        benches.append(KeptBench(tmp_path, **{"snapshots_kept": 1, "expire_every": 1, **settings}))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(new_bench: NewBench) -> KeptBench:
    return new_bench()


def on_disk(bench: KeptBench, kind: str = "data") -> set[str]:
    folder = Path(bench.loaded().location().removeprefix("file://")) / kind
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def later(bench: KeptBench, milliseconds: int) -> None:
    bench.context.ahead += milliseconds


async def replaced(bench: KeptBench) -> None:
    """Leave one live file, and one that no snapshot needs."""
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.put({"t/a.csv": {"n": [2]}})


async def test_a_replaced_file_goes_when_its_grace_time_is_over(bench: KeptBench, logs: Logs) -> None:
    await replaced(bench)
    await bench.maintain()
    assert len(on_disk(bench)) == 2
    later(bench, HOUR - 60_000)
    await bench.maintain()
    assert len(on_disk(bench)) == 2
    later(bench, HOUR // 2)
    (done,) = await bench.maintain()

    assert on_disk(bench) == {path.rpartition("/")[2] for path in bench.files()}
    assert bench.shown("n") == [(2,)]
    assert done.counts["files_deleted"] >= 1
    assert done.counts["bytes_deleted"] > 0
    told = [entry for entry in logs if entry["event"] == "table.cleaned"]
    assert [(entry["table"], entry["files"]) for entry in told] == [("lakehouse.t", done.counts["files_deleted"])]
    each = [entry for entry in logs if entry["event"] == "unreferenced.deleted"]
    assert len(each) == done.counts["files_deleted"]


async def test_the_grace_time_counts_from_when_a_file_was_first_seen_unneeded(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.maintain()
    later(bench, 100 * HOUR)
    planned = bench.loaded().scan().plan_files()  # a reader that begins just before the rows are replaced
    await bench.put({"t/a.csv": {"n": [2]}})
    await bench.maintain()
    later(bench, HOUR - 60_000)
    await bench.maintain()

    assert [Path(task.file.file_path.removeprefix("file://")).exists() for task in planned] == [True]
    later(bench, HOUR)
    await bench.maintain()
    assert len(on_disk(bench)) == 1


async def test_files_of_retained_snapshots_stay(new_bench: NewBench) -> None:
    bench = new_bench(snapshots_kept=3, expire_every=1)
    for number in range(6):
        await bench.put({"t/a.csv": {"n": [number]}})
    for _ in range(3):
        await bench.maintain(["lakehouse.t"])
        later(bench, 2 * HOUR)

    table = bench.loaded()
    shown = [table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()["n"].to_pylist() for snapshot in table.snapshots()]
    # Fences are snapshots too, and what they left behind is there to be read.
    assert shown
    assert all(numbers in ([3], [4], [5]) for numbers in shown)


async def test_nothing_is_deleted_twice_and_the_rounds_come_to_rest(bench: KeptBench) -> None:
    await replaced(bench)
    states = []
    for _ in range(8):
        later(bench, HOUR)
        await bench.maintain(["lakehouse.t"])
        states.append(bench.loaded().metadata_location)

    assert len(set(states[-4:])) == 1
    assert bench.shown("n") == [(2,)]


async def test_a_dry_run_changes_nothing(bench: KeptBench, tmp_path: Path) -> None:
    await replaced(bench)
    await bench.maintain()
    later(bench, 2 * HOUR)
    (marks,) = (tmp_path / "maintenance").iterdir()
    before = (on_disk(bench), on_disk(bench, "metadata"), marks.read_bytes())
    (told,) = await bench.maintain(dry_run=True)

    assert told.counts["to_delete"] >= 1
    assert (on_disk(bench), on_disk(bench, "metadata"), marks.read_bytes()) == before


async def test_losing_the_memory_of_what_was_seen_only_delays(bench: KeptBench, tmp_path: Path) -> None:
    await replaced(bench)
    await bench.maintain()
    later(bench, 2 * HOUR)
    (marks,) = (tmp_path / "maintenance").iterdir()
    marks.write_text("not JSON")
    await bench.maintain()
    assert len(on_disk(bench)) == 2
    assert json.loads(marks.read_text())
    later(bench, 2 * HOUR)
    await bench.maintain()
    assert len(on_disk(bench)) == 1


async def test_rows_staged_before_a_pause_of_hours_are_staged_again_not_lost(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    staged = table.stage(loaded, loaded.shape, [part("t/b.csv", {"n": [2]})], 0)
    assert table.fits(loaded, staged, [])
    later(bench, STAGED_MILLISECONDS + 1)

    assert not table.fits(loaded, staged, [])
    again = table.again(loaded, staged)
    assert table.fits(loaded, again, [])


async def test_a_commit_loaded_before_files_are_deleted_fails(bench: KeptBench) -> None:
    await replaced(bench)
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    staged = table.stage(loaded, loaded.shape, [part("t/b.csv", {"n": [2]})], 0)
    (path,) = [Path(file.file_path.removeprefix("file://")) for file in staged.files]
    await bench.maintain()
    later(bench, 2 * HOUR)
    await bench.maintain()

    assert not path.exists()
    with pytest.raises(CommitConflict):
        table.commit(loaded, Plan(frozenset({"t/b.csv"}), [(staged, ())], 1))
    assert bench.shown("n") == [(2,)]


async def test_a_file_written_to_since_it_was_listed_stays(bench: KeptBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await replaced(bench)
    await bench.maintain()
    later(bench, 2 * HOUR)
    (dead,) = on_disk(bench) - {path.rpartition("/")[2] for path in bench.files()}
    path = Path(bench.loaded().location().removeprefix("file://")) / "data" / dead
    real = bench.maintenance.cleaning._fence
    fired = []

    def fence(*arguments: Any) -> None:
        fired.append(dead)
        os.utime(path, ns=(time.time_ns() + 10**9,) * 2)
        real(*arguments)

    monkeypatch.setattr(bench.maintenance.cleaning, "_fence", fence)
    await bench.maintain()

    assert fired
    assert path.exists()


async def test_files_of_a_stream_that_still_writes_are_as_young_as_its_newest(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    folder = Path(bench.loaded().location().removeprefix("file://")) / "data" / ID.format(1)
    folder.mkdir()
    old, new = folder / "00000.parquet", folder / "00001.parquet"
    old.write_bytes(b"x")
    later(bench, 10 * HOUR)
    await bench.maintain()
    now = bench.context.clock()
    new.write_bytes(b"x")
    for path in (new, folder):
        os.utime(path, ns=(now * 1_000_000,) * 2)
    later(bench, HOUR - 60_000)
    await bench.maintain(["lakehouse.t"])
    assert old.exists()
    later(bench, 2 * HOUR)
    await bench.maintain(["lakehouse.t"])
    assert not folder.exists()


async def test_files_that_another_engine_may_be_writing_stay_for_days(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    data = Path(bench.loaded().location().removeprefix("file://")) / "data"
    foreign = data / "20261121_120000_00001_abcde-0b6f.parquet"
    note = data / "README.txt"
    for path in (foreign, note):
        path.write_bytes(b"x")
    for _ in range(3):
        await bench.maintain(["lakehouse.t"])
        later(bench, 5 * HOUR)
    assert foreign.exists()
    later(bench, FOREIGN_GRACE)
    await bench.maintain(["lakehouse.t"])

    assert not foreign.exists()
    assert note.exists()


async def test_tables_that_share_a_folder_lose_nothing(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    bench.lake.catalog.rename_table("lakehouse.t", "lakehouse.old")
    await bench.put({"t/a.csv": {"n": [2]}})
    assert bench.loaded("lakehouse.old").location() == bench.loaded().location()
    for _ in range(3):
        done = await bench.maintain(["lakehouse.t"])
        later(bench, 100 * HOUR)

    assert "same folder" in done[0].notes[0]
    assert bench.loaded("lakehouse.old").scan().to_arrow()["n"].to_pylist() == [1]


async def test_a_copied_home_deletes_nothing_of_the_first_one(bench: KeptBench, tmp_path: Path) -> None:
    await replaced(bench)
    shutil.copytree(tmp_path, tmp_path / "copy" / "home")
    copy = KeptBench(tmp_path / "copy" / "home", snapshots_kept=1, expire_every=1)
    assert copy.loaded().location() == bench.loaded().location()
    await bench.put({"t/b.csv": {"n": [3]}})
    before = on_disk(bench)
    for _ in range(3):
        done = await copy.maintain(["lakehouse.t"])
        later(copy, 2 * HOUR)
    copy.close()

    assert "another home" in done[0].notes[0]
    assert on_disk(bench) == before
    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 2), ("t/b.csv", 3)]


async def test_two_catalogs_with_one_warehouse_delete_nothing_of_each_other(tmp_path: Path) -> None:
    benches = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        uri = f"sqlite:///{tmp_path}/{name}/catalog.db"
        catalog = {"type": "sql", "uri": uri, "warehouse": f"file://{tmp_path}/warehouse"}
        benches.append(KeptBench(tmp_path / name, snapshots_kept=1, expire_every=1, catalog=catalog))
    for bench in benches:
        await replaced(bench)
    assert benches[0].loaded().location() == benches[1].loaded().location()
    for _ in range(3):
        done = [upkeep for bench in benches for upkeep in await bench.maintain(["lakehouse.t"])]
        for bench in benches:
            later(bench, 2 * HOUR)

    assert all("of another table" in upkeep.notes[0] for upkeep in done)
    assert [bench.rows("lakehouse.t", "n") for bench in benches] == [[("t/a.csv", 2)]] * 2
    for bench in benches:
        bench.close()


def test_locations_overlap_by_whole_folders() -> None:
    assert overlapping("file:///w/t", ["/w/t/inner"]) == "/w/t/inner"
    assert overlapping("s3://b/w/t/", ["s3a://b/w"]) == "s3a://b/w"
    assert overlapping("/w/t", ["/w/t2", "/w/other", "/v"]) is None


async def test_scratch_of_dead_processes_goes_and_that_of_live_ones_stays(bench: KeptBench, tmp_path: Path) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    for name in ("dead", "live"):
        (tmp_path / "staging" / name / "spill").mkdir(parents=True)
        (tmp_path / "staging" / name / "spill" / "x.tmp").write_bytes(b"x")
    later(bench, 2 * HOUR)
    now = bench.context.clock()
    os.utime(tmp_path / "staging" / "live" / "spill" / "x.tmp", ns=(now * 1_000_000,) * 2)
    await bench.maintain()

    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["live"]


def test_only_files_of_known_kinds_without_reference_are_found() -> None:
    def listed(name: str, modified: int = 0) -> Listed:
        return Listed(f"/w/{name}", name, 1, modified)

    ours = f"data/{ID.format(1)}.parquet"
    files = [
        listed(ours),
        listed("metadata/x.avro"),
        listed("metadata/version-hint.text"),
        listed("metadata/00001-x.metadata.json"),
        listed("metadata/stats.puffin"),
        listed("data/other.parquet"),
        listed("data/kept.parquet"),
    ]
    seen = {file.name: 0 for file in files}
    found = find_unreferenced(files, {"/w/data/kept.parquet"}, seen, HOUR, HOUR)

    assert [file.name for file in found.due] == [ours, "metadata/x.avro", "metadata/00001-x.metadata.json"]
    assert [file.name for file in found.waiting] == ["data/other.parquet"]
    assert find_unreferenced([listed(ours)], (), {}, HOUR, HOUR).due == ()
    assert find_unreferenced([listed(ours, modified=1)], (), seen, HOUR, HOUR).due == ()


@pytest.mark.parametrize("seed", range(2))
async def test_no_live_file_is_ever_deleted(new_bench: NewBench, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # a repeatable test
    snapshots = chance.choice([1, 3])
    benches = [
        new_bench(compact_small_files=3, snapshots_kept=snapshots, expire_every=chance.choice([1, 4])) for _ in range(2)
    ]
    model: dict[str, list[int]] = {}
    deleted = compacted = 0
    for _ in range(40):
        bench = chance.choice(benches)
        action = chance.choice(["put", "put", "remove", "maintain", "maintain", "later"])
        if action == "put" or not model:
            keys = {f"t/{chance.randrange(9)}.csv" for _ in range(chance.randrange(1, 5))}
            files = {key: [chance.randrange(100) for _ in range(chance.randrange(1, 4))] for key in keys}
            await bench.put({key: {"n": numbers} for key, numbers in files.items()})
            model |= files
        elif action == "remove":
            key = chance.choice(sorted(model))
            await bench.remove(key)
            del model[key]
        elif action == "later":
            for one in benches:
                later(one, chance.choice([60_000, HOUR // 2, 2 * HOUR]))
        elif action == "maintain":
            for done in await bench.maintain(["lakehouse.t"]):
                deleted += done.counts.get("files_deleted", 0)
                compacted += done.counts.get("compactions", 0)
        expected = sorted((key, n) for key, numbers in model.items() for n in numbers)
        assert bench.rows("lakehouse.t", "n") == expected
        for snapshot in bench.loaded().snapshots():
            bench.loaded().scan(snapshot_id=snapshot.snapshot_id).to_arrow()

    assert deleted
    assert compacted
    frame = pl.scan_iceberg(benches[0].loaded(), reader_override="native").select("_source_file", "n").collect()
    assert sorted(frame.rows()) == expected
