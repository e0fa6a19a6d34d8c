"""Tables that we write are read alike by PyIceberg, DuckDB and polars, after everything that can happen to them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handlers.contract import ClaimLost
from handlers.csv_to_iceberg.lake.committer import WindowLimits
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.lake.live import live_memory
from handlers.csv_to_iceberg.lake.positions import RowFinder
from handlers.csv_to_iceberg.lake.query import query
from tests.unit.lake.bench import Bench, Context, Kitchen

Rows = list[tuple[Any, ...]]

COLUMNS = ("_source_file", "_source_etag", "n", "text")


@pytest.fixture(autouse=True)
def _plan_with_pyiceberg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars warns when its own planner is not installed."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    lake = Lake(LakeSettings(home=tmp_path))
    made = Bench(lake, Context(str(tmp_path)), Kitchen(), WindowLimits(0.0, 2000, 1 << 25))
    yield made
    made.context.close()
    lake.close()


def by_pyiceberg(bench: Bench) -> Rows:
    return _sorted(bench.loaded().scan(selected_fields=COLUMNS).to_arrow().select(COLUMNS).to_pylist())


def by_duckdb(bench: Bench) -> Rows:
    return _sorted(query(bench.lake, f"select {', '.join(COLUMNS)} from lakehouse.t").to_pylist())  # constants


def by_polars(bench: Bench) -> Rows:
    frame = pl.scan_iceberg(bench.loaded(), reader_override="native").select(COLUMNS).collect()
    return _sorted(frame.to_dicts())


def _sorted(rows: list[dict[str, Any]]) -> Rows:
    return sorted((tuple(row[name] for name in COLUMNS) for row in rows), key=repr)


def expected(sources: dict[str, tuple[str, list[int]]]) -> Rows:
    rows = [(key, etag, n, f"text {n}") for key, (etag, numbers) in sources.items() for n in numbers]
    return sorted(rows, key=repr)


@pytest.mark.parametrize("seed", range(3))
async def test_readers_agree_after_random_replacements_and_removals(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # a repeatable test
    committer = bench.committer()
    sources: dict[str, tuple[str, list[int]]] = {}
    for step in range(12):
        changed = sorted({f"t/{chance.randrange(30):02}.csv" for _ in range(chance.randrange(1, 15))})
        fewest = 0 if step else 1  # a column without values would be text from the first file on
        files = {key: [chance.randrange(1000) for _ in range(chance.randrange(fewest, 6))] for key in changed}
        etag = f"e{step}"
        await bench.put(
            {key: {"n": numbers, "text": [f"text {n}" for n in numbers]} for key, numbers in files.items()},
            committer=committer,
            etag=etag,
        )
        sources |= {key: (etag, numbers) for key, numbers in files.items()}
        if step % 4 == 3:
            gone = chance.sample(sorted(sources), 3)
            await bench.submit([bench.entry(key, mode="remove") for key in gone], committer=committer)
            for key in gone:
                del sources[key]
        if step == 5:
            # Somebody else compacts the table: many sources in any order in one file, without our bounds.
            table = bench.loaded()
            table.overwrite(table.scan().to_arrow().sort_by("n"))
            committer = bench.committer()

    rows = expected(sources)
    assert by_pyiceberg(bench) == rows
    assert by_duckdb(bench) == rows
    assert by_polars(bench) == rows


async def test_readers_agree_on_rows_taken_out_in_the_snapshot_that_adds_their_file(bench: Bench) -> None:
    bench.context.dead.add("lost")
    entries = [
        bench.entry(f"t/{key}.csv", {"n": [1, 2], "text": ["text 1", "text 2"]}, claim="lost" if key == 2 else "")
        for key in range(4)
    ]
    committer = bench.committer()
    with pytest.raises(Exception, match="claim ended"):
        await bench.submit(entries, committer=committer)
    await entries[-1].outcome

    rows = expected({f"t/{key}.csv": ("e1", [1, 2]) for key in (0, 1, 3)})
    assert bench.summary()["total-delete-files"] == "1"
    assert by_pyiceberg(bench) == rows
    assert by_duckdb(bench) == rows
    assert by_polars(bench) == rows


async def test_delete_files_cover_one_data_file_each_and_are_counted(bench: Bench) -> None:
    for window in range(3):
        await bench.put({f"t/{window}{key}.csv": {"n": [key], "text": ["x"]} for key in range(3)})
    await bench.put({f"t/{window}1.csv": {"n": [9], "text": ["x"]} for window in range(3)})

    tasks = list(bench.loaded().scan().plan_files())
    marked = [task for task in tasks if task.delete_files]
    assert [len(task.delete_files) for task in marked] == [1, 1, 1]
    assert bench.summary()["total-delete-files"] == "3"
    assert bench.summary()["total-position-deletes"] == "3"
    assert bench.summary()["total-data-files"] == "4"
    assert bench.summary()["total-records"] == "12"


async def test_readers_agree_after_columns_came_and_types_widened(bench: Bench) -> None:
    first: dict[str, dict[str, Sequence[Any]]] = {
        f"t/{key}.csv": {"n": [key, key + 10], "text": [f"text {key}", f"text {key + 10}"]} for key in range(4)
    }
    await bench.put(first)
    await bench.put({"t/1.csv": {"n": [5_000_000_000], "text": ["text 5000000000"], "late": ["x"]}}, etag="e2")
    await bench.put(
        {"t/4.csv": {"n": [7], "text": ["text 7"], "late": ["y"]}, "t/2.csv": {"n": [8], "text": ["text 8"]}}
    )
    await bench.remove("t/0.csv")
    await bench.put({"t/1.csv": {"n": [9, 6_000_000_000], "text": ["text 9", "text 6000000000"]}}, etag="e3")

    rows = expected(
        {
            "t/1.csv": ("e3", [9, 6_000_000_000]),
            "t/2.csv": ("e1", [8]),
            "t/3.csv": ("e1", [3, 13]),
            "t/4.csv": ("e1", [7]),
        }
    )
    assert int(bench.summary()["total-delete-files"]) > 0
    assert by_pyiceberg(bench) == rows
    assert by_duckdb(bench) == rows
    assert by_polars(bench) == rows


async def test_readers_agree_after_somebody_renamed_a_column_and_dropped_another(bench: Bench) -> None:
    await bench.put({f"t/{key}.csv": {"word": ["x"], "n": [key], "old": ["z"]} for key in range(3)})
    with bench.loaded().update_schema() as update:
        update.rename_column("word", "text")
        update.delete_column("old")
    await bench.put({"t/1.csv": {"text": ["text 5", "text 6"], "n": [5, 6]}}, etag="e2")
    await bench.remove("t/2.csv")
    await bench.put({"t/1.csv": {"text": ["text 6"], "n": [6]}, "t/3.csv": {"text": ["text 3"], "n": [3]}}, etag="e3")

    rows = sorted([("t/0.csv", "e1", 0, "x"), ("t/1.csv", "e3", 6, "text 6"), ("t/3.csv", "e3", 3, "text 3")], key=repr)
    assert by_pyiceberg(bench) == rows
    assert by_duckdb(bench) == rows
    assert by_polars(bench) == rows


async def test_readers_agree_on_a_file_with_delete_files_of_several_commits(bench: Bench) -> None:
    keys = [f"t/{key:02}.csv" for key in range(20)]
    sources = {key: ("e1", [number, number + 100]) for number, key in enumerate(keys)}
    await bench.put({key: {"n": n, "text": [f"text {one}" for one in n]} for key, (_, n) in sources.items()})
    for step in range(6):
        # Another process each time: nothing is known of the file and of what is gone from it.
        bench.lake.manifests, bench.lake.rows = live_memory(), RowFinder()
        key = keys[3 * step]
        sources[key] = (f"r{step}", [1000 + step])
        await bench.put({key: {"n": [1000 + step], "text": [f"text {1000 + step}"]}}, etag=f"r{step}")
        await bench.remove(keys[3 * step + 1])
        del sources[keys[3 * step + 1]]

    (first, *_) = sorted(bench.loaded().scan().plan_files(), key=lambda task: -task.file.record_count)
    assert len(first.delete_files) == 12
    rows = expected(sources)
    assert by_pyiceberg(bench) == rows
    assert by_duckdb(bench) == rows
    assert by_polars(bench) == rows


async def test_readers_agree_after_a_claim_lost_within_a_file_that_replaces_others(bench: Bench) -> None:
    columns: dict[str, Sequence[Any]] = {"n": [1, 2], "text": ["text 1", "text 2"]}
    await bench.put({f"t/{key}.csv": columns for key in range(6)})
    bench.context.dead |= {"lost1", "lost4"}
    claims = {1: "lost1", 4: "lost4"}
    entries = [
        bench.entry(f"t/{key}.csv", {"n": [7], "text": ["text 7"]}, etag="e2", claim=claims.get(key, ""))
        for key in range(1, 5)
    ]
    with pytest.raises(ClaimLost):
        await bench.submit(entries)
    await entries[1].outcome
    await entries[2].outcome
    await bench.put({"t/2.csv": {"n": [8], "text": ["text 8"]}}, etag="e3")

    kept = {f"t/{key}.csv": ("e1", [1, 2]) for key in (0, 1, 4, 5)}
    rows = expected(kept | {"t/2.csv": ("e3", [8]), "t/3.csv": ("e2", [7])})
    assert by_pyiceberg(bench) == rows
    assert by_duckdb(bench) == rows
    assert by_polars(bench) == rows
