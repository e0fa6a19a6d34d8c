"""Sweeps over the listing of a real store: key ranges side by side, keys of any characters, also where ranges meet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from consumer import ledger_views, sweep
from consumer.hints import Hints
from consumer.ids import RandomIds
from consumer.lanes import Lanes
from consumer.ledger import Ledger
from consumer.ledger_engine import open_engine
from consumer.ledger_leases import Leases
from consumer.ledger_sweeps import Sweeps
from consumer.ledger_views import Units
from consumer.local_broker import LocalBroker
from consumer.look import Looker
from consumer.router import Route, Router
from consumer.s3_store import S3Store
from consumer.schedule import Schedule
from consumer.sweep import Sweeper
from consumer.workitem import UnitKey, bulk_queue, decode
from handlers.contract import Receipt
from tests.fakes import FakeHandler, RouteOptions
from tests.s3 import access_of, many
from tests.stack.minio import Minio

pytestmark = pytest.mark.needs("minio")

ODD = ["+", "%2B", "\n", "\x01", "é", "🦆", "\ue000", "<&>\"'", "#?", "~", "=;:@$,", " ", "%", "\x7f", "a", "Z"]


async def test_key_ranges_of_odd_keys_see_what_one_range_sees(
    minio: Minio, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAGE", 7)
    monkeypatch.setattr(ledger_views, "LEAST_PART", 1)
    keys = [f"{one}{other}{tail}" for one in ODD for other in ("k", "d/k") for tail in ("", "0", "+é")]
    async with minio.client() as client:
        await many(client.put_object(Bucket=bucket, Key=key, Body=key.encode()) for key in keys)
    lanes, ids, handler = Lanes(), RandomIds(), FakeHandler()
    ledger = Ledger(open_engine(None, tmp_path / "ledger.db", lanes.on("ledger")), clock=lambda: 1000, new_id=ids)
    await ledger.open()
    store, units = S3Store(access_of(minio)), Units(ledger)
    listed = {found.key: found.etag async for found in store.list(bucket)}
    assert set(listed) == set(keys)
    changed, new = set(keys[3::11]), set(keys[5::13]) - set(keys[3::11])
    gone = {f"{key}-gone" for key in keys[::17]}
    known = {key: "other" if key in changed else etag for key, etag in listed.items() if key not in new}
    await units.rebuild(
        [
            (UnitKey(handler.name, bucket, unit), Receipt(version, "1", "t", {}), None)
            for unit, version in (known | dict.fromkeys(gone, "was")).items()
        ]
    )
    differing = changed | new | gone

    async def swept(shards: int) -> tuple[dict[str, Any], Counter[str]]:
        broker = LocalBroker()
        options = RouteOptions(on_delete="remove")
        routes = [Route("all", bucket, "", (), handler.name, options, None, None, shards)]
        sweeper = Sweeper(
            store=store,
            looker=Looker(store, Router(routes), {handler.name: handler}),
            routes=routes,
            units=units,
            sweeps=Sweeps(ledger),
            hints=Hints(broker, clock=ledger.clock, new_id=ids),
            schedule=Schedule(Leases(ledger), clock=ledger.clock, new_id=ids, heartbeat_seconds=10.0),
            clock=ledger.clock,
            new_id=ids,
        )
        report = (await sweeper.sweep_now()).json()
        consumer = await broker.consume(bulk_queue(handler.name), prefetch=1000)
        hinted: Counter[str] = Counter()
        for _ in range(await broker.depth(bulk_queue(handler.name))):
            delivery = await consumer.get()
            hinted[decode(delivery.message).key.unit] += 1
            await delivery.ack()
        await consumer.aclose()
        return {name: value for name, value in report.items() if name != "id"}, hinted

    whole, hinted = await swept(1)
    assert hinted == Counter(differing)
    assert (whole["listed"], whole["new"], whole["changed"], whole["vanished"]) == (
        *(len(keys), len(new), len(changed)),
        len(gone),
    )
    for shards in (2, 5, 16):
        borders = await units.splits([handler.name], bucket, "", None, shards)
        assert len(borders) == shards - 1
        assert await swept(shards) == (whole, Counter(differing))
    await store.aclose()
    await ledger.aclose()
    await lanes.aclose()
