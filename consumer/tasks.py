"""
The tasks of handlers: asked for as their targets change, done one at a time in one process of all, retried for ever.

The ledger remembers them, so they outlive a process; comparing with what the handlers say finds those that nobody asked
for, because a process died before it could or somebody else changed a target.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog

from consumer.ledger_tasks import TaskRow, TaskRows
from consumer.retry import error_class, lengthened, message
from consumer.schedule import Schedule
from handlers.contract import Handler, TransientError
from handlers.tasks import Task, Tasked

log = structlog.get_logger("lakedrop.tasks")

LOOK_SECONDS: Final = 2.0
"""How often it is looked whether a task is due: one small query."""

COMPARE_SECONDS: Final = 300.0
"""How often tasks are compared with the targets there are, which reads every one of those."""

AGAIN_SECONDS: Final = 30.0
"""Before it is looked again after a look that failed: the ledger or a catalog is away."""

LONGEST_DELAY: Final = 600.0
"""Seconds before another attempt, at most: whoever mended a service should not wait for an hour."""


Announce = Callable[[str, Sequence[Task], str], Awaitable[None]]
"""Tells others of tasks of a handler that are newly asked for, and why."""


async def _tell_nobody(_handler: str, _asked: Sequence[Task], _reason: str) -> None: ...


class Tasks:
    """
    Asks handlers for their tasks and has them done: those of one handler one after the other, wherever that is.

    Args:
        delays: Seconds before further attempts; the last is repeated.
        announce: Is told of tasks when they are asked for.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        rows: TaskRows,
        schedule: Schedule,
        *,
        delays: Sequence[float],
        look_seconds: float = LOOK_SECONDS,
        compare_seconds: float = COMPARE_SECONDS,
        announce: Announce = _tell_nobody,
    ) -> None:
        self._handlers = handlers
        self._rows = rows
        self._schedule = schedule
        self._delays = delays or (LONGEST_DELAY,)
        self._look_seconds = look_seconds
        self._compare_seconds = compare_seconds
        self._announce = announce
        self._asked: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def _tasked(self) -> dict[str, Tasked]:
        return {name: handler for name, handler in self._handlers.items() if isinstance(handler, Tasked)}

    async def run(self) -> None:
        """Ask for tasks and do them until cancelled; failures are logged."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._schedule.every("compare tasks", self._compare_seconds, self.compare))
            for name, handler in self._tasked.items():
                parts.create_task(self._listen(name, handler))
                parts.create_task(self._work(name, handler))

    async def once(self) -> list[TaskRow]:
        """Compare, try everything once, and return what is left to do."""
        await self.compare()
        for name, handler in self._tasked.items():
            await self._rows.hasten(name)
            await self._work_off(name, handler, wait=True)
        return [row for row in await self._rows.all() if row.next_at is not None]

    async def again(self, targets: Collection[str]) -> None:
        """Do the tasks of some targets once more, done or not; of all without any."""
        await self.compare()
        for name, handler in self._tasked.items():
            await self._rows.again(name, targets)
            await self._work_off(name, handler, wait=True)

    async def ask(self, name: str, asked: Sequence[Task], reason: str) -> None:
        """Ask for tasks of a handler; whoever looks first does them."""
        new = await self._rows.ask(name, asked)
        self._asked[name].set()
        await self._announce(name, new, reason)

    async def do(self, name: str, task: Task) -> TaskRow:
        """Do a task here and now, after whoever does another one of this handler; return how it stands then."""
        await self._rows.ask(name, [task])
        async with self._busy[name], self._schedule.turn(_lease(name)):
            row = await self._rows.one(name, task)
            if row.wanted == task.version and row.next_at is not None:
                await self._try(self._tasked[name], row)
            return await self._rows.one(name, task)

    async def take(self, name: str, taken: Callable[[], Awaitable[None]]) -> None:
        """
        Do what is due of a handler, if another process does not.

        Args:
            name: Of the handler; it may be one that there is not.
            taken: Called when this process has it, or there is nothing to do.
        """
        handler = self._tasked.get(name)
        if handler is None or not await self._work_off(name, handler, taken=taken):
            await taken()

    async def compare(self) -> None:
        """Ask for all tasks that there are, and forget those that there are no more."""
        for name in self._tasked:
            await self._compare(name, self._tasked[name])

    async def _compare(self, name: str, handler: Tasked) -> None:
        began = await self._rows.now()
        found = [task async for task in handler.tasks()]
        await self.ask(name, found, "compare")
        await self._rows.forget_others(name, found, began)

    async def _listen(self, name: str, handler: Tasked) -> None:
        """Ask for tasks of targets that this process changes. One that cannot be asked for now, `compare` finds."""
        while True:
            targets = await handler.retargeted()
            try:
                if targets:  # of none would be of all
                    await self.ask(name, [task async for task in handler.tasks(targets)], "change")
            except TransientError as error:
                log.warning("tasks.not_asked_for", handler=name, targets=sorted(targets), reason=error.message)
            except Exception:
                log.exception("tasks.not_asked_for", handler=name, targets=sorted(targets))

    async def _work(self, name: str, handler: Tasked) -> None:
        """What is wanted since before this process began may have been mended with its settings: it is due at once."""
        begun = False
        while True:
            self._asked[name].clear()
            seconds = self._look_seconds
            try:
                if not begun:
                    await self._rows.hasten(name)
                    await self._compare(name, handler)
                    begun = True
                await self._work_off(name, handler)
            except Exception as error:
                seconds = AGAIN_SECONDS
                reason = error.message if isinstance(error, TransientError) else None
                log.warning("tasks.failed", handler=name, reason=reason, next_try_in=seconds, exc_info=reason is None)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._asked[name].wait()

    async def _work_off(
        self, name: str, handler: Tasked, *, wait: bool = False, taken: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """
        Try every task that is due, unless another process does; with `wait` after it.

        Returns:
            Whether there was one.
        """
        async with self._busy[name]:
            if await self._rows.due(name) is None:
                return False
            async with self._schedule.turn(_lease(name), wait=wait) as mine:
                if taken is not None:
                    await taken()
                while mine and (row := await self._rows.due(name)) is not None:
                    await self._try(handler, row)
            return True

    async def _try(self, handler: Tasked, row: TaskRow) -> None:
        try:
            detail = await handler.run_task(row.task)
        except Exception as error:
            delay = lengthened(min(self._delays[min(row.attempts, len(self._delays) - 1)], LONGEST_DELAY), error)
            await self._rows.failed(row, error_class(error), message(error), delay)
            told = {"task": row.name, "target": row.target, "attempt": row.attempts + 1, "next_try_in": delay}
            if isinstance(error, TransientError):
                log.warning("task.failed", handler=row.handler, **told, reason=error.message)
            else:
                log.exception("task.failed", handler=row.handler, **told)
        else:
            await self._rows.done(row, detail)
            log.info("task.done", handler=row.handler, task=row.name, target=row.target, **detail)


def _lease(handler: str) -> str:
    return f"tasks {handler}"
