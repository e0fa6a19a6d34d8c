"""Parquet files with field ids, and the `DataFile` entries that describe them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record

from handlers.csv_to_iceberg.lake.shape import FIELD_ID, SOURCE_FILE
from handlers.csv_to_iceberg.lake.sources import Positions

ZSTD_LEVEL: Final = 1
"""Higher levels cost more of the one core than the bytes they save are worth for files of one commit."""

ROW_GROUP_ROWS: Final = 1 << 20

SAMPLE_ROWS: Final = 1 << 14
REPEATED: Final = 8
"""Times that the values of the first rows occur on average in a column that gets a dictionary."""

# Reserved field ids of position delete files: Iceberg specification, "Reserved Field IDs".
DELETE_PATH_ID: Final = 2147483546
DELETE_POS_ID: Final = 2147483545
DELETE_SCHEMA: Final = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={FIELD_ID: str(DELETE_PATH_ID).encode()}),
        pa.field("pos", pa.int64(), nullable=False, metadata={FIELD_ID: str(DELETE_POS_ID).encode()}),
    ]
)


@dataclass(frozen=True, slots=True)
class Written:
    """A Parquet file that lies at its final place but belongs to no table yet."""

    path: str
    size: int
    footer: Any
    """`pyarrow.parquet.FileMetaData`."""


def write_table(io: FileIO, path: str, table: pa.Table) -> Written:
    """Write one Parquet file; the table's schema carries the field ids."""
    footers: list[Any] = []
    with io.new_output(path).create() as stream:
        pq.write_table(
            table,
            stream,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            row_group_size=ROW_GROUP_ROWS,
            use_dictionary=repeating(table),
            store_schema=False,
            metadata_collector=footers,
        )
        size = stream.tell()
    return Written(path, size, footers[0])


def repeating(table: pa.Table) -> list[str]:
    """Name the columns that a dictionary makes smaller: trying one where values hardly repeat doubles the work."""
    sample = table.slice(0, SAMPLE_ROWS)
    most = sample.num_rows // REPEATED
    return [
        name
        for name, column in zip(sample.schema.names, sample.columns, strict=True)
        if pa.types.is_dictionary(column.type) or pc.count_distinct(column, mode="all").as_py() <= most
    ]


def read_footer(io: FileIO, path: str) -> Written:
    """Describe a Parquet file that another program wrote."""
    source = io.new_input(path)
    with source.open() as stream:
        return Written(path, len(source), pq.read_metadata(stream))


def plain_data_file(written: Written, schema: Schema, properties: Mapping[str, str], spec_id: int) -> DataFile:
    """Describe a data file to Iceberg, with counts and bounds from its footer."""
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=written.footer,
        stats_columns=compute_statistics_plan(schema, dict(properties)),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    ).to_serialized_dict()
    return _entry(DataFileContent.DATA, written, Record(), spec_id, statistics)


def data_file(
    written: Written, schema: Schema, properties: Mapping[str, str], spec_id: int, sources: tuple[str, str]
) -> DataFile:
    """
    Describe a data file with sources in it.

    `sources` are the lowest and highest key; they are the exact bounds, whatever the footer kept of them.
    """
    entry = plain_data_file(written, schema, properties, spec_id)
    field_id = schema.find_field(SOURCE_FILE).field_id
    entry.lower_bounds[field_id] = sources[0].encode()
    entry.upper_bounds[field_id] = sources[1].encode()
    return entry


def renamed(file: DataFile, path: str) -> DataFile:
    """Describe a byte-for-byte copy of a data file."""
    copy = DataFile(*file._data)  # noqa: SLF001  # a Record has no public copy
    copy[1] = path
    copy.spec_id = file.spec_id
    return copy


def write_deletes(io: FileIO, path: str, target: DataFile, positions: Positions) -> DataFile:
    """Write the position delete file of one data file; readers such as polars refuse one over several."""
    count = len(positions)
    paths = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([target.file_path]))
    schema = DELETE_SCHEMA.set(0, DELETE_SCHEMA.field(0).with_type(paths.type))
    written = write_table(io, path, pa.Table.from_arrays([paths, pa.array(positions)], schema=schema))
    name = target.file_path.encode()
    statistics = {
        "record_count": count,
        "column_sizes": {},
        "value_counts": {DELETE_PATH_ID: count, DELETE_POS_ID: count},
        "null_value_counts": {DELETE_PATH_ID: 0, DELETE_POS_ID: 0},
        "nan_value_counts": {},
        "lower_bounds": {DELETE_PATH_ID: name, DELETE_POS_ID: _long(positions[0])},
        "upper_bounds": {DELETE_PATH_ID: name, DELETE_POS_ID: _long(positions[-1])},
        "split_offsets": [len(b"PAR1")],
    }
    # A delete file belongs to the partition of its data file, whatever the table's spec is today.
    return _entry(DataFileContent.POSITION_DELETES, written, target.partition, target.spec_id, statistics)


def read_deletes(io: FileIO, delete_file: DataFile, target: str) -> Positions:
    """Read the positions that a delete file takes out of one data file, ascending."""
    with io.new_input(delete_file.file_path).open() as stream:
        table = pq.read_table(stream, columns=["file_path", "pos"])
    positions = table.filter(pc.equal(table["file_path"].cast(pa.string()), target))["pos"]
    return np.unique(positions.to_numpy().astype(np.int64))


def _entry(
    content: DataFileContent, written: Written, partition: Record, spec_id: int, statistics: Mapping[str, Any]
) -> DataFile:
    entry = DataFile.from_args(
        content=content,
        file_path=written.path,
        file_format=FileFormat.PARQUET,
        partition=partition,
        file_size_in_bytes=written.size,
        key_metadata=None,
        equality_ids=None,
        sort_order_id=None,
        **statistics,
    )
    entry.spec_id = spec_id
    return entry


def _long(value: np.int64) -> bytes:
    """Serialise a long bound: 8 bytes, little endian (Iceberg specification, appendix D)."""
    return int(value).to_bytes(8, "little", signed=True)


# PyIceberg warns about every column whose footer has no statistics, e.g. a column of nulls; that is no news to anybody.
logging.getLogger("pyiceberg.io.pyarrow").setLevel(logging.ERROR)
