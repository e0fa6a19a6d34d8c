"""
Moving the live rows of some data files into new ones, sorted, and proving that they are the same rows.

Memory is bounded: rows come in batches and are put aside on disk; only which rows belong to which source is sorted in
memory. Rows without sources keep their order.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.io import FileIO
from pyiceberg.types import NestedField

from handlers.csv_to_iceberg.lake.clustering import Clustering
from handlers.csv_to_iceberg.lake.compaction_plan import Candidate
from handlers.csv_to_iceberg.lake.entries import FileEntry
from handlers.csv_to_iceberg.lake.parquet import ZSTD_LEVEL, Written, read_deletes
from handlers.csv_to_iceberg.lake.reader import fetch, quoted
from handlers.csv_to_iceberg.lake.shape import COLUMN_TYPES, FIELD_ID, Shape
from handlers.csv_to_iceberg.lake.sources import Positions, SourceRuns, read_runs
from handlers.csv_to_iceberg.lake.spill import RANGES, Spill, ordered

MIB: Final = 1 << 20

TARGET_BYTES: Final = 128 * MIB
"""Size at which a new data file ends: large enough to read well, small enough to be rewritten when rows leave it."""

BATCH_CELLS: Final = 1 << 18
BATCH_BYTES: Final = 8 * MIB
"""What is read at once, at most, as the file's own sizes tell."""

GROUP_CELLS: Final = 1 << 20
GROUP_BYTES: Final = 32 * MIB
"""Cells and bytes of a row group: it is held in memory while it is written."""

THREADS: Final = 1


class CalledOff(Exception):
    """The work is to end: the service is stopping."""


class DifferentRows(Exception):
    """The new files do not hold what the old ones show; nothing was committed."""


class Unfit(Exception):
    """A data file has columns without field ids: only a name mapping says what they are."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True)
class Origin:
    """A data file as it was when its rows were read."""

    path: str
    delete_files: frozenset[str]
    """Paths of the delete files applied."""
    gone: NDArray[np.bool_]
    """One flag per row: taken out by them."""
    runs: SourceRuns | None
    """None where rows have no sources."""

    @property
    def rows(self) -> int:
        """Rows it showed."""
        return len(self.gone) - int(np.count_nonzero(self.gone))

    def sources(self, rows: NDArray[np.bool_]) -> Counter[str | None]:
        """Count some rows of the file by source."""
        counts: Counter[str | None] = Counter()
        if self.runs is None:
            counts[None] = int(np.count_nonzero(rows))
        elif len(rows):
            for key, count in zip(
                self.runs.keys.to_pylist(), np.add.reduceat(rows, self.runs.bounds[:-1], dtype=np.int64), strict=True
            ):
                counts[key] += int(count)
        return +counts


@dataclass(frozen=True, slots=True)
class NewFile:
    """A data file written, which no snapshot names yet."""

    written: Written
    rows: int
    runs: SourceRuns | None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Old data files, and new ones that hold the rows they showed."""

    origins: Sequence[Origin]
    files: Sequence[NewFile]
    fields: Mapping[str, NestedField]
    """The table's columns that the new files were written with, by lower-case name."""
    at: int
    """Epoch milliseconds at which the last file was complete."""


class Rewriter:
    """Rewrites data files of one table, once. Blocks; `call_off` may be called from another thread."""

    def __init__(
        self, io: FileIO, shape: Shape, clustering: Clustering, scratch: Path, clock: Callable[[], int]
    ) -> None:
        self._io = io
        self._shape = shape
        self._clustering = clustering
        self._scratch = scratch
        """A folder of this run alone, for what does not fit into memory."""
        self._clock = clock
        self._names = [field.name for field in shape.schema.fields]
        self._schema = pa.schema(
            [
                pa.field(
                    field.name,
                    COLUMN_TYPES[field.field_type].arrow,
                    nullable=not field.required,
                    metadata={FIELD_ID: str(field.field_id).encode()},
                )
                for field in shape.schema.fields
            ]
        )
        self._group_rows = max(GROUP_CELLS // len(self._names), 1)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._called_off = threading.Event()

    def call_off(self) -> None:
        """End the work as soon as possible."""
        self._called_off.set()
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def origin(self, candidate: Candidate) -> Origin:
        """
        Look at a data file: which rows are gone, and whose rows it holds.

        Raises:
            Unfit: It cannot be rewritten.
        """
        entry = candidate.entry
        with self._io.new_input(entry.path).open() as stream:
            if not all(FIELD_ID in (field.metadata or {}) for field in pq.read_schema(stream)):
                raise Unfit(entry.path)
        gone = deleted_rows(self._io, entry, candidate.deletes)
        runs = None
        if self._clustering.source is not None:
            source = self._shape.fields.get(self._clustering.source)
            if source is not None:
                runs = read_runs(self._io, entry.path, source.field_id, entry.record_count)
        return Origin(entry.path, frozenset(other.path for other in candidate.deletes), gone, runs)

    def rewrite(self, candidates: Sequence[Candidate], new_path: Callable[[], str]) -> Rewritten:
        """
        Write the live rows of `candidates` to new files and compare them with the old ones.

        Args:
            candidates: Data files of one snapshot.
            new_path: Gives locations that no file had before.

        Raises:
            CalledOff: `call_off` was called.
            DifferentRows: What was written is not what was read.
            Unfit: One of them cannot be rewritten.
        """
        origins = [self.origin(candidate) for candidate in candidates]
        self._scratch.mkdir(parents=True)
        try:
            with duckdb.connect(config={"threads": THREADS}) as connection:
                self._connection = connection
                written = self._write(origins, new_path)
                at = self._clock()
                self._compare(connection, origins, written)
        except duckdb.Error as error:
            if self._called_off.is_set():
                raise CalledOff from error
            raise
        finally:
            self._connection = None
            shutil.rmtree(self._scratch, ignore_errors=True)
        files = [NewFile(file, file.footer.num_rows, self._runs(file)) for file in written]
        return Rewritten(origins, files, dict(self._shape.fields), at)

    def _runs(self, file: Written) -> SourceRuns | None:
        source = self._shape.fields.get(self._clustering.source or "")
        return None if source is None else read_runs(self._io, file.path, source.field_id, file.footer.num_rows)

    def _write(self, origins: Sequence[Origin], new_path: Callable[[], str]) -> list[Written]:
        spill = Spill(self._scratch / "rows.arrow", self._schema)
        ranges = []
        for origin in origins:
            start = spill.rows
            for batch in self._rows_of(origin.path, origin.gone):
                spill.write(batch)
            ranges.append(_ranges(origin, start))
        spill.finish()
        return self._files(self._groups(spill, ordered(ranges)), new_path)

    def _groups(self, spill: Spill, ranges: Iterable[tuple[int, int]]) -> Iterator[pa.Table]:
        """Yield the rows of some ranges, one row group at a time."""
        slices: list[pa.RecordBatch] = []
        rows = size = 0
        for start, stop in ranges:
            for piece in spill.read(start, stop, self._group_rows):
                slices.append(piece)
                rows += piece.num_rows
                size += piece.nbytes
                if rows >= self._group_rows or size >= GROUP_BYTES:
                    yield pa.Table.from_batches(slices).combine_chunks()
                    slices, rows, size = [], 0, 0
                    spill.let_go()
        if slices:
            yield pa.Table.from_batches(slices).combine_chunks()

    def _files(self, groups: Iterable[pa.Table], new_path: Callable[[], str]) -> list[Written]:
        """Write row groups to files of a bounded size."""
        written: list[Written] = []
        waiting = iter(groups)
        group = next(waiting, None)
        while group is not None:
            path = new_path()
            footers: list[Any] = []
            with self._io.new_output(path).create() as stream:
                with pq.ParquetWriter(
                    stream,
                    self._schema,
                    compression="zstd",
                    compression_level=ZSTD_LEVEL,
                    store_schema=False,
                    metadata_collector=footers,
                ) as writer:
                    while group is not None and stream.tell() < TARGET_BYTES:
                        self._check()
                        writer.write_table(group, row_group_size=group.num_rows)
                        group = next(waiting, None)
                size = stream.tell()
            written.append(Written(path, size, footers[0]))
        return written

    def _compare(
        self, connection: duckdb.DuckDBPyConnection, origins: Sequence[Origin], written: Sequence[Written]
    ) -> None:
        """Read old and new files once more and compare what they show, rows and cells."""
        old = self._digest(connection, self._live(origins))
        new = self._digest(connection, self._rows_of_all([(file.path, None) for file in written]))
        shown = sum(origin.rows for origin in origins)
        held = sum(file.footer.num_rows for file in written)
        if old != new or not old[0] == shown == held:
            raise DifferentRows(f"{shown} rows (digest {old}) were read but {held} (digest {new}) written")

    def _digest(self, connection: duckdb.DuckDBPyConnection, batches: Iterable[pa.RecordBatch]) -> tuple[int, int]:
        """Return the number of rows and a sum of their hashes, which does not depend on their order."""
        connection.register("rows", self._reader(batches))
        columns = ", ".join(map(quoted, self._names))
        try:
            ((count, digest),) = fetch(
                connection,
                f"SELECT count(*), coalesce(sum(hash({columns})::HUGEINT), 0) FROM rows",  # noqa: S608  # quoted
            )
        finally:
            connection.unregister("rows")
        return count, digest

    def _live(self, origins: Sequence[Origin]) -> Iterator[pa.RecordBatch]:
        return self._rows_of_all([(origin.path, origin.gone) for origin in origins])

    def _rows_of_all(self, files: Iterable[tuple[str, NDArray[np.bool_] | None]]) -> Iterator[pa.RecordBatch]:
        for path, gone in files:
            yield from self._rows_of(path, gone)

    def _rows_of(self, path: str, gone: NDArray[np.bool_] | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a data file that are not gone, with the columns of the table by field id."""
        with self._io.new_input(path).open() as stream, pq.ParquetFile(stream) as file:
            columns = {int(field.metadata[FIELD_ID]): field.name for field in file.schema_arrow}
            names = [columns.get(int(field.metadata[FIELD_ID])) for field in self._schema]
            wanted = [name for name in names if name is not None]
            start = 0
            for batch in file.iter_batches(self._batch_rows(file.metadata), columns=wanted, use_threads=False):
                self._check()
                stop = start + batch.num_rows
                if gone is not None and gone[start:stop].any():
                    batch = batch.filter(pa.array(~gone[start:stop]))  # noqa: PLW2901  # the same rows, fewer
                start = stop
                if batch.num_rows:
                    yield self._fitted(batch, names)

    def _fitted(self, batch: pa.RecordBatch, names: Sequence[str | None]) -> pa.RecordBatch:
        """Give a batch the columns of the table; those its file lacks are null."""
        arrays = [
            pa.nulls(batch.num_rows, field.type) if name is None else batch.column(name).cast(field.type)
            for field, name in zip(self._schema, names, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _batch_rows(self, footer: Any) -> int:
        size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        by_size = BATCH_BYTES * footer.num_rows // size if size else BATCH_CELLS
        return int(max(min(BATCH_CELLS // len(self._names), by_size), 1))

    def _reader(self, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, batches)

    def _check(self) -> None:
        if self._called_off.is_set():
            raise CalledOff


def deleted_rows(io: FileIO, file: FileEntry, delete_files: Iterable[FileEntry]) -> NDArray[np.bool_]:
    """Return one flag per row of a data file: taken out by one of the delete files."""
    gone = np.zeros(file.record_count, np.bool_)
    for other in delete_files:
        gone[read_deletes(io, other.data_file, file.path)] = True
    return gone


def positions_of(rows: NDArray[np.bool_]) -> Positions:
    """Return the numbers of the rows whose flag is set."""
    return np.flatnonzero(rows).astype(np.int64)


def _ranges(origin: Origin, start: int) -> pa.Table:
    """Return the live rows of a data file as ranges of one key each; `start` is the number of its first row."""
    if origin.runs is None:
        return pa.table({"key": [""], "start": [start], "stop": [start + origin.rows]}, schema=RANGES)
    before = np.concatenate(([0], np.cumsum(~origin.gone, dtype=np.int64))) + start
    bounds = before[origin.runs.bounds]
    return pa.table({"key": origin.runs.keys, "start": bounds[:-1], "stop": bounds[1:]}, schema=RANGES)
