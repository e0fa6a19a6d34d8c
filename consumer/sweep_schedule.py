"""Sweeps that come round by themselves: each area in its own time, one process at a time."""

from __future__ import annotations

import asyncio
from functools import partial

from consumer.schedule import Schedule
from consumer.sweep import Sweeper
from consumer.sweep_areas import Area


async def sweep_by_schedule(sweeper: Sweeper, schedule: Schedule, seconds: float) -> None:
    """
    Sweep what is due until cancelled, each area every `sweep_seconds` of its routes, all others every `seconds`.

    A sweep that another process was cut off in is finished first.
    """
    together: dict[str, list[Area]] = {}
    for area in sweeper.areas:
        together.setdefault(area.lease, []).append(area)
    await asyncio.gather(
        *(
            schedule.every(lease, areas[0].seconds or seconds, partial(sweeper.sweep_now, areas, resume=True))
            for lease, areas in together.items()
        )
    )
