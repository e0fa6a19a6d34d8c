"""A lake on a real store behind real catalogs: what is done in a folder is done there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.s3_store import S3Store
from handlers.contract import Claim, Receipt, StoredObject, Unit
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.handler import CsvToIceberg, create
from handlers.csv_to_iceberg.lake.expiry import CLOCKS_APART
from handlers.csv_to_iceberg.lake.lake import LakeSettings
from handlers.csv_to_iceberg.lake.query import QueryError, query
from tests.integration.catalogs import catalog_of
from tests.integration.conftest import NewBench
from tests.s3 import access_of
from tests.stack.minio import Minio
from tests.unit.lake.upkeep import WallContext
from tests.verdicts import verified


@pytest.fixture(params=["postgres", "rest", "sqlite"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Properties of an empty catalog whose tables lie in `bucket`."""
    return catalog_of(request.param, request, tmp_path)


async def stored(minio: Minio, bucket: str, kind: str) -> set[str]:
    """Return the keys of files of a kind, without the folders that PyArrow makes."""
    async with minio.client() as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [entry["Key"] async for page in pages for entry in page.get("Contents", ())]
    return {key for key in keys if f"/{kind}/" in key and not key.endswith("/")}


async def test_sources_are_added_replaced_and_removed(new_bench: NewBench) -> None:
    bench = new_bench()
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [4]}, "t/c.csv": {"n": [5], "more": ["x"]}}, etag="e2")
    await bench.remove("t/b.csv")

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 4), ("t/c.csv", 5)]
    assert query(bench.lake, "select _source_file, n, more from t order by n").to_pylist() == [
        {"_source_file": "t/a.csv", "n": 4, "more": None},
        {"_source_file": "t/c.csv", "n": 5, "more": "x"},
    ]


async def test_two_committers_lose_and_double_nothing(new_bench: NewBench) -> None:
    benches = [new_bench(), new_bench()]
    await benches[0].put({"t/0.csv": {"n": [0]}})

    async def work(number: int) -> None:
        for turn in range(5):
            own = {f"t/{number}-{turn}.csv": {"n": [turn]}}
            await benches[number].put({**own, "t/contested.csv": {"n": [turn]}}, etag=f"e{turn}")

    await asyncio.gather(work(0), work(1))

    sources = [source for source, _ in benches[0].rows("lakehouse.t", "n")]
    assert sorted(sources) == sorted(
        ["t/0.csv", "t/contested.csv", *(f"t/{number}-{turn}.csv" for number in (0, 1) for turn in range(5))]
    )


async def test_a_clock_that_is_ahead_fails_nobodys_commits(new_bench: NewBench, catalog: dict[str, str]) -> None:
    """A REST catalog refuses snapshots beyond its own clock: they get its time; others take any."""
    fast, slow = new_bench(expire_every=1000), new_bench(snapshots_kept=1, expire_every=1)
    for ahead in (CLOCKS_APART // 2, 10 * CLOCKS_APART):
        refused = catalog["type"] == "rest" and ahead > CLOCKS_APART
        fast.context.ahead = ahead
        with capture_logs() as logs:
            await fast.put({"t/fast.csv": {"n": [ahead]}}, etag=f"e{ahead}")
        assert warnings(logs) == ["catalog.other_clock"] * refused
        newest = fast.loaded().current_snapshot()
        assert newest is not None
        assert (newest.timestamp_ms > slow.context.clock() + ahead // 2) is not refused
        with capture_logs() as logs:
            for turn in range(2):
                await slow.put({"t/slow.csv": {"n": [turn]}}, etag=f"e{ahead}-{turn}")
        # What the catalog refused would be here.
        assert warnings(logs) == ["snapshots.not_expired"] * (0 if ahead < CLOCKS_APART or refused else 2)
        times = [entry.timestamp_ms for entry in slow.loaded().metadata.snapshot_log]
        assert times == sorted(times)

    assert slow.rows("lakehouse.t", "n") == [("t/fast.csv", 10 * CLOCKS_APART), ("t/slow.csv", 1)]


def warnings(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    return [entry["event"] for entry in logs if entry["log_level"] == "warning"]


async def test_small_files_are_compacted_and_what_nothing_needs_is_deleted(
    new_bench: NewBench, minio: Minio, bucket: str
) -> None:
    bench = new_bench(snapshots_kept=1, expire_every=1, compact_small_files=2)
    for number in range(4):
        await bench.put({f"t/{number}.csv": {"n": [number]}, "t/same.csv": {"n": [number]}}, etag=f"e{number}")
    before = bench.rows("lakehouse.t", "n")
    await bench.maintain()
    assert bench.rows("lakehouse.t", "n") == before
    assert len(bench.files()) == 1
    assert len(await stored(minio, bucket, "data")) > 1

    # The clock stays: a catalog refuses times that go back, and PyIceberg's own commits have the machine's.
    bench.maintenance.cleaning.grace = 0
    await bench.put({"t/last.csv": {"n": [9]}})
    await bench.maintain()

    assert {f"s3://{bucket}/{key}" for key in await stored(minio, bucket, "data")} == bench.files()
    assert bench.rows("lakehouse.t", "n") == [*before[:-1], ("t/last.csv", 9), before[-1]]


async def test_a_query_reads_the_tables_it_names_and_no_other_object(
    new_bench: NewBench, minio: Minio, bucket: str
) -> None:
    bench = new_bench()
    await bench.put({"t/a.csv": {"n": [1]}})
    await bench.put({"t/a.csv": {"n": [2]}, "t/b.csv": {"n": [3]}})
    (other, *_) = await stored(minio, bucket, "metadata")
    (file, *_) = bench.files()

    assert query(bench.lake, "select sum(n) as total from t").to_pylist() == [{"total": 5}]
    for function in (f"read_text('s3://{bucket}/{other}')", f"read_parquet('{file}')", f"read_blob('lake0://{other}')"):
        with pytest.raises(QueryError, match="disabled by configuration"):
            query(bench.lake, f"select * from {function}, t")


@pytest.fixture
async def store(minio: Minio) -> AsyncIterator[S3Store]:
    store = S3Store(access_of(minio))
    yield store
    await store.aclose()


@pytest.fixture
async def handler(tmp_path: Path, catalog: dict[str, str]) -> AsyncIterator[CsvToIceberg]:
    context = WallContext(str(tmp_path))
    made = create(LakeSettings(home=tmp_path, catalog=catalog, small_file_bytes=1000), context)
    yield made
    await made.aclose()
    context.close()


@pytest.mark.parametrize("rows", [3, 200_000])
async def test_an_object_of_the_store_becomes_rows(
    handler: CsvToIceberg, store: S3Store, minio: Minio, rows: int
) -> None:
    uploads = await minio.create_bucket()
    key = "orders/ünï 1.csv"
    async with minio.client() as client:
        body = b"n,text\n" + b"".join(b"%d,row %d\n" % (number, number) for number in range(rows))
        await client.put_object(Bucket=uploads, Key=key, Body=body)
    found = await store.head(uploads, key)
    assert found is not None
    unit = Unit(uploads, key, "csv", "", Options())

    receipt = await handler.apply(unit, [found], Claim("token", found.etag, None))

    assert (receipt.counts["rows"], receipt.fingerprint) == (rows, found.etag)
    assert (await verified(handler, unit, receipt)).ok
    held = [receipt async for _, _, receipt in handler.inventory()]
    assert [(one.fingerprint, one.counts["rows"]) for one in held if isinstance(one, Receipt)] == [(found.etag, rows)]


async def test_a_table_is_rebuilt_from_objects_and_from_its_own_rows(
    handler: CsvToIceberg, store: S3Store, minio: Minio
) -> None:
    uploads = await minio.create_bucket()
    sources = {
        "orders/first.csv": b"id,amount\n1,1\n2,2\n",
        "orders/large.csv": b"id,amount\n" + b"".join(b"%d,%d.5\n" % (n, n) for n in range(3, 100_000)),
        "orders/gone.csv": b"id,amount\n100000,7.5\n",
    }
    async with minio.client() as client:
        for key, body in sources.items():
            await client.put_object(Bucket=uploads, Key=key, Body=body)
            found = await store.head(uploads, key)
            assert found is not None
            unit = Unit(uploads, key, "csv", "", Options())
            await handler.apply(unit, [found], Claim(key, found.etag, None))
        await client.delete_object(Bucket=uploads, Key="orders/gone.csv")

    async def find(bucket: str, key: str) -> tuple[StoredObject, Options] | None:
        found = await store.head(bucket, key)
        return None if found is None else (found, Options())

    rebuild = await handler.rebuilding("lakehouse.orders", find, lambda _what, _through, _total: None)
    plan = await rebuild.plan()
    done = await rebuild.carry_out(plan)

    assert (plan.read_again, plan.kept, done.rescued) == (2, 1, 0)
    assert [(one.column, one.old, one.new) for one in plan.columns] == [("amount", "INTEGER", "DOUBLE")]
    sums = "select _source_file, count(*) as rows, sum(amount) as total from orders group by 1 order by 1"
    assert [tuple(row.values()) for row in query(handler._lake, sums).to_pylist()] == [
        ("orders/first.csv", 2, 3.0),
        ("orders/gone.csv", 1, 7.5),
        ("orders/large.csv", 99_997, sum(range(3, 100_000)) + 99_997 * 0.5),
    ]
