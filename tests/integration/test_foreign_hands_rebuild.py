"""After other engines changed our tables, `lakedrop ledger rebuild` finds what is there; a sweep rights the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog

from consumer import exits
from tests.acceptance.conftest import Home, _restored_logs
from tests.integration.trino_lake import TrinoLake

__all__ = ("_restored_logs",)

pytestmark = pytest.mark.slow

FILES = {
    "t/a.csv": "n,word\n1,x\n2,y\n3,z\n",
    "t/b.csv": "n,word\n4,x\n9,w\n",
    "t/c.csv": "n,word\n6,x\n7,y\n",
    "other/a.csv": "n\n1\n",
}

WHOLE = {key: text.count("\n") - 1 for key, text in FILES.items()}
"""Rows by source, as the bucket has them."""

MERGE = """
    MERGE INTO t USING (VALUES (1, 'm'), (4, 'gone'), (30, 'i')) AS s (n, word) ON t.n = s.n
    WHEN MATCHED AND s.word = 'gone' THEN DELETE
    WHEN MATCHED THEN UPDATE SET word = s.word
    WHEN NOT MATCHED THEN INSERT (n, word, _source_file) VALUES (s.n, s.word, 't/c.csv')
"""


def _overwrite(lake: TrinoLake) -> None:
    """Replace a source by rows of a version that no file has, as a program with PyIceberg may."""
    catalog = load_catalog("lakedrop", **lake.properties)
    columns = {"n": pa.array([40], pa.int32()), "word": ["o"], "_source_file": ["t/a.csv"], "_source_etag": ["theirs"]}
    catalog.load_table("lakehouse.t").overwrite(pa.table(columns), "_source_file == 't/a.csv'")
    catalog.close()


@dataclass(frozen=True)
class Case:
    """What somebody did, what a rebuild finds then, and what a sweep after it does."""

    change: str | Callable[[TrinoLake], None]
    found: dict[str, int] = field(default_factory=lambda: dict(WHOLE))
    """Rows by source."""
    again: frozenset[str] = frozenset()
    """Sources that the sweep has ingested again: those that are not there, or in no version that can be told."""


CASES = {
    "optimize": Case("ALTER TABLE t EXECUTE optimize"),
    "DELETE of some rows": Case("DELETE FROM t WHERE word = 'y'", {**WHOLE, "t/a.csv": 2, "t/c.csv": 1}),
    "DELETE of a source": Case(
        "DELETE FROM t WHERE _source_file = 't/a.csv'",
        {key: rows for key, rows in WHOLE.items() if key != "t/a.csv"},
        frozenset({"t/a.csv"}),
    ),
    "UPDATE": Case("UPDATE t SET word = 'u' WHERE n IN (2, 6)"),
    "MERGE": Case(MERGE, {**WHOLE, "t/b.csv": 1, "t/c.csv": 3}, frozenset({"t/c.csv"})),
    "overwrite by PyIceberg": Case(_overwrite, {**WHOLE, "t/a.csv": 1}, frozenset({"t/a.csv"})),
    "a column renamed": Case("ALTER TABLE t RENAME COLUMN word TO term"),
    "the table dropped": Case("DROP TABLE t", {"other/a.csv": 1}, frozenset(WHOLE) - {"other/a.csv"}),
}


@pytest.fixture
def home(lake: TrinoLake, tmp_path: Path) -> Home:
    """A home whose files are in tables of the lake."""
    home = Home(tmp_path / "home")
    catalog = "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in lake.properties.items())
    home.configure(f'max_commit_latency = 0.1\nlisten = ""\nretry_delays = []\n[catalog]\n{catalog}')
    for key, text in FILES.items():
        home.drop(key, text)
    assert home.lakedrop("run", "--once").returncode == exits.OK
    return home


def lose_the_ledger(home: Home) -> None:
    for path in home.path.glob("ledger.db*"):
        path.unlink()


def sources(lake: TrinoLake) -> dict[str, int]:
    """Return the rows of both tables by source, as Trino sees them."""
    return {
        key: rows
        for table in ("t", "other")
        for key, rows in lake.run(f"SELECT _source_file, count(*) FROM {table} GROUP BY 1")
        if key is not None
    }


@pytest.mark.parametrize("what", CASES)
def test_a_rebuilt_ledger_holds_what_is_there_and_a_sweep_brings_the_rest(
    lake: TrinoLake, home: Home, what: str
) -> None:
    case = CASES[what]
    if isinstance(case.change, str):
        lake.run(case.change)
    else:
        case.change(lake)
    lose_the_ledger(home)

    done = home.lakedrop("ledger", "rebuild")

    assert done.returncode == exits.OK, done
    assert f"The sinks told of {len(case.found)} unit" in done.stdout
    held = home.in_ledger("select unit, json_extract(receipt, '$.counts.rows') from units where receipt is not null")
    assert dict(held) == case.found
    assert ("A sweep would find nothing to do" in done.stdout) == (not case.again), done.stdout
    assert home.lakedrop("verify").returncode == exits.OK, "the receipts are what is there"

    report = home.json("sweep", "--json")

    assert (report["new"] + report["changed"], report["worked"]["done"]) == (len(case.again), len(case.again))
    assert sources(lake) == {**case.found, **{key: WHOLE[key] for key in case.again}}
    assert home.lakedrop("verify").returncode == exits.OK
    assert home.json("sweep", "--json")["agrees"]


def test_a_table_whose_column_of_sources_was_renamed_is_told_and_the_others_are_found(
    lake: TrinoLake, home: Home
) -> None:
    lake.run("ALTER TABLE t RENAME COLUMN _source_file TO origin")
    lose_the_ledger(home)

    done = home.lakedrop("ledger", "rebuild")

    assert done.returncode == exits.OK
    assert "The sinks told of 1 unit;" in done.stdout
    assert "table.not_fenced" in done.stderr
    assert "rename it back" in done.stderr
    failed = home.lakedrop("sweep")
    assert failed.returncode == exits.FAILED
    assert lake.run("SELECT count(*) FROM t") == [(7,)], "nothing is doubled"

    lake.run("ALTER TABLE t RENAME COLUMN origin TO _source_file")
    assert home.lakedrop("replay", "--status", "failed", "--yes").returncode == exits.OK
    assert sources(lake) == WHOLE
