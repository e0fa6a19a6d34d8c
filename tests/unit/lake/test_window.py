"""When commit windows close, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Literal

import pytest

from handlers.contract import ClaimLost, TransientError
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.lake.committer import TableCommitter, WindowLimits
from handlers.csv_to_iceberg.lake.shape import Shape
from tests.unit.lake.memory_table import (
    InlineContext,
    MemoryStaged,
    MemoryState,
    MemoryTable,
    memory_entry,
    one_row,
    run_virtual,
)

Committer = TableCommitter[MemoryState, MemoryStaged]


class Setup:
    def __init__(self, *, seconds: float = 1.0, files: int = 2000, size: int = 1000) -> None:
        self.table = MemoryTable()
        self.context = InlineContext()
        self.committer: Committer = TableCommitter(
            self.table, one_row, self.context, WindowLimits(seconds, files, size)
        )

    async def apply(self, key: str, *, reading: float = 0.0, start: float = 0.0, size: int = 1) -> float:
        """Do what an apply does; return when its outcome came."""
        await asyncio.sleep(start)
        with self.committer.expected():
            await asyncio.sleep(reading)
        await self.committer.submit(memory_entry(key, claim=key, size=size))
        return asyncio.get_running_loop().time()


def test_a_lone_file_is_committed_at_once() -> None:
    async def scenario() -> None:
        setup = Setup()
        assert await setup.apply("t/a.csv", start=5.0) == 5.0

    run_virtual(scenario())


def test_files_read_together_are_committed_together() -> None:
    async def scenario() -> None:
        setup = Setup()
        times = await asyncio.gather(*(setup.apply(f"t/{n}.csv", reading=n / 100) for n in range(10)))
        assert times == [0.09] * 10
        assert setup.table.commits == [(0.09, 10)]

    run_virtual(scenario())


def test_a_window_does_not_wait_longer_than_its_time_for_a_slow_file() -> None:
    async def scenario() -> None:
        setup = Setup()
        fast, slow = await asyncio.gather(setup.apply("t/a.csv"), setup.apply("t/b.csv", reading=3.0))
        assert (fast, slow) == (1.0, 3.0)

    run_virtual(scenario())


def test_under_load_a_table_gets_one_commit_a_second() -> None:
    async def scenario() -> None:
        setup = Setup()
        waits = await asyncio.gather(*(_wait(setup, n / 20) for n in range(200)))
        assert len(setup.table.commits) <= 11
        assert max(waits) <= 1.0 + 1e-6
        assert sum(claims for _, claims in setup.table.commits) == 200

    async def _wait(setup: Setup, start: float) -> float:
        return await setup.apply(f"t/{start}.csv", start=start) - start

    run_virtual(scenario())


def test_a_full_window_closes_before_its_time() -> None:
    async def scenario() -> None:
        by_files, by_bytes = Setup(files=5), Setup(size=50)
        await asyncio.gather(
            *(by_files.apply(f"t/{n}.csv") for n in range(5)),
            by_files.apply("t/slow.csv", reading=9.0),
            *(by_bytes.apply(f"t/{n}.csv", size=10) for n in range(5)),
            by_bytes.apply("t/slow.csv", reading=9.0),
        )
        assert by_files.table.commits[0] == (0.0, 5)
        assert by_bytes.table.commits[0] == (0.0, 5)

    run_virtual(scenario())


def test_windows_that_fill_fast_share_one_commit_a_second() -> None:
    async def scenario() -> None:
        setup = Setup(size=5)
        waits = await asyncio.gather(*(_wait(setup, n / 100) for n in range(400)))
        times = [time for time, _ in setup.table.commits]
        assert min(later - earlier for earlier, later in pairwise(times)) >= 1.0 - 1e-6
        assert len(times) <= 6
        assert sum(claims for _, claims in setup.table.commits) == 400
        assert max(waits) <= 1.0 + 5 / 100  # five files fill a window, a hundred come in a second

    async def _wait(setup: Setup, start: float) -> float:
        return await setup.apply(f"t/{start}.csv", start=start) - start

    run_virtual(scenario())


def test_a_commit_takes_no_more_files_than_it_may_have() -> None:
    async def scenario() -> None:
        setup = Setup(files=4)
        times = await asyncio.gather(*(setup.apply(f"t/{n}.csv") for n in range(10)))
        assert setup.table.commits == [(0.0, 4), (1.0, 4), (2.0, 2)]
        assert times == [0.0] * 4 + [1.0] * 4 + [2.0] * 2  # the oldest first

    run_virtual(scenario())


def test_windows_share_a_commit_up_to_the_files_it_may_have() -> None:
    async def scenario() -> None:
        setup = Setup(files=4, size=30)
        await setup.apply("t/first.csv")
        # Three windows, full by their bytes, with 3, 1 and 3 files.
        sizes = [10, 10, 10, 30, 10, 10, 10]
        await asyncio.gather(
            *(setup.apply(f"t/{n}.csv", size=size, start=n / 20) for n, size in enumerate(sizes)),
            setup.apply("t/last.csv", start=5.0),
        )
        assert setup.table.commits == [(0.0, 1), (1.0, 4), (2.0, 3), (5.0, 1)]

    run_virtual(scenario())


def test_large_files_and_removals_commit_with_the_others() -> None:
    async def scenario() -> None:
        setup = Setup(size=5)

        async def other(number: int, mode: Literal["replace", "remove", "keep"]) -> None:
            await asyncio.sleep(number / 7)
            entry = memory_entry(f"t/{mode}{number}.csv", claim=f"{mode}{number}")
            entry.file, entry.mode = None, mode
            if mode == "replace":
                entry.own = MemoryStaged(Shape.new({"n": ColumnType.INTEGER}), [(entry.key, "e", 1)])
            await setup.committer.submit(entry)

        await asyncio.gather(
            *(setup.apply(f"t/{n}.csv", start=n / 50) for n in range(200)),
            *(other(n, "replace") for n in range(28)),
            *(other(n, "remove") for n in range(28)),
            *(other(n, "keep") for n in range(28)),
        )
        times = [time for time, _ in setup.table.commits]
        assert min(later - earlier for earlier, later in pairwise(times)) >= 1.0 - 1e-6
        assert len(times) <= 6
        assert setup.table.state is not None
        assert len(setup.table.state.rows) == 228

    run_virtual(scenario())


def test_each_table_has_windows_of_its_own() -> None:
    async def scenario() -> None:
        setups = [Setup(size=5) for _ in range(3)]
        await asyncio.gather(*(setup.apply(f"t/{n}.csv", start=n / 50) for setup in setups for n in range(200)))
        for setup in setups:
            times = [time for time, _ in setup.table.commits]
            assert min(later - earlier for earlier, later in pairwise(times)) >= 1.0 - 1e-6
            assert len(times) <= 6

    run_virtual(scenario())


def test_of_one_key_in_two_windows_of_a_commit_the_later_is_committed() -> None:
    async def scenario() -> None:
        setup = Setup(size=1)
        await setup.apply("t/first.csv")
        old = asyncio.ensure_future(setup.committer.submit(memory_entry("t/a.csv", claim="old")))
        await asyncio.sleep(0.1)
        await setup.committer.submit(memory_entry("t/a.csv", claim="new"))
        with pytest.raises(ClaimLost):
            await old
        assert setup.table.commits == [(0.0, 1), (1.0, 1)]

    run_virtual(scenario())


def test_closing_does_not_wait_for_the_next_second() -> None:
    async def scenario() -> None:
        setup = Setup(files=1)
        await setup.apply("t/first.csv")
        second = asyncio.ensure_future(setup.apply("t/second.csv"))
        await asyncio.sleep(0.1)
        await setup.committer.aclose()
        assert await second == pytest.approx(0.1)

    run_virtual(scenario())


def test_a_cancelled_apply_is_taken_out_of_the_open_window() -> None:
    async def scenario() -> None:
        setup = Setup()
        slow = asyncio.ensure_future(setup.apply("t/slow.csv", reading=0.5))
        gone = asyncio.ensure_future(setup.apply("t/gone.csv"))
        await asyncio.sleep(0.1)
        gone.cancel()
        await slow
        assert setup.table.state is not None
        assert set(setup.table.state.rows) == {"t/slow.csv"}

    run_virtual(scenario())


def test_a_conflict_is_tried_again_until_a_commit_of_ours_succeeds() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.table.conflicts = 4
        assert await setup.apply("t/a.csv") > 0
        assert len(setup.table.commits) == 1
        # Every try loads, then checks, then commits.
        calls = [name for lane, name in setup.context.runs if lane == "commit"]
        assert calls == ["load", "create", "stage", *["load", "commit"] * 5]

    run_virtual(scenario())


def test_the_next_window_is_cooked_while_one_is_being_committed() -> None:
    async def scenario() -> None:
        setup = Setup(seconds=0.0)
        setup.table.conflicts = 6
        await asyncio.gather(setup.apply("t/a.csv"), setup.apply("t/b.csv", start=0.001))
        names = [name for _, name in setup.context.runs]
        second_cook = [number for number, (lane, _) in enumerate(setup.context.runs) if lane == "cpu"][1]
        assert names.index("commit") < second_cook < len(names) - 1 - names[::-1].index("commit")
        assert len(setup.table.commits) == 2

    run_virtual(scenario())


def test_closing_fails_what_has_not_begun_and_finishes_what_has() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.table.conflicts = 2
        begun = asyncio.ensure_future(setup.apply("t/begun.csv"))
        await asyncio.sleep(0.005)
        waiting = asyncio.ensure_future(setup.apply("t/waiting.csv"))
        await asyncio.sleep(0.001)
        await setup.committer.aclose()
        await begun
        with pytest.raises(TransientError, match="stopping"):
            await waiting
        assert setup.table.state is not None
        assert set(setup.table.state.rows) == {"t/begun.csv"}

    run_virtual(scenario())
