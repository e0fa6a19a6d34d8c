"""Other writers, unknown outcomes, lost claims: whatever happens, a key has the rows of one version."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.update import RemoveSnapshotsUpdate, TableRequirement, TableUpdate
from pyiceberg.types import NestedField, StringType

from handlers.contract import ClaimLost, OutcomeUnknown
from handlers.csv_to_iceberg.lake import committer as committer_module
from handlers.csv_to_iceberg.lake import table as table_module
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Plan
from handlers.csv_to_iceberg.lake.committer import TableCommitter, WindowLimits
from handlers.csv_to_iceberg.lake.expiry import expire_snapshots
from handlers.csv_to_iceberg.lake.query import query
from handlers.csv_to_iceberg.lake.shape import ShapeChanged
from handlers.csv_to_iceberg.lake.staged import STAGED_MILLISECONDS
from tests.unit.lake.bench import Bench, part
from tests.unit.lake.conftest import NewBench

Hook = Callable[[], None]


def before_commit(monkeypatch: pytest.MonkeyPatch, catalog: Catalog, *hooks: Hook) -> None:
    """Run one hook before each of the next commits of a catalog."""
    left = list(hooks)
    real = catalog.commit_table

    def commit(table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]) -> Any:
        if left:
            left.pop(0)()
        return real(table, requirements, updates)

    monkeypatch.setattr(catalog, "commit_table", commit)


def lose_answers(
    monkeypatch: pytest.MonkeyPatch, catalog: Catalog, *landed: bool, error: Exception | None = None
) -> list[bool]:
    """Let the next commits end with an unknown outcome, after having landed or not; returns those still to come."""
    left = list(landed)
    real = catalog.commit_table

    def commit(table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]) -> Any:
        if not left:
            return real(table, requirements, updates)
        if left.pop(0):
            real(table, requirements, updates)
        raise error or CommitStateUnknownException("the connection was reset")

    monkeypatch.setattr(catalog, "commit_table", commit)
    return left


def sequence_number(bench: Bench) -> int:
    snapshot = bench.loaded().current_snapshot()
    assert snapshot is not None
    return snapshot.sequence_number or 0


async def test_namespace_that_another_made_between_look_and_insert_is_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.lake.catalog.create_namespace("lakehouse")
    answers = [False]
    real = bench.lake.catalog.namespace_exists
    monkeypatch.setattr(bench.lake.catalog, "namespace_exists", lambda name: answers.pop() if answers else real(name))

    bench.lake.create("lakehouse.other", Schema(NestedField(1, "n", StringType())), {})

    assert answers == []
    assert bench.lake.catalog.table_exists("lakehouse.other")


async def test_two_committers_never_put_a_key_in_twice(new_bench: NewBench) -> None:
    first, second = new_bench(), new_bench()
    committers = first.committer(), second.committer()
    await first.put({f"t/{key}.csv": {"n": [-1]} for key in range(4)}, committer=committers[0])

    async def rounds(bench: Bench, committer: Any, sign: int) -> None:
        for number in range(12):
            await bench.put({f"t/{key}.csv": {"n": [sign * number] * 2} for key in range(4)}, committer=committer)

    await asyncio.gather(rounds(first, committers[0], 1), rounds(second, committers[1], 100))

    rows = first.rows("lakehouse.t", "n")
    for key in range(4):
        values = [value for name, value in rows if name == f"t/{key}.csv"]
        assert len(values) == 2
        assert len(set(values)) == 1


async def test_a_new_key_of_two_committers_is_there_once(new_bench: NewBench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = new_bench(), new_bench()
    await first.put({"t/other.csv": {"n": [0]}})

    def other_commits() -> None:
        table = second.table()
        loaded = table.load()
        assert loaded is not None
        staged = table.stage(loaded, loaded.shape, [part("t/a.csv", {"n": [2, 2]}, etag="e2")], 0)
        table.commit(loaded, Plan(frozenset({"t/a.csv"}), [(staged, ())], 1))

    before_commit(monkeypatch, first.lake.catalog, other_commits)
    await first.put({"t/a.csv": {"n": [1]}})

    assert first.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/other.csv", 0)]


@pytest.mark.parametrize("error", [CommitStateUnknownException("reset"), TimeoutError(), OSError("database is locked")])
@pytest.mark.parametrize("landed", [(True,), (False,), (True, False, True)])
async def test_an_unknown_outcome_is_committed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, landed: tuple[bool, ...], error: Exception
) -> None:
    await bench.put({"t/a.csv": {"n": [0]}, "t/b.csv": {"n": [0]}})
    before = sequence_number(bench)
    left = lose_answers(monkeypatch, bench.lake.catalog, *landed, error=error)
    await bench.put({"t/a.csv": {"n": [1, 1]}, "t/c.csv": {"n": [2]}})

    assert left == []
    assert sequence_number(bench) == before + sum(landed) + 1
    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/a.csv", 1), ("t/b.csv", 0), ("t/c.csv", 2)]
    paths = [task.file.file_path for task in bench.loaded().scan().plan_files()]
    assert len(paths) == len(set(paths))


async def test_rows_staged_alone_are_committed_again_after_an_unknown_outcome(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put({"t/a.csv": {"n": [0]}})
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    alone = bench.entry("t/a.csv")
    alone.own = table.stage(loaded, loaded.shape, [part("t/a.csv", {"n": [1, 1]})], 0)
    lose_answers(monkeypatch, bench.lake.catalog, True)
    await bench.submit([alone])

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/a.csv", 1)]


async def test_rows_under_new_names_are_as_young_as_rows_just_written(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [0]}})
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    staged = table.stage(loaded, loaded.shape, [part("t/a.csv", {"n": [1, 1]})], 0)
    old = Path(staged.files[0].file_path.removeprefix("file://"))
    os.utime(old, (1, 1))
    again = table.again(loaded, staged)

    new = Path(again.files[0].file_path.removeprefix("file://"))
    assert new != old
    assert new.read_bytes() == old.read_bytes()
    assert new.stat().st_mtime > 1_000_000_000


async def test_rows_whose_new_names_took_long_to_give_are_staged_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put({"t/a.csv": {"n": [0]}})
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    staged = table.stage(loaded, loaded.shape, [part("t/a.csv", {"n": [1, 1]})], 0)

    def slow(*_: object) -> None:
        later = bench.context.clock() + STAGED_MILLISECONDS + 1
        monkeypatch.setattr(table, "_clock", lambda: later)

    monkeypatch.setattr(table_module, "_copy", slow)  # byte by byte on a remote store
    again = table.again(loaded, staged)

    assert not table.fits(loaded, again, ())


async def test_staged_rows_that_vanished_after_an_unknown_outcome_are_staged_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put({"t/a.csv": {"n": [0]}})
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    alone = bench.entry("t/b.csv")
    alone.own = table.stage(loaded, loaded.shape, [part("t/b.csv", {"n": [1]})], 0)

    def vanished(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(table, "again", vanished)
    lose_answers(monkeypatch, bench.lake.catalog, True)
    small = bench.entry("t/a.csv", {"n": [2]})
    with pytest.raises(ShapeChanged, match="the staged file is gone"):
        await bench.submit([small, alone], committer=bench.committer(table))
    await small.outcome

    # The first try had landed: b is in the table, and its claim knows that it must begin again.
    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 2), ("t/b.csv", 1)]


async def test_a_claim_lost_after_an_unknown_outcome_is_not_committed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put({"t/a.csv": {"n": [0]}, "t/b.csv": {"n": [0]}})
    lose_answers(monkeypatch, bench.lake.catalog, True)

    def lose_at_the_second_check() -> None:
        if len(bench.context.checks) == checks_before + 2:
            bench.context.dead.add("x")

    checks_before = len(bench.context.checks)
    bench.context.on_check = lose_at_the_second_check
    entries = [bench.entry("t/a.csv", {"n": [1]}, claim="x"), bench.entry("t/b.csv", {"n": [1]})]
    with pytest.raises(ClaimLost):
        await bench.submit(entries)
    await entries[1].outcome

    # The first try landed with the claim still held; the second put b in again and did not touch a.
    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/b.csv", 1)]


async def test_outcomes_that_stay_unknown_are_given_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.put({"t/a.csv": {"n": [0]}})
    monkeypatch.setattr(committer_module, "MAX_TRIES", 3)
    lose_answers(monkeypatch, bench.lake.catalog, False, False, False)
    with pytest.raises(OutcomeUnknown, match="no commit succeeded in 3 tries"):
        await bench.put({"t/a.csv": {"n": [1]}})


async def test_a_fence_stops_a_commit_loaded_before_it(new_bench: NewBench) -> None:
    zombie, other = new_bench().table(), new_bench().table()
    loaded = zombie.create(part("t/a.csv", {"n": [1]}).columns)
    staged = zombie.stage(loaded, loaded.shape, [part("t/a.csv", {"n": [1]})], 0)
    fresh = other.load()
    assert fresh is not None
    other.commit(fresh, Plan())

    with pytest.raises(CommitConflict):
        zombie.commit(loaded, Plan(frozenset({"t/a.csv"}), [(staged, ())], 1))


async def test_claims_are_checked_after_the_load_on_every_try(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, other = new_bench(), new_bench()
    await bench.put({"t/a.csv": {"n": [0]}})

    def takes_over() -> None:
        bench.context.dead.add("paused")
        table = other.table()
        loaded = table.load()
        assert loaded is not None
        table.commit(loaded, Plan(frozenset({"t/a.csv"}), (), 1))

    before_commit(monkeypatch, bench.lake.catalog, takes_over)
    with pytest.raises(ClaimLost):
        await bench.submit([bench.entry("t/a.csv", {"n": [1]}, claim="paused")])

    assert bench.rows() == []
    assert bench.context.checks[-2:] == [{"paused"}, {"paused"}]


async def test_columns_added_by_somebody_else_meanwhile_are_kept_apart(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, other = new_bench(), new_bench()
    await bench.put({"t/a.csv": {"n": [1]}})

    def adds_a_column() -> None:
        with other.loaded().update_schema() as update:
            update.add_column("theirs", StringType())

    before_commit(monkeypatch, bench.lake.catalog, adds_a_column)
    await bench.put({"t/b.csv": {"n": [2], "ours": ["x"]}})

    assert bench.rows("lakehouse.t", "n", "ours", "theirs") == [("t/a.csv", 1, None, None), ("t/b.csv", 2, "x", None)]


async def test_two_windows_with_new_columns_are_kept_apart_from_somebody_elses(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, other = new_bench(), new_bench()
    # The next commit is an hour away, so that both windows are ready for it, however long that takes.
    committer = TableCommitter(bench.table(), bench.kitchen.cook, bench.context, WindowLimits(3600.0, 2000, 1))
    await bench.put({"t/a.csv": {"n": [1]}}, committer=committer)

    def adds_a_column() -> None:
        with other.loaded().update_schema() as update:
            update.add_column("theirs", StringType())

    before_commit(monkeypatch, bench.lake.catalog, adds_a_column)
    first = asyncio.create_task(committer.submit(bench.entry("t/b.csv", {"n": [2], "left": ["x"]})))
    await asyncio.sleep(0)  # it is submitted
    await asyncio.sleep(0)  # its window is full and closed
    second = asyncio.create_task(committer.submit(bench.entry("t/c.csv", {"n": [3], "right": [4]})))
    async with asyncio.timeout(60):
        while len(committer._staged) < 2:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    await committer.aclose()  # which waits for no hour
    await asyncio.gather(first, second)

    assert bench.rows("lakehouse.t", "n", "left", "right") == [
        ("t/a.csv", 1, None, None),
        ("t/b.csv", 2, "x", None),
        ("t/c.csv", 3, None, 4),
    ]
    assert len(bench.loaded().snapshots()) == 2
    assert bench.kitchen.batches == [["t/a.csv"], *[["t/b.csv"], ["t/c.csv"]] * 2]


async def test_a_column_of_another_type_meanwhile_is_cooked_again(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, other = new_bench(), new_bench()
    await bench.put({"t/a.csv": {"n": [1]}})

    def adds_the_column() -> None:
        with other.loaded().update_schema() as update:
            update.add_column("m", StringType())

    before_commit(monkeypatch, bench.lake.catalog, adds_the_column)
    await bench.put({"t/b.csv": {"n": [2], "m": [5]}})

    assert bench.rows("lakehouse.t", "n", "m") == [("t/a.csv", 1, None), ("t/b.csv", 2, "5")]


async def test_new_columns_of_two_stages_never_share_a_field_id(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    table = bench.table()
    loaded = table.load()
    assert loaded is not None
    alone = bench.entry("t/c.csv")
    alone.own = table.stage(loaded, loaded.shape, [part("t/c.csv", {"n": [3], "right": [4]})], 0)
    small = bench.entry("t/b.csv", {"n": [2], "left": [5]})
    with pytest.raises(ShapeChanged):
        await bench.submit([small, alone])
    await small.outcome
    assert bench.rows("lakehouse.t", "n", "left") == [("t/a.csv", 1, None), ("t/b.csv", 2, 5)]

    loaded = table.load()
    assert loaded is not None
    alone = bench.entry("t/c.csv")
    alone.own = table.stage(loaded, loaded.shape, [part("t/c.csv", {"n": [3], "right": [4]})], 0)
    await bench.submit([alone])
    assert bench.rows("lakehouse.t", "left", "right")[2] == ("t/c.csv", None, 4)


async def test_a_table_dropped_and_made_again_meanwhile_gets_the_rows(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, other = new_bench(), new_bench()
    await bench.put({"t/a.csv": {"n": [1]}})

    def drops() -> None:
        other.lake.catalog.drop_table("lakehouse.t")

    before_commit(monkeypatch, bench.lake.catalog, drops)
    await bench.put({"t/b.csv": {"n": [2]}})

    assert bench.rows("lakehouse.t", "n") == [("t/b.csv", 2)]


async def test_rows_that_somebody_compacted_are_found_and_replaced(bench: Bench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key]} for key in range(6)})
    await bench.put({"t/3.csv": {"n": [33]}})
    table = bench.loaded()
    everything = table.scan().to_arrow()
    # Bounds as other engines write them: the first 16 characters.
    with table.transaction() as transaction:
        transaction.set_properties({"write.metadata.metrics.column._source_file": "truncate(2)"})
    table = bench.loaded()
    table.overwrite(everything.sort_by([("n", "descending")]))
    await bench.put({"t/2.csv": {"n": [22, 22]}, "t/5.csv": {"n": [55]}})
    await bench.remove("t/0.csv")

    assert bench.rows("lakehouse.t", "n") == [
        ("t/1.csv", 1),
        ("t/2.csv", 22),
        ("t/2.csv", 22),
        ("t/3.csv", 33),
        ("t/4.csv", 4),
        ("t/5.csv", 55),
    ]


async def test_rows_that_somebody_partitioned_are_found_and_replaced(bench: Bench) -> None:
    await bench.put({f"t/{key}.csv": {"n": [key % 2, 5]} for key in range(4)})
    with bench.loaded().update_spec() as update:
        update.add_identity("n")
    table = bench.loaded()
    table.overwrite(table.scan().to_arrow())
    await bench.put({"t/1.csv": {"n": [11]}})
    await bench.remove("t/2.csv", "t/0.csv")

    rows = [("t/1.csv", 11), ("t/3.csv", 1), ("t/3.csv", 5)]
    assert bench.rows("lakehouse.t", "n") == rows
    read = query(bench.lake, "select _source_file, n from t order by all")
    assert [tuple(row.values()) for row in read.to_pylist()] == rows


async def test_files_of_somebody_else_without_field_ids_or_sources_are_looked_into(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    plain, foreign = tmp_path / "plain.parquet", tmp_path / "foreign.parquet"
    sources = pa.array(["t/a.csv", "t/b.csv", "t/a.csv"])
    pq.write_table(pa.table({"n": pa.array([1, 2, 3], pa.int32()), "_source_file": sources}), plain)
    pq.write_table(pa.table({"n": pa.array([7], pa.int32())}), foreign)
    bench.loaded().add_files([str(plain), str(foreign)])
    await bench.put({"t/a.csv": {"n": [11]}})

    found = bench.loaded().scan(selected_fields=("n", "_source_file")).to_arrow().sort_by("n").to_pylist()
    assert [(row["n"], row["_source_file"]) for row in found] == [(2, "t/b.csv"), (7, None), (11, "t/a.csv")]


async def test_snapshots_that_cannot_be_expired_do_not_fail_a_commit(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, Any]]
) -> None:
    bench = new_bench(snapshots_kept=1, expire_every=3)
    committer = bench.committer()
    real = bench.lake.catalog.commit_table

    def commit(table: Table, requirements: Any, updates: Any) -> Any:
        if any(isinstance(update, RemoveSnapshotsUpdate) for update in updates):
            raise OSError("disk full")
        return real(table, requirements, updates)

    monkeypatch.setattr(bench.lake.catalog, "commit_table", commit)
    for number in range(4):
        await bench.put({"t/a.csv": {"n": [number]}}, committer=committer)

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 3)]
    assert [entry["event"] for entry in logs].count("snapshots.not_expired") == 1


async def test_a_snapshot_that_somebody_rolled_back_to_is_not_expired(bench: Bench) -> None:
    for number in range(4):
        await bench.put({"t/a.csv": {"n": [number]}})
    loaded = bench.loaded()
    first = loaded.metadata.snapshots[0].snapshot_id
    bench.loaded().manage_snapshots().set_current_snapshot(first).commit()
    expire_snapshots(loaded, 1, now=loaded.metadata.last_updated_ms)

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 0)]


async def test_rows_of_somebody_else_are_left_alone(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    table = bench.loaded()
    row = dict.fromkeys(table.schema().column_names) | {"n": 7}
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
    await bench.put({"t/a.csv": {"n": [2]}})
    await bench.remove("t/a.csv")

    found = bench.loaded().scan(selected_fields=("n", "_source_file")).to_arrow().to_pylist()
    assert found == [{"n": 7, "_source_file": None}]


async def test_a_process_that_knows_nothing_reads_sources_from_the_files(new_bench: NewBench) -> None:
    first = new_bench()
    await first.put({f"t/{key}.csv": {"n": [key, key]} for key in range(4)})
    await first.put({"t/1.csv": {"n": [11]}})
    second = new_bench()
    await second.put({"t/1.csv": {"n": [111]}, "t/2.csv": {"n": [222]}})

    assert second.rows("lakehouse.t", "n") == [
        ("t/0.csv", 0),
        ("t/0.csv", 0),
        ("t/1.csv", 111),
        ("t/2.csv", 222),
        ("t/3.csv", 3),
        ("t/3.csv", 3),
    ]


async def test_deleted_rows_are_counted_once_when_a_file_runs_empty(new_bench: NewBench) -> None:
    first = new_bench()
    await first.put({"t/a.csv": {"n": [1, 1, 1]}, "t/b.csv": {"n": [2]}, "t/c.csv": {"n": [3]}})
    await first.remove("t/a.csv")
    await new_bench().remove("t/b.csv", "t/a.csv")
    await new_bench().remove("t/c.csv")

    assert first.rows() == []
    assert first.summary()["total-data-files"] == "0"
    assert first.summary()["total-delete-files"] == "0"
