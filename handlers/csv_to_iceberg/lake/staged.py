"""Rows written to their final place that no snapshot names yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.types import NestedField

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.results import Part
from handlers.csv_to_iceberg.lake.shape import INGESTED_AT, SOURCE_ETAG, SOURCE_FILE, Shape
from handlers.csv_to_iceberg.lake.sources import Positions, SourceRuns

MICROSECONDS_PER_MILLISECOND: Final = 1000

STAGED_MILLISECONDS: Final = 600_000
"""
Age at which staged rows are no longer committed but staged again.

Files that no snapshot names are deleted once they are much older (docs/guarantees.md), so no commit brings in a file
that is being deleted.
"""


@dataclass(frozen=True, slots=True)
class Staged:
    """The rows of one or more sources; several sources share one file, one source may have several files."""

    files: tuple[DataFile, ...]
    runs: tuple[SourceRuns, ...]
    """Of each file."""
    rows: tuple[int, ...]
    """Of each source, in the order given to the stage."""
    columns: Mapping[str, ColumnType]
    """The columns the rows need in the table."""
    written: Mapping[str, NestedField]
    """The fields the files were written with."""
    shape: Shape
    """The table's shape once this is committed."""
    table_uuid: str
    """The table they were written for; one of the same name made later has other folders."""
    at: int
    """Epoch milliseconds at which the last file was complete."""

    def positions(self, part: int) -> Positions:
        """Return the rows of one of several sources in their common file."""
        start = sum(self.rows[:part])
        return np.arange(start, start + self.rows[part], dtype=np.int64)


def one_table(parts: Sequence[Part], schema: pa.Schema, at: int) -> pa.Table:
    """
    Put the rows of several sources below each other, in the order given, with the columns of `schema`.

    Args:
        parts: In the order of their keys.
        schema: Of the data file; columns a part lacks are null in its rows.
        at: Epoch milliseconds, for `_ingested_at`.
    """
    counts = [part.table.num_rows for part in parts]
    constants = {
        SOURCE_FILE: repeated([part.source.key for part in parts], counts),
        SOURCE_ETAG: repeated([part.source.etag for part in parts], counts),
        INGESTED_AT: constant(at, sum(counts), schema.field(INGESTED_AT).type),
    }
    # Parts cooked together share one mapping of columns, and so one schema; comparing schemas takes longer.
    blocks = [
        pa.concat_tables([part.table for part in group])
        for _, group in groupby(parts, key=lambda part: id(part.columns))
    ]
    kept = [field for field in schema if field.name not in constants]
    rows = pa.concat_tables([_as_written(block, kept) for block in blocks])
    columns = iter(rows.columns)
    arrays = [next(columns) if (values := constants.get(field.name)) is None else values for field in schema]
    fields = [field.with_type(values.type) for field, values in zip(schema, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields)).combine_chunks()


def _as_written(block: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    # A look-up by name in a wide Arrow table searches all names.
    found = dict(zip(block.schema.names, block.columns, strict=True))
    arrays = [_column(found.get(field.name.lower()), block.num_rows, field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _column(found: pa.ChunkedArray | None, rows: int, kind: pa.DataType) -> pa.ChunkedArray:
    if found is None:
        return pa.chunked_array([pa.nulls(rows, kind)])
    return found if found.type == kind else found.cast(kind)


def repeated(values: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """Return a dictionary array: Parquet stores each value once, and nothing is copied on the way."""
    indices = np.repeat(np.arange(len(values), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(values, pa.string()))


def constant(milliseconds: int, count: int, kind: pa.DataType) -> pa.Array:
    """Return one point in time `count` times."""
    values = pa.array(np.full(count, milliseconds * MICROSECONDS_PER_MILLISECOND, np.int64))
    return values.cast(pa.timestamp("us")).cast(kind)
