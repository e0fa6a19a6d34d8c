"""What Trino is asked by us, and what it sees of us."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from handlers.contract import Outcome
from handlers.csv_to_iceberg.lake.rewrite import CalledOff
from handlers.csv_to_iceberg.trino_client import TrinoAway, TrinoClient, TrinoRefused, TrinoSettings
from handlers.csv_to_iceberg.trino_query import query
from tests.integration.trino_lake import TrinoLake, serving
from tests.stack.proxy import proxied
from tests.stack.trino import Trino
from tests.verdicts import verified

pytestmark = pytest.mark.slow

SEED_LOOK_UP = """
-- Check if a file has already been processed with the same ETag
SELECT 1
FROM iceberg.lakehouse._ingest_registry
WHERE file_key = ? AND etag = ? AND status = 'success'
LIMIT 1
"""
"""The CSV specification, "Lookup Logic"."""


async def test_a_new_table_and_new_rows_are_there_for_the_first_query_after_the_commit(lake: TrinoLake) -> None:
    bench = lake.bench()
    for number in range(3):
        await bench.put(
            {f"t{number}/a.csv": {"n": [1]}}, committer=bench.committer(bench.table(f"lakehouse.t{number}"))
        )

        assert (f"t{number}",) in lake.run("SHOW TABLES")

    await bench.put({"t/a.csv": {"n": [1]}})
    assert lake.run("SELECT n FROM t") == [(1,)]
    await bench.put({"t/a.csv": {"n": [2]}}, etag="e2")
    assert lake.run("SELECT n FROM t") == [(2,)]


async def test_verify_counts_what_trino_shows(lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, lake) as service:
        key = 't/it\'s "a" ünï 1.csv'
        receipt = await service.put(key, "id,n\n1,1\n2,2\n")
        assert (await verified(service.handler, service.unit(key), receipt)).ok

        lake.run("DELETE FROM t WHERE id = 2")
        verdict = await verified(service.handler, service.unit(key), receipt)
        assert (verdict.ok, verdict.expected, verdict.found) == (False, {"rows": 2}, {"rows": 1})

        lake.run("INSERT INTO t (id, _source_file, _source_etag) SELECT 3, _source_file, 'other' FROM t")
        verdict = await verified(service.handler, service.unit(key), receipt)
        assert not verdict.ok
        assert "{'other': 1}" in verdict.message

        lake.run("DROP TABLE t")
        verdict = await verified(service.handler, service.unit(key), receipt)
        assert (verdict.ok, verdict.message) == (False, "there is no table lakehouse.t")


async def test_trino_away_fails_no_ingest(rest_lake: TrinoLake, tmp_path: Path) -> None:
    async with proxied(rest_lake.trino.url) as (proxy, url), serving(tmp_path, rest_lake, url) as service:
        proxy.refuse()
        receipt = await service.put("t/a.csv", "n\n1\n")
        with capture_logs() as logs:
            done = await service.maintain()

        assert [(upkeep.target, upkeep.error) for upkeep in done if upkeep.error] == []
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["view.not_made"]
        assert proxy.counts.refused == 3
        with pytest.raises(TrinoAway, match="does not answer"):
            await verified(service.handler, service.unit("t/a.csv"), receipt)
        assert proxy.counts.refused == 6
        assert receipt.counts["rows"] == 1

        proxy.restore()
        await service.maintain()
        assert (await verified(service.handler, service.unit("t/a.csv"), receipt)).ok
        assert rest_lake.run("SELECT file_key FROM _ingest_latest") == [("t/a.csv",)]


async def test_the_view_has_the_newest_record_of_each_source(lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, lake) as service:
        await service.put("t/a.csv", "n\n1\n")
        await service.put("t/b.csv", "n\n1\n2\n")
        await service.put("t/a.csv", "n\n1\n2\n3\n", "e2")
        failed = Outcome("b", "t/b.csv", "claim", "e2", "failed", service.context.clock(), None, "Broken", "why", "csv")
        await service.handler.record([failed])
        await service.maintain()
        await service.maintain()

        latest = "SELECT file_key, etag, status, row_count, error_class FROM _ingest_latest ORDER BY 1"
        assert lake.run(latest) == [
            ("t/a.csv", "e2", "success", 3, None),
            ("t/b.csv", "e2", "failed", None, "Broken"),
        ]
        assert lake.run("SELECT count(*) FROM _ingest_registry") == [(4,)]
        assert {name for (name,) in lake.run("SHOW TABLES")} >= {"t", "_ingest_registry", "_ingest_latest"}
        assert "lakehouse._ingest_latest" not in service.handler._lake.table_names()


async def test_the_look_up_of_the_specification_finds_what_was_processed(lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, lake) as service:
        await service.put("t/a.csv", "n\n1\n")
        sql = SEED_LOOK_UP.replace("iceberg.", f"{lake.catalog}.").replace("'", "''")

        def found(key: str, etag: str) -> list[tuple[Any, ...]]:
            return lake.run(f"EXECUTE IMMEDIATE '{sql}' USING '{key}', '{etag}'")

        assert found("t/a.csv", "e1") == [(1,)]
        assert found("t/a.csv", "e2") == []
        assert found("t/b.csv", "e1") == []


async def test_maintenance_is_delegated_where_it_is_configured(lake: TrinoLake) -> None:
    trino = TrinoSettings(url=lake.trino.url, catalog=lake.catalog, maintains=True)
    bench = lake.bench(compact_small_files=2)
    bench.delegate(trino)
    for number in range(3):
        await bench.put({f"t/{number}.csv": {"n": [number]}, "t/same.csv": {"n": [number]}}, etag=f"e{number}")
    before = lake.agreed(bench)

    (upkeep,) = [one for one in await bench.maintain() if one.target == "lakehouse.t"]

    assert (upkeep.counts["compactions"], upkeep.counts["data_files_added"]) == (1, 1)
    assert upkeep.counts["data_files_removed"] == 3
    assert bench.summary()["engine-name"] == "trino"
    assert len(bench.files()) == 1
    assert lake.agreed(bench) == before
    await bench.put({"t/same.csv": {"n": [9]}}, etag="e9")
    assert ("t/same.csv", "e9", 9) in lake.agreed(bench)
    assert len(lake.agreed(bench)) == len(before)


def test_a_query_returns_every_type_as_it_is(trino: Trino) -> None:
    client = TrinoClient(TrinoSettings(url=trino.url, catalog="system"))
    sql = """
        SELECT true AS a, tinyint '1' AS b, smallint '2' AS c, 3 AS d, 9007199254740993 AS e, real '1.5' AS f,
            infinity() AS g, decimal '1234567890.12' AS h, 'ünï' AS i, date '1582-10-04' AS j,
            timestamp '2024-01-02 03:04:05.123456' AS k, timestamp '2024-01-02 03:04:05 Europe/Berlin' AS l,
            time '03:04:05' AS m, array[1, NULL] AS n, map(array['x'], array[1]) AS o, NULL AS p, X'00ff' AS q;
    """

    (row,) = query(client, sql, "runtime").to_pylist()

    assert {name: str(value) for name, value in row.items()} == {
        "a": "True",
        "b": "1",
        "c": "2",
        "d": "3",
        "e": "9007199254740993",
        "f": "1.5",
        "g": "inf",
        "h": "1234567890.12",
        "i": "ünï",
        "j": "1582-10-04",
        "k": "2024-01-02 03:04:05.123456",
        "l": "2024-01-02 03:04:05 Europe/Berlin",
        "m": "03:04:05",
        "n": "[1, null]",
        "o": '{"x": 1}',
        "p": "None",
        "q": "AP8=",
    }


def test_more_rows_than_fit_into_a_page_come_all(trino: Trino) -> None:
    client = TrinoClient(TrinoSettings(url=trino.url, catalog="system"))

    found = query(client, "SELECT n, rpad('x', 500, 'y') AS t FROM UNNEST(sequence(1, 9999)) AS s (n)", "runtime")

    assert sorted(found["n"].to_pylist()) == list(range(1, 10_000))


def test_a_wrong_catalog_and_a_wrong_statement_are_told(trino: Trino) -> None:
    client = TrinoClient(TrinoSettings(url=trino.url, catalog="nowhere"))

    with pytest.raises(TrinoRefused, match=r"has no catalog 'nowhere'.*trino_catalog"):
        client.ping()
    with pytest.raises(TrinoRefused) as refused:
        client.run("SELECT * FROM system.runtime.nothing")
    assert refused.value.name == "TABLE_NOT_FOUND"
    assert TrinoClient(TrinoSettings(url=trino.url, catalog="system")).ping() == "483"


def test_a_trino_that_a_bundle_vouches_for_is_asked_by_https(trino: Trino) -> None:
    if trino.secure_url is None:
        pytest.skip("this Trino is not known to speak HTTPS")
    settings = TrinoSettings(url=trino.secure_url, catalog="system", ca_bundle=trino.authority)

    rows = TrinoClient(settings).run("SELECT n FROM UNNEST(sequence(1, 9999)) AS s (n)").rows

    assert len(rows) == 9999, "by several pages"
    with pytest.raises(TrinoAway, match=r"cannot be trusted: .*: set `trino_ca_bundle`"):
        TrinoClient(settings.model_copy(update={"ca_bundle": None})).run("SELECT 1")


async def test_a_statement_that_is_called_off_ends_in_trino(trino: Trino) -> None:
    user = f"impatient-{uuid4()}"
    client = TrinoClient(TrinoSettings(url=trino.url, user=user))
    numbers = "UNNEST(sequence(1, 10000))"

    pages = itertools.count()

    def run() -> None:
        client.run(
            f"SELECT count(*) FROM {numbers} AS a (n), {numbers} AS b (n), {numbers} AS c (n)",
            called_off=lambda: next(pages) == 5,
        )

    with pytest.raises(CalledOff):
        await asyncio.to_thread(run)

    (state,) = trino.run(f"SELECT state FROM system.runtime.queries WHERE user = '{user}'")
    assert state == ("FAILED",)


async def test_the_command_asks_trino(rest_lake: TrinoLake, tmp_path: Path) -> None:
    bench = rest_lake.bench()
    await bench.put({"t/a.csv": {"n": [1, 2]}})
    home = tmp_path / "home"
    home.mkdir()
    catalog = "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in rest_lake.properties.items())
    (home / "lakedrop.toml").write_text(
        f'trino_url = "{rest_lake.trino.url}"\ntrino_catalog = "{rest_lake.catalog}"\nlisten = ""\n[catalog]\n{catalog}'
    )

    def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "consumer", "--home", str(home), *words],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
        )

    def run(sql: str) -> subprocess.CompletedProcess[str]:
        return command("query", "--engine", "trino", "--format", "json", sql)

    def trino_in_check(**variables: str) -> dict[str, Any]:
        (line,) = (one for one in json.loads(command("check", "--json", **variables).stdout) if one["name"] == "trino")
        return dict(line)

    found = trino_in_check()
    assert (found["ok"], found["message"]) == (
        True,
        f"{rest_lake.trino.url} is Trino 483 with the catalog {rest_lake.catalog}",
    )
    found = trino_in_check(LAKEDROP_TRINO_CATALOG="nowhere")
    assert (found["ok"], "no catalog 'nowhere'" in found["message"]) == (False, True)
    done = run("SELECT sum(n) AS total FROM t")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [{"total": 3}]
    for refused in ("DELETE FROM t", "EXPLAIN ANALYZE DELETE FROM t", "/* SELECT */ DROP TABLE t"):
        done = run(refused)
        assert (done.returncode, "tables cannot be changed" in done.stderr) == (64, True)
    assert run("SELECT nothing FROM t").returncode == 64
    assert rest_lake.run("SELECT count(*) FROM t") == [(2,)]
