"""Reading a file without a table: what `lakedrop try` shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final, NamedTuple

import pyarrow as pa

from handlers.csv_to_iceberg.csv.columns import Pins
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Report, Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StartAgain, StreamedCsv

_PREVIEW_ROWS: Final = 5


class Inspection(NamedTuple):
    """What a new table would get from a file."""

    report: Report
    preview: pa.Table
    """The first rows."""


def inspect(open_file: Callable[[], BinaryIO], name: str, options: Options) -> Inspection:
    """
    Read a file to its end, as if it were the first of a new table; memory stays constant.

    Args:
        open_file: Opens it at its beginning; called again when a late surprise changes how it must be read.
        name: For messages.
        options: As a route would have them.

    Raises:
        PermanentError: The file cannot be ingested.
    """
    pins: Pins = {}
    lessons = Lessons()
    while True:
        try:
            with (
                open_file() as raw,
                StreamedCsv(raw, Source(name, ""), pins, Memory(), options, lessons=lessons) as rows,
            ):
                preview = pa.Table.from_batches([], rows.schema)
                for batch in rows:
                    if preview.num_rows < _PREVIEW_ROWS:
                        preview = pa.concat_tables([preview, pa.Table.from_batches([batch])]).slice(0, _PREVIEW_ROWS)
                return Inspection(rows.report, preview)
        except StartAgain as again:
            pins, lessons = again.pins, again.lessons
