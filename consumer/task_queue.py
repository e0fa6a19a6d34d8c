"""
Tasks in a queue: a message tells of each that is newly asked for, and a person sees in RabbitMQ's UI what waits.

A message is a hint like any other, and the ledger's row is the truth: one that is lost is missed by nobody, for every
process looks now and then for what is due. Whoever has one acknowledges it when it has the task's lease, or when there
is nothing to do; the next message waits until the task is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from consumer.broker_port import Broker, BrokerUnavailable, Delivery
from consumer.hints import Hints
from consumer.kept_up import kept_up
from consumer.workitem import TASKS, BadMessage, bulk_queue, dead_queue, decode, work_queue
from handlers.tasks import Task

log = structlog.get_logger("lakedrop.tasks")


class TaskQueue:
    """The queue of the tasks of all handlers."""

    def __init__(self, broker: Broker, hints: Hints) -> None:
        self._broker = broker
        self._hints = hints

    async def announce(self, handler: str, asked: Sequence[Task], reason: str) -> None:
        """Tell of tasks that were asked for; where the broker is away, they are found without."""
        try:
            for task in asked:
                await self._hints.task(handler, f"{task.name}/{task.target}", reason)
        except BrokerUnavailable as error:
            log.info("tasks.not_announced", handler=handler, tasks=len(asked), reason=error.message)

    async def run(self, take: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
        """
        Read messages until cancelled, one at a time.

        Args:
            take: Looks for what is due of a handler and does it; calls its second argument when it has it.
        """
        await kept_up("tasks", lambda: self._read(take))

    async def _read(self, take: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
        consumer = await self._broker.consume(work_queue(TASKS), bulk_queue(TASKS), prefetch=1)
        try:
            while True:
                delivery = await consumer.get()
                try:
                    handler = _handler_of(delivery)
                except BadMessage as error:
                    await self._broker.publish(dead_queue(TASKS), delivery.message.with_headers(error=str(error)))
                    await delivery.ack()
                else:
                    await take(handler, delivery.ack)
        finally:
            await consumer.aclose()


def _handler_of(delivery: Delivery) -> str:
    hint = decode(delivery.message)
    if hint.kind != "task":
        raise BadMessage("this is no task: move it to the queue of its handler")
    return hint.key.handler
