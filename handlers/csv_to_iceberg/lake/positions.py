"""
Which rows of which live data files belong to given keys: what a commit has to take out of the table.

Everything is derived from the snapshot that the commit is compared against. A data file may hold many sources in any
order, have shortened bounds (somebody compacted the table) and have rows deleted already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile

from handlers.csv_to_iceberg.lake.entries import FileEntry
from handlers.csv_to_iceberg.lake.facts import Facts
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.parquet import read_deletes
from handlers.csv_to_iceberg.lake.refusals import UnsupportedTable
from handlers.csv_to_iceberg.lake.sources import Positions, SourceRuns, read_runs

CACHE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Removal:
    """How rows leave a table."""

    dropped: set[str] = field(default_factory=set)
    """Paths of data files without a row left, and of the delete files that apply to nothing else."""
    deletes: list[tuple[DataFile, Positions]] = field(default_factory=list)
    """Rows to be deleted from data files that stay."""


@dataclass(slots=True)
class DeletedRows:
    """The rows of a data file that some delete files take out."""

    gone: NDArray[np.bool_]
    """One flag per row of the data file."""
    delete_files: set[str] = field(default_factory=set)
    """Paths of the delete files the flags come from."""


class RowFinder:
    """Finds the rows of keys; remembers what it has read of immutable files. For one thread."""

    def __init__(self) -> None:
        self._runs: Facts[str, SourceRuns] = Facts(CACHE_BYTES, lambda runs: runs.weight)
        self._deletes: Facts[str, Positions] = Facts(CACHE_BYTES // 4, lambda positions: int(positions.nbytes))
        self._deleted: Facts[str, DeletedRows] = Facts(CACHE_BYTES, lambda rows: int(rows.gone.nbytes))

    def know_runs(self, path: str, runs: SourceRuns) -> None:
        """Remember the sources of a data file just written, so that it need not be read back."""
        self._runs.put(path, runs)

    def know_deletes(self, path: str, positions: Positions) -> None:
        """Remember the positions in a delete file (of one data file) just written."""
        self._deletes.put(path, positions)

    def removal(self, live: LiveFiles, keys: Collection[str], field_id: int, io: FileIO) -> Removal:
        """
        Return what takes all rows of `keys` out of the snapshot, and no other row.

        Args:
            live: The files of the snapshot, looked for by that column.
            keys: Values of `_source_file`.
            field_id: The id of that column.
            io: Reads the files.
        """
        result = Removal()
        if not keys:
            return result
        wanted = pa.array(sorted(keys), pa.string())
        for file in live.may_hold(keys):
            delete_files = live.deletes_of(file)
            if not file.one_value:
                found = self._runs_of(file, field_id, io).positions(wanted)
                if found.size and delete_files:
                    gone = self._deleted_rows(file, delete_files, io).gone
                    found = found[~gone[found]]
                    left = file.record_count - int(np.count_nonzero(gone)) - len(found)
                else:
                    left = file.record_count - len(found)
                if not found.size:
                    continue
                if left:
                    result.deletes.append((file.data_file, found))
                    continue
            result.dropped.add(file.path)
            result.dropped.update(other.path for other in delete_files if other.one_value)
        return result

    def _runs_of(self, file: FileEntry, field_id: int, io: FileIO) -> SourceRuns:
        known = self._runs.get(file.path)
        if known is not None:
            return known
        _must_be_parquet(file)
        return self._runs.put(file.path, read_runs(io, file.path, field_id, file.record_count))

    def _deleted_rows(self, file: FileEntry, delete_files: Sequence[FileEntry], io: FileIO) -> DeletedRows:
        """Return the rows that exactly these delete files take out."""
        path = file.path
        rows = self._deleted.get(path)
        if rows is None or not rows.delete_files <= {other.path for other in delete_files}:
            rows = self._deleted.put(path, DeletedRows(np.zeros(file.record_count, np.bool_)))
        for other in delete_files:
            if other.path not in rows.delete_files:
                known = self._deletes.get(other.path)
                if known is None:
                    _must_be_parquet(other)
                    known = read_deletes(io, other.data_file, path)
                rows.gone[known] = True
                rows.delete_files.add(other.path)
        return rows


def _must_be_parquet(file: FileEntry) -> None:
    if not file.parquet:
        raise UnsupportedTable(f"{file.path} is not Parquet; no other file can be looked into")
