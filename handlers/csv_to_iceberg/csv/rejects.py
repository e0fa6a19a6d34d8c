"""Rejected records, as a person gets to see them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.errors import RecordTooLarge
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.records import lines_of, records_of
from handlers.csv_to_iceberg.csv.results import KEPT, MAX_REJECT_BYTES, MAX_REJECTS, Reject, Report
from handlers.csv_to_iceberg.csv.tables import ANOTHER_TABLE
from handlers.csv_to_iceberg.csv.tokenise import Ragged


def keep_rejects(
    report: Report, ragged: Sequence[Ragged], layout: Layout, line_of: Callable[[int], int | None], most: int
) -> None:
    """Put the first `most` into a report, those above the header first; `line_of` maps a record to its line."""
    above = [
        Ragged(0, other.cells, other.text, other.line, ANOTHER_TABLE.format(line=other.table)) for other in layout.above
    ]
    described = [
        Reject(record.number, record.line or line_of(record.number), shortened(record.text), reason(record, layout))
        for record in itertools.islice(itertools.chain(above, ragged), max(most, MAX_REJECTS))
    ]
    report.rejects = described[:MAX_REJECTS]
    if described and most:
        columns = [pa.array([getattr(one, field.name) for one in described[:most]], field.type) for field in KEPT]
        report.kept = pa.RecordBatch.from_arrays(columns, schema=KEPT)


def shortened(text: str) -> str:
    """Cut at `MAX_REJECT_BYTES`, between characters."""
    return text.encode()[:MAX_REJECT_BYTES].decode(errors="ignore")


def reason(record: Ragged, layout: Layout) -> str:
    """Say what is wrong with a record."""
    if record.reason:
        return record.reason
    columns = len(layout.columns)
    trailing = layout.width - columns
    more = f" and {trailing} without a name" if trailing else ""
    return (
        f"{record.cells} {'cell' if record.cells == 1 else 'cells'}, the file has {columns} "
        f"{'column' if columns == 1 else 'columns'}{more}"
    )


def check_record_sizes(cells: Sequence[pa.Array], options: Options) -> None:
    """
    Refuse records beyond `max_record_bytes`.

    Raises:
        RecordTooLarge: Names the first such record.
    """
    sizes = functools.reduce(pc.add, (pc.fill_null(pc.binary_length(column), 0) for column in cells))
    largest = pc.max(sizes).as_py() or 0
    if largest > options.max_record_bytes:
        row = pc.index(sizes, pa.scalar(largest, sizes.type)).as_py()
        raise RecordTooLarge(
            f"Row {row + 1:,} holds {largest:,} bytes, max_record_bytes is {options.max_record_bytes:,}. Raise it "
            "on the route, or check the quotes of the file."
        )


class LineFinder:
    """Maps record numbers to physical lines; splits the text once more, as far as needed, if lines are no records."""

    def __init__(self, text: bytes, layout: Layout, records: int) -> None:
        """Take the text behind the header, which has so many records."""
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
        self._plain = lines == records and text.count(b"\r") in {0, text.count(b"\r\n")}
        self._records = records_of(lines_of("" if self._plain else text.decode()), layout.dialect)
        self._before = layout.head_lines
        self._begins: list[int] = []

    def __call__(self, number: int) -> int | None:
        """Return the line, from 1, that a record of the text begins on."""
        if self._plain:
            return self._before + number
        missing = number - len(self._begins)
        self._begins += [record.begin for record in itertools.islice(self._records, max(0, missing))]
        return self._begins[number - 1] + self._before + 1 if number <= len(self._begins) else None
