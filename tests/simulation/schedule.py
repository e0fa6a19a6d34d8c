"""What happens in one schedule, and what has to be true at its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

from consumer.events import ObjectEvent
from consumer.events import encode as encode_event
from consumer.ledger_views import Units
from consumer.local_broker import LocalBroker
from consumer.protocol import Row, Status
from consumer.router import Route
from consumer.workitem import INGRESS, Message, UnitKey
from handlers.contract import ABSENT, Receipt
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.lake.commit_port import Plan
from tests.simulation.database import clear, fresh_engine, raw
from tests.simulation.outside import BUCKET, SimStore
from tests.simulation.replica import MAX_ATTEMPTS, Replica
from tests.simulation.scenario import Scenario
from tests.simulation.sink import SimTable
from tests.simulation.world import Over, World

HANDLER = "csv_to_iceberg"

QUIET_WITHIN = 3 * 3600
"""Virtual seconds from the last fault to rest; every deadline is far shorter."""


class Schedule:
    """Runs a scenario under a seed."""

    def __init__(self, scenario: Scenario, world: World) -> None:
        chance = world.chance
        self.world = world
        self.scenario = scenario = replace(
            scenario,
            replicas=scenario.replicas or chance.choice([1, 2, 2, 3]),
            on_delete=scenario.on_delete or chance.choice(["keep", "remove"]),
            shared_broker=chance.random() < 0.7 if scenario.shared_broker is None else scenario.shared_broker,
        )
        self.store = SimStore(world)
        self.tables: dict[str, SimTable] = {}
        self.routes = [Route("csv", BUCKET, "", (), HANDLER, Options(on_delete=scenario.on_delete))]
        self.engine = fresh_engine(world.loop.clock())
        self.replicas: list[Replica] = []
        self._server = LocalBroker(bound=1 << 30)
        self._born = 0
        self._outages = 0
        self._ever: set[str] = set()
        """Keys that existed at some time."""
        self._rebuilding: list[asyncio.Task[None]] = []
        world.meddle = self._change

    # What happens

    async def play(self) -> None:
        scenario, chance = self.scenario, self.world.chance
        self.world.calm = True
        for _ in range(scenario.replicas or 1):
            self._start()
        for key in scenario.keys:
            if scenario.settled_first or chance.random() < 0.7:
                self._put(key, told=True)
        if scenario.settled_first:
            await self._quiet()
        self.world.calm = False
        begun = self.world.loop.time()
        acts = [self._change] * scenario.changes + [self._intervene] * scenario.interventions * bool(scenario.outside)
        # Changes come in a burst at first: what they lead to has time to go wrong.
        for at, act in sorted((chance.random() ** 2 * scenario.seconds, number) for number, _ in enumerate(acts)):
            await self._until(begun + at)
            acts[act]()
            if self.world.violation:
                return
        await self._until(begun + scenario.seconds)
        await self._end_of_faults()

    async def _end_of_faults(self) -> None:
        self.world.calm = True
        for replica in [replica for replica in self.replicas if replica.stopped]:
            self.world.loop.resume(replica)
        self._revive()
        if self._rebuilding:
            await asyncio.gather(*self._rebuilding)
        if not self.scenario.final_sweep or self.world.chance.random() < 0.5:
            await self._quiet()
        if self.scenario.final_sweep:
            await self._sweep()  # sees all that changed, even if it comes while units are being worked on
            await self._quiet()
        failed = [row for row in await self._rows() if row.status is Status.FAILED and self._is_good(row)]
        for row in failed:
            if self.scenario.innocent:
                self._fail(row.key.unit, f"failed without a reason of its own: {row.error}")
                return
            self.world.note("replay", row.key.unit, row.error)
            await self.replicas[0].hints.bulk(row.key, "replay", kind="replay")
        if failed:
            await self._quiet()

    async def _sweep(self) -> None:
        """Sweep, again if the process dies meanwhile: it may be reading what kills it."""
        done = False
        while not done:
            self._revive()
            replica = self.replicas[0]
            sweeping = replica.sweep()
            while not sweeping.done() and not replica.dead:  # noqa: ASYNC110  # virtual time, and death rings no bell
                await asyncio.sleep(1)
            done = sweeping.done()

    def _is_good(self, row: Row) -> bool:
        text = self.store.texts.get((BUCKET, row.key.unit))
        return text is None or text[0] not in "pk"

    async def _until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - self.world.loop.time()))

    def _start(self) -> None:
        self._born += 1
        server = self._server if self.scenario.shared_broker else LocalBroker(bound=1 << 30)
        replica = Replica(
            f"P{self._born}",
            self.world,
            engine=self.engine,
            store=self.store,
            server=server,
            tables=self.tables,
            routes=self.routes,
        )
        self.replicas.append(replica)
        self.world.note("starts", replica.name)
        replica.start()
        if self._born > 1 and not self.scenario.shared_broker:
            replica.sweep()  # as every embedded service does

    def _revive(self) -> None:
        """Replace the processes that died; a broker notices some time after they did."""
        for dead in [replica for replica in self.replicas if replica.dead]:
            self.replicas.remove(dead)
            for consumer in dead.broker.consumers:
                self.world.background(consumer.aclose())
            self._start()

    def _change(self) -> None:
        """Put or delete an object; perhaps no event tells of it."""
        chance = self.world.chance
        self._revive_some()
        key = chance.choice(self.scenario.keys)
        told = chance.random() >= self.scenario.lossy
        if (BUCKET, key) in self.store.texts and chance.random() < self.scenario.deletes:
            self.store.delete(BUCKET, key)
            self.world.note("delete", key, "" if told else "(no event)")
            self.world.happened("deleted")
            self._tell(key, "removed", told=told)
        else:
            self._put(key, told=told)

    def _put(self, key: str, *, told: bool) -> None:
        text = self.world.chance.choice(self.scenario.texts)
        again = self.store.texts.get((BUCKET, key)) is None and key in self._ever
        self._ever.add(key)
        if again:
            self.world.happened("recreated")
        self.store.put(BUCKET, key, text)
        self.world.note("put", key, text, "" if told else "(no event)")
        self._tell(key, "created", told=told)

    def _tell(self, key: str, kind: Literal["created", "removed"], *, told: bool) -> None:
        if not told:
            self.world.happened("lost event")
            return
        body = encode_event(ObjectEvent(BUCKET, key, kind, self.world.loop.clock()))
        replica = self.world.chance.choice(self.replicas)  # dead or alive: a broker of its own dies with it
        replica.broker._server._queue(INGRESS).put(Message(body, "", {}, self.world.ids()))

    def _revive_some(self) -> None:
        if self.world.chance.random() < 0.5 or all(replica.dead for replica in self.replicas):
            self._revive()

    def _intervene(self) -> None:
        """Do what a person or the machine does to a service."""
        self._revive_some()
        chance = self.world.chance
        act = chance.choice(self.scenario.outside)
        replica = chance.choice([replica for replica in self.replicas if not replica.dead])
        self.world.note(act, replica.name)
        self.world.happened(act)
        match act:
            case "sweep":
                replica.sweep()
            case "replay":
                key = UnitKey(HANDLER, BUCKET, chance.choice(self.scenario.keys))
                self.world.loop.start(replica, self._replay(replica, key))
            case "restart":
                self.replicas.remove(replica)
                self.world.loop.start(replica, replica.shut_down())
                self._start()
            case "crash":
                replica.dead = True
            case "foreign":
                for table in self.tables.values():
                    table.foreign()
            case "outage":
                self._outage()
            case "rebuild":
                self._rebuilding.append(self.world.background(self._lose_ledger()))

    def _outage(self) -> None:
        if self.scenario.outages is None or self._outages < self.scenario.outages:
            self._outages += 1
            self.world.send_sink_away()

    async def _replay(self, replica: Replica, key: UnitKey) -> None:
        try:
            await replica.hints.bulk(key, "replay", kind="replay")
        except ConnectionError:
            self.world.note("replay fails")

    async def _lose_ledger(self) -> None:
        """Lose every row while the service runs; tell a new ledger what the tables hold."""
        clear(self.engine)
        await asyncio.sleep(self.world.chance.random() * 5)
        ledger = self.replicas[0].ledger
        for table in list(self.tables.values()):
            if table.state is None:
                continue
            table._swap(table.state, Plan())
            inventory = table.state
            await asyncio.sleep(self.world.chance.random() * 5)
            found = [
                (UnitKey(HANDLER, BUCKET, key), Receipt(rows[0].etag, "1", table.name, {"rows": 1}), None)
                for key, rows in inventory.rows.items()
                if rows
            ]
            await Units(ledger).rebuild(found)

    # What is promised

    async def _quiet(self) -> None:
        """Wait until nothing is under way; fail if that takes too long."""
        limit = self.world.loop.time() + QUIET_WITHIN
        calm = 0
        while calm < 2:
            await asyncio.sleep(3)
            calm = calm + 1 if self._at_rest() else 0
            if self.world.calm:
                self._revive()
            worst = max(self.world.killed.values(), default=0)
            if self.scenario.innocent and worst > MAX_ATTEMPTS:
                self.world.fail(f"an object killed {worst} processes")
            if self.world.violation:
                raise Over
            if self.world.loop.time() > limit:
                self.world.fail(f"never comes to rest: {self._unsettled()}")
                raise Over

    def _at_rest(self) -> bool:
        if self.world.late or any(replica.worker.in_flight for replica in self.replicas if not replica.dead):
            return False
        servers = {id(replica.broker._server): replica.broker._server for replica in self.replicas}
        if any(
            queue.waiting for server in servers.values() for name, queue in server._queues.items() if "dead" not in name
        ):
            return False
        return not self._unsettled()

    def _unsettled(self) -> list[tuple[object, ...]]:
        cursor = raw(self.engine).execute(
            "SELECT unit, status, attempts, lease_token, lease_until, wake_at FROM units"
            " WHERE lease_token IS NOT NULL OR wake_at IS NOT NULL"
        )
        return cursor.fetchall()  # type: ignore[no-any-return]  # rows of the database's driver

    async def _rows(self) -> list[Row]:
        units = Units(self.replicas[0].ledger)
        return [row for key in self.scenario.keys for row in await units.find(BUCKET, key)]

    async def check(self) -> None:
        """Compare tables and rows with the bucket."""
        rows = {row.key.unit: row for row in await self._rows()}
        for key in self.scenario.keys:
            text = self.store.texts.get((BUCKET, key))
            table = self.tables.get(key.partition("/")[0])
            shown = table.state.rows.get(key, ()) if table and table.state else ()
            held = [row.text for row in shown]
            row = rows.get(key)
            if row is None:
                if text is not None or held:
                    self._fail(key, f"has no row; bucket {text!r}, table {held}")
                continue
            self._check_unit(key, text, held, row)

    def _check_unit(self, key: str, text: str | None, held: list[str], row: Row) -> None:
        head = ABSENT if text is None else text
        if row.observed_etag != head:
            self._fail(key, f"is {head!r}, its row says {row.observed_etag!r}")
        elif row.attempts > MAX_ATTEMPTS + (row.error_class == "AttemptsExhausted"):
            self._fail(key, f"had {row.attempts} attempts")
        elif not self._is_good(row):
            if row.status is not Status.FAILED or not row.error:
                self._fail(key, f"cannot be ingested, and is {row.status} because {row.error!r}")
            elif held and held[0][0] in "pk":
                self._fail(key, f"is in the table: {held}")
        elif row.status is not Status.DONE:
            self._fail(key, f"is {row.status}: {row.error}")
        elif text is None:
            if held and self.scenario.on_delete == "remove":
                self._fail(key, f"is gone, the table still shows {held}")
        elif held != [text]:
            self._fail(key, f"is {text!r} and done, the table shows {held}")

    def _fail(self, key: str, message: str) -> None:
        self.world.fail(f"{key} {message}")
