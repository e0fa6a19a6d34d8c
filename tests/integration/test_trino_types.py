"""Types in both directions: what we write Trino reads, what Trino writes into our tables we read and leave alone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.lake.query import query
from handlers.csv_to_iceberg.lake.refusals import UnsupportedColumn
from tests.integration.trino_lake import TrinoLake, serving
from tests.unit.lake.bench import part

pytestmark = pytest.mark.slow

OURS: dict[ColumnType, tuple[str, list[Any], list[Any]]] = {
    ColumnType.BOOLEAN: ("boolean", [True, False], [True, False]),
    ColumnType.INTEGER: ("integer", [-(2**31), 2**31 - 1], [-(2**31), 2**31 - 1]),
    ColumnType.BIGINT: ("bigint", [-(2**63), 2**53 + 1], [-(2**63), 2**53 + 1]),
    ColumnType.DOUBLE: ("double", [5e-324, -1.5], [5e-324, -1.5]),
    ColumnType.DATE: ("date", [date(1582, 10, 4), date(9999, 12, 31)], ["1582-10-04", "9999-12-31"]),
    ColumnType.TIMESTAMP: (
        "timestamp(6)",
        [datetime(1900, 1, 1, 0, 0, 0, 1), datetime(2024, 2, 29, 23, 59, 59, 999999)],  # noqa: DTZ001  # without zone
        ["1900-01-01 00:00:00.000001", "2024-02-29 23:59:59.999999"],
    ),
    ColumnType.TIMESTAMPTZ: (
        "timestamp(6) with time zone",
        [datetime(2024, 3, 31, 1, 0, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)],
        ["2024-03-31 01:00:00.000000 UTC", "1969-12-31 23:59:59.999999 UTC"],
    ),
    ColumnType.VARCHAR: ("varchar", ["", "ünï 'q' \"d\" \\ \n\t 😀"], ["", "ünï 'q' \"d\" \\ \n\t 😀"]),
}
"""Type -> its name in Trino, values that we write, the same as Trino returns them in JSON."""

THEIRS: dict[str, tuple[str, str]] = {
    "boolean": ("true", "True"),
    "tinyint": ("-128", "-128"),
    "smallint": ("32767", "32767"),
    "integer": ("-2147483648", "-2147483648"),
    "bigint": ("9223372036854775807", "9223372036854775807"),
    "real": ("real '1.5'", "1.5"),
    "double": ("1e300", "1e+300"),
    "decimal(38, 10)": ("decimal '1234567890123456789012345678.0123456789'", "1234567890123456789012345678.0123456789"),
    "varchar": ("'ünï'", "ünï"),
    "varchar(3)": ("'abc'", "abc"),
    "varbinary": ("X'00ff'", "b'\\x00\\xff'"),
    "date": ("date '1582-10-04'", "1582-10-04"),
    "time(6)": ("time '03:04:05.123456'", "03:04:05.123456"),
    "timestamp(6)": ("timestamp '2024-01-02 03:04:05.123456'", "2024-01-02 03:04:05.123456"),
    "timestamp(6) with time zone": (
        "timestamp '2024-01-02 03:04:05.123456 UTC'",
        "2024-01-02 03:04:05.123456+00:00",
    ),
    "uuid": ("uuid '12151fd2-7586-11e9-8f9e-2a86e4085a59'", "12151fd2-7586-11e9-8f9e-2a86e4085a59"),
    "array(integer)": ("array[1, NULL]", "[1, None]"),
    "map(varchar, integer)": ("map(array['x'], array[1])", "[('x', 1)]"),
    "row(a integer, b varchar)": ("row(1, 'x')", "{'a': 1, 'b': 'x'}"),
}
"""Type of a column in Trino -> a value in its SQL, and the same as `lakedrop query` returns it."""


async def test_every_type_that_we_write_is_read_by_trino(lake: TrinoLake) -> None:
    bench = lake.bench()
    rows = {kind.name.lower(): [*values, None] for kind, (_, values, _) in OURS.items()}
    entry = bench.entry("t/a.csv", {"n": [1]})
    assert entry.file is not None
    types = {kind.name.lower(): kind for kind in OURS}
    bench.kitchen.parts[entry.file.data] = part("t/a.csv", rows, types=types)
    await bench.submit([entry])

    described = {row[0]: row[1] for row in lake.run("DESCRIBE t")}
    assert {name: described[name] for name in rows} == {kind.name.lower(): name for kind, (name, _, _) in OURS.items()}
    assert described["_ingested_at"] == "timestamp(6)"
    for name, (_, _, read) in zip(rows, OURS.values(), strict=True):
        found = [value for (value,) in lake.run(f'SELECT "{name}" FROM t')]
        assert sorted(found, key=repr) == sorted([*read, None], key=repr), name


async def test_every_type_that_trino_writes_is_read_and_outlives_our_commits(rest_lake: TrinoLake) -> None:
    lake, bench = rest_lake, rest_lake.bench(compact_small_files=2)
    await bench.put({"t/a.csv": {"n": [1]}, "t/b.csv": {"n": [2]}})
    names = {f"c{number}": (kind, *values) for number, (kind, values) in enumerate(THEIRS.items())}
    for name, (kind, _, _) in names.items():
        lake.run(f"ALTER TABLE t ADD COLUMN {name} {kind}")
    values = ", ".join(value for _, value, _ in names.values())
    lake.run(f"INSERT INTO t (n, _source_file, {', '.join(names)}) VALUES (3, 'theirs', {values})")

    def theirs() -> dict[str, str]:
        (row,) = query(bench.lake, f"SELECT {', '.join(names)} FROM t WHERE _source_file = 'theirs'").to_pylist()
        return {name: str(value) for name, value in row.items()}

    expected = {name: read for name, (_, _, read) in names.items()}
    assert theirs() == expected
    in_trino = lake.run(f"SELECT {', '.join(names)} FROM t WHERE _source_file = 'theirs'")

    await bench.put({"t/a.csv": {"n": [7]}}, etag="e2")
    await bench.remove("t/b.csv")

    assert theirs() == expected
    assert lake.run(f"SELECT {', '.join(names)} FROM t WHERE _source_file = 'theirs'") == in_trino
    assert sorted(lake.run("SELECT n, _source_file FROM t")) == [(3, "theirs"), (7, "t/a.csv")]


async def test_a_column_of_a_type_that_no_csv_value_has_fails_its_file_with_the_reason(
    rest_lake: TrinoLake, tmp_path: Path
) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await service.put("t/a.csv", "n\n1\n")
        rest_lake.run("ALTER TABLE t ADD COLUMN amount decimal(10, 2)")

        with pytest.raises(UnsupportedColumn, match=r"column amount of table lakehouse\.t has the type decimal"):
            await service.put("t/b.csv", "n,amount\n1,2.50\n")

        await service.put("t/b.csv", "n\n2\n")
        assert sorted(rest_lake.run("SELECT n, _source_file, amount FROM t")) == [
            (1, "t/a.csv", None),
            (2, "t/b.csv", None),
        ]


async def test_a_file_of_all_types_of_the_specification_is_typed_in_trino(rest_lake: TrinoLake, tmp_path: Path) -> None:
    async with serving(tmp_path, rest_lake, "") as service:
        await service.put(
            "my Data!/a.csv",
            "Flag,Id,Big Number,Price,Day,At,Free Text\n"
            "true,42,9999999999,3.14,2024-01-15,2024-01-15T10:30:00Z,some\n"
            "false,-7,-2147483649,-0.5,2024-02-16,2024-01-15T10:30:00Z,text\n",
        )

        assert [tuple(row[:2]) for row in rest_lake.run("DESCRIBE my_data")][:7] == [
            ("flag", "boolean"),
            ("id", "integer"),
            ("big_number", "bigint"),
            ("price", "double"),
            ("day", "date"),
            ("at", "timestamp(6)"),
            ("free_text", "varchar"),
        ]
        assert json.dumps(rest_lake.run("SELECT day, at FROM my_data WHERE id = 42")) == (
            '[["2024-01-15", "2024-01-15 10:30:00.000000"]]'
        )
