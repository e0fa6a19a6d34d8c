"""Manifests put together from blocks say what PyIceberg's would, and change no more than they must."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent, ManifestEntryStatus
from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.entries import BLOCK_ENTRIES
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.parquet import renamed
from handlers.csv_to_iceberg.lake.refusals import UnsupportedTable
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from tests.unit.lake.bench import Bench, part
from tests.unit.lake.conftest import NewBench


class Files:
    """Data files that are described to a table and never read."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        table = bench.table()
        loaded = table.create(part("x", {"n": [1]}).columns)
        (self._first,) = table.stage(loaded, loaded.shape, [part("x", {"n": [1]})], bench.context.clock()).files
        self._field_id = loaded.shape.fields["_source_file"].field_id

    def new(self, name: str) -> DataFile:
        file = renamed(self._first, f"file:///{name}")
        bounds = self._first.lower_bounds | {self._field_id: name.encode()}
        file[10] = file[11] = bounds
        return file

    def commit(self, change: Change) -> int:
        table = self._bench.loaded()
        live = LiveFiles.of(table, self._bench.lake.manifests)
        return commit_snapshot(
            table, live, change, new_id=self._bench.context.new_id, now=self._bench.context.clock(), summary={}
        )


def live_by_pyiceberg(table: Table) -> Iterator[tuple[str, int | None, int | None]]:
    """Path, sequence number and snapshot of each live file."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    for manifest in snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io):
            yield entry.data_file.file_path, entry.sequence_number, entry.snapshot_id


def test_files_keep_snapshot_and_sequence_number_through_every_rewrite(bench: Bench) -> None:
    files = Files(bench)
    chance = random.Random(5)  # noqa: S311  # a repeatable test
    expected: dict[str, tuple[int, int]] = {}
    for commit in range(60):
        names = [f"{commit:02}-{number:03}" for number in range(chance.choice([1, 1, 3, BLOCK_ENTRIES, 60]))]
        dropped = chance.sample(sorted(expected), min(len(expected), chance.choice([0, 0, 1, 5, 40])))
        snapshot = files.commit(Change([files.new(name) for name in names], dropped=frozenset(dropped)))
        expected = {path: value for path, value in expected.items() if path not in dropped}
        expected |= {f"file:///{name}": (commit + 1, snapshot) for name in names}

    table = bench.loaded()
    found = {path: (number, snapshot) for path, number, snapshot in live_by_pyiceberg(table)}
    assert found == expected
    summary = bench.summary()
    assert int(summary["total-data-files"]) == len(expected) == int(summary["total-records"])


def test_a_manifest_records_what_its_snapshot_dropped(bench: Bench) -> None:
    files = Files(bench)
    files.commit(Change([files.new(name) for name in "abc"]))
    dropping = files.commit(Change(dropped=frozenset({"file:///b"})))

    table = bench.loaded()
    snapshot = table.current_snapshot()
    assert snapshot is not None
    (manifest,) = snapshot.manifests(table.io)
    assert (manifest.existing_files_count, manifest.deleted_files_count, manifest.added_files_count) == (2, 1, 0)
    entries = {entry.data_file.file_path: entry for entry in manifest.fetch_manifest_entry(table.io, False)}
    assert entries["file:///b"].status == ManifestEntryStatus.DELETED
    assert entries["file:///b"].snapshot_id == dropping
    assert entries["file:///a"].status == ManifestEntryStatus.EXISTING


def test_only_the_blocks_that_lose_a_file_are_encoded_again(bench: Bench) -> None:
    files = Files(bench)
    files.commit(Change([files.new(f"{number:03}") for number in range(10 * BLOCK_ENTRIES)]))
    before = LiveFiles.of(bench.loaded(), bench.lake.manifests)
    files.commit(Change(dropped=frozenset({"file:///000", "file:///001"})))
    after = LiveFiles.of(bench.loaded(), bench.lake.manifests)

    kept = {id(block) for block in before.manifests[0].blocks} & {id(block) for block in after.manifests[0].blocks}
    assert len(kept) == 9


def test_what_is_known_of_a_table_is_what_another_process_reads(new_bench: NewBench) -> None:
    bench = new_bench()
    files = Files(bench)
    for commit in range(25):
        files.commit(Change([files.new(f"{commit:02}-{number}") for number in range(2)]))
    files.commit(Change(dropped=frozenset({"file:///03-1", "file:///20-0"})))

    def facts(lake: Lake) -> set[tuple[object, ...]]:
        live = LiveFiles.of(bench.loaded(), lake.manifests)
        return {(one.path, one.sequence_number, one.lower, one.upper, one.nulls, one.size) for one in live.data()}

    assert facts(bench.lake) == facts(new_bench().lake)
    assert len(facts(bench.lake)) == 48


def test_a_file_that_is_not_live_cannot_be_dropped(bench: Bench) -> None:
    files = Files(bench)
    files.commit(Change([files.new("a")]))

    with pytest.raises(ValueError, match="file:///b"):
        files.commit(Change(dropped=frozenset({"file:///a", "file:///b"})))


async def test_a_table_with_equality_deletes_is_refused_and_left_as_it_is(bench: Bench, tmp_path: Path) -> None:
    await bench.put({"t/a.csv": {"n": [1]}, "t/b.csv": {"n": [2]}})
    table = bench.loaded()
    # As Flink writes them: a Parquet file of values, here of nothing that anybody reads.
    delete_file = renamed(next(iter(table.scan().plan_files())).file, f"file://{tmp_path}/equality.parquet")
    delete_file[0] = DataFileContent.EQUALITY_DELETES
    live = LiveFiles.of(table, bench.lake.manifests)
    change = Change(deletes=[delete_file])
    before = commit_snapshot(table, live, change, new_id=bench.context.new_id, now=bench.context.clock(), summary={})

    with pytest.raises(UnsupportedTable, match=r"has equality delete files.*optimize.*replay"):
        await bench.put({"t/a.csv": {"n": [3]}})
    with pytest.raises(UnsupportedTable, match="equality delete"):
        await bench.remove("t/b.csv")
    assert bench.loaded().metadata.current_snapshot_id == before
    manifests = LiveFiles.of(bench.loaded(), bench.lake.manifests).of_content(ManifestContent.DELETES)
    assert [manifest.has_equality_deletes for manifest in manifests] == [True]
