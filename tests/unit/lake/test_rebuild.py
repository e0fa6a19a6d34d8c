"""Rebuilding a table: other types for the same rows of the same versions, in one commit."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

from handlers.contract import TransientError
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.lake import rebuild_files, rebuild_rows, rebuild_run
from handlers.csv_to_iceberg.lake.rebuild import Rebuild, Rebuilt
from handlers.csv_to_iceberg.lake.rebuild_plan import RebuildPlan
from handlers.csv_to_iceberg.lake.rebuild_site import NoSuchTable
from tests.unit.lake.test_handler import Held, Service, opened
from tests.verdicts import verified

FIRST = b"id,amount,note\n1,1,a\n2,2,b\n"
SECOND = b"id,amount,note\n" + b"".join(b"%d,%d.5,c\n" % (n, n) for n in range(3, 40))


class Bucket:
    """A service and the objects it was given."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.objects: dict[str, Held] = {}
        self.options = Options()
        self.on_find: Callable[[str], Any] = lambda _key: None

    async def put(self, key: str, data: bytes, etag: str = "e1", **options: Any) -> Any:
        receipt = await self.service.put(key, data, etag, **options)
        self.objects[key] = Held(key, data, etag)
        return receipt

    async def find(self, bucket: str, key: str) -> tuple[Held, Options] | None:
        assert bucket == "b"
        self.on_find(key)
        found = self.objects.get(key)
        return None if found is None else (found, self.options)

    async def rebuild(self, name: str = "lakehouse.t") -> Rebuild:
        return await self.service.handler.rebuilding(name, self.find, lambda _what, _through, _total: None)

    async def rebuilt(self, name: str = "lakehouse.t") -> tuple[RebuildPlan, Rebuilt]:
        rebuild = await self.rebuild(name)
        plan = await rebuild.plan()
        return plan, await rebuild.carry_out(plan)

    def types(self) -> dict[str, str]:
        return dict(self.service.sql("select column_name, column_type from (describe from t)"))

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        return self.service.sql(text)


@pytest.fixture
async def bucket(tmp_path: Path) -> AsyncIterator[Bucket]:
    with opened(tmp_path) as service:
        yield Bucket(service)
        await service.handler.aclose()


def field_ids(bucket: Bucket) -> dict[str, int]:
    table = bucket.service.handler._lake.load("lakehouse.t")
    assert table is not None
    return {field.name: field.field_id for field in table.schema().fields}


async def test_rescued_cells_become_values(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", FIRST)
    receipt = await bucket.put("t/b.csv", SECOND)
    assert (bucket.types()["amount"], receipt.counts["rescued"]) == ("INTEGER", 37)
    ids = field_ids(bucket)
    plan, done = await bucket.rebuilt()

    (change,) = plan.columns
    assert (change.column, change.old, change.new, change.rescued, change.fit) == (
        "amount",
        "INTEGER",
        "DOUBLE",
        37,
        37,
    )
    assert (plan.sources, plan.read_again, plan.kept, plan.rows) == (2, 2, 0, 39)
    assert done.rescued == 0
    assert bucket.types()["amount"] == "DOUBLE"
    assert bucket.sql("select sum(amount), count(_rescued), count(*) from t") == [(sum(range(40)) + 18.5, 0, 39)]
    assert field_ids(bucket)["amount"] not in ids.values()
    assert {name: number for name, number in field_ids(bucket).items() if name != "amount"} == {
        name: number for name, number in ids.items() if name != "amount"
    }


async def test_nothing_is_written_by_a_plan(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    before = bucket.service.handler._lake.load("lakehouse.t")
    await (await bucket.rebuild()).plan()
    after = bucket.service.handler._lake.load("lakehouse.t")

    assert before is not None
    assert after is not None
    assert before.metadata_location == after.metadata_location


async def test_a_table_whose_types_suit_all_has_nothing_to_change(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", b"id,big\n1,1\n")
    await bucket.put("t/b.csv", b"id,big\n1,99999999999\n")

    plan = await (await bucket.rebuild()).plan()
    assert plan.columns == []


async def test_types_are_those_of_all_sources_not_of_the_first(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", b"id,code,day\n1,,\n2,,\n")
    await bucket.put("t/b.csv", b"id,code,day\n3,7,2024-01-01\n4,8,2024-02-01\n")
    assert bucket.types()["day"] == "VARCHAR"
    await bucket.rebuilt()

    assert {name: bucket.types()[name] for name in ("code", "day")} == {"code": "INTEGER", "day": "DATE"}
    assert [str(day) for (day,) in bucket.sql("select day from t where id > 2 order by id")] == [
        "2024-01-01",
        "2024-02-01",
    ]


async def test_leading_zeros_in_a_later_source_make_the_column_text(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", b"id,zip\n1,12345\n")
    await bucket.put("t/b.csv", b"id,zip\n2,01234\n3,99999\n")
    await bucket.rebuilt()

    assert bucket.sql("select zip from t order by id") == [("12345",), ("01234",), ("99999",)]


async def test_versions_times_and_receipts_stay(bucket: Bucket) -> None:
    receipts = {
        "t/a.csv": await bucket.put("t/a.csv", FIRST),
        "t/b.csv": await bucket.put("t/b.csv", SECOND, "e7"),
    }
    wanted = "select distinct _source_file, _source_etag, _ingested_at from t order by all"
    before = bucket.sql(wanted)
    await bucket.rebuilt()

    assert bucket.sql(wanted) == before
    for key, receipt in receipts.items():
        assert (await verified(bucket.service.handler, bucket.service.unit(key), receipt)).ok


@pytest.mark.parametrize("gone", ["vanished", "replaced"])
async def test_rows_whose_object_is_not_there_any_more_are_carried_over(bucket: Bucket, gone: str) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND + b"40,n/a!,x\n")
    if gone == "vanished":
        del bucket.objects["t/b.csv"]
    else:
        bucket.objects["t/b.csv"] = Held("t/b.csv", b"id\n99\n", "e2")
    plan, done = await bucket.rebuilt()

    assert (plan.read_again, plan.kept) == (1, 1)
    assert done.rescued == 1
    assert bucket.sql("select sum(amount), count(*) from t") == [(sum(range(40)) + 18.5, 40)]
    assert bucket.sql("select id, amount, note, _rescued from t where _rescued is not null") == [
        (40, None, "x", '{"amount": "n/a!"}')
    ]


async def test_carried_over_text_comes_back_from_values_and_rescued_cells(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", b"a,d,b,t\n1,2024-01-02,true,2024-01-02 03:04:05\n")
    words = b"".join(b"w%d,x%d,y%d,z%d\n" % (n, n, n, n) for n in range(5))
    await bucket.put("t/b.csv", b"a,d,b,t\n" + words)
    bucket.objects.clear()
    await bucket.rebuilt()

    assert {bucket.types()[name] for name in "adbt"} == {"VARCHAR"}
    assert bucket.sql("select a, d, b, t from t order by all limit 2") == [
        ("1", "2024-01-02", "true", "2024-01-02 03:04:05"),
        ("w0", "x0", "y0", "z0"),
    ]
    assert bucket.sql("select count(_rescued) from t") == [(0,)]


async def test_many_rows_are_carried_over_and_leave_nothing_behind(bucket: Bucket, tmp_path: Path) -> None:
    await bucket.put("t/a.csv", FIRST)
    many = b"".join(b"%d,%d.5,%s\n" % (n, n, b"text%d" % n * 30) for n in range(100_000))
    await bucket.put("t/b.csv", b"id,amount,note\n" + many)
    bucket.objects.clear()
    await bucket.rebuilt()

    assert bucket.sql("select count(*), count(amount), count(_rescued) from t") == [(100_002, 100_002, 0)]
    assert list((tmp_path / "staging").iterdir()) == []


async def test_carried_over_rows_are_not_held_in_memory(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_rows, "MEMORY", 48 << 20)
    await bucket.put("t/a.csv", FIRST)
    for name in "bcd":
        many = b"".join(b"%d,%d.5,%s\n" % (n, n, b"text%d" % n * 15) for n in range(200_000))
        await bucket.put(f"t/{name}.csv", b"id,amount,note\n" + many)
    # The newest file comes first, and DuckDB takes the others to be as small: smaller than the keys.
    await asyncio.gather(*(bucket.put(f"t/{number}.csv", FIRST) for number in range(400)))
    await bucket.put("t/e.csv", FIRST)
    bucket.objects = {key: held for key, held in bucket.objects.items() if key in {"t/a.csv", "t/b.csv", "t/c.csv"}}
    plan, _ = await bucket.rebuilt()

    assert (plan.read_again, plan.kept) == (3, 402)
    assert bucket.sql("select count(*), count(amount), count(_rescued) from t") == [(600_804, 600_804, 0)]


async def test_a_source_that_reads_differently_now_keeps_its_rows(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    # The label is the same and the content is not: a reader of another release would see other rows.
    bucket.objects["t/b.csv"] = Held("t/b.csv", SECOND + b"100,100.5,z\n", "e1")
    await bucket.rebuilt()

    assert bucket.sql("select count(*), max(amount) from t") == [(39, 39.5)]


async def test_numbers_beyond_32_bits_that_the_sample_missed_widen_the_column(bucket: Bucket) -> None:
    many = b"".join(b"%d,%d\n" % (n, n) for n in range(5000))
    await bucket.put("t/a.csv", b"id,n\n1,\n")
    await bucket.put("t/b.csv", b"id,n\n" + many + b"9,99999999999\n")
    _, done = await bucket.rebuilt()

    assert bucket.types()["n"] == "BIGINT"
    assert bucket.sql("select max(n), count(n) from t") == [(99999999999, 5001)]
    assert done.rescued == 0


async def test_a_type_that_more_than_a_tenth_does_not_fit_becomes_text(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", b"id,n\n1,\n")
    await bucket.put("t/b.csv", b"id,n\n" + b"1,5\n2,word\n" * 50)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    assert plan.columns == []
    plan.correct({"n": ColumnType.INTEGER}, "for the test")
    await rebuild.carry_out(plan)

    assert bucket.types()["n"] == "VARCHAR"
    assert bucket.sql("select count(n), count(_rescued) from t") == [(100, 0)]


async def test_many_files_are_written_and_read_back(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_files, "GROUP_ROWS", 10)
    monkeypatch.setattr(rebuild_files, "FILE_BYTES", 2000)
    await bucket.put("t/a.csv", FIRST)
    for number in range(30):
        await bucket.put(f"t/{number}.csv", SECOND)
    await bucket.rebuilt()

    assert bucket.sql("select count(*), count(distinct _source_file), count(_rescued) from t") == [(1112, 31, 0)]
    table = bucket.service.handler._lake.load("lakehouse.t")
    assert table is not None
    assert len(list(table.scan().plan_files())) > 3
    # Replacing a source finds its rows in the new files.
    await bucket.put("t/3.csv", FIRST, "e2")
    assert bucket.sql("select count(*) from t where _source_file = 't/3.csv'") == [(2,)]


# Others at the same time


def before_commit(monkeypatch: pytest.MonkeyPatch, bucket: Bucket, act: Callable[[Callable[[], Any]], Any]) -> None:
    """Let `act` do the first commit in place of the catalog; it gets the real one."""
    catalog = bucket.service.handler._lake.catalog
    real = catalog.commit_table
    left = [act]

    def commit(*arguments: Any) -> Any:
        return left.pop()(lambda: real(*arguments)) if left else real(*arguments)

    monkeypatch.setattr(catalog, "commit_table", commit)


async def test_what_is_committed_meanwhile_is_carried_over(tmp_path: Path, bucket: Bucket) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    await bucket.put("t/c.csv", SECOND)
    await bucket.put("t/d.csv", SECOND)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    loop = asyncio.get_running_loop()
    with opened(tmp_path) as other:
        seen: list[str] = []

        def meddle(key: str) -> None:
            if key == "t/d.csv" and not seen:
                seen.append(key)
                changes = asyncio.gather(
                    other.put("t/b.csv", b"id,amount,note\n70,70.5,new\n", "e2"),
                    other.put("t/e.csv", b"id,amount,note\n80,80.5,new\n", "e1"),
                    other.gone("t/c.csv", "remove"),
                )
                meddling.append(loop.create_task(_finished(changes)))

        meddling: list[asyncio.Task[None]] = []
        real = bucket.find

        async def find(of: str, key: str) -> Any:
            meddle(key)
            for task in meddling:
                await task
            return await real(of, key)

        object.__setattr__(rebuild._site, "find", lambda key: find("b", key))
        await rebuild.carry_out(plan)
        await other.handler.aclose()

    assert bucket.sql("select _source_file, _source_etag, count(*), count(amount) from t group by all order by 1") == [
        ("t/a.csv", "e1", 2, 2),
        ("t/b.csv", "e2", 1, 1),
        ("t/d.csv", "e1", 37, 37),
        ("t/e.csv", "e1", 1, 1),
    ]
    assert bucket.types()["amount"] == "DOUBLE"


async def _finished(work: asyncio.Future[Any]) -> None:
    await work


async def test_a_removed_source_is_not_brought_back_by_a_conflict(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    with opened(tmp_path) as other:

        def removed_first(commit: Callable[[], Any]) -> Any:
            asyncio.run(other.gone("t/b.csv", "remove"))
            return commit()

        before_commit(monkeypatch, bucket, removed_first)
        await rebuild.carry_out(plan)

    assert bucket.sql("select _source_file, count(*) from t group by 1") == [("t/a.csv", 2)]
    assert bucket.types()["amount"] == "DOUBLE"


async def test_a_column_added_meanwhile_is_kept(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    with opened(tmp_path) as other:

        def grown_first(commit: Callable[[], Any]) -> Any:
            asyncio.run(other.put("t/c.csv", b"id,more\n90,x\n"))
            return commit()

        before_commit(monkeypatch, bucket, grown_first)
        await rebuild.carry_out(plan)

    assert bucket.sql("select id, more from t where more is not null") == [(90, "x")]
    assert bucket.types()["amount"] == "DOUBLE"
    assert bucket.sql("select count(*), count(_rescued) from t") == [(40, 0)]


@pytest.mark.parametrize("landed", [True, False])
async def test_an_unknown_outcome_neither_doubles_nor_loses_rows(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)

    def lost(commit: Callable[[], Any]) -> Any:
        if landed:
            commit()
        raise CommitStateUnknownException("reset")

    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    before_commit(monkeypatch, bucket, lost)
    await rebuild.carry_out(plan)

    assert bucket.sql("select count(*), count(_rescued), count(distinct id) from t") == [(39, 0, 39)]


async def test_rows_staged_for_the_old_columns_are_staged_again(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    with opened(tmp_path) as other:
        held, free = asyncio.Event(), asyncio.Event()
        real = other.context.alive

        async def alive(tokens: Any) -> set[str]:
            held.set()
            await free.wait()
            return await real(tokens)

        monkeypatch.setattr(other.context, "alive", alive)
        putting = asyncio.create_task(other.put("t/c.csv", b"id,amount,note\n80,80.5,new\n"))
        await held.wait()
        await rebuild.carry_out(plan)
        free.set()
        receipt = await putting
        await other.handler.aclose()

    assert receipt.counts["rescued"] == 0
    assert bucket.sql("select amount, _rescued from t where id = 80") == [(80.5, None)]


async def test_a_rebuild_that_fails_changes_nothing_and_leaves_no_files(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    monkeypatch.setattr(rebuild_run, "MAX_TRIES", 2)
    catalog = bucket.service.handler._lake.catalog

    def refuse(*_: Any) -> Any:
        raise CommitFailedException("moved on")

    monkeypatch.setattr(catalog, "commit_table", refuse)
    with pytest.raises(TransientError, match="no commit succeeded in 2 tries"):
        await rebuild.carry_out(plan)

    assert bucket.types()["amount"] == "INTEGER"
    assert list(tmp_path.rglob("rebuild-*/*.parquet")) == []


async def test_a_table_that_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(NoSuchTable, match=r"lakehouse\.nothing"):
        await bucket.rebuild("lakehouse.nothing")


async def test_a_type_that_somebody_wishes_is_taken_whatever_fits(bucket: Bucket) -> None:
    await bucket.put("t/a.csv", b"id,n\n" + b"1,5\n2,word\n" * 10)
    assert bucket.types()["n"] == "VARCHAR"
    bucket.options = Options.model_validate({"columns": {"n": "integer"}})
    _, done = await bucket.rebuilt()

    assert bucket.types()["n"] == "INTEGER"
    assert done.rescued == 10
    assert bucket.sql("select count(n), count(_rescued) from t") == [(10, 10)]


class Endless(io.RawIOBase):
    """A CSV file without end; `far` is set once a good deal of it was read."""

    def __init__(self) -> None:
        self.far = asyncio.Event()
        self.closed_by = ""
        self._loop = asyncio.get_running_loop()
        self._rest = b"id,amount,note\n"
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self._rest) < len(buffer):
            self._rest += b"1,2,text\n" * 20_000
        count = len(buffer)
        buffer[:], self._rest = self._rest[:count], self._rest[count:]
        self._size += count
        if self._size > 8_000_000 and not self.far.is_set():
            self._loop.call_soon_threadsafe(self.far.set)
        return count

    def close(self) -> None:
        if not self.closed:
            self.closed_by = threading.current_thread().name
        super().close()


class EndlessObject(Held):
    def __init__(self, key: str, stream: Endless) -> None:
        super().__init__(key, b"")
        self.stream = stream

    async def open(self) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(self.stream))


@pytest.mark.parametrize("writing", [False, True])
async def test_a_rebuild_that_is_called_off_reads_no_further_and_closes_where_it_reads(
    bucket: Bucket, *, writing: bool
) -> None:
    await bucket.put("t/a.csv", FIRST)
    await bucket.put("t/b.csv", SECOND)
    rebuild = await bucket.rebuild()
    plan = await rebuild.plan()
    stream = Endless()
    bucket.objects["t/a.csv"] = EndlessObject("t/a.csv", stream)

    working = asyncio.create_task(rebuild.carry_out(plan) if writing else rebuild.plan())
    async with asyncio.timeout(60):
        await stream.far.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    assert stream.closed_by.startswith("stream")
    assert bucket.types()["amount"] == "INTEGER"
