"""Calls on the ledger that are made in one turn of the event loop, gathered into one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from consumer.workitem import UnitKey

GROUP = 1000
"""Most statements of one kind in one transaction, which bounds how long other writers wait."""

Write = Callable[[Callable[[sa.Connection], dict[int, Any]]], Awaitable[dict[int, Any]]]


@dataclass(slots=True)
class Call:
    """One grouped statement that waits for its transaction."""

    key: UnitKey
    asked: Any
    """What its kind needs besides the key."""
    future: asyncio.Future[Any]


@dataclass(slots=True)
class Group:
    """The calls of one transaction, by kind."""

    calls: dict[str, list[Call]] = field(default_factory=dict)
    tries: int = 0
    """How often it was run; the answers to all but the last were lost."""

    def of(self, kind: str) -> list[Call]:
        """Return the calls of a kind, in the order they were made."""
        return self.calls.get(kind, [])


class Gathering:
    """
    Gathers calls while a transaction runs, and runs them together in the next one.

    Args:
        write: Runs a function in a write transaction.
        execute: Runs a group; returns each call's result by the call's `id`. When it raises, nothing of the group
            happened.
    """

    def __init__(self, write: Write, execute: Callable[[Group, sa.Connection], dict[int, Any]]) -> None:
        self._write = write
        self._execute = execute
        self._waiting = Group()
        self._flusher: asyncio.Task[None] | None = None

    def call(self, kind: str, key: UnitKey, asked: Any) -> asyncio.Future[Any]:
        """Add a call to the next transaction; the future gets its result, or what failed the transaction."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.calls.setdefault(kind, []).append(Call(key, asked, future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="ledger")
            self._flusher.add_done_callback(self._ended)
        return future

    async def finished(self) -> None:
        """Wait until no call waits."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        try:
            while self._waiting.calls:
                await self._run(self._take())
        finally:
            self._flusher = None
            self._give_up()

    async def _run(self, group: Group) -> None:
        """Run a group, each call alone when the database refuses a value: the others are not to suffer from it."""
        calls = [(kind, call) for kind, calls in group.calls.items() for call in calls]
        try:
            results = await self._write(partial(self._execute, group))
        except BaseException as error:
            if len(calls) > 1 and _refuses_a_value(error):
                for kind, call in calls:
                    await self._run(Group({kind: [call]}))
                return
            for _, call in calls:
                if not call.future.done():
                    call.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for _, call in calls:
            if not call.future.done():
                call.future.set_result(results[id(call)])

    def _ended(self, flusher: asyncio.Task[None]) -> None:
        """Let nobody wait for a flusher that was cancelled before it began."""
        if self._flusher is flusher:
            self._flusher = None
            self._give_up()

    def _give_up(self) -> None:
        """End the calls that wait; there are some only when the flusher was cancelled."""
        given_up, self._waiting = self._waiting, Group()
        for calls in given_up.calls.values():
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(asyncio.CancelledError())

    def _take(self) -> Group:
        """Take at most `GROUP` calls of each kind."""
        waiting = self._waiting.calls
        group = Group({kind: calls[:GROUP] for kind, calls in waiting.items()})
        self._waiting = Group({kind: calls[GROUP:] for kind, calls in waiting.items() if len(calls) > GROUP})
        return group


def _refuses_a_value(error: BaseException) -> bool:
    """Whether the values of some call may be to blame: a NUL in a key, which PostgreSQL does not take."""
    return isinstance(error, sa.exc.StatementError | UnicodeError) and not isinstance(error, sa.exc.OperationalError)
