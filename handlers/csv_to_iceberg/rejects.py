"""Rejected records, as a person gets to see them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.dialect import lines_of, records_of
from handlers.csv_to_iceberg.errors import RecordTooLarge
from handlers.csv_to_iceberg.layout import Layout
from handlers.csv_to_iceberg.options import Options
from handlers.csv_to_iceberg.results import MAX_REJECT_BYTES, MAX_REJECTS, Reject
from handlers.csv_to_iceberg.tokenise import Ragged

UNCLOSED_QUOTE: Final = "a quote is never closed: quotes were read as plain characters"
"""Warning of a report."""


def rejects(ragged: Sequence[Ragged], layout: Layout, line_of: Callable[[int], int | None]) -> list[Reject]:
    """Describe the first `MAX_REJECTS`; `line_of` maps a record's number to its physical line."""
    return [
        Reject(record.number, line_of(record.number), shortened(record.text), reason(record, layout))
        for record in itertools.islice(ragged, MAX_REJECTS)
    ]


def shortened(text: str) -> str:
    """Cut at `MAX_REJECT_BYTES`, between characters."""
    return text.encode()[:MAX_REJECT_BYTES].decode(errors="ignore")


def reason(record: Ragged, layout: Layout) -> str:
    """Say what is wrong with a record."""
    return f"{record.cells} {'cell' if record.cells == 1 else 'cells'}, the file has {layout.width} columns"


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
    """Maps record numbers to physical lines by splitting the text once more, as far as needed."""

    def __init__(self, text: bytes, layout: Layout) -> None:
        self._records = records_of(lines_of(text.decode()), layout.dialect)
        self._before = layout.head_lines
        self._begins: list[int] = []

    def __call__(self, number: int) -> int | None:
        """Return the line, from 1, that a record of the text begins on."""
        missing = number - len(self._begins)
        self._begins += [record.begin for record in itertools.islice(self._records, max(0, missing))]
        return self._begins[number - 1] + self._before + 1 if number <= len(self._begins) else None
