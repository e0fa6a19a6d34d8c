"""SQL over the lake, and over nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from pyiceberg.table import Table
from pyiceberg.types import ListType, LongType, StringType

from handlers.csv_to_iceberg.lake import query as query_module
from handlers.csv_to_iceberg.lake.query import QueryError, query
from handlers.csv_to_iceberg.lake.reader import Readable, readable
from tests.unit.lake.bench import Bench


async def filled(bench: Bench) -> Bench:
    await bench.put({"t/a.csv": {"n": [1, 2]}, "t/b.csv": {"n": [3]}})
    await bench.put({"t/a.csv": {"n": [7], "m": ["x"]}})
    return bench


async def test_replaced_rows_are_gone_and_new_columns_null_before_their_time(bench: Bench) -> None:
    await filled(bench)

    assert query(bench.lake, "select n, m from lakehouse.t order by n").to_pylist() == [
        {"n": 3, "m": None},
        {"n": 7, "m": "x"},
    ]


async def test_renamed_and_widened_columns_are_read_by_field_id(bench: Bench) -> None:
    await filled(bench)
    with bench.loaded().update_schema() as update:
        update.update_column("n", LongType())
        update.rename_column("n", "number")
    with bench.loaded().update_schema() as update:
        update.add_column("n", StringType())

    result = query(bench.lake, "select number, n from lakehouse.t order by 1")
    assert result.to_pylist() == [{"number": 3, "n": None}, {"number": 7, "n": None}]
    assert str(result.schema.field("number").type) == "int64"


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) as c from t",
        "SELECT count(*) AS c FROM LAKEHOUSE.T",
        "with x as (select * from lakehouse.t) select count(*) as c from x join lakehouse.t using (n)",
        'select count(*) as c from "lakehouse"."t"',
        "from lakehouse.t select count(*) as c",
    ],
)
async def test_tables_are_found_however_they_are_written(bench: Bench, sql: str) -> None:
    await filled(bench)

    assert query(bench.lake, sql).to_pylist() == [{"c": 2}]


async def test_a_table_without_rows_has_its_columns(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": []}})

    assert query(bench.lake, "select * from lakehouse.t").column_names[:1] == ["n"]


async def test_tables_and_columns_can_be_listed(bench: Bench) -> None:
    await filled(bench)

    assert query(bench.lake, "show tables")["name"].to_pylist() == ["t"]
    described = query(bench.lake, "describe lakehouse.t")
    assert dict(zip(described["column_name"].to_pylist(), described["column_type"].to_pylist(), strict=True)) == {
        "n": "INTEGER",
        "_rescued": "VARCHAR",
        "_source_file": "VARCHAR",
        "_source_etag": "VARCHAR",
        "_ingested_at": "TIMESTAMP",
        "m": "VARCHAR",
    }


async def test_an_unknown_table_is_answered_with_those_there_are(bench: Bench) -> None:
    await filled(bench)
    with pytest.raises(QueryError, match=r"custmers does not exist.*; tables of the lake: lakehouse\.t"):
        query(bench.lake, "select * from lakehouse.custmers")


async def test_of_many_tables_the_ten_nearest_to_an_unknown_one_are_named(bench: Bench) -> None:
    for name in (*(f"a{number}" for number in range(10)), "orders", "customers"):
        committer = bench.committer(bench.table(f"lakehouse.{name}"))
        await bench.put({f"{name}/a.csv": {"n": [1]}}, committer=committer)

    with pytest.raises(QueryError) as caught:
        query(bench.lake, "from lakehouse.custmers")

    named = str(caught.value).partition("tables of the lake: ")[2]
    assert named.startswith("lakehouse.customers, ")
    assert named.count("lakehouse.") == 10
    assert named.endswith(" and 2 more; `show tables` lists them")


async def test_only_tables_named_are_planned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(bench)
    other = bench.committer(bench.table("lakehouse.other"))
    await bench.put({"other/a.csv": {"n": [1]}}, committer=other)
    planned: list[str] = []

    def remember(connection: duckdb.DuckDBPyConnection, table: Table, label: str) -> Readable:
        planned.append(label)
        return readable(connection, table, label)

    monkeypatch.setattr(query_module, "readable", remember)
    query(bench.lake, "select * from lakehouse.t")

    assert planned == ["lakehouse.t"]


async def test_faults_of_a_statement_are_told(bench: Bench) -> None:
    await filled(bench)
    for sql in ("selec 1", "select missing from lakehouse.t"):
        with pytest.raises(QueryError, match=r"syntax error|missing"):
            query(bench.lake, sql)


async def test_nested_columns_of_somebody_else_can_be_read(bench: Bench) -> None:
    await filled(bench)
    with bench.loaded().update_schema() as update:
        update.add_column("tags", ListType(1, StringType()))

    assert query(bench.lake, "select n, tags from lakehouse.t order by n").to_pylist() == [
        {"n": 3, "tags": None},
        {"n": 7, "tags": None},
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "drop view lakehouse.t",
        "select 1; drop view lakehouse.t",
        "copy lakehouse.t to '{secret}'",
        "explain analyze copy lakehouse.t to '{secret}'",
        "attach '{secret}' as x",
        "install httpfs",
        "set enable_external_access = true",
        "insert into lakehouse.t values (1)",
        "pragma database_list",
        "",
    ],
)
async def test_nothing_but_one_select_is_run(bench: Bench, tmp_path: Path, sql: str) -> None:
    await filled(bench)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(QueryError, match="one SELECT"):
        query(bench.lake, sql.format(secret=secret))

    assert secret.read_text() == "a\n1\n"


@pytest.mark.parametrize(
    "sql",
    [
        "select * from '{secret}'",
        "select * from read_csv('{secret}')",
        "select * from read_text('{secret}')",
        "select * from read_blob('{secret}')",
        "select * from glob('{folder}/*')",
        "select * from lakehouse.t, read_text('{secret}')",
        "select * from 'http://127.0.0.1:9/x.csv'",
        "select * from read_parquet('s3://bucket/x.parquet')",
        "select * from sniff_csv('{secret}')",
        "select * from sqlite_scan('{folder}/catalog.db', 'iceberg_tables')",
        "select * from variable_of_this_process",
        "select getenv('HOME')",
    ],
)
async def test_sql_reaches_no_file_network_or_variable(bench: Bench, tmp_path: Path, sql: str) -> None:
    await filled(bench)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    variable_of_this_process = query(bench.lake, "select 1")
    assert variable_of_this_process.num_rows == 1
    with pytest.raises(QueryError):
        query(bench.lake, sql.format(secret=secret, folder=tmp_path))
