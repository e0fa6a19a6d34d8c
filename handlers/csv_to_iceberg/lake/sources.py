"""Which rows of a data file came from which source: the `_source_file` column as runs of equal values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.io import FileIO

from handlers.csv_to_iceberg.lake.shape import FIELD_ID, SOURCE_FILE

Positions = NDArray[np.int64]
"""Row numbers of a data file, ascending, from 0."""

NOTHING: Positions = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class SourceRuns:
    """Runs of rows with one source each; a source may have many runs, rows without a source are in runs of null."""

    keys: pa.Array
    """One string per run."""
    bounds: Positions
    """First row of each run, and the number of rows at the end."""

    @classmethod
    def of(cls, keys: Sequence[str], rows: Sequence[int]) -> SourceRuns:
        """Return the runs of a file known to hold `rows[i]` rows of `keys[i]`, in this order."""
        return cls(pa.array(keys, pa.string()), np.concatenate(([0], np.cumsum(rows, dtype=np.int64))).astype(np.int64))

    @property
    def weight(self) -> int:
        """Bytes held in memory."""
        return int(self.keys.nbytes + self.bounds.nbytes)

    def positions(self, keys: pa.Array) -> Positions:
        """Return the rows whose source is one of `keys`."""
        hits = np.flatnonzero(pc.is_in(self.keys, value_set=keys, skip_nulls=True).to_numpy(zero_copy_only=False))
        if not hits.size:
            return NOTHING
        return np.concatenate([np.arange(self.bounds[hit], self.bounds[hit + 1], dtype=np.int64) for hit in hits])


def read_runs(io: FileIO, path: str, field_id: int, rows: int) -> SourceRuns:
    """
    Read the runs of a data file from its `_source_file` column, one row group at a time.

    A file without the column has no source in any row.
    """
    with io.new_input(path).open() as stream, pq.ParquetFile(stream) as file:
        column = _column(file.schema_arrow, field_id)
        if column is None:
            return SourceRuns(pa.nulls(1, pa.string()), np.array([0, rows], np.int64))
        keys: list[pa.Array] = []
        bounds: list[Positions] = []
        start = 0
        for group in range(file.num_row_groups):
            for values in file.read_row_group(group, columns=[column]).column(0).chunks:
                encoded = values.cast(pa.string()).dictionary_encode(null_encoding="encode")
                codes = encoded.indices.to_numpy()
                first = np.flatnonzero(np.diff(codes, prepend=-1))
                keys.append(encoded.dictionary.take(pa.array(codes[first])))
                bounds.append(first + start)
                start += len(values)
        return SourceRuns(
            pa.concat_arrays(keys) if keys else pa.array([], pa.string()),
            np.concatenate([*bounds, [start]]).astype(np.int64),
        )


def _column(schema: pa.Schema, field_id: int) -> str | None:
    """Find a column by field id; by name in files that carry no ids, which somebody else added."""
    ids = [(field.metadata or {}).get(FIELD_ID) for field in schema]
    wanted = str(field_id).encode()
    if any(ids):
        return next((field.name for field, number in zip(schema, ids, strict=True) if number == wanted), None)
    return SOURCE_FILE if SOURCE_FILE in schema.names else None
