"""After other engines and people changed our tables, a source is still replaced and removed exactly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from handlers.contract import Receipt
from handlers.csv_to_iceberg.lake.refusals import ForeignTable, UnsupportedTable
from tests.integration.trino_lake import Service, TrinoLake, serving
from tests.unit.lake.upkeep import KeptBench, Rows
from tests.verdicts import verified

pytestmark = pytest.mark.slow

A, B, C = "t/a.csv", "t/b.csv", "t/c.csv"

FILLED: Rows = [(A, 1, "x"), (A, 2, "y"), (A, 3, "z"), (B, 4, "x"), (B, 9, "w"), (C, 6, "x"), (C, 7, "y")]
"""Source, `n` and `word` of every row that `filled` leaves."""

COLUMNS = ("_source_file", "n", "word")


async def filled(service: Service) -> None:
    """Make a table of three sources, with delete files."""
    await service.put(A, "n,word\n1,x\n2,y\n3,z\n")
    await service.put(B, "n,word\n4,x\n5,y\n")
    await service.put(C, "n,word\n6,x\n7,y\n")
    await service.put(B, "n,word\n4,x\n9,w\n", "e2")


async def inventory(service: Service) -> dict[str, tuple[str, int]]:
    """Return what `ledger rebuild` would find: version and rows of every source."""
    return {
        key: (found.fingerprint, found.counts["rows"])
        async for _, key, found in service.handler.inventory()
        if isinstance(found, Receipt)
    }


def by_source(rows: Rows) -> dict[str, int]:
    """Count rows by their source."""
    keys = [key for key, *_ in rows if key is not None]
    return {key: keys.count(key) for key in keys}


async def still_exact(lake: TrinoLake, service: Service, bench: KeptBench, rows: Rows) -> None:
    """Replace one source and remove another of a table that shows `rows`; everything else stays as it is."""
    assert lake.agreed(bench, *COLUMNS) == sorted(rows, key=repr)
    assert {key: count for key, (_, count) in (await inventory(service)).items()} == by_source(rows)

    await service.put(A, "n,word\n10,new\n11,newer\n", "e3")
    await service.remove(C)

    rows = [row for row in rows if row[0] not in {A, C}] + [(A, 10, "new"), (A, 11, "newer")]
    assert lake.agreed(bench, *COLUMNS) == sorted(rows, key=repr)
    found = await inventory(service)
    assert {key: count for key, (_, count) in found.items()} == by_source(rows)
    assert found[A] == ("e3", 2)


def _without(*numbers: int) -> Rows:
    return [row for row in FILLED if row[1] not in numbers]


MERGE = f"""
    MERGE INTO t USING (VALUES (1, 'm'), (4, 'gone'), (30, 'i')) AS s (n, word) ON t.n = s.n
    WHEN MATCHED AND s.word = 'gone' THEN DELETE
    WHEN MATCHED THEN UPDATE SET word = s.word
    WHEN NOT MATCHED THEN INSERT (n, word, _source_file) VALUES (s.n, s.word, '{C}')
"""

TRINO: dict[str, tuple[list[str], Rows]] = {
    "optimize": (["ALTER TABLE t EXECUTE optimize"], FILLED),
    "optimize_manifests": (["ALTER TABLE t EXECUTE optimize_manifests"], FILLED),
    "expire_snapshots": (["ALTER TABLE t EXECUTE expire_snapshots(retention_threshold => '0s')"], FILLED),
    "remove_orphan_files": (
        [
            "ALTER TABLE t EXECUTE expire_snapshots(retention_threshold => '0s')",
            "ALTER TABLE t EXECUTE remove_orphan_files(retention_threshold => '0s')",
        ],
        FILLED,
    ),
    "optimize, then all that deletes files": (
        [
            "ALTER TABLE t EXECUTE optimize",
            "ALTER TABLE t EXECUTE optimize_manifests",
            "ALTER TABLE t EXECUTE expire_snapshots(retention_threshold => '0s')",
            "ALTER TABLE t EXECUTE remove_orphan_files(retention_threshold => '0s')",
        ],
        FILLED,
    ),
    "DELETE of some rows": (["DELETE FROM t WHERE word = 'y'"], _without(2, 7)),
    "DELETE of a source": ([f"DELETE FROM t WHERE _source_file = '{A}'"], _without(1, 2, 3)),
    "UPDATE": (
        ["UPDATE t SET word = 'u' WHERE n IN (2, 6)"],
        [*_without(2, 6), (A, 2, "u"), (C, 6, "u")],
    ),
    "UPDATE of the source": ([f"UPDATE t SET _source_file = '{B}' WHERE n = 1"], [*_without(1), (B, 1, "x")]),
    "INSERT without a source": (["INSERT INTO t (n, word) VALUES (20, 'i')"], [*FILLED, (None, 20, "i")]),
    "MERGE": (
        [MERGE],
        [*_without(1, 4), (A, 1, "m"), (C, 30, "i")],
    ),
    "DELETE, UPDATE, then optimize": (
        [
            "DELETE FROM t WHERE n = 6",
            "UPDATE t SET word = 'u' WHERE n = 2",
            "ALTER TABLE t EXECUTE optimize",
        ],
        [*_without(6, 2), (A, 2, "u")],
    ),
    "partitions from now on": (["ALTER TABLE t SET PROPERTIES partitioning = ARRAY['word']"], FILLED),
    "partitions, then optimize": (
        ["ALTER TABLE t SET PROPERTIES partitioning = ARRAY['word']", "ALTER TABLE t EXECUTE optimize"],
        FILLED,
    ),
}
"""What -> statements in Trino, and the rows afterwards."""


@pytest.mark.parametrize("what", TRINO)
async def test_sources_are_exact_after_trino_did(rest_lake: TrinoLake, tmp_path: Path, what: str) -> None:
    statements, rows = TRINO[what]
    async with serving(tmp_path, rest_lake, "") as service:
        await filled(service)
        bench = rest_lake.bench()
        assert rest_lake.agreed(bench, *COLUMNS) == FILLED
        for statement in statements:
            rest_lake.run(statement)

        await still_exact(rest_lake, service, bench, rows)


def _overwrite_a_source(bench: KeptBench) -> Rows:
    table = bench.loaded()
    rows = pa.table(
        {"n": pa.array([40], pa.int32()), "word": ["o"], "_source_file": [A], "_source_etag": ["theirs"]},
    )
    table.overwrite(rows, f"_source_file == '{A}'")
    return [*_without(1, 2, 3), (A, 40, "o")]


def _overwrite_all(bench: KeptBench) -> Rows:
    table = bench.loaded()
    table.overwrite(table.scan().to_arrow().sort_by("n"))
    return FILLED


def _delete(bench: KeptBench) -> Rows:
    bench.loaded().delete("word == 'x'")
    return _without(1, 4, 6)


@pytest.mark.parametrize("change", [_overwrite_a_source, _overwrite_all, _delete])
async def test_sources_are_exact_after_pyiceberg_did(
    lake: TrinoLake, tmp_path: Path, change: Callable[[KeptBench], Rows]
) -> None:
    async with serving(tmp_path, lake, "") as service:
        await filled(service)
        bench = lake.bench()

        await still_exact(lake, service, bench, change(bench))


async def test_a_column_that_somebody_added_is_used_or_left_empty(rest_lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await filled(service)
        bench = rest_lake.bench()
        rest_lake.run("ALTER TABLE t ADD COLUMN more varchar")
        rest_lake.run("UPDATE t SET more = 'theirs' WHERE n = 9")
        await still_exact(rest_lake, service, bench, FILLED)
        await service.put(C, "n,word,more\n6,x,ours\n", "e4")

        rows = rest_lake.agreed(bench, "_source_file", "n", "more")
        assert rows == [(A, 10, None), (A, 11, None), (B, 4, None), (B, 9, "theirs"), (C, 6, "ours")]


async def test_a_column_that_somebody_renamed_keeps_its_values_and_comes_anew(
    rest_lake: TrinoLake, tmp_path: Path
) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await filled(service)
        bench = rest_lake.bench()
        rest_lake.run("ALTER TABLE t RENAME COLUMN word TO term")
        await service.put(A, "n,word\n10,new\n", "e3")
        await service.remove(C)

        rows = rest_lake.agreed(bench, "_source_file", "n", "term", "word")
        assert rows == [(A, 10, None, "new"), (B, 4, "x", None), (B, 9, "w", None)]


async def test_a_column_that_somebody_dropped_comes_back_empty(rest_lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await filled(service)
        bench = rest_lake.bench()
        rest_lake.run("ALTER TABLE t DROP COLUMN word")
        await service.put(A, "n,word\n10,new\n", "e3")
        await service.remove(C)

        rows = rest_lake.agreed(bench, *COLUMNS)
        assert rows == [(A, 10, "new"), (B, 4, None), (B, 9, None)]


@pytest.mark.parametrize(
    ("statement", "repair", "reason"),
    [
        (
            "ALTER TABLE t RENAME COLUMN _source_file TO origin",
            "ALTER TABLE t RENAME COLUMN origin TO _source_file",
            r"renamed the column _source_file.* to origin; rename it back",
        ),
        ("ALTER TABLE t DROP COLUMN _source_file", "DROP TABLE t", r"dropped the column _source_file.*drop the table"),
    ],
    ids=["renamed", "dropped"],
)
async def test_without_the_column_of_sources_nothing_is_doubled(
    rest_lake: TrinoLake, tmp_path: Path, statement: str, repair: str, reason: str
) -> None:
    async with serving(tmp_path, rest_lake, "", compact_small_files=2) as service:
        await filled(service)
        await service.put("other/a.csv", "n\n1\n")
        rest_lake.run(statement)
        before = sorted(rest_lake.run("SELECT n, word FROM t"))

        with pytest.raises(UnsupportedTable, match=reason):
            await service.put(A, "n,word\n10,new\n", "e3")
        with pytest.raises(UnsupportedTable, match=reason):
            await service.remove(A)
        with capture_logs() as logs:
            assert await inventory(service) == {"other/a.csv": ("e1", 1)}
        assert [(entry["event"], entry["table"]) for entry in logs] == [("table.not_fenced", "lakehouse.t")]
        assert [upkeep.error for upkeep in await service.maintain() if upkeep.error] == []
        assert sorted(rest_lake.run("SELECT n, word FROM t")) == before

        rest_lake.run(repair)
        await service.put(A, "n,word\n10,new\n", "e3")
        assert (await inventory(service))[A] == ("e3", 1)


async def test_a_column_of_sources_made_again_is_not_taken_for_the_old_one(
    rest_lake: TrinoLake, tmp_path: Path
) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await filled(service)
        rest_lake.run("ALTER TABLE t DROP COLUMN _source_file")
        rest_lake.run("ALTER TABLE t ADD COLUMN _source_file varchar")

        with pytest.raises(UnsupportedTable, match="dropped the column _source_file"):
            await service.put(A, "n,word\n10,new\n", "e3")
        assert rest_lake.run("SELECT count(*) FROM t") == [(7,)]


async def test_a_table_that_somebody_dropped_is_made_anew_and_what_is_missing_is_told(
    lake: TrinoLake, tmp_path: Path
) -> None:
    async with serving(tmp_path, lake, "") as service:
        await filled(service)
        receipt = await service.put(B, "n,word\n4,x\n", "e3")
        lake.run("DROP TABLE t")
        assert await inventory(service) == {}
        await service.remove(C)
        await service.put(A, "n,word\n10,new\n", "e3")

        assert lake.agreed(lake.bench(), *COLUMNS) == [(A, 10, "new")]
        assert await inventory(service) == {A: ("e3", 1)}
        verdict = await verified(service.handler, service.unit(B), receipt)
        assert (verdict.ok, verdict.found) == (False, {"rows": 0})


async def test_a_format_that_is_not_written_fails_with_the_reason(rest_lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await filled(service)
        rest_lake.run("ALTER TABLE t SET PROPERTIES format_version = 3")
        rest_lake.run("DELETE FROM t WHERE n = 1")

        with pytest.raises(UnsupportedTable, match="has format version 3; only version 2 is written"):
            await service.put(A, "n,word\n10,new\n", "e3")
        assert by_source(rest_lake.run("SELECT _source_file, n FROM t")) == {A: 2, B: 2, C: 2}


async def test_a_table_that_is_not_ours_is_never_touched(lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, lake, "", compact_small_files=2, snapshots_kept=1) as service:
        await filled(service)
        lake.run("CREATE TABLE sales (id integer, _source_file varchar)")
        for number in range(4):
            lake.run(f"INSERT INTO sales VALUES ({number}, '{A}')")
        bench = lake.bench()
        before = bench.loaded("lakehouse.sales").metadata_location

        with pytest.raises(ForeignTable, match=r"lakehouse\.sales was not made by lakedrop"):
            await service.put("sales/a.csv", "id\n9\n")
        with pytest.raises(ForeignTable):
            await service.remove("sales/a.csv")
        await service.maintain()
        service.handler._maintenance.cleaning.grace = 0
        await service.maintain()

        assert set(await inventory(service)) == {A, B, C}
        assert bench.loaded("lakehouse.sales").metadata_location == before
        assert sorted(lake.run("SELECT id FROM sales")) == [(0,), (1,), (2,), (3,)]
