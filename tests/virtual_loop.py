"""
An event loop on one thread whose time jumps, so that hours pass in microseconds and every run is repeatable.

Callbacks run in the order they were made ready or, with a random source, in an order the seed decides. Code may run as
part of a `Process`, which can be killed (nothing of it ever runs again, no cleanup either) and stopped for a while.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

EPOCH_MS = 1_750_000_000_000
"""Where clocks begin: times in ledgers and messages look like times."""

MOST_STEPS = 2_000_000
"""Callbacks after which a run counts as endless."""

REACH = 6
"""How many callbacks may be overtaken by one."""


class Process:
    """What dies and stops together. All tasks started in it, and all callbacks they make, belong to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopped = False
        self.parked: list[asyncio.Handle] = []


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)


class Stuck(AssertionError):
    """Nothing is ready and no timer runs, yet somebody waits."""


class _NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address in memory."""

    def __init__(
        self, work: Coroutine[Any, Any, Any], number: int, loop: asyncio.AbstractEventLoop, context: Context | None
    ) -> None:
        self._number = number  # first: asyncio puts the task into a set
        super().__init__(work, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.BaseEventLoop):
    """
    Args:
        chance: Decides which ready callback is next; None keeps asyncio's order.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__()
        self.steps = 0
        self.faults: list[str] = []
        """What asyncio would have logged: exceptions nobody retrieved, callbacks that failed."""
        self._now = 0.0
        self._chance = chance
        self._soon: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0
        self.tasks: list[asyncio.Task[Any]] = []
        """All there ever were: those of dead processes must not be collected, which would run their cleanup."""
        self.set_task_factory(self._new_task)
        self.set_exception_handler(lambda _loop, context: self.faults.append(repr(context)))

    def _new_task(self, _loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None) -> Any:
        task = _NumberedTask(work, len(self.tasks), self, context)
        self.tasks.append(task)
        return task

    def _write_to_self(self) -> None:
        """There are no threads to wake up."""

    def time(self) -> float:
        return self._now

    def clock(self) -> int:
        """Epoch milliseconds."""
        return EPOCH_MS + round(self._now * 1000)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def shuffle(self, chance: random.Random) -> None:
        """Let a seed decide the order of ready callbacks from now on."""
        self._chance = chance

    def start(self, process: Process, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as part of a process."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, name=name, context=context)

    def resume(self, process: Process) -> None:
        """Let a stopped process run again; a dead one stays dead."""
        process.stopped = False
        self._soon += process.parked
        process.parked = []

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asyncio counts them; here they are skipped when their time comes."""

    def _run_once(self) -> None:
        if not self._soon:
            self._jump()
        reach = min(len(self._soon), REACH)
        number = self._chance.randrange(reach) if self._chance is not None and reach > 1 else 0
        handle = self._soon.pop(number)
        if handle.cancelled():
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]  # typeshed leaves it out
        if process is not None and (process.dead or process.stopped):
            process.parked.append(handle)
            return
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck(f"no end after {MOST_STEPS} steps and {self._now:.0f} virtual seconds")
        handle._run()

    def _jump(self) -> None:
        """Go to the time of the next timer."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is ready, no timer runs, and somebody waits")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                self._soon.append(handle)


async def end_tasks() -> None:
    """Cancel every other task and wait until they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def run(work: Coroutine[Any, Any, T], chance: random.Random | None = None) -> T:
    """Run a coroutine to its end on a `VirtualLoop`; what asyncio would only log fails it."""
    loop = VirtualLoop(chance)
    try:
        result = loop.run_until_complete(work)
        loop.run_until_complete(end_tasks())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    assert not loop.faults, loop.faults
    return result


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a `VirtualLoop`: `asyncio.sleep(3600)` takes no time."""

    @functools.wraps(test)
    def on_virtual_loop(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return on_virtual_loop
