"""The bound on bytes in memory."""

from __future__ import annotations

import asyncio

from handlers.csv_to_iceberg.lake.budget import ByteBudget


async def test_who_asks_for_more_than_there_is_waits_its_turn() -> None:
    budget = ByteBudget(10)
    order: list[str] = []
    gate = asyncio.Event()

    async def user(name: str, size: int) -> None:
        async with budget.hold(size):
            order.append(name)
            await gate.wait()

    tasks = [asyncio.ensure_future(user(*each)) for each in (("a", 6), ("b", 6), ("c", 1))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["a"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]


async def test_a_size_beyond_the_budget_gets_all_of_it() -> None:
    budget = ByteBudget(10)
    async with budget.hold(1000):
        pass
    async with budget.hold(10):
        pass


async def test_a_cancelled_waiter_lets_those_behind_it_pass() -> None:
    budget = ByteBudget(10)
    passed = asyncio.Event()

    async def user(size: int) -> None:
        async with budget.hold(size):
            passed.set()

    async with budget.hold(5):
        large = asyncio.ensure_future(user(10))
        await asyncio.sleep(0)
        small = asyncio.ensure_future(user(5))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait([large])
        await small
    assert passed.is_set()
    async with budget.hold(10):
        pass


async def test_a_waiter_cancelled_as_its_turn_came_gives_it_back() -> None:
    budget = ByteBudget(10)
    holding = budget.hold(10)
    await holding.__aenter__()

    async def user() -> None:
        async with budget.hold(10):
            raise AssertionError

    waiting = asyncio.ensure_future(user())
    await asyncio.sleep(0)
    await holding.__aexit__(None, None, None)
    waiting.cancel()
    await asyncio.wait([waiting])
    async with budget.hold(10):
        pass


async def test_waiters_cancelled_as_bytes_are_given_back_end_cancelled_and_later_ones_are_served() -> None:
    budget = ByteBudget(10)
    served: list[str] = []
    late_served = asyncio.Event()

    async def user(name: str) -> None:
        async with budget.hold(10):
            served.append(name)
            if name == "late":
                late_served.set()
            await asyncio.Event().wait()

    tasks = [asyncio.ensure_future(user(name)) for name in "abcdef"]
    late = asyncio.ensure_future(user("late"))
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await late_served.wait()
    late.cancel()
    await asyncio.wait([late])

    assert [type(result) for result in results] == [asyncio.CancelledError] * 6
    assert served == ["a", "late"]
    async with budget.hold(10):
        pass
