"""
One of several processes that work on the same units through one ledger, as hard as they can.

`python -m tests.integration.hammering URL SEED SECONDS`; prints what happened as JSON. It goes on for longer than that
until each of FAULTS has happened. The bucket and the sink are tables of the same database: the sink's has
compare-and-swap.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any

import asyncpg

from consumer.ids import RandomIds
from consumer.ledger import Ledger
from consumer.ledger_postgres import PostgresEngine
from consumer.protocol import Row, Settlement, Status
from consumer.workitem import UnitKey
from handlers.contract import Receipt

KEYS = [UnitKey("h", "b", f"unit-{number:03}") for number in range(500)]
HANDS = 24
"""Units worked on at once."""
LEASE_MS = 1000
BEAT_SECONDS = 0.2
PAUSED = 0.02
"""Share of the claims that sleep past their leases."""
WAKE_SECONDS = 0.05
FAULTS = ("marked dirty", "again", "paused", "lost", "woken")

TABLES = """
CREATE TABLE store (unit TEXT PRIMARY KEY, version INTEGER NOT NULL);
CREATE TABLE sink (unit TEXT PRIMARY KEY, version INTEGER NOT NULL, revision INTEGER NOT NULL);
CREATE FUNCTION never_held_twice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.lease_token <> NEW.lease_token AND OLD.lease_until > extract(epoch FROM clock_timestamp()) * 1000 THEN
    RAISE EXCEPTION 'unit % is held until % and was claimed', OLD.unit, OLD.lease_until;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER never_held_twice BEFORE UPDATE ON units FOR EACH ROW EXECUTE FUNCTION never_held_twice();
"""


def ledger_of(url: str) -> Ledger:
    # A replica's clock may say anything.
    return Ledger(PostgresEngine(url), clock=lambda: 1000, new_id=RandomIds(), lease_ms=LEASE_MS)


class Hammer:
    """Changes objects, hints them, and brings the sink to the state of the store."""

    def __init__(self, ledger: Ledger, pool: asyncpg.Pool, seed: int) -> None:
        self.ledger = ledger
        self.pool = pool
        self.chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self.seen: Counter[str] = Counter()
        self._beating: set[str] = set()

    async def change_and_hint(self, until: float) -> None:
        while time.monotonic() < until or not all(self.seen[fault] for fault in FAULTS):
            key = KEYS[min(int(self.chance.expovariate(0.01)), len(KEYS) - 1)]
            await self.pool.execute("UPDATE store SET version = version + 1 WHERE unit = $1", key.unit)
            await self.hint(key)

    async def hint(self, key: UnitKey) -> None:
        row = await self.ledger.claim(key)
        if row is None:
            self.seen["marked dirty"] += 1
            return
        self.seen["claimed"] += 1
        self.seen["taken over"] += row.took_over
        token = row.lease_token or ""
        if self.chance.random() >= PAUSED:
            self._beating.add(token)
        try:
            claim: Row | None = row
            while claim is not None and claim.lease_token is not None:
                claim = await self._look(claim)
            self.seen["lost"] += claim is None
        finally:
            self._beating.discard(token)

    async def _look(self, row: Row) -> Row | None:
        """Bring one unit up to date; None when the claim was lost."""
        token = row.lease_token or ""
        version = await self.pool.fetchval("SELECT version FROM store WHERE unit = $1", row.key.unit)
        if await self.ledger.begin(row.key, token, str(version), 1) is None:
            return None
        await asyncio.sleep(self.chance.random() * 0.02)
        if token not in self._beating:
            self.seen["paused"] += 1
            await asyncio.sleep(LEASE_MS / 1000 * 1.5)
        if not await self._commit(row, version):
            return None
        receipt = Receipt(str(version), "1", "t", {"rows": 1})
        settled = await self.ledger.settle(
            Settlement(key=row.key, token=token, status=Status.DONE, head=str(version), attempts=0, receipt=receipt)
        )
        self.seen["again"] += settled is not None and settled.lease_token is not None
        return settled

    async def _commit(self, row: Row, version: int) -> bool:
        """Load, check, swap (R6), until it succeeds."""
        unit, token = row.key.unit, row.lease_token or ""
        while True:
            revision = await self.pool.fetchval("SELECT revision FROM sink WHERE unit = $1", unit)
            if token not in await self.ledger.alive([token]):
                return False
            swap = "UPDATE sink SET version = $2, revision = revision + 1 WHERE unit = $1 AND revision = $3"
            if await self.pool.execute(swap, unit, version, revision) == "UPDATE 1":
                return True
            self.seen["conflict"] += 1

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self.ledger.heartbeat(frozenset(self._beating))

    async def wake(self) -> None:
        """Work off what falls due, for ever."""
        while True:
            due = await self.ledger.wake(HANDS)
            self.seen["woken"] += len(due)
            await asyncio.gather(*(self.hint(key) for key, _ in due))
            await asyncio.sleep(WAKE_SECONDS)


async def prepare(url: str) -> None:
    """Make the ledger's tables, and the store and the sink beside them."""
    ledger = ledger_of(url)
    await ledger.open()
    await ledger.aclose()
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES)
    for table, values in (("store", "unit, 0"), ("sink", "unit, 0, 0")):
        units = [key.unit for key in KEYS]
        await connection.execute(f"INSERT INTO {table} SELECT {values} FROM unnest($1::TEXT[]) unit", units)
    await connection.close()


async def hammer(url: str, seed: int, seconds: float) -> Counter[str]:
    """Hammer, then wake until nothing is unsettled."""
    ledger = ledger_of(url)
    await ledger.open()
    async with asyncpg.create_pool(url, min_size=4, max_size=8) as pool:
        hammering = Hammer(ledger, pool, seed)
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(hammering.beat()), tasks.create_task(hammering.wake())]
            await asyncio.gather(*(hammering.change_and_hint(until) for _ in range(HANDS)))
            unsettled = "SELECT count(*) FROM units WHERE lease_token IS NOT NULL OR wake_at IS NOT NULL"
            while await pool.fetchval(unsettled):  # noqa: ASYNC110  # the other process settles some
                await asyncio.sleep(WAKE_SECONDS)
            for task in beside:
                task.cancel()
    await ledger.aclose()
    return hammering.seen


async def state(url: str) -> list[Any]:
    """Return what is not as it should be."""
    connection = await asyncpg.connect(url)
    wrong = await connection.fetch(
        "SELECT unit, store.version, sink.version, applied_etag, status, open, dirty, lease_token, wake_at FROM store "
        "JOIN sink USING (unit) LEFT JOIN units USING (unit) WHERE store.version > 0 AND NOT (sink.version = "
        "store.version AND applied_etag IS NOT DISTINCT FROM store.version::TEXT AND status = 'done' AND NOT open "
        "AND NOT dirty AND lease_token IS NULL AND wake_at IS NULL)"
    )
    await connection.close()
    return [tuple(row) for row in wrong]


if __name__ == "__main__":
    seen = asyncio.run(hammer(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.write(json.dumps(seen))
