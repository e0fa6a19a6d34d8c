"""
Which rows of which live data files belong to given keys: what a commit has to take out of the table.

Everything is derived from the snapshot that the commit is compared against. A data file may hold many sources in any
order, have shortened bounds (somebody compacted the table) and have rows deleted already.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, FileFormat, ManifestEntry

from handlers.csv_to_iceberg.facts import Facts
from handlers.csv_to_iceberg.live import LiveFiles
from handlers.csv_to_iceberg.parquet import DELETE_PATH_ID, read_deletes
from handlers.csv_to_iceberg.refusals import UnsupportedTable
from handlers.csv_to_iceberg.sources import Positions, SourceRuns, read_runs

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
            live: The files of the snapshot.
            keys: Values of `_source_file`.
            field_id: The id of that column.
            io: Reads the files.
        """
        result = Removal()
        if not keys:
            return result
        wanted = pa.array(sorted(keys), pa.string())
        for entry, whole in _candidates(live, keys, field_id):
            file = entry.data_file
            delete_files = live.deletes_of(entry)
            if not whole:
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
                    result.deletes.append((file, found))
                    continue
            result.dropped.add(file.file_path)
            result.dropped.update(other.file_path for other in delete_files if _only_for(other, file.file_path))
        return result

    def _runs_of(self, file: DataFile, field_id: int, io: FileIO) -> SourceRuns:
        known = self._runs.get(file.file_path)
        if known is not None:
            return known
        _must_be_parquet(file)
        return self._runs.put(file.file_path, read_runs(io, file.file_path, field_id, file.record_count))

    def _deleted_rows(self, file: DataFile, delete_files: set[DataFile], io: FileIO) -> DeletedRows:
        """Return the rows that exactly these delete files take out."""
        path = file.file_path
        rows = self._deleted.get(path)
        if rows is None or not rows.delete_files <= {other.file_path for other in delete_files}:
            rows = self._deleted.put(path, DeletedRows(np.zeros(file.record_count, np.bool_)))
        for other in delete_files:
            if other.file_path not in rows.delete_files:
                known = self._deletes.get(other.file_path)
                if known is None:
                    _must_be_parquet(other)
                    known = read_deletes(io, other, path)
                rows.gone[known] = True
                rows.delete_files.add(other.file_path)
        return rows


def _candidates(live: LiveFiles, keys: Collection[str], field_id: int) -> Iterator[tuple[ManifestEntry, bool]]:
    """
    Yield the data files whose bounds allow one of the keys; True when every row of the file has that key.

    Bounds may be shortened but never lie: equal bounds and no nulls mean one value.
    """
    ordered = sorted(key.encode() for key in keys)
    for entry in live.data():
        file = entry.data_file
        lower, upper = (file.lower_bounds or {}).get(field_id), (file.upper_bounds or {}).get(field_id)
        index = 0 if lower is None else bisect_left(ordered, lower)
        if index == len(ordered) or (upper is not None and ordered[index] > upper):
            continue
        yield entry, lower is not None and lower == upper and (file.null_value_counts or {}).get(field_id) == 0


def _only_for(delete_file: DataFile, path: str) -> bool:
    """Tell whether a delete file applies to no other data file: its path bounds are equal."""
    name = path.encode()
    lower, upper = (delete_file.lower_bounds or {}), (delete_file.upper_bounds or {})
    return lower.get(DELETE_PATH_ID) == name == upper.get(DELETE_PATH_ID)


def _must_be_parquet(file: DataFile) -> None:
    if file.file_format != FileFormat.PARQUET:
        raise UnsupportedTable(f"{file.file_path} is {file.file_format}; only Parquet files can be looked into")
