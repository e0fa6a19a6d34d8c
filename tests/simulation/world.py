"""
The world a schedule happens in: virtual time, chance, faults, and a trace of what happened.

Every call from the code under test to the outside (ledger, store, broker, a lane's thread) goes through `World.cross`:
there, and nowhere else, a fault may strike, before the call has its effect or after it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa

from consumer.broker_port import BrokerUnavailable
from handlers.contract import TransientError
from tests.fakes import CountingIds
from tests.virtual_loop import PROCESS, Process, VirtualLoop

T = TypeVar("T")

LEASE_MS = 30_000
HEARTBEAT = 10.0
"""Seconds."""

TRACED = 60
"""Events shown of a schedule that failed."""


class Violation(AssertionError):
    """The protocol promised something else."""


class Over(Exception):  # no error: the schedule has ended, nothing crosses any more
    """The schedule has ended."""


@dataclass(frozen=True)
class Faults:
    """
    What goes wrong. A fault strikes a crossing with its probability, until `budget` faults have struck.

    Kinds by boundary: any: `crash before`, `crash after`, `pause` (this task sleeps), `stop` (the process sleeps, past
    its leases). ledger, store, broker: `error before`, `error after`. broker: `lost`, `doubled`, `late`. store:
    `meddle` (the object changes right now). commit: `conflict`, `unknown landed`, `unknown late`, `unknown never`.
    handler: `transient`.
    """

    rate: float = 0.02
    budget: int = 4
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Weights."""


BOUNDARIES: Mapping[str, frozenset[str]] = {
    "crash before": frozenset({"ledger", "store", "broker", "lane", "commit"}),
    "crash after": frozenset({"ledger", "broker", "lane", "commit"}),
    "pause": frozenset({"ledger", "store", "broker", "lane", "commit"}),
    "stop": frozenset({"ledger", "store", "broker", "lane", "commit"}),
    "stop at ledger": frozenset({"ledger"}),
    "stop at commit": frozenset({"commit"}),
    "error before": frozenset({"ledger", "store", "broker"}),
    "error after": frozenset({"ledger", "broker"}),
    "lost": frozenset({"publish"}),
    "doubled": frozenset({"publish"}),
    "late": frozenset({"publish"}),
    "meddle": frozenset({"store"}),
    "stale": frozenset({"list"}),
    "conflict": frozenset({"swap"}),
    "unknown landed": frozenset({"swap"}),
    "unknown late": frozenset({"swap"}),
    "unknown never": frozenset({"swap"}),
    "transient": frozenset({"lane"}),
}
"""Where each kind of fault strikes."""

RARELY_REACHED = frozenset({"swap", "publish", "list"})

RARE = 8
"""So much likelier are faults where schedules rarely come by."""

ALL_FAULTS: Mapping[str, int] = dict.fromkeys(BOUNDARIES, 2) | {
    "crash before": 4,
    "crash after": 4,
    "stop": 5,
    "transient": 6,  # lanes are crossed seldom
}


class World:
    """One schedule's surroundings; all processes share it."""

    def __init__(self, seed: int, faults: Faults, loop: VirtualLoop) -> None:
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self.loop = loop
        self.ids = CountingIds()
        self.fired: Counter[str] = Counter()
        self.calm = False
        self.over = False
        self.meddle: Callable[[], None] = lambda: None
        """Changes an object; set by the schedule."""
        self.processes: list[Process] = []
        """All there ever were."""
        self.outages = 0
        """Reasons why the sink is away."""
        self.late = 0
        """Things still under way that nobody waits for: messages, commits."""
        self.killed: Counter[tuple[str, str]] = Counter()
        """How often each version of an object killed a process."""
        self.violation: str | None = None
        self._faults = faults
        self._left = faults.budget
        self._by_boundary: dict[str, tuple[list[str], list[int]]] = {}
        self._trace: deque[tuple[float, str, tuple[object, ...]]] = deque(maxlen=TRACED)

    def note(self, *what: object) -> None:
        """Add to the trace."""
        process = PROCESS.get()
        self._trace.append((self.loop.time(), process.name if process else "world", what))

    def trace(self) -> str:
        """Return the last events, one per line."""
        return "\n".join(f"{at:9.3f} {who:6} {' '.join(map(str, what))}" for at, who, what in self._trace)

    def fail(self, message: str) -> None:
        """Take note of a broken promise; the schedule ends with the first one."""
        self.note("VIOLATION", message)
        self.violation = self.violation or message

    def strike(self, boundary: str) -> str | None:
        """Return the fault that strikes here now, if any."""
        rate = self._faults.rate * (RARE if boundary in RARELY_REACHED else 1)
        if self.calm or self._left <= 0 or self.chance.random() >= rate:
            return None
        kinds, weights = self._kinds(boundary)
        if not kinds:
            return None
        (kind,) = self.chance.choices(kinds, weights)
        self._left -= 1
        self.happened(kind)
        self.note("FAULT", kind, "at", boundary)
        return kind

    def happened(self, kind: str) -> None:
        """Count a fault."""
        self.fired[kind] += 1

    def _kinds(self, boundary: str) -> tuple[list[str], list[int]]:
        found = self._by_boundary.get(boundary)
        if found is None:
            kinds = [kind for kind in self._faults.kinds if boundary in BOUNDARIES[kind]]
            found = self._by_boundary[boundary] = kinds, [self._faults.kinds[kind] for kind in kinds]
        return found

    async def cross(self, boundary: str, call: Callable[[], T], what: object = "") -> T:
        """Make a call of a process to the outside, with all that may go wrong."""
        if self.over:
            raise Over
        process = PROCESS.get()
        if process is None:
            return call()
        await self._latency()
        kind = self.strike(boundary)
        await self._before(process, boundary, kind)
        if self.over:
            raise Over
        if what:
            self.note(boundary, what)
        result = call()
        if kind == "crash after" or process.dead:
            await self.crash(process)
        if kind == "error after":
            self._error(boundary)
        await self._latency()
        return result

    async def _before(self, process: Process, boundary: str, kind: str | None) -> None:
        match kind:
            case "crash before":
                await self.crash(process)
            case "pause":
                await asyncio.sleep(self.chance.uniform(5, 100))
            case "stop" | "stop at ledger" | "stop at commit":
                await self.stop(process)
            case "error before":
                self._error(boundary)
            case "meddle":
                self.meddle()
            case "transient":
                raise TransientError("something else was busy")

    async def crash(self, process: Process) -> NoReturn:
        """Kill the process that runs: nothing of it ever goes on."""
        self.note("CRASH", process.name)
        process.dead = True
        await self.loop.create_future()
        raise AssertionError("a dead process went on")

    async def stop(self, process: Process) -> None:
        """Let the process that runs sleep past its leases."""
        self.note("STOP", process.name)
        process.stopped = True
        self.later(self.chance.uniform(31, 100), lambda: self.loop.resume(process))
        await asyncio.sleep(0)

    def send_sink_away(self) -> None:
        """Have the servers of the sink answer nobody for a while, mostly longer than all retries take together."""
        if not self.outages:
            self.note("SINK AWAY")
        self.outages += 1
        self.late += 1
        self.later(self.chance.choice([5, 90, 300, 3000]) * self.chance.uniform(0.5, 1), self._bring_sink_back)

    def _bring_sink_back(self) -> None:
        self.outages -= 1
        self.late -= 1
        if not self.outages:
            self.note("SINK BACK")

    def ask_sink(self) -> None:
        """Answer as the servers of the sink do; raise `ConnectionError` while they are away."""
        if self.outages:
            self.happened("sink away")
            raise ConnectionError("the sink does not answer")

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Do something as part of no process."""
        context = copy_context()
        context.run(PROCESS.set, None)
        self.loop.call_later(delay, action, context=context)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as part of no process."""
        context = copy_context()
        context.run(PROCESS.set, None)
        return self.loop.create_task(work, context=context)

    def ledger_run(self) -> Callable[..., Awaitable[Any]]:
        """Return what runs a ledger's transactions."""

        async def run(function: Callable[..., T], *arguments: Any) -> T:
            return await self.cross("ledger", lambda: function(*arguments))

        return run

    async def _latency(self) -> None:
        draw = self.chance.random()
        if draw < 0.4:
            await asyncio.sleep(0)
        elif draw < 0.5:
            await asyncio.sleep(self.chance.random() * 0.5)

    def _error(self, boundary: str) -> NoReturn:
        if boundary == "ledger":
            raise sa.exc.OperationalError("statement", {}, Exception("connection lost"))
        if boundary == "broker":
            raise BrokerUnavailable("connection lost")
        raise TransientError("the store is down")
