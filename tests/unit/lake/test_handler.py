"""The handler from bytes to receipts, verdicts and inventory."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
import zstandard

from consumer.folder_file import ExactReader, hash_file
from handlers.contract import (
    ABSENT,
    Claim,
    ClaimLost,
    Failure,
    ObjectChanged,
    ObjectRef,
    Outcome,
    PermanentError,
    Receipt,
    Skip,
    StoredObject,
    Unit,
)
from handlers.csv_to_iceberg.csv import content
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.reading import Reading
from handlers.csv_to_iceberg.handler import CsvToIceberg, create
from handlers.csv_to_iceberg.lake import streaming
from handlers.csv_to_iceberg.lake.lake import LakeSettings
from handlers.csv_to_iceberg.lake.query import query
from tests.unit.lake.bench import Context
from tests.verdicts import verified


class Held(StoredObject):
    """An object in memory; `fails` is raised when its bytes are read."""

    __slots__ = ("data", "fails")

    def __init__(self, key: str, data: bytes, etag: str = "e1", fails: Exception | None = None) -> None:
        super().__init__(key, etag, len(data), 0)
        self.data = data
        self.fails = fails

    async def open(self) -> BinaryIO:
        return Failing(self.data, self.fails)

    async def read(self) -> bytes:
        if self.fails is not None:
            raise self.fails
        return self.data


class Failing(io.BytesIO):
    def __init__(self, data: bytes, fails: Exception | None) -> None:
        super().__init__(data)
        self.fails = fails

    def _check(self) -> None:
        if self.fails is not None and self.tell() > len(self.getbuffer()) // 2:
            raise self.fails

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self._check()
        return found

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self._check()
        return count


class Service:
    """A handler with what surrounds it."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.context = Context(str(home))
        self.handler: CsvToIceberg = create(LakeSettings(home=home, small_file_bytes=2000, **settings), self.context)
        self.staged: list[str] = []

    def unit(self, key: str, **options: Any) -> Unit:
        return Unit("b", key, "csv", "", Options(**options))

    async def put(
        self, key: str, data: bytes, etag: str = "e1", *, alone: bool = False, claim: str = "", **options: Any
    ) -> Receipt:
        token = claim or self.context.new_id()
        held = Claim(token, etag, None, alone=alone, staged=lambda: self.staged.append(key))
        return await self.handler.apply(self.unit(key, **options), [Held(key, data, etag)], held)

    async def gone(self, key: str, on_delete: str) -> Receipt:
        unit = self.unit(key, on_delete=on_delete)
        return await self.handler.apply(unit, [], Claim(self.context.new_id(), ABSENT, None))

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in query(self.handler._lake, text).to_pylist()]

    async def inventory(self) -> list[tuple[str, str, Receipt | Failure]]:
        return [item async for item in self.handler.inventory()]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with opened(tmp_path) as made:
        yield made
        await made.handler.aclose()


@contextmanager
def opened(home: Path, **settings: Any) -> Iterator[Service]:
    made = Service(home, max_commit_latency=0.02, **settings)
    yield made
    made.context.close()


LARGE = b"id,name,amount\n" + b"".join(b"%d,n%d,%d.5\n" % (n, n, n) for n in range(1000))


async def test_files_become_typed_rows(service: Service) -> None:
    receipt = await service.put("sales/a.csv", b"id,name\n1,x\n2,y\n")

    assert receipt.target == "lakehouse.sales"
    assert receipt.fingerprint == "e1"
    assert receipt.counts == {"records": 2, "rows": 2, "rejected": 0, "rescued": 0}
    assert service.sql("select id, name, _source_file, _source_etag from sales order by 1") == [
        (1, "x", "sales/a.csv", "e1"),
        (2, "y", "sales/a.csv", "e1"),
    ]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("data", [b"id,name\n1,x\n", LARGE, gzip.compress(b"id\n" + b"1\n" * 50, mtime=0)])
async def test_an_object_is_staged_once_and_then_committed(service: Service, data: bytes, alone: bool) -> None:
    receipt = await service.put("t/a.csv", data, alone=alone)

    assert service.staged == ["t/a.csv"]
    assert (await verified(service.handler, service.unit("t/a.csv"), receipt)).ok


async def test_no_commit_takes_more_than_max_files_per_commit(tmp_path: Path) -> None:
    with opened(tmp_path, max_files_per_commit=4) as service:
        await asyncio.gather(*(service.put(f"t/{n}.csv", b"id\n%d\n" % n) for n in range(10)))

        table = service.handler._lake.load("lakehouse.t")
        assert table is not None
        added = [int(snapshot.summary["added-records"] or 0) for snapshot in table.snapshots() if snapshot.summary]
        assert (max(added), sum(added)) == (4, 10)
        assert service.sql("select count(distinct _source_file) from t") == [(10,)]
        await service.handler.aclose()


async def test_large_objects_replace_and_are_replaced(service: Service) -> None:
    await service.put("t/small.csv", b"id,name\n1,x\n")
    await service.put("t/a's.csv", LARGE)
    assert service.sql("select count(*), sum(id), sum(amount) from t where _source_file = 't/a''s.csv'") == [
        (1000, 499500, 500000.0)
    ]
    await service.put("t/a's.csv", LARGE[:4000], "e2")
    await service.put("t/small.csv", LARGE, "e2")
    await service.put("t/a's.csv", b"id,name\n5,five\n", "e3")

    assert service.sql("select _source_file, _source_etag, count(*) from t group by all order by 1") == [
        ("t/a's.csv", "e3", 1),
        ("t/small.csv", "e2", 1000),
    ]


async def test_a_large_object_whose_numbers_outgrow_the_column_is_streamed_again(service: Service) -> None:
    await service.put("t/a.csv", b"id\n1\n")
    await service.put("t/b.csv", b"id\n" + b"7\n" * 2000 + b"5000000000\n")

    assert service.sql("select max(id), count(*) from t") == [(5_000_000_000, 2002)]


async def test_large_and_small_objects_of_one_window_may_both_bring_columns(service: Service) -> None:
    await service.put("t/a.csv", b"id\n1\n")
    await asyncio.gather(
        service.put("t/b.csv", b"id,left\n2,x\n"),
        service.put("t/c.csv", LARGE),
        service.put("t/d.csv", b"id,right\n3,y\n", alone=True),
    )

    assert service.sql(
        'select id, "left", "right", name from t where id < 4 and _source_file <> \'t/c.csv\' order by id'
    ) == [
        (1, None, None, None),
        (2, "x", None, None),
        (3, None, "y", None),
    ]
    assert service.sql("select count(name), sum(amount) from t") == [(1000, 500000.0)]


async def test_very_large_objects_become_several_files(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "FILE_BYTES", 1_000_000)
    await service.put("t/a.csv", b"id\n" + b"".join(b"%d\n" % (n * 7919) for n in range(600_000)))
    table = service.handler._lake.load("lakehouse.t")
    assert table is not None

    assert len(list(table.scan().plan_files())) > 1
    assert service.sql("select count(*), count(distinct id) from t") == [(600_000, 600_000)]
    await service.put("t/a.csv", b"id\n1\n", "e2")
    assert service.sql("select count(*) from t") == [(1,)]


async def test_an_object_that_changes_while_it_is_read_is_not_written(service: Service) -> None:
    await service.put("t/a.csv", b"id,name,amount\n1,x,2.5\n")
    for data in (LARGE, b"id,name\n1,x\n"):
        held = Held("t/a.csv", data, "e2", ObjectChanged())
        with pytest.raises(ObjectChanged):
            await service.handler.apply(service.unit("t/a.csv"), [held], Claim("t", "e2", None))

    assert service.sql("select count(*) from t") == [(1,)]


class Generated(io.RawIOBase):
    """Half a gigabyte of rows; tells when some have been read."""

    def __init__(self, on_read: Callable[[], object]) -> None:
        self.unread = 512
        self._on_read = on_read
        self._rows = b"".join(b"%07d,%d\n" % (n, n * 7919) for n in range(65_536))

    def read(self, _: int = -1) -> bytes:
        if self.unread == 480:
            self._on_read()
        self.unread -= 1
        return b"id,value\n" + self._rows if self.unread == 511 else self._rows if self.unread > 0 else b""


class Streams(Held):
    """An object whose streams somebody makes."""

    __slots__ = ("_open",)

    def __init__(self, opens: Callable[[], Any]) -> None:
        super().__init__("t/a.csv", b"")
        self.size = 1 << 29
        self._open = opens

    async def open(self) -> BinaryIO:
        stream: BinaryIO = self._open()
        return stream


async def test_a_stream_nobody_waits_for_any_more_ends_within_a_block(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, read, called_off = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    real = Reading.call_off

    def call_off(reading: Reading) -> None:
        real(reading)
        called_off.set()

    def on_read() -> None:
        loop.call_soon_threadsafe(read.set)
        assert called_off.wait(60)  # what is read meanwhile is as much as the machine is fast

    monkeypatch.setattr(Reading, "call_off", call_off)
    raw = Generated(on_read)
    claim = Claim("t", "e1", None, staged=lambda: service.staged.append("t/a.csv"))
    applying = asyncio.ensure_future(service.handler.apply(service.unit("t/a.csv"), [Streams(lambda: raw)], claim))
    await asyncio.wait_for(read.wait(), 60)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying

    assert raw.closed
    assert raw.unread > 400
    assert service.staged == []
    assert "tokeniser" not in {thread.name for thread in threading.enumerate()}
    assert list(tmp_path.rglob("*.parquet")) == []


async def test_small_files_of_a_table_are_committed_while_a_large_one_is_being_read(service: Service) -> None:
    loop, read, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    class Slow(Generated):
        def read(self, _: int = -1) -> bytes:
            if self.unread == 470:
                assert go_on.wait(60)
            if self.unread == 460:
                self.unread = 0
            return super().read()

    # Opened again where the small files make the table before its own types are known.
    opens = Streams(lambda: Slow(lambda: loop.call_soon_threadsafe(read.set)))
    claim = Claim("large", "e1", None)
    large = asyncio.ensure_future(service.handler.apply(service.unit("t/a.csv"), [opens], claim))
    await asyncio.wait_for(read.wait(), 60)
    for number in range(3):
        await service.put(f"t/{number}.csv", b"id,value\n1,2\n")
        await service.put(f"other/{number}.csv", b"id\n1\n")
    await service.gone("t/0.csv", "remove")

    assert not large.done()
    assert service.sql("select _source_file from t order by 1") == [("t/1.csv",), ("t/2.csv",)]
    go_on.set()
    receipt = await large
    assert service.sql("select count(*) from t where _source_file = 't/a.csv'") == [(receipt.counts["rows"],)]
    assert receipt.counts["rows"] > 65_536


async def test_a_stream_called_off_before_its_turn_is_closed_unread(service: Service) -> None:
    busy = threading.Event()
    held_up = asyncio.ensure_future(service.context.run("stream", busy.wait))
    opened = asyncio.Event()
    raw = io.BytesIO(LARGE)

    def open_raw() -> BinaryIO:
        opened.set()
        return raw

    claim = Claim("t", "e1", None)
    applying = asyncio.ensure_future(service.handler.apply(service.unit("t/a.csv"), [Streams(open_raw)], claim))
    await asyncio.wait_for(opened.wait(), 60)
    applying.cancel()
    busy.set()
    with pytest.raises(asyncio.CancelledError):
        await applying
    await held_up

    assert raw.closed


INCOMPRESSIBLE = b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() + b"\n" for n in range(150_000))


@pytest.mark.parametrize("data", [zstandard.compress(b"id\n" + INCOMPRESSIBLE), b"id\n" + INCOMPRESSIBLE])
async def test_a_file_replaced_in_place_has_changed_however_damaged_its_bytes_look(
    service: Service, tmp_path: Path, data: bytes
) -> None:
    bucket = tmp_path / "buckets" / "b" / "t"
    bucket.mkdir(parents=True)
    path = bucket / "a.csv"
    path.write_bytes(data)
    stamp, etag = hash_file(bytes(path))

    class Replaced(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            with path.open("r+b") as file:
                file.seek(3 << 20)
                file.write(b"\0\xff" * (1 << 19))
            return content

    found = Streams(lambda: Replaced(ExactReader(bytes(path), stamp, etag, doubt=lambda: None)))
    with pytest.raises(ObjectChanged):
        await service.handler.apply(service.unit("t/a.csv"), [found], Claim("t", etag, None))


async def test_an_object_that_cannot_be_read_leaves_the_last_good_version(service: Service) -> None:
    await service.put("t/a.csv", b"id,name\n1,x\n")
    with pytest.raises(PermanentError):
        await service.put("t/a.csv", b"", "e2")

    assert service.sql("select _source_etag from t") == [("e1",)]


async def test_an_object_outside_any_folder_is_skipped(service: Service) -> None:
    with pytest.raises(Skip, match="lies in no folder"):
        await service.put("a.csv", b"id\n1\n")


async def test_a_deleted_object_keeps_its_rows_unless_the_route_says_remove(service: Service) -> None:
    await service.put("t/a.csv", b"id,name\n1,x\n")
    kept = await service.gone("t/a.csv", "keep")
    assert (kept.fingerprint, kept.counts) == ("e1", {"rows": 1})
    removed = await service.gone("t/a.csv", "remove")
    assert (removed.fingerprint, removed.counts) == (ABSENT, {"rows": 0})

    assert service.sql("select count(*) from t") == [(0,)]


@pytest.mark.parametrize("on_delete", ["keep", "remove"])
async def test_a_unit_without_objects_lets_others_read_before_its_commit(service: Service, on_delete: str) -> None:
    await asyncio.gather(*(service.put(f"t/{n}.csv", b"id\n1\n") for n in range(3)))
    committing = threading.Event()
    held_up = asyncio.ensure_future(service.context.run("commit", committing.wait))
    all_staged = asyncio.Event()
    staged: list[str] = []

    async def settle(key: str) -> Receipt:
        def note() -> None:
            staged.append(key)
            if len(staged) == 3:
                all_staged.set()

        claim = Claim(service.context.new_id(), ABSENT, None, alone=True, staged=note)
        return await service.handler.apply(service.unit(key, on_delete=on_delete), [], claim)

    settling = asyncio.gather(*(settle(f"t/{n}.csv") for n in range(3)))
    try:
        await asyncio.wait_for(all_staged.wait(), 60)
    finally:
        committing.set()
    await held_up

    assert {receipt.target for receipt in await settling} == {"lakehouse.t"}


async def test_a_lost_claim_writes_nothing_however_it_was_staged(service: Service) -> None:
    service.context.dead.add("lost")
    for data, alone in ((b"id\n1\n", False), (b"id\n1\n", True), (LARGE, False)):
        with pytest.raises(ClaimLost):
            await service.put("t/a.csv", data, alone=alone, claim="lost")

    assert service.sql("select count(*) from t") == [(0,)]


async def test_verify_notices_rows_that_were_tampered_with(service: Service) -> None:
    receipt = await service.put("t/a.csv", b"id,name\n1,x\n2,y\n")
    unit = service.unit("t/a.csv")
    assert (await verified(service.handler, unit, receipt)).ok
    table = service.handler._lake.load("lakehouse.t")
    assert table is not None
    table.delete("id == 1")
    verdict = await verified(service.handler, unit, receipt)

    assert not verdict.ok
    assert verdict.found == {"rows": 1}
    assert verdict.message == "table lakehouse.t shows 1 rows, not 2"


async def test_verify_notices_a_table_that_is_gone_and_rows_of_another_version(service: Service) -> None:
    receipt = await service.put("t/a.csv", b"id,name\n1,x\n2,y\n")
    unit = service.unit("t/a.csv")
    verdict = await verified(service.handler, unit, replace(receipt, fingerprint="e0"))
    assert not verdict.ok
    assert verdict.message == "table lakehouse.t shows rows of other versions: {'e1': 2}"
    service.handler._lake.catalog.drop_table("lakehouse.t")
    verdict = await verified(service.handler, unit, receipt)
    assert not verdict.ok
    assert verdict.message == "there is no table lakehouse.t"


async def test_a_small_file_that_unpacks_to_too_much_is_streamed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MAX_UNPACKED", 100_000)
    packed = gzip.compress(b"id\n" + b"1234567\n" * 50_000)
    assert len(packed) < 2000
    for alone in (False, True):
        receipt = await service.put("t/a.csv.gz", packed, alone=alone)
        assert receipt.counts["rows"] == 50_000

    assert service.sql("select count(*) from t") == [(50_000,)]


async def test_inventory_tells_what_tables_hold_and_what_failed(service: Service) -> None:
    good = await service.put("t/a.csv", b"id,name\n1,x\n2,y\n")
    await service.put("t/b.csv", b"id,name\n3,z\n", "b1")
    await service.put("other/c.csv", LARGE, "c1")
    empty = await service.put("t/empty.csv", b"id,name\n", "e9")
    await service.handler.record(
        [
            _outcome("t/a.csv", "e1", "success", 1, good),
            _outcome("t/b.csv", "b2", "failed", 2, None),
            _outcome("t/bad.csv", "x1", "failed", 3, None),
            _outcome("t/mended.csv", "m1", "failed", 4, None),
            _outcome("t/mended.csv", "m2", "success", 5, empty),
            _outcome("t/empty.csv", "e9", "success", 6, empty),
        ]
    )
    found: dict[str, list[Receipt | Failure]] = {}
    for bucket, key, item in await service.inventory():
        assert bucket == "b"
        found.setdefault(key, []).append(item)

    shown = {
        key: [(item.fingerprint, item.counts["rows"] if isinstance(item, Receipt) else item.message) for item in items]
        for key, items in found.items()
    }
    assert shown == {
        "t/a.csv": [("e1", 2)],
        "t/b.csv": [("b1", 1), ("b2", "no header")],
        "other/c.csv": [("c1", 1000)],
        "t/bad.csv": [("x1", "no header")],
        "t/mended.csv": [("m2", 0)],
        "t/empty.csv": [("e9", 0)],
    }


async def test_inventory_is_ordered_across_namespaces_with_each_failure_right_after_its_receipt(
    service: Service,
) -> None:
    for key, namespace in (("t/c.csv", "lakehouse"), ("t/a.csv", "other"), ("u/\u00fc.csv", "lakehouse")):
        await service.put(key, b"id\n1\n", namespace=namespace)
    empty = await service.put("t/b.csv", b"id\n", "e9", namespace="other")
    await service.handler.record(
        [
            _outcome("u/\u00fc.csv", "e2", "failed", 1, None),
            _outcome("t/c.csv", "e2", "failed", 2, None),
            _outcome("t/a.csv", "e2", "failed", 3, None),
            _outcome("u/z.csv", "e1", "failed", 4, None),
            _outcome("t/b.csv", "e9", "success", 5, empty),
        ]
    )

    told = [(key, type(item).__name__) for _, key, item in await service.inventory()]
    assert told == [
        ("t/a.csv", "Receipt"),
        ("t/a.csv", "Failure"),
        ("t/b.csv", "Receipt"),
        ("t/c.csv", "Receipt"),
        ("t/c.csv", "Failure"),
        ("u/z.csv", "Failure"),
        ("u/\u00fc.csv", "Receipt"),
        ("u/\u00fc.csv", "Failure"),
    ]


async def test_inventory_takes_an_object_deleted_while_it_was_read_for_no_failure(service: Service) -> None:
    await service.put("t/a.csv", b"id\n1\n")
    gone = [
        replace(_outcome(key, etag, "failed", at, None), error_class="ObjectGone")
        for at, key, etag in ((2, "t/a.csv", "e2"), (3, "t/never.csv", "e1"), (5, "t/bad.csv", "e2"))
    ]
    await service.handler.record([*gone, _outcome("t/bad.csv", "e1", "failed", 4, None)])

    assert [(key, type(item).__name__, item.fingerprint) for _, key, item in await service.inventory()] == [
        ("t/a.csv", "Receipt", "e1"),
        ("t/bad.csv", "Failure", "e1"),
    ]


async def test_inventory_leaves_a_registry_of_somebody_else_alone(service: Service) -> None:
    lake = service.handler._lake
    lake.catalog.create_namespace("lakehouse")
    lake.catalog.create_table("lakehouse._ingest_registry", pa.schema([("n", pa.int32())]))
    await service.put("t/a.csv", b"id\n1\n")

    assert [key for _, key, _ in await service.inventory()] == ["t/a.csv"]


async def test_inventory_fences_every_table(service: Service) -> None:
    await service.put("t/a.csv", b"id\n1\n")
    table = service.handler._lake.load("lakehouse.t")
    assert table is not None
    await service.inventory()
    after = service.handler._lake.load("lakehouse.t")
    assert after is not None

    assert after.metadata.current_snapshot_id != table.metadata.current_snapshot_id
    assert len(after.snapshots()) == len(table.snapshots()) + 1


async def test_inventory_passes_over_tables_handed_over_and_not_written_yet(service: Service) -> None:
    lake = service.handler._lake
    lake.catalog.create_namespace("lakehouse")
    lake.catalog.create_table("lakehouse.t", pa.schema([("n", pa.int32())]), properties={"lakedrop.route": "b/"})

    assert await service.inventory() == []


async def test_inventory_of_an_empty_lake_is_empty(service: Service) -> None:
    assert await service.inventory() == []


async def test_large_files_are_warned_about(tmp_path: Path, logs: Sequence[dict[str, Any]]) -> None:
    with opened(tmp_path, large_file_warning=10_000) as service:
        await service.put("t/a.csv", LARGE)
        await service.put("t/b.csv", b"id\n1\n")
        await service.handler.aclose()

    assert [entry["key"] for entry in logs if entry["event"] == "csv.large_file"] == ["t/a.csv"]


async def test_many_files_at_once_stay_below_the_memory_bound(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes_in_flight=300) as service:
        await asyncio.gather(*(service.put(f"t/{n}.csv", b"id,name\n%d,x\n" % n) for n in range(100)))
        assert service.sql("select count(*), count(distinct _source_file) from t") == [(100, 100)]
        await service.handler.aclose()


async def test_every_object_is_a_unit(service: Service) -> None:
    assert service.handler.unit_of(ObjectRef("b", "t/a.csv"), Options()) == "t/a.csv"
    await service.handler.ping()


def _outcome(unit: str, etag: str, status: Any, at: int, receipt: Receipt | None) -> Outcome:
    failed = status == "failed"
    return Outcome(
        "b",
        unit,
        f"token-{at}",
        etag,
        status,
        at,
        receipt,
        "HeaderMissing" if failed else None,
        "no header" if failed else None,
        "csv",
    )
