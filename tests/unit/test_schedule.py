"""Periodic work: when it is due, in one process at a time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from consumer.ledger_leases import Leases
from consumer.schedule import Schedule
from tests.rig import LEASE, rig
from tests.virtual_loop import virtual


@virtual
async def test_work_is_done_by_one_process_at_its_interval() -> None:
    async with rig() as made:
        times: list[float] = []
        loop = asyncio.get_running_loop()

        async def work() -> None:
            times.append(loop.time())
            await asyncio.sleep(20)

        schedules = [
            Schedule(Leases(made.ledger), clock=made.clock, new_id=made.ids, heartbeat_seconds=10.0) for _ in range(3)
        ]
        tasks = [asyncio.create_task(schedule.every("job", 100, work)) for schedule in schedules]
        await asyncio.sleep(500)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(times) == 5
        assert all(120 <= gap <= 130 for gap in gaps)


@virtual
async def test_work_that_fails_is_done_again_at_its_next_time() -> None:
    async with rig() as made:
        calls = 0

        async def work() -> None:
            nonlocal calls
            calls += 1
            raise ValueError("no")

        task = asyncio.create_task(made.schedule.every("job", 100, work))
        await asyncio.sleep(350)
        task.cancel()

        assert calls == 4


@virtual
async def test_lease_of_a_dead_process_is_taken_when_it_ends() -> None:
    async with rig() as made:
        leases = Leases(made.ledger)
        assert await leases.take("job", "dead")
        begun = made.clock()
        async with made.schedule.turn("job"):
            waited = made.clock() - begun

        assert LEASE * 1000 <= waited <= LEASE * 1000 + 500


@virtual
async def test_lease_that_is_lost_is_not_given_back_for_its_new_holder() -> None:
    async with rig() as made:
        leases = Leases(made.ledger)
        async with made.schedule.turn("job"):
            extend = leases.extend

            async def lost(*_arguments: Any) -> bool:
                return False

            made.schedule._leases.extend = lost  # type: ignore[method-assign, assignment]  # as if the process had slept
            await asyncio.sleep(LEASE + 1)
            assert await leases.take("job", "other", due=False)
            made.schedule._leases.extend = extend  # type: ignore[method-assign]  # awake again
        assert not await leases.take("job", "third", due=False)


@virtual
async def test_lease_survives_a_ledger_that_does_not_answer_once() -> None:
    async with rig() as made:
        leases = Leases(made.ledger)
        extend, calls = leases.extend, 0

        async def flaky(*arguments: Any) -> bool:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise OSError("disk")
            return await extend(*arguments)

        made.schedule._leases.extend = flaky  # type: ignore[method-assign, assignment]  # fails once
        async with made.schedule.turn("job"):
            await asyncio.sleep(10 * LEASE)
            assert not await leases.take("job", "other", due=False)
