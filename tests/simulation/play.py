"""
Plays one schedule: the same seed and scenario always give the same one.

Processes work while objects change and faults strike; then faults stop, and promises are checked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.scenario import Scenario
from tests.simulation.schedule import Schedule
from tests.simulation.world import Over, Violation, World
from tests.virtual_loop import VirtualLoop, end_tasks


@dataclass
class Result:
    """How a schedule went."""

    violation: str | None
    fired: Counter[str]
    trace: str = field(repr=False)
    steps: int
    seconds: float
    """Virtual."""


def play(seed: int, scenario: Scenario) -> Result:
    """Run one schedule to its end."""
    loop = VirtualLoop()
    world = World(seed, scenario.faults, loop)
    loop.shuffle(world.chance)
    schedule = Schedule(scenario, world)

    async def main() -> None:
        try:
            await schedule.play()
            if not world.violation:
                await schedule.check()
        except Over:
            pass
        finally:
            trace.append(world.trace())
            steps.append(loop.steps)
            world.over = True
            for replica in world.processes:
                replica.dead = replica.stopped = False
                loop.resume(replica)
            await end_tasks()

    trace: list[str] = []
    steps: list[int] = []
    asyncio.set_event_loop(None)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return Result(world.violation, world.fired, trace[0], steps[0], loop.time())


def require(seed: int, scenario: Scenario, command: str) -> Result:
    """
    Run one schedule.

    Raises:
        Violation: With the trace, and the command that plays the schedule again.
    """
    result = play(seed, scenario)
    if result.violation:
        raise Violation(f"{result.violation}\n\n{result.trace}\n\nagain: LAKEDROP_SIM_SEED={seed} {command}")
    return result
