"""New data files of a table that is rebuilt: filled source by source, of which any can be taken out again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from handlers.csv_to_iceberg.lake.parquet import ZSTD_LEVEL, Written, read_footer
from handlers.csv_to_iceberg.lake.sources import NOTHING, Positions

FILE_BYTES: Final = 128 << 20
GROUP_ROWS: Final = 1 << 17
GROUP_BYTES: Final = 32 << 20
"""Rows are held until there are so many, or so many bytes of them."""

Key = str | None
"""Of a source; None for rows that nobody of ours put in."""


@dataclass(frozen=True, slots=True)
class _Segment:
    file: int
    start: int
    rows: int


@dataclass(frozen=True, slots=True)
class NewFile:
    """A data file that no snapshot names yet."""

    written: Written
    keys: tuple[str, str] | None
    """The lowest and the highest of its sources; None when no row has one."""
    gone: Positions
    """Rows that must not become visible."""


class RebuiltFiles:
    """Writes Parquet files of a bounded size into one folder. Blocks; for one thread."""

    def __init__(self, io: FileIO, folder: str, schema: pa.Schema) -> None:
        """Take a folder that no other writer uses, and the columns with their field ids."""
        self.schema = schema
        self._io = io
        self._folder = folder
        self._paths: list[str] = []
        self._written: dict[int, Written] = {}
        self._segments: defaultdict[Key, list[_Segment]] = defaultdict(list)
        self._void: list[_Segment] = []
        self._keys: defaultdict[int, set[str]] = defaultdict(set)
        self._open: tuple[Any, pq.ParquetWriter] | None = None
        self._held: list[pa.Table] = []
        self._held_rows = self._held_bytes = 0
        self._rows = 0
        """Of the open file, with those held."""

    def add(self, key: Key, rows: pa.Table) -> None:
        """Write rows of one source behind what it has."""
        if not rows.num_rows:
            return
        if self._open is None:
            self._begin()
        number = len(self._paths) - 1
        self._segments[key].append(_Segment(number, self._rows, rows.num_rows))
        if key is not None:
            self._keys[number].add(key)
        self._rows += rows.num_rows
        self._held.append(rows)
        self._held_rows += rows.num_rows
        self._held_bytes += rows.nbytes
        if self._held_rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
            self._flush()

    def rows_of(self, key: Key) -> int:
        """Count the rows of a source."""
        return sum(segment.rows for segment in self._segments.get(key, ()))

    def drop(self, keys: Collection[Key]) -> None:
        """Take all rows of some sources out again; they may be added anew."""
        for key in keys:
            self._void += self._segments.pop(key, [])

    def finish(self) -> list[NewFile]:
        """Complete the open file; return all files with a row that counts. More may be added afterwards."""
        self._end()
        gone: defaultdict[int, list[Positions]] = defaultdict(list)
        for segment in self._void:
            gone[segment.file].append(np.arange(segment.start, segment.start + segment.rows, dtype=np.int64))
        files = []
        for number, path in enumerate(self._paths):
            if number not in self._written:
                self._written[number] = read_footer(self._io, path)
            written = self._written[number]
            void = np.sort(np.concatenate(gone[number])) if number in gone else NOTHING
            if len(void) < written.footer.num_rows:
                keys = self._keys[number]
                files.append(NewFile(written, (min(keys), max(keys)) if keys else None, void))
        return files

    def discard(self) -> None:
        """Delete all files: they do not become part of the table."""
        self._end()
        for path in self._paths:
            self._io.delete(path)
        self._paths.clear()

    def _begin(self) -> None:
        path = f"{self._folder}/{len(self._paths):05}.parquet"
        self._paths.append(path)
        self._rows = 0
        stream = self._io.new_output(path).create()
        writer = pq.ParquetWriter(
            stream, self.schema, compression="zstd", compression_level=ZSTD_LEVEL, store_schema=False
        )
        self._open = stream, writer

    def _flush(self) -> None:
        if self._open is None or not self._held:
            return
        stream, writer = self._open
        writer.write_table(pa.concat_tables(self._held).combine_chunks(), row_group_size=GROUP_ROWS)
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        if stream.tell() >= FILE_BYTES:
            self._end()

    def _end(self) -> None:
        self._flush()
        if self._open is not None:
            stream, writer = self._open
            self._open = None
            writer.close()
            stream.close()
