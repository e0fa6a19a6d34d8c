"""Tasks of handlers: asked for, done in one process at a time, retried for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from consumer.ledger import Ledger
from consumer.ledger_leases import Leases
from consumer.ledger_sqlite import sqlite_engine
from consumer.ledger_tasks import TaskRow, TaskRows
from consumer.schedule import Schedule
from consumer.tasks import Tasks
from handlers.contract import TransientError
from handlers.tasks import ServiceUnusable, Task, Tasked
from tests.fakes import CountingIds, FakeHandler, inline
from tests.virtual_loop import virtual


class Teller(FakeHandler):
    """Tells a service, a dictionary, of the versions of some tables; `broken` says what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, str] = {}
        self.told: list[tuple[str, str]] = []
        self.tried: list[str] = []
        self.broken: Callable[[str], Exception | None] = lambda _target: None
        self.during: Callable[[], None] = lambda: None
        self.seconds = 0.5
        self._changed: asyncio.Queue[str] = asyncio.Queue()

    def change(self, table: str, version: str, *, noticed: bool = True) -> None:
        self.tables[table] = version
        if noticed:
            self._changed.put_nowait(table)

    async def retargeted(self) -> Collection[str]:
        return [await self._changed.get()]

    async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        for name in only or sorted(self.tables):
            if name in self.tables:
                yield Task("tell", name, self.tables[name])

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        self.tried.append(task.target)
        version = self.tables[task.target]
        await asyncio.sleep(self.seconds)
        self.during()
        if (error := self.broken(task.target)) is not None:
            raise error
        self.told.append((task.target, version))
        return {"number": len(self.told)}


class Site:
    """A ledger and the processes on it."""

    def __init__(self, ledger: Ledger, ids: CountingIds) -> None:
        self.ledger = ledger
        self.rows = TaskRows(ledger)
        self._ids = ids

    @asynccontextmanager
    async def process(self, handler: Teller, delays: tuple[float, ...] = (5.0, 30.0)) -> AsyncIterator[Tasks]:
        schedule = Schedule(Leases(self.ledger), clock=self.ledger.clock, new_id=self._ids, heartbeat_seconds=10)
        tasks = Tasks({"fake": handler}, self.rows, schedule, delays=delays)
        running = asyncio.create_task(tasks.run())
        try:
            yield tasks
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def states(self) -> dict[str, str]:
        return {row.target: row.state for row in await self.rows.all()}

    async def row(self, target: str) -> TaskRow:
        (row,) = await self.rows.all("fake", target)
        return row


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    ids = CountingIds()
    clock = asyncio.get_running_loop().clock  # type: ignore[attr-defined]  # a VirtualLoop
    ledger = Ledger(sqlite_engine(None, inline), clock=clock, new_id=ids)
    await ledger.open()
    try:
        yield Site(ledger, ids)
    finally:
        await ledger.aclose()


def away(_target: str) -> Exception:
    return ServiceUnusable("nobody answers")


@virtual
async def test_a_task_is_done_once_for_each_version_soon_after_its_target_changed() -> None:
    teller = Teller()
    assert isinstance(teller, Tasked)
    async with site() as made, made.process(teller):
        await asyncio.sleep(1)
        teller.change("a", "1")
        await asyncio.sleep(1)
        assert teller.told == [("a", "1")]
        teller.change("a", "1")
        await asyncio.sleep(20)
        assert teller.told == [("a", "1")]
        teller.change("a", "2")
        await asyncio.sleep(1)

        assert teller.told == [("a", "1"), ("a", "2")]
        row = await made.row("a")
        assert (row.state, row.done, row.detail, row.attempts) == ("done", "2", {"number": 2}, 0)


@virtual
async def test_what_nobody_asked_for_is_found_by_comparing_and_what_is_gone_is_forgotten() -> None:
    teller = Teller()
    teller.change("before", "1", noticed=False)
    async with site() as made, made.process(teller):
        await asyncio.sleep(1)
        assert teller.told == [("before", "1")], "at the start"
        teller.change("foreign", "1", noticed=False)
        del teller.tables["before"]
        await asyncio.sleep(400)

        assert teller.told == [("before", "1"), ("foreign", "1")]
        assert await made.states() == {"foreign": "done"}


@virtual
async def test_a_task_that_fails_is_tried_again_for_ever_and_told_with_its_reason() -> None:
    teller = Teller()
    teller.broken = lambda _target: TransientError("not yet")
    async with site() as made, made.process(teller):
        teller.change("a", "1")
        await asyncio.sleep(400)
        row = await made.row("a")
        assert (row.state, row.error_class, row.error) == ("retrying", "TransientError", "not yet")
        assert row.attempts == len(teller.tried) > 10, "every 30 seconds, and what looking costs"
        teller.broken = lambda _target: None
        await asyncio.sleep(40)

        row = await made.row("a")
        assert (row.state, row.error, row.attempts) == ("done", None, 0)


@virtual
async def test_a_service_that_is_away_is_asked_once_in_a_delay_and_all_is_told_as_soon_as_it_is_back() -> None:
    teller = Teller()
    for number in range(50):
        teller.change(f"t{number:02}", "1", noticed=False)
    teller.broken = away
    async with site() as made, made.process(teller, (5.0, 60.0)):
        await asyncio.sleep(200)
        assert len(teller.tried) == 5, "0 s, 5 s, and then every 60 s: not once for each table"
        assert set((await made.states()).values()) == {"retrying"}
        teller.broken = lambda _target: None
        teller.change("new", "1")
        await asyncio.sleep(40)

        assert len(teller.told) == 51, "the new one went through, so the others did not wait for their time"
        assert set((await made.states()).values()) == {"done"}


@virtual
async def test_one_target_that_cannot_be_told_of_does_not_keep_the_others() -> None:
    teller = Teller()
    teller.broken = lambda target: RuntimeError("name taken") if target == "a" else None
    for name in ("a", "b", "c"):
        teller.change(name, "1", noticed=False)
    async with site() as made, made.process(teller):
        await asyncio.sleep(4)

        assert await made.states() == {"a": "retrying", "b": "done", "c": "done"}
        assert (await made.row("a")).error == "RuntimeError: name taken"


@virtual
async def test_a_target_that_changes_while_it_is_told_of_is_told_of_again() -> None:
    teller = Teller()
    async with site() as made, made.process(teller):
        await asyncio.sleep(1)

        def change() -> None:
            teller.during = lambda: None
            teller.change("a", "2")

        teller.seconds = 3.0
        teller.during = change
        teller.change("a", "1")
        await asyncio.sleep(10)

        assert teller.told[-1] == ("a", "2")
        assert (await made.row("a")).done == "2"


@virtual
async def test_a_failure_told_after_a_newer_version_was_asked_for_delays_that_one_not() -> None:
    async with site() as made:
        await made.rows.ask("fake", [Task("tell", "a", "1")])
        first = await made.rows.due("fake")
        assert first is not None
        await made.rows.ask("fake", [Task("tell", "a", "2")])
        await made.rows.failed(first, "TransientError", "no", 1000)
        await made.rows.failed(first, "ServiceUnusable", "no", 1000)
        await made.rows.done(first, {})

        assert await made.states() == {"a": "pending"}
        assert (await made.row("a")).done is None


@virtual
async def test_of_several_processes_one_does_the_tasks_and_another_goes_on_when_it_dies() -> None:
    teller, other = Teller(), Teller()
    other.tables = teller.tables
    teller.seconds = other.seconds = 2.0
    async with site() as made, made.process(other):
        async with made.process(teller):
            await asyncio.sleep(1)
            for number in range(5):
                teller.change(f"t{number}", "1")
            await asyncio.sleep(5)
            assert len(teller.tried) == 3
            assert other.tried == []
        await asyncio.sleep(40)

        assert len(teller.told) + len(other.told) == 5
        assert set((await made.states()).values()) == {"done"}


@virtual
async def test_what_waits_is_due_at_once_when_a_process_begins() -> None:
    teller = Teller()
    teller.broken = away
    async with site() as made:
        async with made.process(teller, (3600.0,)):
            teller.change("a", "1")
            await asyncio.sleep(10)
            assert (await made.row("a")).next_at == (await made.rows.now()) + 600_000 - 9_500, "at most ten minutes"
        teller.broken = lambda _target: None  # its password was mended, and the service started again
        async with made.process(teller):
            await asyncio.sleep(1)

            assert teller.told == [("a", "1")]


@virtual
async def test_a_service_says_how_long_to_wait() -> None:
    teller = Teller()
    teller.broken = lambda _target: ServiceUnusable("busy", retry_after=100)
    async with site() as made, made.process(teller):
        teller.change("a", "1")
        await asyncio.sleep(90)

        assert teller.tried == ["a"]
        assert (await made.row("a")).state == "retrying"


@virtual
async def test_targets_that_cannot_be_read_now_are_compared_as_soon_as_they_can() -> None:
    class Blind(Teller):
        looks = 0

        async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
            self.looks += 1
            if self.looks < 4:
                raise TransientError("the catalog does not answer")
            async for task in super().tasks(only):
                yield task

    teller = Blind()
    teller.change("a", "1")
    async with site() as made, made.process(teller):
        await asyncio.sleep(20)
        assert teller.looks == 3, "at the start, for the change, and in the turn of every five minutes"
        assert await made.states() == {}
        await asyncio.sleep(60)

        assert await made.states() == {"a": "done"}


@virtual
async def test_a_command_tries_everything_once() -> None:
    teller = Teller()
    for name in ("a", "b"):
        teller.change(name, "1", noticed=False)
    teller.broken = away
    async with site() as made:
        schedule = Schedule(Leases(made.ledger), clock=made.ledger.clock, new_id=CountingIds(), heartbeat_seconds=10)
        tasks = Tasks({"fake": teller}, made.rows, schedule, delays=(5.0,))
        assert [row.target for row in await tasks.once()] == ["a", "b"]
        assert teller.tried == ["a"]
        teller.broken = lambda _target: None
        assert await tasks.once() == []

        assert set((await made.states()).values()) == {"done"}
