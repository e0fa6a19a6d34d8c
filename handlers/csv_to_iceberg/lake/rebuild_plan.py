"""What a table that is rebuilt would become: its sources, and the types that suit all of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from handlers.csv_to_iceberg.csv.columns import RESCUED, ColumnType, Pins
from handlers.csv_to_iceberg.csv.inference import SAMPLE
from handlers.csv_to_iceberg.csv.joining import Span
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.reading import Reading
from handlers.csv_to_iceberg.csv.results import Source
from handlers.csv_to_iceberg.csv.stream import Lessons
from handlers.csv_to_iceberg.csv.typed import Typing
from handlers.csv_to_iceberg.lake.reader import build_on_the_right, fetch, quoted, readable
from handlers.csv_to_iceberg.lake.rebuild_files import Key
from handlers.csv_to_iceberg.lake.shape import INGESTED_AT, SOURCE_ETAG, SOURCE_FILE, Shape

BATCH_ROWS: Final = 1 << 16


class State(NamedTuple):
    """What a table shows of one source; whoever replaces it changes one of these."""

    etag: str | None
    """None when the rows tell none, or several."""
    at: int | None
    """`_ingested_at`, epoch microseconds; None as above."""
    rows: int


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """A column that gets another type."""

    column: str
    old: str
    new: str
    reason: str
    rescued: int
    """Cells of it that are in `_rescued` now."""
    fit: int
    """Of them, those that the new type holds."""


@dataclass(slots=True)
class RebuildPlan:
    """What a rebuild would do."""

    table: str
    sources: int = 0
    read_again: int = 0
    """Sources whose object is still the version that the table shows."""
    kept: int = 0
    """The others: their rows are carried over from the table."""
    rows: int = 0
    columns: list[ColumnChange] = field(default_factory=list)
    pins: Pins = field(default_factory=dict, repr=False)
    """The types of the columns that change."""
    reasons: dict[str, str] = field(default_factory=dict, repr=False)
    """Why, by column."""
    options: Options = field(default_factory=Options, repr=False)
    """Of the route."""
    delimiter: str = field(default=",", repr=False)
    """Of most sources."""

    def json(self) -> dict[str, Any]:
        """Return what a person is told, for machines."""
        told = ("table", "sources", "read_again", "kept", "rows")
        return {**{name: getattr(self, name) for name in told}, "columns": [asdict(column) for column in self.columns]}

    def describe(self, shape: Shape, rescued: Mapping[str, tuple[int, int]]) -> None:
        """Fill in `columns`; `rescued` counts the rescued cells of each, and those that fit."""
        self.columns = [
            ColumnChange(name, shape.pins[name].value, kind.value, self.reasons[name], *rescued.get(name, (0, 0)))
            for name, kind in self.pins.items()
        ]

    def correct(self, pins: Pins, reason: str) -> None:
        """Take other types for some columns."""
        self.pins |= pins
        self.reasons |= dict.fromkeys(pins, reason)


def sources_of(table: Table) -> dict[Key, State]:
    """Return what a table shows of its sources; blocks."""
    with duckdb.connect() as connection:
        build_on_the_right(connection)
        found = fetch(
            connection,
            f"SELECT {SOURCE_FILE}, min({SOURCE_ETAG}), max({SOURCE_ETAG}), epoch_us(min({INGESTED_AT})),"  # noqa: S608  # constants
            f" epoch_us(max({INGESTED_AT})), count(*) FROM ({readable(connection, table, 'sources').sql})"
            f" GROUP BY {SOURCE_FILE} ORDER BY {SOURCE_FILE} NULLS FIRST",
        )
    return {
        key: State(first if first == last else None, early if early == late else None, rows)
        for key, first, last, early, late, rows in found
    }


class EvenSample:
    """Up to `SAMPLE` values of a column, evenly over all that were added."""

    def __init__(self) -> None:
        self._kept: pa.Array = pa.array([], pa.string())
        self._stride = 1
        self._seen = 0

    def add(self, texts: pa.Array) -> None:
        """Take note of texts, NULLs left out."""
        values = texts.drop_null()
        wanted = pa.array(range(-self._seen % self._stride, len(values), self._stride), pa.int64())
        self._seen += len(values)
        self._kept = pa.concat_arrays([self._kept, values.take(wanted)])
        while len(self._kept) > 2 * SAMPLE:
            self._kept = self._kept.take(pa.array(range(0, len(self._kept), 2), pa.int64()))
            self._stride *= 2

    @property
    def values(self) -> pa.Array:
        """What was kept."""
        count = len(self._kept)
        return self._kept.take(pa.array([n * count // SAMPLE for n in range(SAMPLE)])) if count > SAMPLE else self._kept


class Survey:
    """Looks at every value of every source, and then says which types suit. Methods block."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._samples: defaultdict[str, EvenSample] = defaultdict(EvenSample)
        self._delimiters: Counter[str] = Counter()

    @property
    def delimiter(self) -> str:
        """What most sources are delimited by."""
        return max(self._delimiters, key=lambda one: self._delimiters[one], default=",")

    def read(self, reading: Reading, source: Source, options: Options, lessons: Lessons) -> None:
        """Look at one object to its end. Raises as `Reading` does."""
        as_text = options.model_copy(update={"types": "varchar", "columns": {}})
        with reading:
            rows = reading.open(source, {}, Memory(), as_text, lessons)
            for batch in reading.batches():
                for name in rows.columns:
                    self._samples[name].add(batch.column(name))
            self._delimiters[rows.report.delimiter] += 1

    def read_old(self, rows: Table, keys: Sequence[Key]) -> None:
        """Look at the rows of some sources that the table alone has."""
        for batch in _as_text(rows, self._shape, keys):
            rescued = [json.loads(text) for text in batch[RESCUED].drop_null().to_pylist()]
            for name in self._shape.pins:
                own = pa.array([document[name] for document in rescued if name in document], pa.string())
                for texts in (*batch[name].chunks, own):
                    self._samples[name].add(texts)

    def types(self, options: Options) -> tuple[Pins, dict[str, str]]:
        """Return the types that columns should have where they have others, and why."""
        pins: Pins = {}
        reasons: dict[str, str] = {}
        for name, kind in self._shape.pins.items():
            values = self._samples[name].values
            found: Pins = {}
            layout = Layout(Dialect(self.delimiter), (name,), 1, 1)
            (column,) = Typing(options).settle([values], layout, found)
            if len(values) and not _same(kind, column.type):
                pins[name] = column.type
                reasons[name] = f"{column.reason}, over all sources"
        return pins, reasons


def rescued_cells(table: Table, plan: RebuildPlan) -> dict[str, tuple[int, int]]:
    """Count the rescued cells of all columns, and those of them that the types of the plan hold; blocks."""
    typing = Typing(plan.options)
    counts: dict[str, tuple[int, int]] = {}
    with duckdb.connect() as connection:
        build_on_the_right(connection)
        rows = readable(connection, table, "rescued").sql
        found = connection.sql(f"SELECT {RESCUED} FROM ({rows}) WHERE {RESCUED} IS NOT NULL")  # noqa: S608  # a constant
        for batch in found.to_arrow_reader(BATCH_ROWS):
            texts: defaultdict[str, list[str]] = defaultdict(list)
            for document in batch.column(0).to_pylist():
                for name, text in json.loads(document).items():
                    texts[name].append(text)
            for name, values in texts.items():
                total, fit = counts.get(name, (0, 0))
                if name in plan.pins:
                    layout = Layout(Dialect(plan.delimiter), (name,), 1, 1)
                    cells = pa.array(values, pa.string())
                    typed = typing.cast([cells], layout, plan.pins, [Span(0, len(values))])
                    fit += len(values) - typed.values[name].null_count
                counts[name] = (total + len(values), fit)
    return counts


def _same(old: ColumnType, new: ColumnType) -> bool:
    """Tell whether there is no need to change a type: BIGINT holds what INTEGER holds."""
    return old is new or (old is ColumnType.BIGINT and new is ColumnType.INTEGER)


def _as_text(table: Table, shape: Shape, keys: Sequence[Key]) -> Iterator[pa.Table]:
    with duckdb.connect() as connection:
        build_on_the_right(connection)
        connection.register("wanted", pa.table({"key": pa.array(keys, pa.string())}))
        columns = ", ".join(f"{quoted(name)}::VARCHAR AS {quoted(name)}" for name in shape.pins)
        found = connection.sql(
            f"SELECT {columns}, {RESCUED} FROM ({readable(connection, table, 'old').sql}) AS old SEMI JOIN wanted"  # noqa: S608  # quoted above
            f" ON old.{SOURCE_FILE} IS NOT DISTINCT FROM wanted.key"
        )
        for batch in found.to_arrow_reader(BATCH_ROWS):
            yield pa.Table.from_batches([batch])


def countable(batch: pa.RecordBatch, names: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """Count the cells with a value of some columns, and those of them that were rescued."""
    misfits: Counter[str] = Counter()
    for text in batch.column(RESCUED).drop_null().to_pylist():
        misfits.update(name for name in json.loads(text) if name in names)
    held = Counter({name: len(batch) - batch.column(name).null_count for name in names if name in batch.schema.names})
    return held + misfits, misfits
