"""Compaction that is Trino's to do: what is due by our rules, and what becomes of it when Trino cannot."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from handlers.csv_to_iceberg.trino_client import TrinoSettings
from handlers.upkeep import Upkeep
from tests.fake_trino import FakeTrino, fake_trino, last_page
from tests.unit.lake.upkeep import KeptBench

LOST = {"errorName": "ICEBERG_COMMIT_ERROR", "errorType": "EXTERNAL", "message": "Failed to commit"}
DONE = last_page()


@pytest.fixture
def trino() -> Iterator[FakeTrino]:
    with fake_trino() as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, trino: FakeTrino) -> Iterator[KeptBench]:
    made = KeptBench(tmp_path, compact_small_files=2)
    made.delegate(TrinoSettings(url=trino.url, catalog="lake", maintains=True))
    yield made
    made.close()


async def of_table(bench: KeptBench) -> Upkeep:
    (done,) = [upkeep async for upkeep in bench.maintenance.round(["lakehouse.t"])]
    return done


async def test_a_table_that_needs_nothing_is_left_alone(bench: KeptBench, trino: FakeTrino) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})

    assert (await of_table(bench)).error is None
    assert trino.asked == []


async def test_a_table_in_need_is_compacted_and_expired_by_trino_alone(bench: KeptBench, trino: FakeTrino) -> None:
    for number in range(3):
        await bench.put({f"t/{number}.csv": {"n": [number]}})
    before = bench.files()
    trino.answers = [DONE, DONE]

    done = await of_table(bench)

    assert [body for _, _, body in trino.asked] == [
        f'ALTER TABLE "lake"."lakehouse"."t" EXECUTE {what}' for what in ("optimize", "expire_snapshots")
    ]
    assert (done.error, done.counts["compactions"]) == (None, 1)
    assert bench.files() == before, "nobody but Trino compacts"


async def test_compaction_that_lost_to_a_commit_is_told_and_tried_again(bench: KeptBench, trino: FakeTrino) -> None:
    for number in range(3):
        await bench.put({f"t/{number}.csv": {"n": [number]}})
    trino.answers = [last_page(error=LOST)]

    done = await of_table(bench)

    assert (done.error, "compactions" in done.counts) == (None, False)
    assert "overtaken" in done.notes[0]
    trino.answers = [DONE, DONE]
    assert [one.counts["compactions"] for one in await bench.maintain() if one.target == "lakehouse.t"] == [1]


async def test_trino_away_is_told_and_takes_no_row(
    bench: KeptBench, trino: FakeTrino, logs: list[MutableMapping[str, Any]]
) -> None:
    for number in range(3):
        await bench.put({f"t/{number}.csv": {"n": [number]}})
    trino.answers = [(500, "")]

    done = await of_table(bench)

    assert done.error is not None
    assert done.error.startswith("TrinoAway: Trino at http://127.0.0.1:")
    assert trino.answers == []
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["table.not_maintained"]
    await bench.put({"t/3.csv": {"n": [3]}})
    assert bench.rows("lakehouse.t", "n") == [(f"t/{number}.csv", number) for number in range(4)]
