"""
Who may read objects together.

An object that kills its process (a decompressor that crashes, memory that runs out) would take the attempts of every
unit in flight with it. A unit whose holder died is therefore read alone: whatever kills the process then is that unit.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pass:
    """One holder's way through a `Gate`; `leave` may be called more than once."""

    def __init__(self, gate: Gate, *, alone: bool) -> None:
        self._gate = gate
        self.alone = alone
        self._inside = True

    def leave(self) -> None:
        """Let the next ones in."""
        if self._inside:
            self._inside = False
            self._gate.left(self)


class Gate:
    """
    Admits many, or one alone.

    Those who must be alone go first: there are at most as many as a dead process held, and each is short, while a
    steady stream of others would never leave the room empty.
    """

    def __init__(self) -> None:
        self._together = 0
        self._alone = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waiting_alone: deque[asyncio.Future[None]] = deque()

    async def enter(self, *, alone: bool) -> Pass:
        """Wait to be admitted."""
        free = not self._alone and not self._waiting_alone and not (alone and self._together)
        if free:
            self._admit(alone=alone)
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line = self._waiting_alone if alone else self._waiting
            line.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    line.remove(turn)
                    self._next()
                else:
                    self.left(Pass(self, alone=alone))
                raise
        return Pass(self, alone=alone)

    def left(self, who: Pass) -> None:
        """Take note that somebody left; called by `Pass.leave`."""
        if who.alone:
            self._alone = False
        else:
            self._together -= 1
        self._next()

    def _admit(self, *, alone: bool) -> None:
        if alone:
            self._alone = True
        else:
            self._together += 1

    def _next(self) -> None:
        """Admit who may enter now. Cancelled waiters take themselves out of their line and call this again."""
        if self._alone:
            return
        if self._waiting_alone:
            first = self._waiting_alone[0]
            if self._together == 0 and not first.done():
                self._admit(alone=True)
                self._waiting_alone.popleft().set_result(None)
            return
        for turn in [turn for turn in self._waiting if not turn.done()]:
            self._admit(alone=False)
            self._waiting.remove(turn)
            turn.set_result(None)
