"""What commits leave in a table."""

from __future__ import annotations

from tests.unit.lake.bench import Bench


async def test_files_of_one_window_share_a_data_file_and_a_snapshot(bench: Bench) -> None:
    await bench.put({"t/b.csv": {"n": [3]}, "t/a.csv": {"n": [1, 2]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/a.csv", 2), ("t/b.csv", 3)]
    table = bench.lake.load("lakehouse.t")
    assert table is not None
    assert len(table.snapshots()) == 1
    assert len(list(table.scan().plan_files())) == 1


async def test_replacing_a_source_leaves_its_neighbours(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [7]}}, etag="e2")

    assert bench.rows("lakehouse.t", "n", "_source_etag") == [("t/a.csv", 7, "e2"), ("t/b.csv", 3, "e1")]


async def test_the_last_row_of_a_data_file_takes_the_file_with_it(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [7]}})
    await bench.put({"t/b.csv": {"n": [8]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 7), ("t/b.csv", 8)]
    table = bench.lake.load("lakehouse.t")
    assert table is not None
    summary = table.snapshots()[-1].summary
    assert summary is not None
    assert summary["total-data-files"] == "2"
    assert summary["total-delete-files"] == "0"
    assert summary["total-position-deletes"] == "0"
    assert summary["total-records"] == "2"
