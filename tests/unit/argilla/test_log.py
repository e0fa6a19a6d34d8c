"""The ingest log: what it says at each step, and that a ledger can be made of it."""

from __future__ import annotations

import json
import multiprocessing
import re
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import duckdb
import pytest

from handlers.argilla_records.database import TABLES, Database
from handlers.argilla_records.rejects import kept_rejects
from handlers.contract import UNKNOWN, Failure, Outcome, PermanentError, Receipt, SinkAway, TransientError, fingerprint
from tests.argilla import parquet, record
from tests.fake_argilla import Fault
from tests.objects import BytesObject
from tests.unit.argilla.bench import BUCKET, Bench

SPAN = (0, 2, "VESSEL")
QUESTIONS = {"entities": {"type": "span", "labels": ["VESSEL"]}}
ROWS = [record("D:1", "FV", SPAN)]
UNIT = "argilla/in/vessels/"
SQL = Path(__file__).parents[3] / "sql/motherduck"


async def known(bench: Bench) -> list[Any]:
    return [item async for item in bench.handler.inventory()]


def failed(version: str, unit: str = UNIT) -> Outcome:
    return Outcome(BUCKET, unit, "t", version, "failed", 1, None, "ObjectGone", "deleted", "argilla")


async def test_an_object_is_logged_with_etag_size_and_what_came_of_it(bench: Bench) -> None:
    seen: list[str] = []
    send = bench.handler._api.send

    async def looking(method: str, path: str, **more: Any) -> Any:
        if path.endswith("bulk"):
            seen.extend(row["status"] for row in bench.logged())
        return await send(method, path, **more)

    bench.handler._api.send = looking  # type: ignore[method-assign]
    await bench.apply(ROWS, yaml="name: ships")

    rows = bench.logged()
    assert seen == ["ingesting", "ingesting"]
    assert [(row["dataset"], row["object_uri"].rpartition("/")[2], row["status"]) for row in rows] == [
        ("ships", "argilla_records.parquet", "ingested"),
        ("ships", "dataset.yaml", "ingested"),
    ]
    assert len(rows[0]["object_etag"]) == 32
    assert rows[1]["object_bytes"] == 11
    assert rows[0]["discovered_at"] <= rows[0]["ingested_at"]
    assert rows[0]["message"] == '{"workspace": "argilla", "rows": 1, "rejected": 0, "others": 0}'


async def test_the_receipt_can_be_made_anew_of_the_log(bench: Bench) -> None:
    receipt = await bench.apply(ROWS, yaml="name: ships")

    ((bucket, unit, found),) = await known(bench)

    assert (bucket, unit) == (BUCKET, UNIT)
    assert (found.fingerprint, found.target, found.counts) == (receipt.fingerprint, "argilla/ships", receipt.counts)


async def test_a_failure_is_logged_with_its_reason_and_told_with_what_is_held(bench: Bench) -> None:
    await bench.apply(ROWS)
    with pytest.raises(PermanentError):
        await bench.apply([record("D:1", "")])

    (row,) = bench.logged()
    receipt, failure = (found for _, _, found in await known(bench))

    assert row["status"] == "failed"
    assert row["message"].startswith("PermanentError: None of its records can be taken")
    assert isinstance(receipt, Receipt)
    assert receipt.fingerprint == UNKNOWN
    assert isinstance(failure, Failure)
    assert failure.error_class == "PermanentError"


async def test_what_is_tried_again_has_not_failed(bench: Bench) -> None:
    bench.fake.faults.append(Fault("PUT", ".*/bulk", status=500, body={"detail": "broken"}, times=3))
    with pytest.raises(TransientError):
        await bench.apply(ROWS)

    (row,) = bench.logged()
    ((_, _, found),) = await known(bench)

    assert row["status"] == "ingesting"
    assert row["message"].startswith("to be tried again: ")
    assert found.fingerprint == UNKNOWN  # so that a ledger made of this looks at the folder again


async def test_a_failure_that_the_worker_found_is_logged_for_its_version(bench: Bench) -> None:
    bench.fake.faults.append(Fault("PUT", ".*/bulk", status=500, body={"detail": "broken"}, times=3))
    with pytest.raises(TransientError):
        await bench.apply(ROWS)
    objects = bench.logged()
    with closing(Database(bench.settings)) as database, database.transaction() as db:
        assert db.execute("SELECT count(*) FROM argilla_doubts").fetchall() == [(1,)]
    version = (await _version(bench)).fingerprint

    await bench.handler.record([failed(version)])
    await bench.handler.record([failed(version)])

    (row,) = bench.logged()
    assert (row["status"], row["message"]) == ("failed", "ObjectGone: deleted")
    assert row["object_etag"] == objects[0]["object_etag"]
    assert (await known(bench))[-1][2] == Failure(version, "ObjectGone", "deleted")


async def _version(bench: Bench) -> Receipt:
    """Return the receipt that the same records would have had."""
    bench.fake.faults.clear()
    other = Bench(bench.home / "other", bench.fake)
    receipt = await other.apply(ROWS)
    await other.handler.aclose()
    bench.fake.datasets.clear()
    return receipt


async def test_a_failure_before_a_success_of_the_same_version_is_over(bench: Bench) -> None:
    receipt = await bench.apply(ROWS)

    await bench.handler.record([failed(receipt.fingerprint)])

    ((_, _, found),) = await known(bench)
    assert isinstance(found, Receipt)


async def test_a_failure_of_objects_that_nobody_saw_is_one_of_the_folder_until_it_is_ingested(bench: Bench) -> None:
    await bench.handler.record([failed("e9")])
    assert await known(bench) == [(BUCKET, UNIT, Failure("e9", "ObjectGone", "deleted"))]

    await bench.apply(ROWS)

    ((_, _, found),) = await known(bench)
    assert isinstance(found, Receipt)


async def test_units_are_told_in_byte_order(bench: Bench) -> None:
    for folder in ("b", "a", "a-b", "B"):
        await bench.apply(ROWS, folder=folder)

    units = [unit.encode() for _, unit, _ in await known(bench)]

    assert units == sorted(units)


async def test_rejected_rows_are_kept_for_the_version_that_is_held(bench: Bench) -> None:
    await bench.apply([*ROWS, *(record(f"D:{number}", "") for number in range(2, 6))], max_rejects=2)

    with closing(Database(bench.settings)) as database, database.transaction() as db:
        rows = db.execute("SELECT row_number, external_id, reason FROM argilla_rejects ORDER BY 1").fetchall()
    assert rows == [(number, f"D:{number}", "text is empty: there is nothing to annotate") for number in (2, 3)]


def _kept(bench: Bench, version: str, status: Literal["ingested", "failed"]) -> list[tuple[int, str]]:
    found = kept_rejects(bench.settings, BUCKET, UNIT, fingerprint=version, status=status, limit=10)
    assert found["kept"] == len(found["rejected"])
    return [(one["record"], one["reason"]) for one in found["rejected"]]


async def test_rejects_of_a_version_that_failed_are_beside_those_of_the_one_that_is_held(bench: Bench) -> None:
    empty = "text is empty: there is nothing to annotate"
    held = await bench.apply([record("D:3", ""), *ROWS])
    bad = [record("D:7", ""), record("D:8", "")]
    with pytest.raises(PermanentError):
        await bench.apply(bad)
    newer = fingerprint([BytesObject(f"{UNIT}argilla_records.parquet", parquet(bad))], UNIT)

    assert _kept(bench, held.fingerprint, "ingested") == [(1, empty)]
    assert _kept(bench, newer, "failed") == [(1, empty), (2, empty)]

    last = await bench.apply(ROWS)
    assert _kept(bench, newer, "failed") == _kept(bench, last.fingerprint, "ingested") == []


async def test_what_is_kept_of_rejected_rows_is_bounded_and_all_are_counted(bench: Bench) -> None:
    long = "x" * 1_000_000
    rows = [
        record("E:1", long, (0, 2, long)),
        {**record("E:2", ""), "id": long},
        {**record("E:3", long), "suggestions_json": json.dumps([{"question_name": long, "value": "x"}])},
        *(record(f"E:{number}", "") for number in range(10, 2000)),
    ]

    receipt = await bench.apply([*ROWS, *rows], max_rejects=1500, questions=QUESTIONS)

    assert receipt.counts["rejected"] == len(rows)
    assert len(json.dumps(receipt.detail)) < 100_000
    with closing(Database(bench.settings)) as database, database.transaction() as db:
        longest = "max(length(content)), max(length(reason)), max(length(external_id))"
        (found,) = db.execute(f"SELECT count(*), {longest} FROM argilla_rejects").fetchall()
    assert found[0] == 1500
    assert all(size < 10_000 for size in found[1:])


async def test_a_log_that_another_process_has_is_waited_for(bench: Bench) -> None:
    spawn = multiprocessing.get_context("spawn")
    taken, free = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=hold, args=(bench.settings.log, taken, free))
    holder.start()
    try:
        assert taken.wait(180)
        tries = 0
        run = bench.context.run

        def counting(lane: str, function: Any, /, *args: Any) -> Any:
            nonlocal tries
            tries += lane == "argilla log"
            if tries > 2:
                free.set()
                holder.join(180)
            return run(lane, function, *args)

        bench.context.run = counting  # type: ignore[method-assign]
        await bench.apply(ROWS)
    finally:
        free.set()
        holder.join(180)

    assert tries > 2
    assert bench.logged()[0]["status"] == "ingested"


def hold(path: str, taken: Any, free: Any) -> None:
    """Have the file in another process."""
    db = duckdb.connect(path)
    taken.set()
    free.wait(180)
    db.close()


async def test_a_log_that_cannot_be_written_is_a_sink_that_is_away(bench: Bench) -> None:
    Path(bench.settings.log).write_text("no database")

    with pytest.raises(SinkAway, match="the ingest log"):
        await bench.apply(ROWS)
    with pytest.raises(SinkAway, match="the ingest log"):
        await bench.handler.ping()
    assert bench.fake.datasets == {}


def test_the_tables_are_those_of_the_sql_files() -> None:
    texts = [(SQL / f"{name}.sql").read_text() for name in ("argilla_ingest_log", "argilla_rejects")]
    written = " ".join(re.sub(r"--.*", "", text) for text in texts).replace("md_annotated.main.", "")

    def words(text: str) -> str:
        return re.sub(r"\s+", " ", re.sub(r"\s*([(),;])\s*", r"\1", text)).strip(" ;")

    assert words(written) == words(";".join(TABLES))


async def test_a_mapping_that_cannot_be_read_does_not_make_the_version_before_it_a_failure(bench: Bench) -> None:
    receipt = await bench.apply(ROWS)

    with pytest.raises(PermanentError):
        await bench.apply(ROWS, yaml="name: [")
    await bench.handler.record([failed("of the second")])

    (_, _, held), (_, _, failure) = await known(bench)
    assert isinstance(held, Receipt)
    assert held.fingerprint == receipt.fingerprint
    assert failure == Failure("of the second", "ObjectGone", "deleted")


async def test_a_dataset_is_removed_by_its_own_name_though_the_log_cannot_tell_its_version(bench: Bench) -> None:
    await bench.apply(ROWS, yaml="name: ships")
    bench.receipt = Receipt(UNKNOWN, "1", "ships", {})

    await bench.apply(None, on_delete="remove")

    assert bench.fake.datasets == {}
