"""Large files, block by block."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from handlers.contract import ObjectChanged
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.errors import RecordTooLarge
from handlers.csv_to_iceberg.csv.inspection import inspect
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import KIB, MIB, Options
from handlers.csv_to_iceberg.csv.results import Source
from handlers.csv_to_iceberg.csv.stream import StreamedCsv
from tests.unit.csv.reading import cooked, streamed

HEAD = b"id,name\n"
ROWS = b"".join(b"%d,name %d\n" % (number, number) for number in range(200_000))


@pytest.mark.parametrize("step", [1000, 65_537, 1 << 24])
def test_rows_do_not_depend_on_how_the_network_cuts_them(step: int) -> None:
    reading = streamed(HEAD + ROWS, step=step)

    assert [row[0] for row in reading.rows] == [*range(200_000)]
    assert reading.passes == 1


def test_integer_that_overflows_late_starts_the_file_again_as_bigint() -> None:
    reading = streamed(HEAD + ROWS + b"3000000000,late\n")

    assert reading.passes == 2
    assert reading.types == {"id": "BIGINT", "name": "VARCHAR"}
    assert reading.rows[-1] == (3_000_000_000, "late")
    assert reading.pins["id"] is ColumnType.BIGINT


def test_ten_megabyte_cell_is_read() -> None:
    cell = "x" * 10_000_000

    assert streamed(HEAD + f'1,"{cell}"\n2,y\n'.encode()).rows == [(1, cell), (2, "y")]
    assert streamed(HEAD + ROWS + f'1,"{cell}"\n2,y\n'.encode()).rows[-2:] == [(1, cell), (2, "y")]


def test_ten_megabyte_cell_with_line_breaks_takes_larger_blocks() -> None:
    cell = "line\n" * 2_000_000

    reading = streamed(HEAD + ROWS + f'1,"{cell}"\n2,y\n'.encode())

    assert reading.rows[-2:] == [(1, cell), (2, "y")]
    assert reading.passes == 2


@pytest.mark.parametrize("data", [HEAD + b"1," + b"x" * 200_000 + b"\n", HEAD + ROWS + b"1," + b"x" * 3_000_000])
def test_record_beyond_the_limit_fails_by_the_name_of_the_setting(data: bytes) -> None:
    with pytest.raises(RecordTooLarge, match="max_record_bytes"):
        streamed(data, max_record_bytes=64 * KIB)
    with pytest.raises(RecordTooLarge, match="max_record_bytes"):
        cooked(data, max_record_bytes=64 * KIB)


def test_quote_that_is_never_closed_in_a_large_file_swallows_nothing() -> None:
    reading = streamed(HEAD + ROWS + b'1,"open\n' + ROWS)

    assert len(reading.rows) == 400_001
    assert "do not enclose whole cells" in reading.report.warnings[0]


def test_rejected_records_of_a_large_file_are_numbered_and_located() -> None:
    reading = streamed(HEAD + ROWS + b"1,2,3\n4\n" + ROWS)

    assert [(reject.record, reject.line) for reject in reading.report.rejects] == [
        (200_001, 200_002),
        (200_002, 200_003),
    ]


def test_lines_are_unknown_when_cells_hold_line_breaks() -> None:
    reading = streamed(HEAD + b'1,"x\ny"\n' + b"bad\n")

    assert [(reject.record, reject.line) for reject in reading.report.rejects] == [(2, None)]


class Failing(io.RawIOBase):
    """Gives some bytes, then raises."""

    def __init__(self, data: bytes) -> None:
        self._parts = [data[at : at + MIB] for at in range(0, len(data), MIB)]

    def read(self, _: int = -1) -> bytes:
        if self._parts:
            return self._parts.pop(0)
        raise ObjectChanged("replaced while being read")


@pytest.mark.parametrize("data", [b"", HEAD + ROWS[:100], HEAD + ROWS])
def test_object_replaced_while_being_read_is_noticed(data: bytes) -> None:
    def read_all() -> None:
        with StreamedCsv(Failing(data), Source("k", "e"), {}, Memory(), Options()) as rows:  # type: ignore[arg-type]
            for _ in rows:
                pass

    with pytest.raises(ObjectChanged, match="replaced"):
        read_all()
    assert "tokeniser" not in {thread.name for thread in threading.enumerate()}


def test_closing_early_ends_the_thread() -> None:
    with StreamedCsv(io.BytesIO(HEAD + ROWS * 5), Source("k", "e"), {}, Memory(), Options()) as rows:
        next(iter(rows))

    assert "tokeniser" not in {thread.name for thread in threading.enumerate()}


class Watched(io.BytesIO):
    """Counts the reads after `let_go`."""

    let_go = False
    late_reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.late_reads += self.let_go
        return super().read(size)


def test_nothing_is_read_after_closing() -> None:
    streams = [Watched(HEAD + ROWS) for _ in range(20)]

    for raw in streams:
        with StreamedCsv(raw, Source("k", "e"), {}, Memory(), Options()) as rows:
            next(iter(rows))
        raw.let_go = True

    assert [raw.late_reads for raw in streams] == [0] * 20


def test_schema_is_known_before_the_first_batch() -> None:
    with StreamedCsv(io.BytesIO(HEAD + b"1,a\n"), Source("k", "e"), {}, Memory(), Options()) as rows:
        assert rows.schema.names == ["id", "name", "_rescued"]
        assert rows.columns == {"id": ColumnType.INTEGER, "name": ColumnType.VARCHAR}


def test_inspection_shows_types_and_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(HEAD + ROWS + b"3000000000,late\nbad\n")

    found = inspect(lambda: path.open("rb"), "f.csv", Options())

    assert found.preview.num_rows == 5
    assert found.report.rejected == 1
    assert [(column.name, column.type.value) for column in found.report.columns] == [
        ("id", "BIGINT"),
        ("name", "VARCHAR"),
    ]
    assert found.report.columns[0].reason == "1000 of 1000 values"


@pytest.mark.parametrize("block", range(1, 16))
def test_a_block_that_ends_within_a_line_end_loses_nothing(block: int) -> None:
    reading = streamed(b'id,t\r\n1,"a\r\nb"\r\n2,"c\r\n\r\n"\r\n', block=block)

    assert reading.rows == [(1, "a\r\nb"), (2, "c\r\n\r\n")]


@pytest.mark.parametrize("block", [None, 1, 7, 30])
def test_nul_hides_no_delimiter_and_no_quote(block: int | None) -> None:
    long = "long enough for Arrow to look at eight bytes at a time"
    rows = [(long + "\0", 'a\0"\n', f"{long},\0,"), (long, "\0\0", "b\0")] * 20
    text = "x,y,z\n" + "".join('"{}","{}","{}"\n'.format(*(cell.replace('"', '""') for cell in row)) for row in rows)

    assert streamed(text.encode(), block=block).rows == rows
    assert cooked(text.encode()).rows == rows


@pytest.mark.parametrize(
    "end", [b'EndOfFile,"', b'EndOfFile,\n1,2,"', b'EndOfFile,\n1,"2', b"EndOfFile,", b"EndOfFile"]
)
def test_rows_like_the_sentinel_are_rows_like_any_other(end: bytes) -> None:
    data = b"a,b\n1,2\n" + end

    assert streamed(data).report.records == cooked(data).report.records
    assert streamed(data).rows == cooked(data).rows
