"""What commands write beside the workers, on a ledger in memory and in virtual time."""

from __future__ import annotations

import pytest

from consumer.holding import as_holder
from consumer.ledger import Ledger
from consumer.protocol import Row, Status
from handlers.contract import SinkAway
from tests.contract.test_ledger import GRACE_MS, KEY, LEASE_MS, done, find, held
from tests.unit.test_ledger import after, now, opened
from tests.virtual_loop import virtual


class Sink:
    """Is written to; asks the ledger first, as sinks without compare-and-swap are."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.tokens: list[str] = []
        self.is_away = False

    async def write(self, token: str) -> None:
        assert await self._ledger.alive([token]) == {token}
        if self.is_away:
            raise SinkAway("away")
        self.tokens.append(token)


def told(row: Row) -> tuple[object, ...]:
    return row.status, row.applied_etag, row.observed_etag, row.open, row.lease_token, row.wake_at, row.suspect_until


@virtual
async def test_a_command_writes_as_the_holder_and_leaves_the_row_as_it_was() -> None:
    async with opened() as ledger:
        sink = Sink(ledger)
        await ledger.settle(done(await held(ledger), "a"))
        before = await find(ledger)

        assert await as_holder(ledger, KEY, sink.write)

        assert len(sink.tokens) == 1
        assert told(await find(ledger)) == told(before)


@virtual
async def test_a_command_writes_nothing_while_somebody_else_is_at_work_who_looks_once_more() -> None:
    async with opened() as ledger:
        sink = Sink(ledger)
        row = await held(ledger)

        assert not await as_holder(ledger, KEY, sink.write)

        assert sink.tokens == []
        assert (await find(ledger)).lease_token == row.lease_token
        assert (await find(ledger)).dirty


@virtual
async def test_a_unit_whose_holder_died_is_still_taken_up_after_a_command_wrote() -> None:
    async with opened() as ledger:
        sink = Sink(ledger)
        row = await held(ledger)
        await ledger.begin(KEY, row.lease_token or "", "a", 1)
        await after(LEASE_MS / 1000 + 1)

        assert await as_holder(ledger, KEY, sink.write)

        found = await find(ledger)
        assert (found.status, found.open, found.wake_at) == (Status.PENDING, True, now())
        assert await ledger.wake(9) == [(KEY, False)]


@virtual
async def test_a_write_that_failed_may_land_later_and_the_row_says_so() -> None:
    async with opened() as ledger:
        sink = Sink(ledger)
        await after(GRACE_MS / 1000)
        await ledger.settle(done(await held(ledger), "a"))
        sink.is_away = True
        with pytest.raises(SinkAway):
            await as_holder(ledger, KEY, sink.write)

        found = await find(ledger)
        assert (found.status, found.lease_token, found.suspect_until) == (Status.DONE, None, now() + GRACE_MS)
