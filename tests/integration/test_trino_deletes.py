"""Tables with position deletes of ours are read alike by Trino, PyIceberg, DuckDB and polars, whoever compacts them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.integration.trino_lake import TABLE, TrinoLake
from tests.stack.trino import TrinoError
from tests.unit.lake.upkeep import KeptBench, Rows

pytestmark = pytest.mark.slow

Sources = dict[str, tuple[str, list[int]]]

HOUR: Final = 3_600_000


def expected(sources: Sources) -> Rows:
    return sorted([(key, etag, n) for key, (etag, numbers) in sources.items() for n in numbers], key=repr)


def delete_files(bench: KeptBench) -> int:
    """Return how many delete files the newest snapshot has."""
    return sum(len(task.delete_files) for task in bench.loaded().scan().plan_files())


def is_overtaken(error: object) -> bool:
    """Tell whether Trino gave up because somebody else committed meanwhile, or expired the snapshot that it read."""
    reason = str(error)
    return "commit" in reason.lower() or "Missing required files" in reason or "Snapshot.summary()" in reason


def optimized(lake: TrinoLake) -> bool:
    """Have Trino compact the table; tell whether it did."""
    try:
        lake.execute("optimize")
    except TrinoError as error:
        if not is_overtaken(error):
            raise
        return False
    return True


async def change(bench: KeptBench, sources: Sources, chance: random.Random, step: int, *, folder: str = "t") -> None:
    """Add, replace and remove sources, some of each."""
    keys = sorted({f"{folder}/{chance.randrange(30):02}.csv" for _ in range(12)})
    files = {key: [chance.randrange(1000) for _ in range(chance.randrange(1, 6))] for key in keys}
    await bench.put({key: {"n": numbers} for key, numbers in files.items()}, etag=f"e{step}")
    sources |= {key: (f"e{step}", numbers) for key, numbers in files.items()}
    gone = chance.sample(sorted(sources), 2)
    await bench.remove(*gone)
    for key in gone:
        del sources[key]


async def test_all_readers_agree_before_and_after_our_compaction(lake: TrinoLake) -> None:
    chance = random.Random(1)  # noqa: S311  # a repeatable test
    sources: Sources = {}
    bench = lake.bench()
    for step in range(5):
        await change(bench, sources, chance, step)
    assert delete_files(bench) > 1
    assert lake.agreed(bench) == expected(sources)

    bench.prepared().swap()

    assert delete_files(bench) == 0
    assert len(bench.files()) == 1
    assert lake.agreed(bench) == expected(sources)
    await change(bench, sources, chance, 5)
    assert delete_files(bench) > 0
    assert lake.agreed(bench) == expected(sources)


async def test_all_readers_agree_after_trino_compacted_and_we_replaced_after_it(lake: TrinoLake) -> None:
    chance = random.Random(2)  # noqa: S311  # a repeatable test
    sources: Sources = {}
    bench = lake.bench()
    for step in range(4):
        await change(bench, sources, chance, step)
    assert delete_files(bench) > 1

    lake.execute("optimize")

    assert delete_files(bench) == 0
    assert len(bench.files()) == 1
    assert lake.agreed(bench) == expected(sources)
    for step in range(4, 7):
        await change(bench, sources, chance, step)
        assert lake.agreed(bench) == expected(sources)
    assert delete_files(bench) > 0
    bench.prepared().swap()
    assert lake.agreed(bench) == expected(sources)


async def test_a_merged_delete_file_is_read_alike(lake: TrinoLake) -> None:
    sources: Sources = {f"t/{key:02}.csv": ("e1", [key, key + 100]) for key in range(40)}
    bench = lake.bench(compact_delete_files=1.0)
    await bench.put({key: {"n": numbers} for key, (_, numbers) in sources.items()})
    for key in list(sources)[:6]:
        await bench.remove(key)
        del sources[key]
    assert delete_files(bench) == 6
    assert lake.agreed(bench) == expected(sources)

    await bench.maintain()

    assert delete_files(bench) == 1
    assert lake.agreed(bench) == expected(sources)


async def test_trino_sees_columns_that_came_and_types_that_widened(lake: TrinoLake) -> None:
    bench = lake.bench()
    await bench.put({f"t/{key}.csv": {"n": [key]} for key in range(3)})
    assert dict(row[:2] for row in lake.run("DESCRIBE t"))["n"] == "integer"
    await bench.put({"t/1.csv": {"n": [5_000_000_000], "late": ["x"]}}, etag="e2")

    assert dict(row[:2] for row in lake.run("DESCRIBE t"))["n"] == "bigint"
    assert lake.agreed(bench, "_source_file", "n", "late") == [
        ("t/0.csv", 0, None),
        ("t/1.csv", 5_000_000_000, "x"),
        ("t/2.csv", 2, None),
    ]


async def test_trino_compacts_while_we_replace_and_nothing_is_lost_or_doubled(lake: TrinoLake) -> None:
    chance = random.Random(3)  # noqa: S311  # a repeatable test
    sources: Sources = {}
    bench = lake.bench()
    await change(bench, sources, chance, 0)
    writing = True
    ended: list[str] = []

    def compact() -> None:
        while writing or not ended:
            try:
                lake.execute("optimize")
            except TrinoError as error:
                ended.append(str(error))
            else:
                ended.append("")

    compacting = asyncio.create_task(asyncio.to_thread(compact))
    for step in range(1, 8):
        await change(bench, sources, chance, step)
    writing = False
    await compacting

    assert ended
    lost = [reason for reason in ended if reason]
    assert all(map(is_overtaken, lost)), lost
    assert lake.agreed(bench) == expected(sources)
    lake.execute("optimize")
    await change(bench, sources, chance, 8)
    assert lake.agreed(bench) == expected(sources)


async def test_maintenance_by_us_and_by_trino_changes_no_row_while_two_write(
    rest_lake: TrinoLake, tmp_path: Path
) -> None:
    lake = rest_lake
    writers = tuple(lake.bench(snapshots_kept=1, expire_every=1) for _ in range(2))
    sources: tuple[Sources, Sources] = ({}, {})
    bench = writers[0]
    # A home of their own, where nobody with another clock notes which files nothing refers to; never compacts.
    noted, later = (lake.bench(tmp_path / "later", compact_small_files=1 << 20) for _ in range(2))
    later.context.ahead = 2 * HOUR
    for step in range(3):
        await change(bench, sources[0], random.Random(step), step, folder="t/0")  # noqa: S311  # a repeatable test
    bench.prepared().swap()
    (found,) = await noted.maintain([TABLE])
    maintained = asyncio.Event()
    pause = 1.0
    done: Counter[str] = Counter()

    async def write(number: int) -> None:
        chance = random.Random(10 + number)  # noqa: S311  # a repeatable test
        step = 3
        while step < 6 or not maintained.is_set():
            await change(writers[number], sources[number], chance, step, folder=f"t/{number}")
            step += 1
            await asyncio.sleep(pause)  # how much Trino has to keep up with

    async def keep_up() -> None:
        ours = lake.bench(compact_small_files=8)
        while not done["compactions"]:
            (upkeep,) = await ours.maintain([TABLE])
            done.update(upkeep.counts)

    async def keep_up_by_trino() -> None:
        nonlocal pause
        while not await asyncio.to_thread(optimized, lake):
            pause *= 2
        # Younger files may be on their way into the table: no commit takes as long.
        await asyncio.to_thread(lake.execute, "remove_orphan_files(retention_threshold => '60s')")

    (first,) = bench.loaded().snapshots()[:1]
    async with asyncio.timeout(480):
        writing = [asyncio.create_task(write(number)) for number in range(2)]
        try:
            (cleaned,), _, _ = await asyncio.gather(later.maintain([TABLE]), keep_up(), keep_up_by_trino())
        finally:
            maintained.set()
            await asyncio.gather(*writing)

    assert found.counts["files_unreferenced"] > 0
    assert cleaned.counts["files_deleted"] > 0
    assert first not in bench.loaded().snapshots(), "writers expire what they leave behind"
    assert lake.agreed(bench) == expected(sources[0] | sources[1])
