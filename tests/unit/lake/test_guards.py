"""Tables and columns that must not be touched."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.types import DecimalType, StringType

from handlers.csv_to_iceberg.lake.lake import NO_RETRY
from handlers.csv_to_iceberg.lake.refusals import ForeignTable, ReservedTable, UnsupportedColumn, UnsupportedTable
from tests.unit.lake.bench import Bench


async def test_a_table_somebody_else_made_is_refused_and_left_alone(bench: Bench) -> None:
    bench.lake.catalog.create_namespace("lakehouse")
    table = bench.lake.catalog.create_table("lakehouse.t", pa.schema([("n", pa.int32())]))
    table.append(pa.table({"n": pa.array([1], pa.int32())}))
    before = table.metadata_location
    with pytest.raises(
        ForeignTable, match=r"lakehouse\.t was not made by lakedrop.* property lakedrop\.route to b/<prefix>"
    ):
        await bench.put({"t/a.csv": {"n": [2]}})
    with pytest.raises(ForeignTable):
        await bench.remove("t/a.csv")

    assert bench.loaded().metadata_location == before


async def test_a_table_handed_over_is_written_beside_its_own_rows(bench: Bench) -> None:
    bench.lake.catalog.create_namespace("lakehouse")
    table = bench.lake.catalog.create_table("lakehouse.t", pa.schema([("n", pa.int32())]))
    table.append(pa.table({"n": pa.array([1], pa.int32())}))
    with table.transaction() as transaction:
        transaction.set_properties({"lakedrop.route": "b/"})
    (landed,) = await bench.remove("t/a.csv", mode="keep")
    assert landed.shown is not None
    assert landed.shown.rows == {}
    await bench.put({"t/a.csv": {"n": [2]}})
    await bench.put({"t/a.csv": {"n": [3]}})

    found = bench.loaded().scan(selected_fields=("n", "_source_file")).to_arrow().sort_by("n").to_pylist()
    assert found == [{"n": 1, "_source_file": None}, {"n": 3, "_source_file": "t/a.csv"}]


async def test_a_table_of_another_buckets_route_is_refused(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    committer = bench.committer(bench.table(bucket="other"))
    with pytest.raises(ForeignTable, match="belongs to bucket b, not other"):
        await bench.put({"t/a.csv": {"n": [2]}}, committer=committer)


async def test_names_of_the_pipelines_own_tables_are_refused(bench: Bench) -> None:
    committer = bench.committer(bench.table("lakehouse._ingest_registry"))
    with pytest.raises(ReservedTable, match="rename the folder"):
        await bench.put({"_ingest_registry/a.csv": {"n": [2]}}, committer=committer)


async def test_retries_of_pyiceberg_are_switched_off_again(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    with bench.loaded().transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "4"})
    await bench.put({"t/a.csv": {"n": [2]}})

    assert bench.loaded().properties.items() >= NO_RETRY.items()
    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 2)]


async def test_a_format_that_cannot_be_written_is_refused(bench: Bench) -> None:
    bench.lake.catalog.create_namespace("lakehouse")
    bench.lake.catalog.create_table(
        "lakehouse.t", pa.schema([("n", pa.int32())]), properties={"format-version": "1", "lakedrop.route": "b/"}
    )
    with pytest.raises(UnsupportedTable, match="format version 1"):
        await bench.put({"t/a.csv": {"n": [1]}})


async def test_a_column_of_a_type_no_file_has_fails_only_files_with_it(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    with bench.loaded().update_schema() as update:
        update.add_column("price", DecimalType(10, 2))
    good, bad = bench.entry("t/b.csv", {"n": [2]}), bench.entry("t/c.csv", {"n": [3], "price": [4]})
    with pytest.raises(UnsupportedColumn, match=r"column price of table lakehouse\.t has the type decimal\(10, 2\)"):
        await bench.submit([good, bad])
    await good.outcome

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 1), ("t/b.csv", 2)]


async def test_upper_case_columns_of_somebody_else_are_the_same_columns(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    with bench.loaded().update_schema() as update:
        update.rename_column("n", "N")
    await bench.put({"t/b.csv": {"n": [2]}})

    assert bench.rows("lakehouse.t", "N") == [("t/a.csv", 1), ("t/b.csv", 2)]


async def test_a_table_whose_column_of_sources_was_renamed_is_refused_until_it_is_back(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    with bench.loaded().update_schema() as update:
        update.rename_column("_source_file", "origin")
    for _ in range(2):
        with pytest.raises(UnsupportedTable, match=r"RENAME COLUMN origin TO _source_file"):
            await bench.put({"t/a.csv": {"n": [2]}})
    with bench.loaded().update_schema() as update:
        update.rename_column("origin", "_source_file")
    await bench.put({"t/a.csv": {"n": [3]}})

    assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 3)]


async def test_a_table_whose_column_of_sources_was_dropped_and_made_again_is_refused(bench: Bench) -> None:
    await bench.put({"t/a.csv": {"n": [1]}})
    with bench.loaded().update_schema() as update:
        update.delete_column("_source_file")
    with bench.loaded().update_schema() as update:
        update.add_column("_source_file", StringType())

    with pytest.raises(UnsupportedTable, match=r"dropped the column _source_file"):
        await bench.put({"t/a.csv": {"n": [2]}})
    with pytest.raises(UnsupportedTable):
        await bench.remove("t/a.csv")
