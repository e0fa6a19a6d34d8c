"""Processes whose clocks differ commit to one table."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handlers.csv_to_iceberg.lake.expiry import CLOCKS_APART
from tests.unit.lake.upkeep import KeptBench

ALWAYS = {"snapshots_kept": 1, "expire_every": 1}
NEVER = {"expire_every": 1000}


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[tuple[KeptBench, KeptBench]]:
    """One whose clock can be set ahead, and one that expires snapshots after every commit."""
    made = KeptBench(tmp_path, **NEVER), KeptBench(tmp_path, **ALWAYS)
    yield made
    for bench in made:
        bench.close()


async def test_times_of_snapshots_go_on_from_the_last_one_whatever_a_clock_says(
    benches: tuple[KeptBench, KeptBench],
) -> None:
    fast, slow = benches
    fast.context.ahead = CLOCKS_APART * 9 // 10  # others are behind it for as long as this test takes
    await fast.put({"t/a.csv": {"n": [1]}})
    at = fast.loaded().metadata.snapshot_log[-1].timestamp_ms
    assert at > slow.context.clock()
    # PyIceberg gives its own commits the machine's time: the table seems older than its snapshot.
    with fast.loaded().transaction() as transaction:
        transaction.set_properties({"note": "x"})
    assert fast.loaded().metadata.last_updated_ms < at

    await slow.put({"t/b.csv": {"n": [2]}})
    await slow.put({"t/c.csv": {"n": [3]}})

    assert slow.loaded().metadata.snapshot_log[-1].timestamp_ms == at + 2
    assert len(slow.loaded().metadata.snapshots) == 1


async def test_no_snapshot_is_expired_at_a_time_that_others_would_not_read(
    benches: tuple[KeptBench, KeptBench], logs: list[MutableMapping[str, Any]]
) -> None:
    fast, slow = benches
    fast.context.ahead = 10 * CLOCKS_APART
    await fast.put({"t/a.csv": {"n": [1]}})
    await slow.put({"t/b.csv": {"n": [2]}})

    metadata = slow.loaded().metadata
    times = [entry.timestamp_ms for entry in metadata.snapshot_log]
    assert times[0] > slow.context.clock() + 9 * CLOCKS_APART
    assert all(one < other for one, other in pairwise(times))
    assert metadata.last_updated_ms == times[-1]
    assert [entry["event"] for entry in logs].count("snapshots.not_expired") == 1

    slow.context.ahead = 10 * CLOCKS_APART
    await slow.put({"t/b.csv": {"n": [3]}})
    assert len(slow.loaded().metadata.snapshots) == 1
