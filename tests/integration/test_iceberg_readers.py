"""Tables that we write are read alike by PyIceberg, DuckDB and polars, after everything that can happen to them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handlers.csv_to_iceberg.committer import WindowLimits
from handlers.csv_to_iceberg.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.query import query
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
