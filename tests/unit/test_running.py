"""Parts of a process outlive the servers they need, and nothing else."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from consumer.broker_port import BrokerUnavailable
from consumer.kept_up import PAUSES, WELL, kept_up
from consumer.local_broker import LocalBroker
from consumer.own_hints import OwnHints
from consumer.running import Running
from consumer.workitem import DEAD_INGRESS, Message, bulk_queue, dead_queue, work_queue
from handlers.contract import TransientError
from tests.virtual_loop import virtual


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_part_is_begun_again_with_growing_pauses_while_a_server_is_away() -> None:
    begun: list[float] = []

    async def part() -> str:
        begun.append(now())
        if len(begun) <= len(PAUSES) + 1:
            raise TransientError("the server is away")
        return "done"

    assert await kept_up("part", part) == "done"

    pauses = [after - before for before, after in pairwise(begun)]
    assert pauses == pytest.approx([*PAUSES, PAUSES[-1]])


@virtual
async def test_fault_after_a_long_time_is_a_new_one() -> None:
    begun: list[float] = []

    async def part() -> None:
        begun.append(now())
        if len(begun) == 4:
            return
        if len(begun) == 3:
            await asyncio.sleep(WELL + 1)
        raise TransientError("the server is away")

    await kept_up("part", part)

    assert begun[3] - begun[2] == pytest.approx(WELL + 1 + PAUSES[0])


@virtual
async def test_fault_of_the_program_ends_the_process() -> None:
    running = Running()

    async def part() -> None:
        raise KeyError("a bug")

    running.start("part", part)

    with pytest.raises(KeyError, match="a bug"):
        await running.until(asyncio.Event())


@virtual
async def test_part_that_ends_by_itself_ends_the_process() -> None:
    running = Running()

    async def part() -> None:
        return

    running.start("part", part)

    with pytest.raises(RuntimeError, match="part ended by itself"):
        await running.until(asyncio.Event())


@virtual
async def test_lasting_part_goes_on_while_work_is_finished() -> None:
    running = Running()
    forever = asyncio.Event()

    async def part() -> None:
        await forever.wait()

    working = running.start("working", part)
    lasting = running.start("lasting", part, lasting=True)
    await running.stop_work()
    assert (working.done(), lasting.done()) == (True, False)

    await running.stop()

    assert lasting.done()


async def test_command_keeps_its_hints_and_shares_its_dead_letters() -> None:
    shared = LocalBroker()
    broker = OwnHints(shared)
    message = Message(b"", "", {}, "1")

    for queue in (work_queue("h"), bulk_queue("h"), dead_queue("h"), DEAD_INGRESS):
        await broker.publish(queue, message)

    own = (work_queue("h"), bulk_queue("h"))
    assert [await broker.depth(queue) for queue in own] == [1, 1]
    assert [await shared.depth(queue) for queue in (*own, dead_queue("h"), DEAD_INGRESS)] == [0, 0, 1, 1]
    assert await broker.depth(DEAD_INGRESS) == 1
    await broker.aclose()
    with pytest.raises(BrokerUnavailable):
        await broker.ping()
