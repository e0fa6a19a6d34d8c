"""Tasks in a ledger on PostgreSQL, which several processes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from consumer.ids import RandomIds
from consumer.ledger import Ledger
from consumer.ledger_leases import Leases
from consumer.ledger_postgres import PostgresEngine
from consumer.ledger_tasks import TaskRows
from consumer.schedule import Schedule
from consumer.tasks import Tasks
from handlers.tasks import ServiceUnusable, Task
from tests import waits
from tests.fakes import FakeHandler

TABLES = [f"t{number:03}" for number in range(100)]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Ledger]:
    ledger = Ledger(PostgresEngine(url), clock=lambda: time.time_ns() // 1_000_000, new_id=RandomIds())
    try:
        await ledger.open()
        yield ledger
    finally:
        await ledger.aclose()


class Teller(FakeHandler):
    """Tells a list, shared by all processes, of tables; while `away` is set that cannot be done."""

    def __init__(self, told: list[tuple[str, str]], away: asyncio.Event) -> None:
        super().__init__()
        self.version = "1"
        self.busy = 0
        self._told = told
        self._away = away

    async def retargeted(self) -> Collection[str]:
        await asyncio.Event().wait()
        return []

    async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        for name in only or TABLES:
            yield Task("tell", name, self.version)

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        self.busy += 1
        await asyncio.sleep(0)
        if self._away.is_set():
            raise ServiceUnusable("nobody answers")
        self._told.append((task.target, task.version))
        return {"number": len(self._told)}


async def test_every_statement_does_on_postgres_what_it_does_on_sqlite(database: str) -> None:
    async with opened(database) as ledger:
        rows = TaskRows(ledger)
        began = await rows.now()
        await rows.ask("h", [Task("tell", "b", "1"), Task("tell", "a", "1")])
        first = await rows.due("h")
        assert first is not None
        assert (first.target, first.state) == ("a", "pending")
        await rows.failed(first, "ServiceUnusable", "away", 100)
        assert await rows.due("h") is None, "both wait for the service"
        await rows.hasten("h")
        again = await rows.due("h")
        assert again is not None
        await rows.done(again, {"dataset": 1})
        await rows.ask("h", [Task("tell", "a", "2")])
        await rows.forget_others("h", [Task("tell", "a", "2")], await rows.now() + 1)

        (left,) = await rows.all("h")
        assert (left.target, left.wanted, left.done, left.detail) == ("a", "2", "1", {"dataset": 1})
        assert await rows.all("h", "b") == []
        await rows.done(left, {})
        await rows.again("h", ["a"])
        assert (await rows.all())[0].state == "pending"
        await rows.forget_others("h", [], began)
        assert len(await rows.all()) == 1, "what was asked for since stays"


async def test_three_processes_tell_of_everything_once_and_all_at_once_when_the_service_is_back(database: str) -> None:
    told: list[tuple[str, str]] = []
    away = asyncio.Event()
    away.set()
    async with AsyncExitStack() as stack:
        tellers = [Teller(told, away) for _ in range(3)]
        running = []
        for teller in tellers:
            ledger = await stack.enter_async_context(opened(database))
            ids = RandomIds()
            schedule = Schedule(Leases(ledger), clock=ledger.clock, new_id=ids, heartbeat_seconds=10)
            tasks = Tasks({"fake": teller}, TaskRows(ledger), schedule, delays=(0.2,), look_seconds=0.05)
            running.append(asyncio.create_task(tasks.run()))
        rows = TaskRows(ledger)

        async def until(state: str) -> None:
            async def look() -> bool:
                return {row.state for row in await rows.all()} == {state}

            await waits.until(look, f"not all are {state}")

        await until("retrying")
        assert told == []
        away.clear()
        await until("done")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    assert sorted(told) == [(name, "1") for name in TABLES]
    assert sum(teller.busy for teller in tellers) > len(TABLES), "some tries met nobody"
