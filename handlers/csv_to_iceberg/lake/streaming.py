"""Writing the rows of one large object: DuckDB turns record batches into Parquet files of a bounded size."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
from pyiceberg.io import FileIO

from handlers.csv_to_iceberg.csv.reading import Reading
from handlers.csv_to_iceberg.csv.results import Source
from handlers.csv_to_iceberg.lake.parquet import ZSTD_LEVEL, data_file, read_footer
from handlers.csv_to_iceberg.lake.reader import literal, local_path, quoted
from handlers.csv_to_iceberg.lake.shape import INGESTED_AT, SOURCE_ETAG, SOURCE_FILE, Shape
from handlers.csv_to_iceberg.lake.sources import SourceRuns
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded, unpartitioned

FILE_BYTES: Final = 256 << 20
THREADS: Final = 2
MEMORY: Final = 192 << 20
"""Bytes DuckDB may use while it writes one object."""


class _Rows:
    """Batches for DuckDB, which reports a Python exception as text only: the exception itself is kept here."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:
            self.error = error
            raise


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
    target = table.new_data_path(loaded, "")
    source = stamp.source
    folder = Path(local_path(target) or table.settings.home / "staging" / target.rpartition("/")[2])
    with reading:
        _copy_to_parquet(reading, schema, stamp, folder)
    count = rows.report.rows
    files, runs = [], []
    for path in sorted(folder.glob("*.parquet")) if count else ():
        location = f"{target}/{path.name}"
        _publish(path, location, loaded.table.io)
        footer = read_footer(loaded.table.io, location)
        files.append(
            data_file(footer, shape.schema, loaded.table.properties, unpartitioned(loaded.table), (source.key,) * 2)
        )
        runs.append(SourceRuns.of([source.key], [footer.footer.num_rows]))
    if (found := sum(file.record_count for file in files)) != count:
        raise RuntimeError(f"{source.key}: {count} rows were read but {found} written")
    uuid = str(loaded.table.metadata.table_uuid)
    return Staged(tuple(files), tuple(runs), (count,), columns, written, shape, uuid, table.now())


def _copy_to_parquet(reading: Reading, schema: pa.Schema, stamp: Stamp, folder: Path) -> None:
    """Fill a new folder; when that fails, there is none."""
    folder.mkdir(parents=True)
    try:
        _copy(reading, schema, stamp, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder / "spill", ignore_errors=True)


def _copy(reading: Reading, schema: pa.Schema, stamp: Stamp, folder: Path) -> None:
    rows = reading.rows
    constants = {
        SOURCE_FILE: _constant(stamp.source.key),
        SOURCE_ETAG: _constant(stamp.source.etag),
        INGESTED_AT: f"make_timestamp({stamp.at}::BIGINT * 1000)",
    }
    given = {name.lower() for name in rows.schema.names}
    names = [field.name for field in schema]
    select = ", ".join(
        f"{constants[name]} AS {quoted(name)}" if name in constants else quoted(name)
        for name in names
        if name in constants or name.lower() in given
    )
    ids = ", ".join(
        f"{literal(field.name)}: {int(field.metadata[b'PARQUET:field_id'])}"
        for field in schema
        if field.name in constants or field.name.lower() in given
    )
    batches = _Rows(reading.batches())
    with duckdb.connect(config={"threads": THREADS, "memory_limit": f"{MEMORY}B"}) as connection:
        # A table has no order of rows, and keeping the file's costs a fifth of the time and most of the memory.
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
        connection.register("batches", pa.RecordBatchReader.from_batches(rows.schema, batches))
        try:
            connection.execute(
                f"COPY (SELECT {select} FROM batches) TO {literal(str(folder))}"  # noqa: S608  # quoted above
                f" (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {ZSTD_LEVEL}, FIELD_IDS {{{ids}}},"
                f" FILE_SIZE_BYTES {FILE_BYTES},"
                " OVERWRITE_OR_IGNORE)"
            )
        except duckdb.Error:
            if batches.error is not None:
                raise batches.error from None
            raise


def _constant(text: str) -> str:
    """Return an SQL expression for a text that all rows share: as an ENUM it costs a sixth less of all the writing."""
    return f"{literal(text)}::ENUM({literal(text)})"


def _publish(path: Path, location: str, io: FileIO) -> None:
    """Bring a file that DuckDB wrote on this machine to its place, unless that is where it lies."""
    if local_path(location) == str(path):
        return
    with path.open("rb") as source, io.new_output(location).create() as target:
        shutil.copyfileobj(source, target)
    path.unlink()
