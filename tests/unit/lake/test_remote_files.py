"""Files that DuckDB reads through a FileIO."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO

from handlers.csv_to_iceberg.lake.remote_files import _Files, reachable


def test_threads_that_read_one_file_do_not_move_each_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(100)))
    file = _Files(PyArrowFileIO()).open(str(tmp_path / "file"))

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(file.seek, 10).result()
        other.submit(file.seek, 90).result()
        read = [thread.submit(file.read, 5).result() for thread in (one, other, one)]
        places = [thread.submit(file.tell).result() for thread in (one, other)]

    assert [list(some) for some in read] == [[10, 11, 12, 13, 14], [90, 91, 92, 93, 94], [15, 16, 17, 18, 19]]
    assert places == [20, 95]
    assert file.tell() == 0
    file.close()


def test_a_file_of_many_row_groups_is_read_whole_by_several_threads(tmp_path: Path) -> None:
    rows = 100_000
    pq.write_table(
        pa.table({"n": range(rows), "t": [f"row {n}" for n in range(rows)]}), tmp_path / "f", row_group_size=2000
    )
    with duckdb.connect(config={"threads": 4}) as connection:
        place = f"{reachable(connection, PyArrowFileIO())}{tmp_path}/f"
        found = connection.execute(
            "SELECT count(*), sum(n), count(DISTINCT t) FROM read_parquet(?)", [place]
        ).fetchall()

    assert found == [(rows, rows * (rows - 1) // 2, rows)]
