"""The shape of a table: its columns with their Iceberg field ids and types, and what it becomes for new data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from handlers.csv_to_iceberg.csv.columns import ColumnType

RESCUED: Final = "_rescued"
SOURCE_FILE: Final = "_source_file"
SOURCE_ETAG: Final = "_source_etag"
INGESTED_AT: Final = "_ingested_at"

OURS: Final[Mapping[str, ColumnType]] = {
    RESCUED: ColumnType.VARCHAR,
    SOURCE_FILE: ColumnType.VARCHAR,
    SOURCE_ETAG: ColumnType.VARCHAR,
    # Without zone, in UTC: the CSV specification's audit column is TIMESTAMP, which it maps to TIMESTAMP(6).
    INGESTED_AT: ColumnType.TIMESTAMP,
}
"""The columns every table of ours has beside those of its files."""

FIELD_ID: Final = b"PARQUET:field_id"

ICEBERG_TYPES: Final[Mapping[ColumnType, IcebergType]] = {
    ColumnType.BOOLEAN: BooleanType(),
    ColumnType.INTEGER: IntegerType(),
    ColumnType.BIGINT: LongType(),
    ColumnType.DOUBLE: DoubleType(),
    ColumnType.DATE: DateType(),
    ColumnType.TIMESTAMP: TimestampType(),
    ColumnType.TIMESTAMPTZ: TimestamptzType(),
    ColumnType.VARCHAR: StringType(),
}
COLUMN_TYPES: Final = {iceberg: column for column, iceberg in ICEBERG_TYPES.items()}


class ShapeChanged(Exception):
    """The table has another shape than the data was cooked or written for: cook it again."""


@dataclass(frozen=True)
class Shape:
    """Columns of a table. Names are compared in lower case, as every SQL engine on top does."""

    schema: Schema
    last_id: int
    """Highest field id ever given out in the table."""

    @classmethod
    def of(cls, metadata: TableMetadata) -> Shape:
        """Return the current shape of a table."""
        return cls(metadata.schema(), metadata.last_column_id)

    @classmethod
    def new(cls, pins: Mapping[str, ColumnType]) -> Shape:
        """Return the shape of a table made for these columns, with ours at the end."""
        columns = {**pins, **OURS}
        fields = [
            NestedField(number, name, ICEBERG_TYPES[kind], required=False)
            for number, (name, kind) in enumerate(columns.items(), start=1)
        ]
        return cls(Schema(*fields), len(fields))

    @cached_property
    def fields(self) -> Mapping[str, NestedField]:
        """Top-level fields by lower-case name."""
        return {field.name.lower(): field for field in self.schema.fields}

    @cached_property
    def pins(self) -> dict[str, ColumnType]:
        """Types of the files' columns; without ours and without columns of types no CSV value is written to."""
        return {
            name: COLUMN_TYPES[field.field_type]
            for name, field in self.fields.items()
            if name not in OURS and field.field_type in COLUMN_TYPES
        }

    def unsupported(self, columns: Iterable[str]) -> NestedField | None:
        """Return the first of `columns` that exists with a type no CSV value is written to."""
        for name in columns:
            field = self.fields.get(name)
            if field is not None and field.field_type not in COLUMN_TYPES:
                return field
        return None

    def grown(self, pins: Mapping[str, ColumnType]) -> Shape:
        """
        Return the shape that holds `pins` too: columns added at the end, INTEGER widened to BIGINT.

        Raises:
            ShapeChanged: A column exists with another type.
        """
        changed: dict[int, NestedField] = {}
        added: list[NestedField] = []
        last_id = self.last_id
        for name, kind in {**pins, **OURS}.items():
            field = self.fields.get(name)
            if field is None:
                last_id += 1
                added.append(NestedField(last_id, name, ICEBERG_TYPES[kind], required=False))
            elif name in OURS or holds(field.field_type, ICEBERG_TYPES[kind]):
                continue
            elif holds(ICEBERG_TYPES[kind], field.field_type):
                changed[field.field_id] = field.model_copy(update={"field_type": ICEBERG_TYPES[kind]})
            else:
                raise ShapeChanged(f"column {name} is {field.field_type}, the data is {kind.name}")
        if not added and not changed:
            return self
        fields = [changed.get(field.field_id, field) for field in self.schema.fields]
        schema = Schema(
            *fields,
            *added,
            schema_id=self.schema.schema_id + 1,
            identifier_field_ids=self.schema.identifier_field_ids,
        )
        return Shape(schema, last_id)

    def retyped(self, pins: Mapping[str, ColumnType]) -> Shape:
        """
        Return the shape in which the columns of `pins` have these types, in their old places.

        INTEGER widens to BIGINT. Any other change of type makes a new column under the old name: its field id is new,
        so that no reader takes values of one type for the other.
        """
        last_id = self.last_id
        fields = []
        for field in self.schema.fields:
            kind = ICEBERG_TYPES[pins[field.name.lower()]] if field.name.lower() in pins else field.field_type
            if holds(field.field_type, kind):
                fields.append(field)
            elif holds(kind, field.field_type):
                fields.append(field.model_copy(update={"field_type": kind}))
            else:
                last_id += 1
                fields.append(NestedField(last_id, field.name, kind, required=False))
        schema = Schema(
            *fields,
            schema_id=self.schema.schema_id + 1,
            identifier_field_ids=self.schema.identifier_field_ids,
        )
        return Shape(schema, last_id)

    def arrow(self, columns: Iterable[str]) -> pa.Schema:
        """Return the Arrow schema of a data file with `columns` and ours, in table order, with field ids."""
        wanted = {*columns, *OURS}
        return pa.schema(
            [
                pa.field(
                    field.name,
                    COLUMN_TYPES[field.field_type].arrow,
                    metadata={FIELD_ID: str(field.field_id).encode()},
                )
                for name, field in self.fields.items()
                if name in wanted
            ]
        )

    def takes(self, written: Mapping[str, NestedField]) -> bool:
        """Tell whether a data file written with these fields can be added to a table of this shape as it is."""
        return all(
            (field := self.fields.get(name)) is not None
            and field.field_id == other.field_id
            and holds(field.field_type, other.field_type)
            for name, other in written.items()
        )


def holds(table: IcebergType, data: IcebergType) -> bool:
    """Tell whether a column of type `table` takes values of type `data` without rewriting them."""
    return table == data or (isinstance(table, LongType) and isinstance(data, IntegerType))


def merged(columns: Iterable[Mapping[str, ColumnType]]) -> dict[str, ColumnType]:
    """
    Return the columns of several files as one set, INTEGER widened where one of them needs BIGINT.

    Raises:
        ShapeChanged: Two files disagree otherwise.
    """
    result: dict[str, ColumnType] = {}
    # Files read together share one mapping.
    for some in {id(some): some for some in columns}.values():
        for name, kind in some.items():
            known = result.setdefault(name, kind)
            if known != kind:
                if {known, kind} != {ColumnType.INTEGER, ColumnType.BIGINT}:
                    raise ShapeChanged(f"column {name} is {known.name} in one file and {kind.name} in another")
                result[name] = ColumnType.BIGINT
    return result
