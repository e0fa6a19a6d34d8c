"""Hints: how events, sweep, replay and waker say "this unit may have changed"."""

from __future__ import annotations

from collections.abc import Callable

from consumer.broker_port import Broker
from consumer.workitem import TASKS, Hint, Kind, UnitKey, bulk_queue, encode, work_queue


class Hints:
    """
    Publishes hints. Nothing else in the consumer starts work on a unit.

    Args:
        queue_of: Names the queues of a unit, given the name of its route, which is empty where nobody knows it.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        queue_of: Callable[[UnitKey, str], str] = lambda key, _route: key.handler,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._new_id = new_id
        self._queue_of = queue_of

    async def live(self, key: UnitKey, reason: str, *, route: str = "", at: int | None = None) -> None:
        """Hint a unit that just changed; `at` (epoch milliseconds) is when."""
        await self._publish(work_queue(self._queue_of(key, route)), key, "changed", reason, route=route, at=at)

    async def bulk(self, key: UnitKey, reason: str, *, kind: Kind = "changed", route: str = "") -> None:
        """Hint a unit of many; live hints go before it. Waits while the queue is full."""
        await self._publish(bulk_queue(self._queue_of(key, route)), key, kind, reason, route=route)

    async def task(self, handler: str, name: str, reason: str) -> None:
        """Hint a task of a handler."""
        await self._publish(work_queue(TASKS), UnitKey(handler, "", f"task/{name}"), "task", reason, route="")

    async def _publish(
        self, queue: str, key: UnitKey, kind: Kind, reason: str, *, route: str, at: int | None = None
    ) -> None:
        hint = Hint(key, kind, reason, self._new_id(), self._clock() if at is None else at, route)
        await self._broker.publish(queue, encode(hint))
