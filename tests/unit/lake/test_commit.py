"""What commits leave in a table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handlers.contract import ClaimLost, PermanentError
from handlers.csv_to_iceberg.lake.commit_port import Unpacked
from tests.unit.lake.bench import Bench


async def test_files_of_one_window_share_a_data_file_and_a_snapshot(bench: Bench) -> None:
    await bench.put({"t/b.csv": {"n": [3]}, "t/a.csv": {"n": [1, 2]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/a.csv", 2), ("t/b.csv", 3)]
    assert len(bench.loaded().snapshots()) == 1
    assert len(list(bench.loaded().scan().plan_files())) == 1


async def test_rows_of_a_data_file_are_sorted_by_source(bench: Bench) -> None:
    await bench.put({"t/c.csv": {"n": [3]}, "t/é.csv": {"n": [4]}, "t/a.csv": {"n": [1, 2]}})

    (task,) = bench.loaded().scan().plan_files()
    field = bench.loaded().schema().find_field("_source_file").field_id
    assert task.file.lower_bounds[field] == b"t/a.csv"
    assert task.file.upper_bounds[field] == "t/é.csv".encode()
    keys = bench.loaded().scan(selected_fields=("_source_file",)).to_arrow()["_source_file"].to_pylist()
    assert keys == ["t/a.csv", "t/a.csv", "t/c.csv", "t/é.csv"]


async def test_every_row_carries_its_version_and_the_time_in_utc(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = bench.context.clock()
    monkeypatch.setattr(bench.context, "clock", lambda: now)
    await bench.put({"t/a.csv": {"n": [1]}}, etag="abc")

    (row,) = bench.loaded().scan().to_arrow().to_pylist()
    assert row["_source_etag"] == "abc"
    at = row["_ingested_at"].replace(tzinfo=UTC)
    assert at == datetime.fromtimestamp(now // 1000, UTC).replace(microsecond=now % 1000 * 1000)
    assert str(bench.loaded().schema().find_field("_ingested_at").field_type) == "timestamp"


async def test_replacing_a_source_leaves_its_neighbours(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [7]}}, etag="e2")

    assert bench.rows("lakehouse.t", "n", "_source_etag") == [("t/a.csv", 7, "e2"), ("t/b.csv", 3, "e1")]
    assert bench.summary()["total-delete-files"] == "1"
    assert bench.summary()["total-position-deletes"] == "2"


async def test_the_last_row_of_a_data_file_takes_the_file_and_its_deletes_with_it(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [7]}})
    await bench.put({"t/b.csv": {"n": [8]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 7), ("t/b.csv", 8)]
    assert bench.summary()["total-data-files"] == "2"
    assert bench.summary()["total-delete-files"] == "0"
    assert bench.summary()["total-position-deletes"] == "0"
    assert bench.summary()["total-records"] == "2"


async def test_a_source_replaced_thirty_times_has_its_last_rows_only(bench: Bench) -> None:
    committer = bench.committer()
    await bench.put({"t/a.csv": {"n": [0]}, "t/b.csv": {"n": [100]}, "t/c.csv": {"n": [200]}}, committer=committer)
    for number in range(1, 31):
        await bench.put({"t/b.csv": {"n": [100 + number] * 3}}, etag=f"e{number}", committer=committer)

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 0), *[("t/b.csv", 130)] * 3, ("t/c.csv", 200)]
    assert bench.summary()["total-data-files"] == "2"
    assert bench.summary()["total-delete-files"] == "1"


async def test_many_commits_keep_manifests_and_snapshots_few(bench: Bench) -> None:
    committer = bench.committer()
    for number in range(45):
        await bench.put({f"t/{number:03}.csv": {"n": [number]}, "t/x.csv": {"n": [number]}}, committer=committer)

    assert len(bench.rows()) == 46
    snapshot = bench.loaded().current_snapshot()
    assert snapshot is not None
    # At most 19 of each size and content: data files and delete files.
    assert len(snapshot.manifests(bench.loaded().io)) <= 2 * 2 * 19
    assert 10 <= len(bench.loaded().snapshots()) < 10 + 20


async def test_removal_takes_the_rows_out(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}, "t/b.csv": {"n": [2]}})
    await bench.remove("t/a.csv")

    assert bench.rows() == [("t/b.csv",)]


async def test_removal_of_nothing_still_commits(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    (landed,) = await bench.remove("t/never.csv")

    assert landed.snapshot == bench.loaded().metadata.current_snapshot_id
    assert len(bench.loaded().snapshots()) == 2


async def test_keeping_commits_an_empty_snapshot_and_tells_what_is_shown(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1, 2]}}, etag="abc")
    (landed,) = await bench.remove("t/a.csv", mode="keep")

    assert landed.shown is not None
    assert landed.shown.rows == {"abc": 2}
    assert len(bench.rows()) == 2
    assert len(bench.loaded().snapshots()) == 2


async def test_removal_without_a_table_makes_none(bench: Bench) -> None:
    (landed,) = await bench.remove("t/a.csv")

    assert landed.snapshot is None
    assert bench.lake.load("lakehouse.t") is None


async def test_a_version_without_rows_takes_the_old_rows_out(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}, "t/b.csv": {"n": [2]}})
    await bench.put({"t/a.csv": {"n": []}})

    assert bench.rows() == [("t/b.csv",)]


async def test_a_first_file_without_rows_makes_the_table(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"name": []}})

    assert [field.name for field in bench.loaded().schema().fields][:1] == ["name"]
    assert bench.rows() == []


async def test_a_file_that_cannot_be_read_fails_alone(bench: Bench) -> None:
    good, bad = bench.entry("t/a.csv", {"n": [1]}), bench.entry("t/b.csv", PermanentError("not text"))
    committer = bench.committer()
    with pytest.raises(PermanentError, match="not text"):
        await bench.submit([good, bad], committer=committer)
    await good.outcome

    assert bench.rows() == [("t/a.csv",)]


async def test_a_fault_of_the_reader_fails_the_file_it_comes_from(bench: Bench) -> None:
    entries = [bench.entry(f"t/{number}.csv", {"n": [number]}) for number in range(4)]
    file = entries[2].file
    assert file is not None
    del bench.kitchen.parts[file.data]
    with pytest.raises(Exception, match=r"t/2\.csv"):
        await bench.submit(entries)
    for entry in entries[:2] + entries[3:]:
        await entry.outcome

    assert bench.rows() == [("t/0.csv",), ("t/1.csv",), ("t/3.csv",)]


async def test_a_file_that_unpacks_to_too_much_is_handed_back(bench: Bench) -> None:
    with pytest.raises(Unpacked):
        await bench.submit([bench.entry("t/a.csv", NotImplementedError())])


async def test_new_columns_come_with_the_snapshot_of_their_rows(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.put({"t/b.csv": {"m": ["x"], "n": [2]}})

    assert bench.rows("lakehouse.t", "n", "m") == [("t/a.csv", 1, None), ("t/b.csv", 2, "x")]
    first, second = bench.loaded().snapshots()
    assert first.schema_id != second.schema_id == bench.loaded().metadata.current_schema_id


async def test_integer_columns_widen_and_old_files_stay_readable(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.put({"t/b.csv": {"n": [5_000_000_000]}})
    await bench.put({"t/c.csv": {"n": [2]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/b.csv", 5_000_000_000), ("t/c.csv", 2)]
    assert str(bench.loaded().schema().find_field("n").field_type) == "long"


async def test_the_first_file_pins_the_types_for_those_after_it(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}, "t/b.csv": {"n": ["x"]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/b.csv", None)]


async def test_rows_of_a_claim_lost_after_staging_stay_out(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [0]}, "t/b.csv": {"n": [0]}})
    entries = [bench.entry(f"t/{name}.csv", {"n": [1, 1]}, claim=name) for name in "abc"]
    bench.context.dead.add("b")
    with pytest.raises(ClaimLost):
        await bench.submit(entries)
    await entries[0].outcome
    await entries[2].outcome

    assert bench.rows("lakehouse.t", "n") == [*[("t/a.csv", 1)] * 2, ("t/b.csv", 0), *[("t/c.csv", 1)] * 2]


async def test_nothing_is_committed_when_all_claims_are_lost(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [0]}})
    bench.context.dead.add("x")
    with pytest.raises(ClaimLost):
        await bench.submit([bench.entry("t/a.csv", {"n": [1]}, claim="x")])

    assert len(bench.loaded().snapshots()) == 1


async def test_of_two_claims_of_one_source_the_one_that_holds_is_committed(bench: Bench) -> None:
    old = bench.entry("t/a.csv", {"n": [1]}, claim="old")
    new = bench.entry("t/a.csv", {"n": [2]}, claim="new", etag="e2")
    bench.context.dead.add("old")
    committer = bench.committer()
    with pytest.raises(ClaimLost):
        await bench.submit([new, old], committer=committer)
    await new.outcome

    assert bench.rows("lakehouse.t", "n", "_source_etag") == [("t/a.csv", 2, "e2")]


async def test_keys_are_kept_to_the_letter(bench: Bench) -> None:
    keys = ["t/it's.csv", 't/"q".csv', "t/a b+c%20.csv", "t/new\nline.csv", "t/" + "x" * 900 + ".csv", "t/😀.csv"]
    await bench.put({key: {"n": [1]} for key in keys})
    await bench.put({key: {"n": [2]} for key in keys})

    assert bench.rows("lakehouse.t", "n") == [(key, 2) for key in sorted(keys)]
