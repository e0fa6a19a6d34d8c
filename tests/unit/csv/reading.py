"""Shorthand for reading one file both ways."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from handlers.csv_to_iceberg.csv import stream
from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.head import Head, read_head
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import MIB, Options
from handlers.csv_to_iceberg.csv.results import Report, SmallFile, Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StartAgain, StreamedCsv

MOST_PASSES = 16


@dataclass
class Reading:
    """The rows of a file, as a table and as a list of rows without `_rescued`."""

    table: pa.Table
    report: Report
    pins: Pins
    passes: int = 1

    @property
    def rows(self) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in self.table.drop_columns(["_rescued"]).to_pylist()]

    @property
    def rescued(self) -> list[str | None]:
        return [row["_rescued"] for row in self.table.to_pylist()]

    @property
    def types(self) -> dict[str, str]:
        return {column.name: column.type.value for column in self.report.columns}


def cooked(data: bytes, pins: Pins | None = None, **options: Any) -> Reading:
    """Read a file as a small one, if it is not too wide for that; raises what the file failed with."""
    result = cook([SmallFile(Source("t/f.csv", "e"), data)], pins or {}, Memory(), Options.model_validate(options))
    for failure in result.failures.values():
        raise failure
    if result.too_large:
        return streamed(data, pins, **options)
    (part,) = result.parts
    assert part.report.records == part.report.rows + part.report.rejected
    assert part.report.rows == part.table.num_rows
    return Reading(part.table, part.report, result.pins)


class Trickle(io.RawIOBase):
    """A stream that hands out a few bytes at a time, as a network does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = io.BytesIO(data)
        self._step = step

    def read(self, size: int = -1) -> bytes:
        return self._data.read(self._step if size < 0 else min(size, self._step))


def streamed(
    data: bytes, pins: Pins | None = None, step: int = 1 << 20, block: int | None = None, **options: object
) -> Reading:
    """
    Read a file as a large one; raises what the file failed with.

    Args:
        data: The object.
        pins: Of the table.
        step: Bytes that one read returns.
        block: Bytes of a block of records, where a file is too small to have several.
        options: Of the route.
    """
    pins = dict(pins or {})
    lessons = Lessons() if block is None else Lessons(block_bytes=block)
    memory = Memory()
    with ExitStack() as stack:
        if block is not None:
            stack.enter_context(patch.object(stream, "read_head", lambda *given: _cut(read_head(*given), block)))
            # So many MiB tell the types of a file; so many small blocks do not.
            stack.enter_context(patch.object(stream, "_SAMPLE_BATCHES", MIB))
        for passes in range(1, MOST_PASSES):
            try:
                with StreamedCsv(
                    Trickle(data, step),  # type: ignore[arg-type]  # read() is all that is needed
                    Source("t/f.csv", "e"),
                    pins,
                    memory,
                    Options.model_validate(options),
                    lessons=lessons,
                ) as rows:
                    batches = list(rows)
            except StartAgain as again:
                pins, lessons = again.pins, again.lessons
                if block is not None and not lessons.quoting and lessons.block_bytes == MIB:
                    lessons = replace(lessons, block_bytes=block)
                continue
            table = pa.Table.from_batches(batches, rows.schema)
            assert rows.report.records == rows.report.rows + rows.report.rejected
            assert rows.report.rows == table.num_rows
            return Reading(table, rows.report, rows.pins, passes)
    raise AssertionError("the stream never comes to an end")


def _cut(head: Head, size: int) -> Head:
    """Hand out the records in pieces of `size` characters."""

    def pieces() -> Iterator[bytes]:
        for chunk in head.rest:
            text = chunk.decode()
            for at in range(0, len(text), size):
                yield text[at : at + size].encode()

    return head._replace(rest=pieces())


def varchar(*names: str) -> Pins:
    return dict.fromkeys(names, ColumnType.VARCHAR)
