"""How fast hints of many units are handed over."""

import asyncio

from consumer.pace import SLACK, Pace
from tests.virtual_loop import virtual


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_turns_are_evenly_spaced_and_no_more_than_the_rate() -> None:
    pace = Pace(4)
    times = []
    for _ in range(9):
        await pace.turn()
        times.append(now())

    assert times == [number * 0.25 for number in range(9)]


@virtual
async def test_turns_taken_side_by_side_come_at_the_same_rate_in_their_order() -> None:
    pace = Pace(2)
    came: list[int] = []

    async def taker(number: int) -> None:
        await pace.turn()
        came.append(number)

    await asyncio.gather(*(taker(number) for number in range(21)))

    assert came == list(range(21))
    assert now() == 20 / 2


@virtual
async def test_time_in_which_nobody_asked_is_not_made_up_for() -> None:
    pace = Pace(1)
    await pace.turn()
    await asyncio.sleep(3600)
    begun = now()
    for _ in range(11):
        await pace.turn()

    assert now() - begun == 10


@virtual
async def test_timers_that_ring_late_do_not_lower_the_rate() -> None:
    pace = Pace(1000)
    for _ in range(2000):
        await pace.turn()
        await asyncio.sleep(0.0005)  # the work between two turns, and what a timer is late by

    assert 2 - SLACK <= now() <= 2


@virtual
async def test_without_a_rate_nobody_waits() -> None:
    pace = Pace(None)
    for _ in range(1000):
        await pace.turn()

    assert now() == 0
