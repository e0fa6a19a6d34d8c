"""The same jobs by other means, measured in the same run; one process each, so that memory is theirs alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import duckdb
import pyarrow.csv as pc
from pyiceberg.catalog.sql import SqlCatalog


def pyiceberg_append(folder: Path, count: int) -> float:
    """Append `count` files one by one with plain pyarrow and PyIceberg; return seconds."""
    files = sorted(folder.glob("*.csv"))[:count]
    warehouse = folder.parent / "peer"
    warehouse.mkdir(exist_ok=True)
    catalog = SqlCatalog("peer", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
    catalog.create_namespace_if_not_exists("peer")
    table = catalog.create_table_if_not_exists("peer.t", schema=pc.read_csv(files[0]).schema)
    start = time.perf_counter()
    for file in files:
        table.append(pc.read_csv(file).cast(table.schema().as_arrow()))
    return time.perf_counter() - start


def duckdb_copy(source: Path, target: Path) -> float:
    """COPY a CSV to zstd Parquet with DuckDB on two threads, order kept; return seconds."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        start = time.perf_counter()
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{source}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
        return time.perf_counter() - start


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pyiceberg", folder, count]:
            print(pyiceberg_append(Path(folder), int(count)))
        case ["duckdb", source, target]:
            print(duckdb_copy(Path(source), Path(target)))
