"""What may happen in a schedule, and the mixtures that are played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.simulation.world import ALL_FAULTS, Faults

PERSON = ("sweep", "replay", "restart", "crash", "foreign", "rebuild", "outage")
"""What happens to a service from outside, besides changed objects."""


@dataclass(frozen=True)
class Scenario:
    """What may happen in a schedule; None is drawn from the seed."""

    faults: Faults
    keys: Sequence[str] = ("t/x", "t/y", "u/z")
    texts: str = "aabbcs"
    """Contents objects get: `p` cannot be ingested, `k` kills its reader, others are rows."""
    changes: int = 8
    seconds: float = 120
    """How long objects change and faults strike."""
    replicas: int | None = None
    on_delete: Literal["keep", "remove"] | None = None
    shared_broker: bool | None = None
    lossy: float = 0.2
    """Share of the changes no event tells of."""
    outside: Sequence[str] = PERSON
    interventions: int = 3
    settled_first: bool = False
    """Everything is ingested before anything else happens."""
    deletes: float = 0.35
    """Share of the changes that delete."""
    final_sweep: bool = True
    outages: int | None = None
    """The most there are; None sets no bound. The end of each may cost an attempt, which the innocent have few of."""
    innocent: bool = False
    """Nothing happens that may use up the attempts of an object that can be ingested."""


EVERYTHING = Scenario(Faults(rate=0.02, budget=10, kinds=ALL_FAULTS), texts="aabbcp")

KILLER = Scenario(
    Faults(),
    keys=("t/u", "t/v", "t/w", "t/x", "t/y", "t/z"),
    texts="aabk",
    changes=2,
    seconds=20,
    outside=(),
    innocent=True,
)
"""Contents that kill their process, and others beside them."""

NOBODY_DIES = Scenario(
    Faults(
        rate=0.03,
        budget=12,
        kinds=dict.fromkeys(
            ("lost", "doubled", "late", "meddle", "stale", "conflict", "unknown landed", "unknown late"), 1
        ),
    ),
    changes=16,
    seconds=90,
    outside=("sweep", "restart", "foreign"),
    interventions=8,
    innocent=True,
)
"""Clean shutdowns, objects changed under the reader, doubled hints, conflicts: none of it costs an attempt."""

DISTANT = Scenario(
    Faults(
        rate=0.03,
        budget=8,
        kinds=dict.fromkeys(("lost", "doubled", "late", "meddle", "conflict", "pause"), 1),
    ),
    changes=10,
    seconds=200,
    outside=("sweep", "restart", "outage"),
    interventions=5,
    outages=2,
    innocent=True,
)
"""Sinks that are away for longer than all retries: none of it costs more than the attempt at the end of an outage."""
