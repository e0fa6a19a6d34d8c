"""Who reads together, and who alone."""

from __future__ import annotations

import asyncio

from consumer.gate import Gate, Pass
from tests.virtual_loop import virtual


async def turns(count: int = 10) -> None:
    """Let everybody who can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


class Visitor:
    """A task that enters and stays until told to leave."""

    def __init__(self, gate: Gate, *, alone: bool = False) -> None:
        self.entry: Pass | None = None
        self.task = asyncio.create_task(self._enter(gate, alone))

    async def _enter(self, gate: Gate, alone: bool) -> None:
        self.entry = await gate.enter(alone=alone)

    @property
    def inside(self) -> bool:
        return self.entry is not None

    def leave(self) -> None:
        assert self.entry is not None
        self.entry.leave()


@virtual
async def test_many_read_together() -> None:
    gate = Gate()
    visitors = [Visitor(gate) for _ in range(3)]
    await turns()

    assert all(visitor.inside for visitor in visitors)


@virtual
async def test_one_alone_waits_until_the_room_is_empty() -> None:
    gate = Gate()
    first, second = Visitor(gate), Visitor(gate)
    await turns()
    lone = Visitor(gate, alone=True)
    await turns()
    first.leave()
    await turns()
    assert not lone.inside

    second.leave()
    await turns()
    assert lone.inside


@virtual
async def test_nobody_enters_beside_one_alone() -> None:
    gate = Gate()
    lone = Visitor(gate, alone=True)
    await turns()
    other, another = Visitor(gate), Visitor(gate, alone=True)
    await turns()
    assert (lone.inside, other.inside, another.inside) == (True, False, False)

    lone.leave()
    await turns()
    assert (other.inside, another.inside) == (False, True)

    another.leave()
    await turns()
    assert other.inside


@virtual
async def test_a_steady_stream_of_others_does_not_keep_one_alone_out() -> None:
    gate = Gate()
    early = Visitor(gate)
    await turns()
    lone = Visitor(gate, alone=True)
    await turns()
    late = Visitor(gate)
    await turns()
    assert not late.inside

    early.leave()
    await turns()
    assert (lone.inside, late.inside) == (True, False)


@virtual
async def test_leaving_twice_counts_once() -> None:
    gate = Gate()
    first, second = Visitor(gate), Visitor(gate)
    await turns()
    first.leave()
    first.leave()
    lone = Visitor(gate, alone=True)
    await turns()
    assert not lone.inside

    second.leave()
    await turns()
    assert lone.inside


@virtual
async def test_one_alone_who_gives_up_lets_the_others_in() -> None:
    gate = Gate()
    early = Visitor(gate)
    await turns()
    lone, late = Visitor(gate, alone=True), Visitor(gate)
    await turns()
    lone.task.cancel()
    await turns()

    assert late.inside
    early.leave()


@virtual
async def test_one_who_gives_up_while_being_admitted_leaves_again() -> None:
    gate = Gate()
    early = Visitor(gate)
    await turns()
    lone, late = Visitor(gate, alone=True), Visitor(gate)
    await turns()
    early.leave()  # admits the lone one, whose task has not run yet
    lone.task.cancel()
    await turns()

    assert late.inside


@virtual
async def test_one_who_gave_up_is_passed_over() -> None:
    gate = Gate()
    early = Visitor(gate)
    await turns()
    lone, late = Visitor(gate, alone=True), Visitor(gate)
    await turns()
    lone.task.cancel()  # its place in the line is still there
    early.leave()
    await turns()
    assert (lone.inside, late.inside) == (False, True)

    another = Visitor(gate, alone=True)
    late.leave()
    await turns()
    assert another.inside


@virtual
async def test_one_of_many_who_gave_up_is_passed_over() -> None:
    gate = Gate()
    lone = Visitor(gate, alone=True)
    await turns()
    gone, stays = Visitor(gate), Visitor(gate)
    await turns()
    gone.task.cancel()
    lone.leave()
    await turns()

    assert (gone.inside, stays.inside) == (False, True)
    last = Visitor(gate, alone=True)
    stays.leave()
    await turns()
    assert last.inside
