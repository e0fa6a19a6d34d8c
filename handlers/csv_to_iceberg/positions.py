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


class RowFinder:
    """Finds the rows of keys; remembers what it has read of immutable files. For one thread."""

    def __init__(self) -> None:
        self._runs: Facts[str, SourceRuns] = Facts(CACHE_BYTES, lambda runs: runs.weight)
        self._deleted: Facts[str, Positions] = Facts(CACHE_BYTES, lambda positions: int(positions.nbytes))

    def know(self, path: str, runs: SourceRuns) -> None:
        """Remember the sources of a data file just written, so that it need not be read back."""
        self._runs.put(path, runs)

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
            if whole:
                found: Positions | None = None
            else:
                found = self._runs_of(file, field_id, io).positions(wanted)
                if not found.size:
                    continue
                deleted = self._deleted_rows(file.file_path, delete_files, io)
                found = np.setdiff1d(found, deleted, assume_unique=True) if deleted.size else found
                if not found.size:
                    continue
                if len(found) + len(deleted) < file.record_count:
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

    def _deleted_rows(self, path: str, delete_files: set[DataFile], io: FileIO) -> Positions:
        rows = [self._deletes_in(file, path, io) for file in delete_files]
        return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)

    def _deletes_in(self, delete_file: DataFile, path: str, io: FileIO) -> Positions:
        key = f"{delete_file.file_path}\0{path}"
        known = self._deleted.get(key)
        if known is not None:
            return known
        _must_be_parquet(delete_file)
        return self._deleted.put(key, read_deletes(io, delete_file, path))


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
