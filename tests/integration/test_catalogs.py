"""What commits stand on holds on every catalog: one of two wins, a lost claim writes nothing, nothing lands twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table

from handlers.contract import ClaimLost
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Plan
from tests.integration.catalogs import catalog_of
from tests.integration.conftest import NewBench
from tests.integration.trino_lake import TrinoLake, lakes
from tests.stack.server import Server
from tests.stack.trino import TrinoError
from tests.waits import wait_for

pytestmark = pytest.mark.xdist_group("lakehouse")  # where Trino runs


@pytest.fixture(params=["rest", "postgres", "sqlite", "seaweedfs"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Properties of an empty catalog; whatever was done to its tables, Trino, if it can have it, reads the same."""
    if request.param in ("rest", "postgres"):
        for lake in lakes(request.param, request, tmp_path):
            yield dict(lake.properties)
            wait_for(partial(sees_its_catalog, lake))
    else:
        yield catalog_of(request.param, request, tmp_path)


def sees_its_catalog(lake: TrinoLake) -> bool:
    """Tell whether Trino does: connections die with a server that a test killed, which it finds out by using them."""
    try:
        return bool(lake.run("SHOW SCHEMAS"))
    except TrinoError:
        return False


async def test_a_source_is_added_replaced_and_removed(new_bench: NewBench) -> None:
    bench = new_bench()
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [5_000_000_000]}, "t/c.csv": {"n": [5], "more": ["x"]}}, etag="e2")
    await bench.remove("t/b.csv")

    assert new_bench().rows("lakehouse.t", "n", "more") == [("t/a.csv", 5_000_000_000, None), ("t/c.csv", 5, "x")]


async def test_of_two_commits_against_one_state_one_wins(new_bench: NewBench) -> None:
    first, second = new_bench(), new_bench()
    await first.put({"t/a.csv": {"n": [1]}})
    loaded = [bench.table().load() for bench in (first, second)]
    assert loaded[0] is not None
    assert loaded[1] is not None
    first.table().commit(loaded[0], Plan())

    with pytest.raises(CommitConflict):
        second.table().commit(loaded[1], Plan())
    assert first.rows("lakehouse.t", "n") == [("t/a.csv", 1)]


async def test_two_committers_lose_and_double_nothing(new_bench: NewBench) -> None:
    benches = [new_bench(), new_bench()]
    await benches[0].put({"t/0.csv": {"n": [0]}})

    async def work(number: int) -> None:
        for turn in range(4):
            own = {f"t/{number}-{turn}.csv": {"n": [turn]}}
            await benches[number].put({**own, "t/contested.csv": {"n": [turn]}}, etag=f"e{turn}")

    await asyncio.gather(work(0), work(1))

    expected = ["t/0.csv", "t/contested.csv", *(f"t/{number}-{turn}.csv" for number in (0, 1) for turn in range(4))]
    assert [source for source, _ in benches[0].rows("lakehouse.t", "n")] == sorted(expected)


async def test_a_claim_that_ends_before_its_commit_writes_nothing(new_bench: NewBench) -> None:
    bench, other = new_bench(), new_bench()
    await bench.put({"t/a.csv": {"n": [1]}})

    def taken_over() -> None:
        # Between load and swap: another replica has the unit now, and has committed.
        bench.context.on_check = lambda: None
        loaded = other.table().load()
        assert loaded is not None
        other.table().commit(loaded, Plan())
        bench.context.dead.add("lost")

    bench.context.on_check = taken_over
    entries = [
        bench.entry("t/a.csv", {"n": [2]}, etag="e2", claim="lost"),
        bench.entry("t/b.csv", {"n": [3]}, etag="e2", claim="kept"),
    ]
    with pytest.raises(ClaimLost):
        await bench.submit(entries)
    await entries[1].outcome

    assert "lost" in bench.context.dead, "the claim ended"
    assert other.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/b.csv", 3)]


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("catalog", ["rest", "postgres"], indirect=True)
async def test_a_catalog_killed_during_a_commit_loses_and_doubles_nothing(
    request: pytest.FixtureRequest,
    new_bench: NewBench,
    monkeypatch: pytest.MonkeyPatch,
    catalog: dict[str, str],
    committed: bool,
) -> None:
    server: Server = request.getfixturevalue("rest_catalog" if catalog["type"] == "rest" else "postgres")
    bench = new_bench()
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    commit = Table._do_commit
    killed: list[bool] = []

    def while_it_is_killed(table: Table, *args: Any) -> None:
        if killed:
            commit(table, *args)
            return
        if committed:
            commit(table, *args)
        server.kill()
        killed.append(not server.running)
        try:
            if committed:
                raise ConnectionResetError
            commit(table, *args)
        finally:
            server.start()

    monkeypatch.setattr(Table, "_do_commit", while_it_is_killed)
    snapshots = len(bench.loaded().metadata.snapshots)
    await bench.put({"t/a.csv": {"n": [4]}, "t/c.csv": {"n": [5]}}, etag="e2")

    assert killed == [True]
    assert len(bench.loaded().metadata.snapshots) == snapshots + (2 if committed else 1)
    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 4), ("t/b.csv", 3), ("t/c.csv", 5)]


async def test_a_commit_whose_answer_is_lost_is_planned_again_and_doubles_nothing(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench()
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    commit = Table._do_commit
    fired: list[str] = []

    def without_answer(table: Table, *args: Any) -> None:
        commit(table, *args)
        if not fired:
            fired.append("the answer was lost")
            raise ConnectionResetError

    monkeypatch.setattr(Table, "_do_commit", without_answer)
    snapshots = len(bench.loaded().metadata.snapshots)
    await bench.put({"t/a.csv": {"n": [4]}, "t/c.csv": {"n": [5]}}, etag="e2")

    assert fired == ["the answer was lost"]
    assert len(bench.loaded().metadata.snapshots) == snapshots + 2
    assert new_bench().rows("lakehouse.t", "n") == [("t/a.csv", 4), ("t/b.csv", 3), ("t/c.csv", 5)]
