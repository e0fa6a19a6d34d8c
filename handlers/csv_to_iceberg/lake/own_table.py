"""Tables beside those of the files, made by us alone: the registry and the rejected records."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.refusals import ForeignTable
from handlers.csv_to_iceberg.lake.shape import FIELD_ID


class OwnTable:
    """
    A table with a schema of ours, made when it is first written.

    Args:
        mark: Table property that says who made it; a table of that name without it is never touched.
        properties: More properties to make it with.

    Methods block and belong on the `commit` lane.
    """

    def __init__(
        self, lake: Lake, name: str, schema: Schema, mark: str, properties: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._lake = lake
        self._schema = schema
        self._mark = mark
        self._properties = {mark: "true", **(properties or {})}

    def load(self) -> Table | None:
        """Load it for reading; None when there is none."""
        return self._lake.load(self._name)

    def load_to_write(self) -> Table | None:
        """
        Load it for writing; None when there is none.

        Raises:
            ForeignTable: It is not ours to write.
        """
        table = self.load()
        if table is None:
            return None
        if self._mark not in table.properties:
            raise ForeignTable(self._name)
        return self._lake.without_retries(self._name, table)

    def load_or_create(self) -> Table:
        """
        Load it for writing, after making it if there is none.

        Raises:
            CommitConflict: Somebody dropped it meanwhile; call again.
            ForeignTable: It is not ours to write.
        """
        if (table := self.load_to_write()) is not None:
            return table
        self._lake.create(self._name, self._schema, self._properties)
        if (table := self.load_to_write()) is not None:
            return table
        raise CommitConflict(f"{self._name} was dropped as soon as it was made")

    def rows(self, table: Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
        """Return the rows of a data file of `table`, with its field ids."""
        current = table.schema()
        fields = [
            pa.field(
                field.name,
                columns[field.name].type,
                nullable=not field.required,
                metadata={FIELD_ID: str(current.find_field(field.name).field_id).encode()},
            )
            for field in self._schema.fields
        ]
        return pa.Table.from_arrays([columns[field.name] for field in fields], schema=pa.schema(fields))
