"""Small files, many at once."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pytest

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.content import MAX_UNPACKED
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.errors import HeaderMissing
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Cooked, SmallFile, Source

HEAD = b"id,name\n"


def batch(*contents: bytes, memory: Memory | None = None, pins: dict[str, ColumnType] | None = None) -> Cooked:
    files = [SmallFile(Source(f"{number}", "e"), content) for number, content in enumerate(contents)]
    return cook(files, pins or {}, memory or Memory(), Options())


def rows(result: Cooked) -> dict[str, list[dict[str, object]]]:
    return {part.source.key: part.table.drop_columns(["_rescued"]).to_pylist() for part in result.parts}


def test_parts_come_in_the_order_of_the_files() -> None:
    result = batch(HEAD + b"1,a\n", b"other;x\n5;6\n", HEAD + b"2,b\n", HEAD + b"3,c\n")

    assert [part.source.key for part in result.parts] == ["0", "1", "2", "3"]
    assert rows(result)["3"] == [{"id": 3, "name": "c"}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"id,name,amount\n,,\n,,", b"id,name,amount\na,,c\n1,,1"),
        (b"id,temp,wind\n1,1.5,2.5\n", b"id,temp,wind\n(no),(degC),(m/s)\n1,1.5,2.5\n2,1.5,2.5\n"),
        (b"id,temp,wind\n1,1.5,2.5\n", b'id,temp,wind\n"","degC","m/s"\nA,1.5,2.5\nB,1.5,2.5\nC,1.5,2.5\n'),
        (b"id,name,\n1,a,\n", b"id,name,\n1,a,x\n"),
        (b"id,name\n1,a,\n", b"id,name\n1,a\n2,b\n"),
        (b"a b\nx\ny\n", b"a b\n1 2\n3 4\n5 6\n"),
        (b"from:to\nx\ny\n", b"from:to\n1:2\n3:4\n5:6\n"),
        (b"id,name\n1,a\n", b"id,name\n1, a\n2, b\n3, c\n4, d\n5, e\n6, f\n7, g\n8, h\n9, i\n10, j\n11, k\n"),
    ],
)
def test_a_file_is_read_beside_others_as_it_is_alone(first: bytes, second: bytes) -> None:
    memory = Memory()
    cook([SmallFile(Source("0", "e"), first)], {}, memory, Options(types="varchar"))

    beside, alone = (
        cook([SmallFile(Source("1", "e"), second)], pins(first, second), known, Options(types="varchar"))
        for known in (memory, Memory())
    )

    assert beside.parts[0].table.to_pylist() == alone.parts[0].table.to_pylist()


def pins(*contents: bytes) -> dict[str, ColumnType]:
    names: dict[str, ColumnType] = {}
    for content in contents:
        names |= cook([SmallFile(Source("0", "e"), content)], {}, Memory(), Options(types="varchar")).pins
    return names


def test_like_files_share_their_memory_and_their_arrow_table() -> None:
    result = batch(HEAD + b"1,a\n", *(HEAD + b"%d,x\n" % number for number in range(50)))

    addresses = {part.table["name"].chunk(0).buffers()[2].address for part in result.parts[1:]}
    assert len(addresses) == 1


def test_bad_files_hurt_nobody_else() -> None:
    result = batch(
        HEAD + b"1,a\n", HEAD + b'2,"open\n', b"", HEAD + b"3,c\n4\n", b"\x89PNG\r\n\x00", HEAD, HEAD + b'5,"open too'
    )

    assert {key: type(failure).__name__ for key, failure in result.failures.items()} == {
        "2": "EmptyFile",
        "4": "NotText",
    }
    assert {key: [row["id"] for row in found] for key, found in rows(result).items()} == {
        "0": [1],
        "1": [2],
        "3": [3],
        "5": [],
        "6": [5],
    }
    assert [part.report.rejected for part in result.parts] == [0, 0, 1, 0, 0]
    assert [bool(part.report.warnings) for part in result.parts] == [False, True, False, False, True]


def test_quotes_open_in_two_neighbours_do_not_pair_up() -> None:
    result = batch(HEAD + b"1,a\n", HEAD + b'2,"b\n', HEAD + b'3,c"\n', HEAD + b"4,d\n")

    assert [[row["name"] for row in found] for found in rows(result).values()] == [["a"], ['"b'], ['c"'], ["d"]]


def test_file_that_looks_like_a_sentinel_is_a_file_like_any_other() -> None:
    result = batch(HEAD + b"1,a\n", HEAD + b"EndOfFile0,\nEndOfFile,x\n", HEAD + b"EndOfFileX0,\n", HEAD + b"2,b\n")

    assert [part.report.rows for part in result.parts] == [1, 2, 1, 1]


def test_rejected_records_are_numbered_within_their_file() -> None:
    result = batch(HEAD + b"1,a\n", HEAD + b"2,b\nx\n3,c\n", HEAD + b"y\n4,d\n\nz\n")

    assert [[(reject.record, reject.line) for reject in part.report.rejects] for part in result.parts] == [
        [],
        [(2, 3)],
        [(1, 2), (3, 5)],
    ]


@pytest.mark.parametrize("body", [b"2,b", b"2,b\r\n", b"2,b\r", b"\n\n2,b\n\n", b'"2","b"'])
def test_line_ends_of_one_file_do_not_leak_into_the_next(body: bytes) -> None:
    result = batch(HEAD + b"1,a\n", HEAD + body, HEAD + body, HEAD + b"9,z\n")

    assert [[row["id"] for row in found] for found in rows(result).values()] == [[1], [2], [2], [9]]


def test_first_file_pins_the_types_and_later_ones_evolve_them() -> None:
    result = batch(b"a,b\n1,x\n", b"a,b\n3000000000,y\n", b"b,a,c\nz,oops,2024-01-15\n", b"a\n7\n")

    assert result.pins == {"a": ColumnType.BIGINT, "b": ColumnType.VARCHAR, "c": ColumnType.DATE}
    assert rows(result)["0"] == [{"a": 1, "b": "x"}]
    assert {part.table.schema.field("a").type for part in result.parts} == {pa.int64()}
    assert result.parts[2].table["_rescued"].to_pylist() == ['{"a": "oops"}']
    assert result.parts[2].table.column_names == ["b", "a", "c", "_rescued"]
    assert result.parts[3].columns == {"a": ColumnType.BIGINT}


def test_rescued_cells_are_counted_in_their_file() -> None:
    result = batch(HEAD + b"1,a\n", HEAD + b"x,b\n2,c\n", HEAD + b"3,d\n")

    assert [part.report.rescued for part in result.parts] == [0, 1, 0]
    assert [part.table["_rescued"].to_pylist() for part in result.parts] == [[None], ['{"id": "x"}', None], [None]]


def test_a_misleading_file_does_not_spoil_the_memory() -> None:
    memory = Memory()
    batch(b"id,name,amount\nfooter one\nfooter two\n", memory=memory)

    assert rows(batch(b"id,name,amount\n1,a,2.5\n", memory=memory)) == {"0": [{"id": 1, "name": "a", "amount": 2.5}]}


def test_file_that_contradicts_the_memory_is_looked_at_for_itself() -> None:
    memory = Memory()
    pins = batch(HEAD + b"1,a\n", memory=memory).pins

    result = batch(HEAD + "2,é\n".encode("cp1252"), HEAD + b"3,'x,y'\n4,'z'\n", memory=memory, pins=pins)

    assert rows(result) == {"0": [{"id": 2, "name": "é"}], "1": [{"id": 3, "name": "x,y"}, {"id": 4, "name": "z"}]}


def test_a_header_with_a_blank_line_below_is_looked_at_for_itself() -> None:
    like, other = b"#made by\ne\nf\n", b"#made by\n\n,4-1-5"

    alone, beside = batch(other), batch(like, other)

    assert type(alone.failures["0"]) is type(beside.failures["1"]) is HeaderMissing


def test_archive_that_unpacks_to_much_is_left_to_streaming() -> None:
    data = HEAD + b"1,%s\n" % (b"x" * 1000) * (MAX_UNPACKED // 1000)

    assert batch(gzip.compress(data, 1)).too_large == ["0"]


def test_archives_that_are_too_large_together_are_not_all_cooked_in_memory() -> None:
    archive = gzip.compress(HEAD + b"1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n" * (MAX_UNPACKED // 3 // 32), 1)
    result = batch(*[archive] * 5)

    assert result.too_large == ["3", "4"]
    assert [part.source.key for part in result.parts] == ["0", "1", "2"]


def test_pins_handed_in_are_not_changed() -> None:
    pins = {"id": ColumnType.INTEGER}

    batch(HEAD + b"3000000000,a\n", pins=pins)

    assert pins == {"id": ColumnType.INTEGER}


def test_file_without_rows_claims_no_columns_for_the_table() -> None:
    (part,) = batch(HEAD).parts

    assert part.columns == {}
    assert part.report.columns == []
    assert any("first file that has some" in warning for warning in part.report.warnings)
    assert [column.name for column in batch(HEAD + b"1,a\n", HEAD).parts[1].report.columns] == ["id", "name"]
