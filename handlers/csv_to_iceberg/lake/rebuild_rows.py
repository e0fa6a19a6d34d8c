"""Rows for a table that is rebuilt: of a source read again, or out of the table as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from handlers.csv_to_iceberg.csv.columns import RESCUED, ColumnType
from handlers.csv_to_iceberg.csv.joining import Span
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.typed import Typing
from handlers.csv_to_iceberg.lake.reader import build_on_the_right, literal, quoted, readable
from handlers.csv_to_iceberg.lake.rebuild_files import Key
from handlers.csv_to_iceberg.lake.shape import SOURCE_FILE, Shape

BATCH_ROWS: Final = 1 << 16
MEMORY: Final = 192 << 20
"""Bytes DuckDB may use to read the rows of a table."""


class Widened(Exception):
    """Columns that were to be INTEGER hold larger numbers: begin again with BIGINT."""

    def __init__(self, columns: Iterable[str]) -> None:
        super().__init__("numbers beyond 32 bits")
        self.columns = frozenset(columns)


class OldRows:
    """
    Rows of a table as it is, in the types it is going to have.

    A value becomes the text it was read from, as far as the table can tell (that of a rescued cell is in `_rescued`),
    and is cast like the cells of a file.
    """

    def __init__(self, shape: Shape, pins: Mapping[str, ColumnType], options: Options, delimiter: str) -> None:
        """Take the shape the table is going to have, and the columns whose type changes."""
        self._names = list(pins)
        self._pins = dict(pins)
        self._schema = shape.arrow(shape.fields)
        self._typing = Typing(options)
        self._layout = Layout(Dialect(delimiter), tuple(pins), 1, 1)
        self.values: Counter[str] = Counter()
        """Cells with a value so far, by column."""
        self.misfits: Counter[str] = Counter()
        """Of them, those that do not fit."""

    def read(self, table: Table, keys: Sequence[Key], scratch: str) -> Iterator[tuple[Key, pa.Table]]:
        """
        Yield the rows of some sources in runs of one source, as they lie in the table; blocks.

        Args:
            table: Freshly loaded.
            keys: Of the sources.
            scratch: A folder for what does not fit into memory.

        Raises:
            Widened: See there.
        """
        with duckdb.connect(config={"threads": 2, "memory_limit": f"{MEMORY}B"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            build_on_the_right(connection)
            connection.execute(f"SET temp_directory = {literal(scratch)}")
            connection.register("wanted", pa.table({"key": pa.array(keys, pa.string())}))
            columns = ", ".join(
                f"{quoted(field.name)}::VARCHAR AS {quoted(field.name)}"
                if field.name.lower() in self._pins
                else quoted(field.name)
                for field in table.schema().fields
            )
            rows = readable(connection, table, "old").sql
            found = connection.sql(
                f"SELECT {columns} FROM ({rows}) AS old SEMI JOIN wanted ON old.{SOURCE_FILE} IS NOT DISTINCT FROM"  # noqa: S608  # quoted above
                " wanted.key"
            )
            for batch in found.to_arrow_reader(BATCH_ROWS):
                yield from self._by_source(pa.Table.from_batches([batch]))

    def _by_source(self, rows: pa.Table) -> Iterator[tuple[Key, pa.Table]]:
        keys = rows[SOURCE_FILE].combine_chunks().cast(pa.string()).dictionary_encode(null_encoding="encode")
        codes = keys.indices.to_numpy()
        starts = [int(start) for start in np.flatnonzero(np.diff(codes, prepend=-1))]
        converted = self.converted(rows)
        for start, end in zip(starts, [*starts[1:], rows.num_rows], strict=True):
            yield keys.dictionary[codes[start]].as_py(), converted.slice(start, end - start)

    def converted(self, rows: pa.Table) -> pa.Table:
        """Cast rows whose changing columns are text; raises as `read`."""
        rescued = _documents(rows[RESCUED])
        cells = [_with_rescued(rows[name].combine_chunks(), name, rescued) for name in self._names]
        columns = {name.lower(): rows[name] for name in rows.column_names}
        if cells:
            typed = self._typing.cast(cells, self._layout, self._pins, [Span(0, rows.num_rows)])
            if typed.widened:
                raise Widened(typed.widened)
            columns |= typed.values
            self.values.update(
                {name: len(texts) - texts.null_count for name, texts in zip(self._names, cells, strict=True)}
            )
            self.misfits.update(typed.misfit_counts(Span(0, rows.num_rows)))
            columns[RESCUED] = self._rescued(rescued, typed.misfits, rows.num_rows)
        arrays = [columns[field.name.lower()].cast(field.type) for field in self._schema]
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _rescued(
        self, before: Mapping[int, dict[str, str]], misfits: Mapping[str, tuple[pa.Array, pa.Array]], rows: int
    ) -> pa.Array:
        after = {
            row: kept
            for row, document in before.items()
            if (kept := {name: text for name, text in document.items() if name not in self._pins})
        }
        for name, (texts, mask) in misfits.items():
            for row, text in zip(pc.indices_nonzero(mask).to_pylist(), texts.filter(mask).to_pylist(), strict=True):
                after.setdefault(row, {})[name] = text
        values: list[str | None] = [None] * rows
        for row, document in after.items():
            values[row] = json.dumps(document, ensure_ascii=False)
        return pa.array(values, pa.string())


def stamped(rows: pa.RecordBatch, schema: pa.Schema, constants: Mapping[str, Any]) -> pa.Table:
    """Return rows of a file with all columns of the table: what the file lacks is null, ours are constant."""
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    arrays = []
    for field in schema:
        name = field.name.lower()
        if name in constants:
            arrays.append(pa.repeat(pa.scalar(constants[name], field.type), rows.num_rows))
        elif name in columns:
            arrays.append(columns[name].cast(field.type))
        else:
            arrays.append(pa.nulls(rows.num_rows, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _documents(rescued: pa.ChunkedArray) -> dict[int, dict[str, str]]:
    """Return the rescued cells by row number."""
    rows = pc.indices_nonzero(pc.is_valid(rescued)).to_pylist()
    return {row: json.loads(text) for row, text in zip(rows, rescued.drop_null().to_pylist(), strict=True)}


def _with_rescued(texts: pa.Array, name: str, rescued: Mapping[int, dict[str, str]]) -> pa.Array:
    """Put the rescued texts of a column where they came from."""
    found = {row: document[name] for row, document in sorted(rescued.items()) if name in document}
    texts = texts.cast(pa.string())
    if not found:
        return texts
    mask = np.zeros(len(texts), np.bool_)
    mask[list(found)] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(list(found.values()), pa.string()))
