"""Compaction moves rows into other files: none comes back, none is lost, none is there twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, MutableMapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.manifest import DataFileContent
from pyiceberg.types import StringType

from handlers.csv_to_iceberg.lake import rewrite as rewrite_module
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Plan
from handlers.csv_to_iceberg.lake.compaction import Overtaken
from handlers.csv_to_iceberg.lake.compaction_plan import Thresholds
from handlers.csv_to_iceberg.lake.live import LiveFiles, live_memory
from handlers.csv_to_iceberg.lake.parquet import renamed, write_deletes
from handlers.csv_to_iceberg.lake.rewrite import CalledOff, DifferentRows
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.staged import STAGED_MILLISECONDS
from tests.unit.lake.upkeep import KeptBench

NewBench = Callable[..., KeptBench]
Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def _plan_with_pyiceberg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars warns when its own planner is not installed."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


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


@pytest.fixture
def bench(new_bench: NewBench) -> KeptBench:
    return new_bench()


async def five_windows(bench: KeptBench) -> None:
    """Put four sources, the later windows replacing some of the earlier."""
    for window in range(5):
        keys = (window % 4, (window + 1) % 4)
        await bench.put({f"t/{key}.csv": {"n": [window * 10 + key] * 3} for key in keys}, etag=f"e{window}")


AFTER_FIVE = [
    *[("t/0.csv", "e4", 40)] * 3,
    *[("t/1.csv", "e4", 41)] * 3,
    *[("t/2.csv", "e2", 22)] * 3,
    *[("t/3.csv", "e3", 33)] * 3,
]


async def test_files_are_joined_and_what_was_deleted_is_left_out(bench: KeptBench) -> None:
    await five_windows(bench)
    swapped = bench.prepared().swap()

    assert bench.shown() == AFTER_FIVE
    assert len(bench.files()) == 1
    assert (swapped.rows, swapped.data_files_added) == (12, 1)
    summary = bench.summary()
    assert summary["total-delete-files"] == "0"
    assert summary["total-records"] == "12"
    snapshot = bench.loaded().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.operation.value == "replace"


async def test_rows_of_a_new_file_are_sorted_by_source_and_its_bounds_are_whole(bench: KeptBench) -> None:
    long = "t/" + "x" * 300
    for suffix in ("b", "é", "a", "Z"):
        await bench.put({f"{long}{suffix}": {"n": [2, 1]}})
    bench.prepared().swap()

    (task,) = bench.loaded().scan().plan_files()
    field = bench.loaded().schema().find_field("_source_file").field_id
    assert task.file.lower_bounds[field] == f"{long}Z".encode()
    assert task.file.upper_bounds[field] == f"{long}é".encode()
    rows = bench.loaded().scan(selected_fields=("_source_file", "n")).to_arrow().to_pylist()
    assert [row["_source_file"][-1] for row in rows] == ["Z", "Z", "a", "a", "b", "b", "é", "é"]
    assert [row["n"] for row in rows] == [2, 1] * 4  # as the file had them


async def test_large_results_are_cut_into_files_of_the_target_size(
    bench: KeptBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite_module, "TARGET_BYTES", 2000)
    monkeypatch.setattr(rewrite_module, "GROUP_CELLS", 500)
    chance = random.Random(1)  # noqa: S311  # a repeatable test
    for window in range(3):
        await bench.put({f"t/{window}{key}.csv": {"n": [chance.randrange(1 << 30)] * 60} for key in range(10)})
    before = bench.shown()
    bench.prepared().swap()

    assert bench.shown() == before
    field = bench.loaded().schema().find_field("_source_file").field_id
    bounds = sorted(
        (task.file.lower_bounds[field], task.file.upper_bounds[field]) for task in bench.loaded().scan().plan_files()
    )
    assert len(bounds) > 2
    assert all(upper <= lower for (_, upper), (lower, _) in pairwise(bounds))


async def test_many_delete_files_of_a_data_file_become_one(bench: KeptBench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key] * 10} for key in range(20)})
    for key in range(4):
        await bench.remove(f"t/{key}.csv")
    before, files = bench.shown(), bench.files()
    work = bench.due(Thresholds(small_files=100, deleted_share=0.5, delete_files=2.0, bytes=1 << 30))
    assert (len(work.rewrite), len(work.merge)) == (0, 1)
    compaction = bench.compaction()
    compaction.prepare(bench.loaded(), work)
    compaction.swap()

    assert bench.shown() == before
    assert bench.files() == files
    assert bench.summary()["total-delete-files"] == "1"
    assert bench.summary()["total-position-deletes"] == "40"


async def test_merged_deletes_keep_what_was_deleted_meanwhile(bench: KeptBench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key] * 10} for key in range(6)})
    for key in range(3):
        await bench.remove(f"t/{key}.csv")
    compaction = bench.prepared(Thresholds(small_files=100, deleted_share=0.9, delete_files=2.0, bytes=1 << 30))
    await bench.remove("t/3.csv")
    compaction.swap()

    assert bench.shown("_source_file") == [("t/4.csv",)] * 10 + [("t/5.csv",)] * 10
    assert bench.summary()["total-delete-files"] == "2"


async def test_merged_deletes_of_a_file_that_is_gone_are_not_added(bench: KeptBench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key] * 10} for key in range(4)})
    await bench.put({"t/x.csv": {"n": [1]}, "t/y.csv": {"n": [1]}})
    for key in range(3):
        await bench.remove(f"t/{key}.csv")
    compaction = bench.prepared(Thresholds(small_files=100, deleted_share=0.9, delete_files=1.0, bytes=1 << 30))
    await bench.remove("t/3.csv")

    assert compaction.swap().snapshot is None
    assert bench.summary()["total-delete-files"] == "0"
    assert bench.shown("_source_file") == [("t/x.csv",), ("t/y.csv",)]


# While the table changes


async def test_a_source_replaced_while_its_rows_move_has_its_new_rows_only(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    await bench.put({"t/1.csv": {"n": [7]}}, etag="new")
    compaction.swap()

    assert bench.shown() == sorted([row for row in AFTER_FIVE if row[0] != "t/1.csv"] + [("t/1.csv", "new", 7)])
    assert bench.summary()["total-delete-files"] == "1"
    await bench.put({"t/1.csv": {"n": [8]}, "t/3.csv": {"n": [9]}}, etag="newer")
    assert [row for row in bench.shown() if row[1] == "newer"] == [("t/1.csv", "newer", 8), ("t/3.csv", "newer", 9)]
    assert len(bench.shown()) == 8


async def test_a_source_removed_while_its_rows_move_stays_away(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    await bench.remove("t/0.csv", "t/2.csv")
    compaction.swap()

    assert bench.shown() == [row for row in AFTER_FIVE if row[0] in ("t/1.csv", "t/3.csv")]


async def test_nothing_is_added_when_every_source_left_meanwhile(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    await bench.remove(*(f"t/{key}.csv" for key in range(4)))

    assert compaction.swap().data_files_added == 0
    assert bench.shown() == []
    assert bench.files() == set()


async def test_rows_that_came_in_meanwhile_stay(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    await bench.put({"t/9.csv": {"n": [1], "late": ["x"]}}, etag="new")
    compaction.swap()

    assert bench.shown() == sorted([*AFTER_FIVE, ("t/9.csv", "new", 1)])
    assert ("t/9.csv", "x") in bench.shown("_source_file", "late")


async def test_a_column_widened_meanwhile_keeps_its_values(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    await bench.put({"t/9.csv": {"n": [1 << 40]}}, etag="new")
    compaction.swap()

    assert bench.shown() == sorted([*AFTER_FIVE, ("t/9.csv", "new", 1 << 40)])


async def test_two_runs_over_the_same_files_leave_every_row_once(new_bench: NewBench) -> None:
    first, second = new_bench(), new_bench()
    await five_windows(first)
    one, other = first.prepared(), second.prepared()
    one.swap()
    other.swap()

    assert first.shown() == AFTER_FIVE
    assert len(first.files()) == 1


async def test_a_run_over_some_files_of_an_earlier_one_is_given_up(new_bench: NewBench) -> None:
    first, second = new_bench(), new_bench()
    keys = [f"t/{name}.csv" for name in "abcd"]  # several: a file is only joined with as many bytes of smaller ones
    for number, key in enumerate(keys):
        await first.put({key: {"n": [number]}})
    one = first.prepared()
    # Rows of one source in two files, as another engine may leave them.
    first.loaded().append(first.loaded().scan().to_arrow())
    both = second.prepared()
    one.swap()

    with pytest.raises(Overtaken, match="some rows of"):
        both.swap()
    assert first.shown("_source_file", "n") == sorted([(key, number) for number, key in enumerate(keys)] * 2)


async def test_a_table_made_anew_takes_no_file_of_the_old_one(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    bench.lake.catalog.drop_table("lakehouse.t")
    with pytest.raises(Overtaken, match="is gone"):
        compaction.swap()
    await bench.put({"t/0.csv": {"n": [5]}})
    with pytest.raises(Overtaken, match="made anew"):
        compaction.swap()

    assert bench.shown("n") == [(5,)]


async def test_rows_that_somebody_brought_back_are_not_lost(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}, "t/b.csv": {"n": [2]}})
    before = bench.loaded().metadata.current_snapshot_id
    assert before is not None
    await bench.remove("t/a.csv")
    compaction = bench.prepared()
    bench.loaded().manage_snapshots().set_current_snapshot(before).commit()

    with pytest.raises(Overtaken, match="came back"):
        compaction.swap()
    assert bench.shown("_source_file") == [("t/a.csv",), ("t/b.csv",)]


async def test_rows_that_somebody_brought_back_are_not_taken_out_by_merged_deletes(bench: KeptBench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key] * 10} for key in range(6)})
    await bench.remove("t/0.csv")
    await bench.remove("t/1.csv")
    before = bench.loaded().metadata.current_snapshot_id
    assert before is not None
    await bench.remove("t/2.csv")
    compaction = bench.prepared(Thresholds(small_files=100, deleted_share=0.9, delete_files=2.0, bytes=1 << 30))
    bench.loaded().manage_snapshots().set_current_snapshot(before).commit()
    compaction.swap()

    assert bench.shown("_source_file") == [(f"t/{key}.csv",) for key in range(2, 6) for _ in range(10)]


async def test_rows_deleted_by_value_meanwhile_stop_the_run(bench: KeptBench, tmp_path: Path) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.put({"t/b.csv": {"n": [2]}})
    compaction = bench.prepared()
    table = bench.loaded()
    # What it says does not matter: only the engine that wrote it could tell.
    deletes = renamed(next(iter(table.scan().plan_files())).file, f"file://{tmp_path}/equality.parquet")
    deletes[0] = DataFileContent.EQUALITY_DELETES
    change = Change(deletes=[deletes])
    commit_snapshot(table, LiveFiles.of(table, live_memory()), change, new_id=lambda: "0", now=0, summary={})

    with pytest.raises(Overtaken, match="by value"):
        compaction.swap()


async def test_files_that_lay_ready_for_too_long_are_not_committed(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    bench.context.ahead = STAGED_MILLISECONDS + 1000

    with pytest.raises(Overtaken, match="unreferenced"):
        compaction.swap()


async def test_a_column_dropped_meanwhile_does_not_come_back(bench: KeptBench) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    with bench.loaded().update_schema() as update:
        update.delete_column("n")

    with pytest.raises(Overtaken, match="columns"):
        compaction.swap()


async def test_a_conflict_is_planned_again(
    bench: KeptBench, new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_bench()
    await five_windows(bench)
    compaction = bench.prepared()
    table = other.table()
    real = bench.lake.catalog.commit_table
    left = [1]

    def commit(*arguments: Any) -> Any:
        if left:
            left.pop()
            loaded = table.load()
            assert loaded is not None
            table.commit(loaded, Plan(frozenset({"t/2.csv"})))
        return real(*arguments)

    monkeypatch.setattr(bench.lake.catalog, "commit_table", commit)
    with pytest.raises(CommitConflict):
        compaction.swap()
    assert not left
    compaction.swap()

    assert bench.shown() == [row for row in AFTER_FIVE if row[0] != "t/2.csv"]


@pytest.mark.parametrize("landed", [True, False])
async def test_an_unknown_outcome_is_looked_up(bench: KeptBench, monkeypatch: pytest.MonkeyPatch, landed: bool) -> None:
    await five_windows(bench)
    compaction = bench.prepared()
    real = bench.lake.catalog.commit_table

    def commit(*arguments: Any) -> Any:
        monkeypatch.setattr(bench.lake.catalog, "commit_table", real)
        if landed:
            real(*arguments)
        raise CommitStateUnknownException("the connection was reset")

    monkeypatch.setattr(bench.lake.catalog, "commit_table", commit)
    with pytest.raises(CommitStateUnknownException):
        compaction.swap()
    compaction.swap()

    assert bench.shown() == AFTER_FIVE
    assert len(bench.files()) == 1


async def test_a_committer_that_knew_the_old_files_replaces_in_the_new_ones(new_bench: NewBench) -> None:
    first, second = new_bench(), new_bench()
    committer = first.committer()
    await first.put({f"t/{key}.csv": {"n": [key] * 3} for key in range(6)}, committer=committer)
    await first.put({"t/0.csv": {"n": [10]}}, committer=committer)
    second.prepared().swap()
    await first.put({"t/0.csv": {"n": [100]}, "t/5.csv": {"n": [500]}}, committer=committer, etag="e2")

    rows = [("t/0.csv", "e2", 100), *[(f"t/{key}.csv", "e1", key) for key in range(1, 5) for _ in range(3)]]
    assert first.shown() == [*rows, ("t/5.csv", "e2", 500)]


# What is in the files


async def test_cells_of_all_types_and_of_files_of_older_shapes_stay_as_they_are(bench: KeptBench) -> None:
    odd = ["", "null", "NaN", "\x00", "a\nb", '"', "日本", "x" * 70_000]
    await bench.put({"t/a.csv": {"s": odd, "f": [0.1, -0.0, 1e308, 5e-324, 0.0, -1.5, 2.0, 3.0]}})
    await bench.put({"t/b.csv": {"s": ["x"], "n": [-(2**31)], "flag": [True]}})
    await bench.put({"t/c.csv": {"n": [2**62], "_rescued_like": ["{}"]}})
    with bench.loaded().update_schema() as update:
        update.rename_column("s", "renamed")
        update.add_column("later", StringType())
    await bench.put({"t/d.csv": {"later": ["x"]}})

    def content() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = bench.loaded().scan().to_arrow().to_pylist()
        return sorted(rows, key=repr)

    before = content()
    bench.prepared().swap()

    assert content() == before
    assert len(bench.files()) == 1
    assert len(before) == 11


async def test_rows_without_a_source_move_too(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    table = bench.loaded()
    row = dict.fromkeys(table.schema().column_names) | {"n": 7}
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
    bench.prepared().swap()

    assert bench.shown("_source_file", "n") == [("t/a.csv", 1), (None, 7)]
    assert len(bench.files()) == 1
    await bench.put({"t/a.csv": {"n": [2]}})
    assert bench.shown("_source_file", "n") == [("t/a.csv", 2), (None, 7)]


async def test_rows_without_a_source_deleted_meanwhile_stop_the_run(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    table = bench.loaded()
    row = dict.fromkeys(table.schema().column_names) | {"n": 7}
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
    compaction = bench.prepared()
    bench.loaded().delete("n = 7")

    with pytest.raises(Overtaken, match="without a source"):
        compaction.swap()
    assert bench.shown("n") == [(1,)]


async def test_some_rows_of_a_source_deleted_meanwhile_stop_the_run(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}})
    await bench.put({"t/b.csv": {"n": [3]}})
    compaction = bench.prepared()
    table = bench.loaded()
    live = LiveFiles.of(table, live_memory())
    file = next(entry.data_file for entry in live.data() if entry.lower == b"t/a.csv")
    path = table.location_provider().new_data_location("foreign-deletes.parquet")
    change = Change(deletes=[write_deletes(table.io, path, file, np.array([1]))])
    commit_snapshot(table, live, change, new_id=bench.context.new_id, now=bench.context.clock(), summary={})

    with pytest.raises(Overtaken, match="some rows of"):
        compaction.swap()
    assert bench.shown("n") == [(1,), (3,)]


async def test_files_that_another_engine_rewrote_meanwhile_stay_as_it_left_them(bench: KeptBench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}})
    await bench.put({"t/b.csv": {"n": [3]}})
    compaction = bench.prepared()
    bench.loaded().delete("n = 2")
    compaction.swap()

    assert bench.shown("n") == [(1,), (3,)]


async def test_partitioned_files_are_left_alone(bench: KeptBench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key % 2]} for key in range(4)})
    with bench.loaded().update_spec() as update:
        update.add_identity("n")
    bench.loaded().overwrite(bench.loaded().scan().to_arrow())
    partitioned = bench.files()
    await bench.put({"t/8.csv": {"n": [8]}})
    await bench.put({"t/9.csv": {"n": [9]}})
    before = bench.shown()
    compaction = bench.prepared()
    compaction.swap()

    assert bench.shown() == before
    assert partitioned < bench.files()
    assert len(bench.files()) == len(partitioned) + 1


async def test_files_without_field_ids_are_left_alone(new_bench: NewBench, tmp_path: Path) -> None:
    bench = new_bench(compact_small_files=2)
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.put({"t/b.csv": {"n": [2]}})
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"n": pa.array([3], pa.int32())}), plain)
    bench.loaded().add_files([str(plain)])
    (upkeep,) = await bench.maintain(["lakehouse.t"])
    (told,) = await bench.maintain(["lakehouse.t"], dry_run=True)

    assert str(plain) in bench.files()
    assert sorted(bench.loaded().scan().to_arrow()["n"].to_pylist()) == [1, 2, 3]
    assert "columns without field ids" in "".join((*upkeep.notes, *told.notes))


# Proof and interruption


async def test_new_files_that_hold_other_rows_are_never_committed(
    bench: KeptBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await five_windows(bench)
    real = rewrite_module.Rewriter._fitted
    changed: list[str] = []

    def fitted(self: Any, batch: pa.RecordBatch, names: Any) -> pa.RecordBatch:
        fit = real(self, batch, names)
        if not changed and batch.num_rows:
            changed.append("n")
            return fit.set_column(0, fit.schema.field(0), pa.array([99] * batch.num_rows, fit.schema.field(0).type))
        return fit

    monkeypatch.setattr(rewrite_module.Rewriter, "_fitted", fitted)
    with pytest.raises(DifferentRows):
        bench.prepared()

    assert changed
    assert bench.shown() == AFTER_FIVE


async def test_a_run_called_off_leaves_no_scratch(bench: KeptBench, tmp_path: Path) -> None:
    await five_windows(bench)
    compaction = bench.compaction()
    real = rewrite_module.Rewriter._write

    def write(self: Any, *arguments: Any) -> Any:
        compaction.call_off()
        return real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite_module.Rewriter, "_write", write)
        with pytest.raises(CalledOff):
            compaction.prepare(bench.loaded(), bench.due())

    assert list((tmp_path / "staging").iterdir()) == []
    assert bench.shown() == AFTER_FIVE


# When


async def test_nothing_is_due_below_the_thresholds(bench: KeptBench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key]} for key in range(10)})
    await bench.remove("t/0.csv")
    await bench.remove("t/1.csv")
    before = bench.loaded().metadata_location
    assert await bench.maintain() == []
    assert bench.loaded().metadata_location == before


async def test_many_small_files_are_joined_by_themselves(new_bench: NewBench, logs: Logs) -> None:
    bench = new_bench(compact_small_files=4)
    for key in range(5):
        await bench.put({f"t/{key}.csv": {"n": [key, key]}})
    before = bench.shown()
    await bench.maintain()

    assert bench.shown() == before
    (told,) = [entry for entry in logs if entry["event"] == "table.compacted"]
    assert (told["table"], told["rows"], told["data_files_removed"]) == ("lakehouse.t", 10, 5)


async def test_a_run_takes_a_bounded_part_of_the_table(new_bench: NewBench) -> None:
    bench = new_bench(compact_small_files=3)
    for key in range(6):
        await bench.put({f"t/{key}.csv": {"n": list(range(1000))}})
    size = max(task.file.file_size_in_bytes for task in bench.loaded().scan().plan_files())
    few = bench.due(Thresholds(small_files=3, deleted_share=0.9, delete_files=9, bytes=3 * size))
    one = bench.due(Thresholds(small_files=3, deleted_share=0.9, delete_files=9, bytes=1))

    assert len(few.rewrite) == 3
    assert len(one.rewrite) == 2  # the least that makes a difference


async def test_a_file_joins_only_smaller_ones_that_are_as_large_together(bench: KeptBench) -> None:
    chance = random.Random(3)  # noqa: S311  # a repeatable test
    await bench.put({"t/large.csv": {"n": [chance.randrange(1 << 30) for _ in range(100_000)]}})
    for key in range(5):
        await bench.put({f"t/{key}.csv": {"n": [key]}})
    work = bench.due(Thresholds(small_files=3, deleted_share=0.9, delete_files=9, bytes=1 << 30))

    assert len(work.rewrite) == 5
    assert all(candidate.entry.record_count == 1 for candidate in work.rewrite)


async def test_the_files_with_most_deleted_rows_are_rewritten(bench: KeptBench) -> None:
    await bench.put({f"t/a{key}.csv": {"n": [key] * 10} for key in range(4)})
    await bench.put({f"t/b{key}.csv": {"n": [key] * 10} for key in range(4)})
    await bench.remove("t/a0.csv", "t/a1.csv")
    few = bench.due(Thresholds(small_files=100, deleted_share=0.2, delete_files=9, bytes=1))
    none = bench.due(Thresholds(small_files=100, deleted_share=0.3, delete_files=9, bytes=1))

    assert [candidate.deleted for candidate in few.rewrite] == [20]
    assert not none


@pytest.mark.parametrize("seed", range(2))
async def test_rows_are_exact_after_every_step_of_a_random_life(new_bench: NewBench, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # a repeatable test
    first, second = new_bench(), new_bench()
    committers = {id(first): first.committer(), id(second): second.committer()}
    model: dict[str, tuple[str, list[int]]] = {}
    waiting: list[Any] = []
    overtaken = swapped = 0
    for step in range(30):
        bench = chance.choice([first, second])
        action = chance.choice(["put", "put", "put", "remove", "prepare", "swap", "swap", "forget"])
        if action == "put" or not model:
            keys = {f"t/{chance.randrange(12):02}.csv" for _ in range(chance.randrange(1, 6))}
            files = {key: [chance.randrange(100) for _ in range(chance.randrange(1, 5))] for key in keys}
            rows = {key: {"n": numbers} for key, numbers in files.items()}
            await bench.put(rows, etag=f"e{step}", committer=committers[id(bench)])
            model |= {key: (f"e{step}", numbers) for key, numbers in files.items()}
        elif action == "remove":
            keys = set(chance.sample(sorted(model), min(2, len(model))))
            await bench.remove(*keys)
            model = {key: value for key, value in model.items() if key not in keys}
        elif action == "prepare" and (work := bench.due()):
            run = bench.compaction()
            run.prepare(bench.loaded(), work)
            waiting.append(run)
        elif action == "swap" and waiting:
            try:
                waiting.pop(chance.randrange(len(waiting))).swap()
                swapped += 1
            except Overtaken:
                overtaken += 1
        elif action == "forget":
            committers[id(bench)] = bench.committer()
        assert first.shown() == sorted(
            [(key, etag, n) for key, (etag, numbers) in model.items() for n in numbers], key=repr
        )

    assert swapped
