"""Writing the rows of one large object: row group by row group, into Parquet files of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from handlers.csv_to_iceberg.csv.reading import Reading
from handlers.csv_to_iceberg.csv.results import Source
from handlers.csv_to_iceberg.lake.parquet import ZSTD_LEVEL, Written, data_file, repeating
from handlers.csv_to_iceberg.lake.reader import local_path
from handlers.csv_to_iceberg.lake.shape import INGESTED_AT, SOURCE_ETAG, SOURCE_FILE, Shape
from handlers.csv_to_iceberg.lake.sources import SourceRuns
from handlers.csv_to_iceberg.lake.staged import Staged, constant, repeated
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded, unpartitioned

FILE_BYTES: Final = 256 << 20

GROUP_ROWS: Final = 1 << 17
GROUP_BYTES: Final = 32 << 20
"""A row group ends with the batch that brings it to so many rows, or so many bytes: two of them are in memory."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every row of an object is stamped with."""

    source: Source
    at: int
    """Epoch milliseconds, for `_ingested_at`."""


def stage_stream(table: IcebergTable, loaded: Loaded, shape: Shape, reading: Reading, stamp: Stamp) -> Staged:
    """
    Write all rows of an object in constant memory; blocks, belongs on the `stream` lane, closes `reading`.

    Args:
        table: Where the rows are going to be committed.
        loaded: Any state of the table.
        shape: What the table will look like; has all columns of the object.
        reading: The object, opened.
        stamp: The object's version and the time.

    Raises:
        StartAgain: The object must be opened again.
        CalledOff: Nobody waits for the rows any more.
        HandlerError: Reading it failed.
    """
    rows = reading.rows
    columns = dict(rows.columns)
    schema = shape.arrow(columns)
    written = {field.name.lower(): shape.fields[field.name.lower()] for field in schema}
    source = stamp.source
    files = _Files(loaded.table.io, table.new_data_path(loaded, ""))
    try:
        with reading:
            for group in _groups(reading.batches()):
                files.add(_stamped(group, schema, stamp))
        found = files.finish()
    except BaseException:
        files.discard()
        raise
    count = rows.report.rows
    counts = [file.footer.num_rows for file in found]
    if sum(counts) != count:
        raise RuntimeError(f"{source.key}: {count} rows were read but {sum(counts)} written")
    spec = unpartitioned(loaded.table)
    entries = [data_file(file, shape.schema, loaded.table.properties, spec, (source.key,) * 2) for file in found]
    runs = [SourceRuns.of([source.key], [number]) for number in counts]
    uuid = str(loaded.table.metadata.table_uuid)
    return Staged(tuple(entries), tuple(runs), (count,), columns, written, shape, uuid, table.now())


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held)


def _stamped(group: pa.Table, schema: pa.Schema, stamp: Stamp) -> pa.Table:
    """Return rows with the columns of a data file."""
    count = group.num_rows
    own: dict[str, Any] = {
        SOURCE_FILE: repeated([stamp.source.key], [count]),
        SOURCE_ETAG: repeated([stamp.source.etag], [count]),
        INGESTED_AT: constant(stamp.at, count, schema.field(INGESTED_AT).type),
    }
    given = dict(zip(map(str.lower, group.schema.names), group.columns, strict=True))
    arrays = [
        values if (values := own.get(field.name)) is not None else given[field.name.lower()].cast(field.type)
        for field in schema
    ]
    fields = [field.with_type(values.type) for field, values in zip(schema, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


class _Files:
    """Files in a new folder, written by a thread of their own while the rows to come are cast."""

    def __init__(self, io: FileIO, folder: str) -> None:
        self._io = io
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._writing: Future[None] | None = None
        self._open: tuple[Any, pq.ParquetWriter] | None = None
        self._dictionaries: list[str] = []
        self._paths: list[str] = []
        self._footers: list[Any] = []
        self._sizes: list[int] = []

    def add(self, group: pa.Table) -> None:
        """Have a row group written as soon as the one before is; raises what writing that one raised."""
        self._wait()
        self._writing = self._thread.submit(self._write, group)

    def finish(self) -> list[Written]:
        """Complete the last file and return all of them."""
        self._wait()
        self._end()
        self._thread.shutdown()
        return [Written(*file) for file in zip(self._paths, self._sizes, self._footers, strict=True)]

    def discard(self) -> None:
        """Delete all files: they do not become part of the table."""
        self._thread.shutdown()
        # What stays is found by the maintenance; why there is something to discard matters more.
        with suppress(Exception):
            self._end()
        for path in self._paths:
            with suppress(Exception):
                self._io.delete(path)
        with suppress(OSError):
            if (folder := local_path(self._folder)) is not None:
                Path(folder).rmdir()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, group: pa.Table) -> None:
        if self._open is None:
            self._dictionaries = self._dictionaries or repeating(group)
            self._begin(group.schema)
        assert self._open is not None  # noqa: S101 (begun above)
        stream, writer = self._open
        writer.write_table(group, row_group_size=group.num_rows)
        if stream.tell() >= FILE_BYTES:
            self._end()

    def _begin(self, schema: pa.Schema) -> None:
        path = f"{self._folder}/{len(self._paths):05}.parquet"
        stream = self._io.new_output(path).create()
        self._paths.append(path)
        writer = pq.ParquetWriter(
            stream,
            schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=self._dictionaries,
            store_schema=False,
            metadata_collector=self._footers,
        )
        self._open = stream, writer

    def _end(self) -> None:
        if self._open is not None:
            stream, writer = self._open
            self._open = None
            with stream:
                writer.close()
                self._sizes.append(stream.tell())
