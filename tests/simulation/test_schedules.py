"""
Schedules drawn from seeds keep every promise.

LAKEDROP_SIM_SCHEDULES is their number, LAKEDROP_SIM_SEED plays a single one again.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.simulation.play import require
from tests.simulation.scenario import DISTANT, EVERYTHING, KILLER, NOBODY_DIES, PERSON
from tests.simulation.world import BOUNDARIES

SCHEDULES = int(os.environ.get("LAKEDROP_SIM_SCHEDULES", "200"))
SEED = os.environ.get("LAKEDROP_SIM_SEED")

BATCH = 200
"""Schedules of one round of tests; enough that every fault strikes at least once in the first."""

SCENARIOS = {
    "everything": (EVERYTHING, 0.6, {*BOUNDARIES, *PERSON, "deleted", "recreated", "lost event"}),
    "killer": (KILLER, 0.1, {"killer", "lost event"}),
    "distant": (DISTANT, 0.2, {"sink away", "outage", "restart", "doubled"}),
    "nobody_dies": (NOBODY_DIES, 0.1, {"restart", "meddle", "unknown landed", "unknown late", "doubled", "late"}),
}
"""Scenario, its share of the schedules, and what has to happen in it."""


@pytest.mark.parametrize("batch", range(max(1, -(-SCHEDULES // BATCH))))
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_schedule_keeps_the_promises(name: str, batch: int) -> None:
    scenario, share, expected = SCENARIOS[name]
    command = f"pytest tests/simulation -k {name}"
    if SEED is not None:
        require(int(SEED), scenario, command)
        return
    first, end = (round(number * share) for number in (batch * BATCH, min((batch + 1) * BATCH, SCHEDULES)))
    fired: Counter[str] = Counter()
    for seed in range(first, max(first + 1, end)):
        fired += require(seed, scenario, command).fired
    if batch == 0 and SCHEDULES >= BATCH:
        assert not expected - fired.keys(), f"never happened: {sorted(expected - fired.keys())}"


def test_same_seed_gives_the_same_schedule() -> None:
    first, second = (require(7, EVERYTHING, "") for _ in range(2))

    assert (first.trace, first.steps, first.fired) == (second.trace, second.steps, second.fired)
