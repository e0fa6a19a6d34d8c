"""Checkpoints of bridges, and the sweeps they ask for, on the real SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from consumer.asked_sweeps import AskedSweeps
from consumer.ledger import Ledger
from consumer.ledger_again import LedgerUnavailable
from consumer.ledger_checkpoints import Checkpoints, Wanted, WantedSweeps
from consumer.ledger_leases import Leases
from consumer.ledger_sqlite import sqlite_engine
from consumer.schedule import Schedule
from consumer.sweep_report import Report
from tests.fakes import CountingIds, inline
from tests.virtual_loop import virtual


class Clock:
    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


class Sweeps:
    """Stands for the sweeper: notes each sweep, and fails as told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.number = 0
        self.unswept: list[str] = []
        self.buckets: list[list[str]] = []
        self.wanted: WantedSweeps | None = None

    async def __call__(self, buckets: Collection[str]) -> Report:
        self.number += 1
        self.buckets.append(sorted(buckets))
        report = Report(str(self.number), self.clock(), unswept=[one for one in self.unswept if one in buckets])
        if self.wanted is not None:
            await self.wanted.ask("b", "again")
        return report


@asynccontextmanager
async def opened(clock: Clock) -> AsyncIterator[Ledger]:
    ledger = Ledger(sqlite_engine(None, inline), clock=clock, new_id=CountingIds())
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.aclose()


def asked(ledger: Ledger, sweeps: Sweeps, clock: Clock) -> AskedSweeps:
    schedule = Schedule(Leases(ledger), clock=clock, new_id=CountingIds(), heartbeat_seconds=10)
    return AskedSweeps(WantedSweeps(ledger), schedule, sweeps, longest_seconds=3600, look_seconds=15)


async def test_a_checkpoint_is_remembered_by_name_and_replaced() -> None:
    async with opened(Clock()) as ledger:
        checkpoints = Checkpoints(ledger)

        assert await checkpoints.get("a") is None
        await checkpoints.put("a", 5)
        await checkpoints.put("b", 6)
        await checkpoints.put("a", 1 << 62)

        assert [await checkpoints.get(name) for name in ("a", "b")] == [1 << 62, 6]


async def test_a_demand_is_met_by_one_sweep_and_struck_off() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    async with opened(clock) as ledger:
        wanted = WantedSweeps(ledger)
        for bucket in ("c", "b", "b"):
            await wanted.ask(bucket, "the stream broke")

        assert [demand.bucket for demand in await wanted.pending()] == ["b", "c"]
        await asked(ledger, sweeps, clock).look()
        await asked(ledger, sweeps, clock).look()

        assert await wanted.pending() == []
    assert sweeps.number == 1


async def test_replicas_that_start_together_are_content_with_one_sweep() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    async with opened(clock) as ledger:
        for _ in range(3):
            await WantedSweeps(ledger).ask("b", "start")

        await asyncio.gather(*(asked(ledger, sweeps, clock).look() for _ in range(3)))

    assert sweeps.number == 1


async def test_a_demand_made_during_the_sweep_stands() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    async with opened(clock) as ledger:
        wanted = sweeps.wanted = WantedSweeps(ledger)
        await wanted.ask("b", "the stream broke")
        await asked(ledger, sweeps, clock).look()

        assert [demand.reason for demand in await wanted.pending()] == ["again"]


async def test_a_bucket_that_could_not_be_swept_is_wanted_still() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    sweeps.unswept = ["b"]
    async with opened(clock) as ledger:
        wanted = WantedSweeps(ledger)
        for bucket in ("b", "bb"):
            await wanted.ask(bucket, "the stream broke")

        await asked(ledger, sweeps, clock).look()

        assert [demand.bucket for demand in await wanted.pending()] == ["b"]


async def test_two_processes_meet_a_demand_once() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    async with opened(clock) as ledger:
        await WantedSweeps(ledger).ask("b", "the stream broke")

        await asyncio.gather(*(asked(ledger, sweeps, clock).look() for _ in range(2)))

    assert sweeps.number == 1


async def running(ledger: Ledger, sweeps: Sweeps, clock: Clock, seconds: float) -> None:
    """Meet demands for some time."""
    task = asyncio.create_task(asked(ledger, sweeps, clock).run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_a_bucket_that_is_missing_is_tried_alone_and_less_and_less_often() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    sweeps.unswept = ["missing"]
    async with opened(clock) as ledger:
        for bucket in ("good", "missing"):
            await WantedSweeps(ledger).ask(bucket, "start")
        await running(ledger, sweeps, clock, 6 * 3600)

        assert [demand.bucket for demand in await WantedSweeps(ledger).pending()] == ["missing"]
    assert sweeps.buckets[0] == ["good", "missing"]
    assert sweeps.buckets[1:] == [["missing"]] * (sweeps.number - 1)
    # After 30 s, 1, 2, 4 ... 32 minutes, then every hour, as often as everything is swept.
    assert sweeps.number == 1 + 7 + 4


@virtual
async def test_a_demand_made_anew_is_met_at_once_though_the_bucket_was_put_off() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    sweeps.unswept = ["b"]
    async with opened(clock) as ledger:
        await WantedSweeps(ledger).ask("b", "start")
        meeting = asked(ledger, sweeps, clock)
        await meeting.look()
        await meeting.look()
        assert sweeps.number == 1

        sweeps.unswept = []
        await WantedSweeps(ledger).ask("b", "the stream broke")
        await meeting.look()

        assert await WantedSweeps(ledger).pending() == []
    assert sweeps.number == 2


@virtual
async def test_an_outage_of_the_ledger_is_a_line_of_the_log_without_a_traceback() -> None:
    clock = Clock()
    sweeps = Sweeps(clock)
    async with opened(clock) as ledger:
        meeting = asked(ledger, sweeps, clock)
        pending, calls = WantedSweeps.pending, 0

        async def away(wanted: WantedSweeps) -> list[Wanted]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise LedgerUnavailable("the ledger's database does not answer")
            return await pending(wanted)

        with capture_logs() as lines, pytest.MonkeyPatch.context() as patch:
            patch.setattr(WantedSweeps, "pending", away)
            await WantedSweeps(ledger).ask("b", "start")
            task = asyncio.create_task(meeting.run())
            await asyncio.sleep(60)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    (failed,) = [line for line in lines if line["event"] == "sweep.failed"]
    assert (failed["log_level"], failed["reason"]) == ("warning", "the ledger's database does not answer")
    assert "exc_info" not in failed
    assert sweeps.number == 1
