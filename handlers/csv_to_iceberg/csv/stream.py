"""One file of any size, block by block, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, BinaryIO, Final, Self

import pyarrow as pa

from handlers.csv_to_iceberg.csv.blocks import Blocks, Straddling, Tokeniser
from handlers.csv_to_iceberg.csv.columns import RESCUED, ColumnType, Pins
from handlers.csv_to_iceberg.csv.encoding import Encoding, OtherEncoding
from handlers.csv_to_iceberg.csv.errors import CsvError, RecordTooLarge
from handlers.csv_to_iceberg.csv.exact import ExactTokeniser
from handlers.csv_to_iceberg.csv.head import read_head
from handlers.csv_to_iceberg.csv.inference import SAMPLE as SAMPLE_VALUES
from handlers.csv_to_iceberg.csv.joining import Span
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import MIB, Options
from handlers.csv_to_iceberg.csv.quotes import may_have_swallowed_lines
from handlers.csv_to_iceberg.csv.rejects import check_record_sizes, keep_rejects
from handlers.csv_to_iceberg.csv.results import Report, ReportColumn, Source
from handlers.csv_to_iceberg.csv.tokenise import SENTINEL
from handlers.csv_to_iceberg.csv.typed import Typing, accounted, filled, warnings

_SAMPLE_BATCHES: Final = 16
"""Batches (MiB) that are looked through for 1,000 values of every column."""

_NO_CELLS: Final = pa.array([], pa.string())

_LARGER_BLOCKS: Final = 16
"""Factor from one try to the next when a record is longer than two blocks."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a pass over the object taught too late, for the next one. Opaque to the caller."""

    encoding: Encoding | None = None
    block_bytes: int = MIB
    quoting: bool = True
    columns: tuple[ReportColumn, ...] = ()
    """Why columns have their types: by the next pass new ones are pinned."""


class StartAgain(Exception):
    """
    The object must be opened and streamed again, from its first byte, with what was learned.

    An INTEGER column overflowed and is BIGINT in `pins`, the text is not UTF-8 after all, a record is longer than two
    blocks, or a quote is never closed. Batches already taken from this pass are void. Happens at most a few times.
    """

    def __init__(self, pins: Pins, lessons: Lessons) -> None:
        super().__init__("the object must be streamed again")
        self.pins = pins
        self.lessons = lessons


class StreamedCsv:
    """
    The rows of one object. Iterate once, to the end, then read `report` and `pins`.

        pins, lessons = table_pins, Lessons()
        while True:
            try:
                with StreamedCsv(open(), source, pins, memory, options, lessons=lessons) as rows:
                    write(rows.schema, rows)
                break
            except StartAgain as again:
                pins, lessons = again.pins, again.lessons
    """

    def __init__(
        self,
        raw: BinaryIO,
        source: Source,
        pins: Pins,
        memory: Memory,
        options: Options,
        *,
        lessons: Lessons = Lessons(),
    ) -> None:
        """
        Read the head of the object: compression, encoding, dialect, header and types are known afterwards.

        Raises:
            PermanentError: The object cannot be ingested.
            StartAgain: See there.
            Exception: Whatever `raw.read` raised.
        """
        self.source = source
        self.pins = dict(pins)
        """The pins handed in, with this file's new columns."""
        self._options = options
        self._memory = memory
        self._lessons = lessons
        self._given_pins = pins
        self._typing = Typing(options)
        self._misfits: Counter[str] = Counter()
        self._filled: Counter[str] = Counter()
        try:
            head = read_head(raw, options, lessons.encoding)
        except OtherEncoding as other:
            raise self._again(encoding=other.encoding) from other
        self._head = head.raw if lessons.quoting else b""
        self._layout = head.layout if lessons.quoting else head.layout.repairing()
        self.report = Report.of(self._layout, head.encoding, head.compression)
        """Complete after the last batch."""
        self._blocks = Blocks(head.rest, self._layout, lessons.block_bytes, options)
        reader = Tokeniser if self._layout.plain else ExactTokeniser
        self._tokeniser = reader(self._blocks, self._layout, options)
        self._batches = self._without_sentinel()
        try:
            self._settle()
        except BaseException:
            self.close()
            raise

    @property
    def columns(self) -> dict[str, ColumnType]:
        """This file's columns and the types they have in the batches."""
        return {name: self.pins[name] for name in self._layout.columns}

    @property
    def schema(self) -> pa.Schema:
        """This file's columns in its own order, then `_rescued`."""
        return pa.schema([*((name, to.arrow) for name, to in self.columns.items()), (RESCUED, pa.string())])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """
        Yield the rows in file order.

        Raises:
            PermanentError: The object cannot be ingested.
            StartAgain: See there.
            Exception: Whatever `raw.read` raised.
        """
        schema = self.schema
        for batch in self._batches:
            if 2 * self._blocks.largest > self._options.max_record_bytes:
                check_record_sizes(batch.columns, self._options)
            typed = self._typing.cast(batch.columns, self._layout, self.pins, [], self._notations)
            if typed.widened:
                raise self._again(widened=typed.widened)
            rescued = typed.rescued()
            self.report.rows += batch.num_rows
            self.report.rescued += batch.num_rows - rescued.null_count
            span = Span(0, batch.num_rows)
            self._misfits.update(typed.misfit_counts(span))
            self._filled.update(filled(batch.columns, self._layout, span))
            yield pa.RecordBatch.from_arrays([*typed.values.values(), rescued], schema=schema)
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and wait for the tokeniser's thread. Does not close `raw`."""
        self._tokeniser.close()

    def _settle(self) -> None:
        """Look at the first batches: infer types that are not pinned, and how values are written."""
        first: list[pa.RecordBatch] = []
        values = [0] * self._layout.width
        for batch in islice(self._batches, _SAMPLE_BATCHES):
            first.append(batch)
            values = [seen + batch.num_rows - batch.column(i).null_count for i, seen in enumerate(values)]
            if min(values) >= SAMPLE_VALUES:
                break
        cells = [
            pa.concat_arrays([batch.column(i) for batch in first]) if first else _NO_CELLS for i in range(len(values))
        ]
        known = {column.name: column for column in self._lessons.columns}
        columns = self._typing.settle(cells, self._layout, self.pins, even_without_rows=True)
        self.report.columns = [
            column._replace(reason=known[column.name].reason) if column.name in known else column for column in columns
        ]
        self._notations = self._typing.notations(cells, self._layout, self.pins)
        self._batches = chain(first, self._batches)

    def _without_sentinel(self) -> Iterator[pa.RecordBatch]:
        """Yield the tokeniser's batches but for the last row, which must be the sentinel."""
        last: pa.RecordBatch | None = None
        rows = 0
        try:
            for batch in self._tokeniser:
                rows += batch.num_rows
                if self._layout.plain and may_have_swallowed_lines(batch, self._layout.dialect.quote):
                    raise self._again(quoting=False)
                if last is not None:
                    yield last
                last = batch
        except OtherEncoding as other:
            raise self._again(encoding=other.encoding) from other
        except Straddling as straddling:
            raise self._after_straddling() from straddling
        swallowed = self._tokeniser.last_rejected == rows + self._tokeniser.rejected
        ended = last is not None and not swallowed and _is_sentinel(last.slice(last.num_rows - 1))
        if last is None or not ended or not self._tokeniser.accounted():
            if not self._lessons.quoting:
                raise CsvError("The end of the file cannot be told from its rows.")
            raise self._again(quoting=False)
        if last.num_rows > 1:
            yield last.slice(0, last.num_rows - 1)

    def _after_straddling(self) -> StartAgain | RecordTooLarge:
        """A record is longer than two blocks: try larger ones, then blame a quote that is never closed."""
        block = self._lessons.block_bytes
        if block < self._options.max_record_bytes:
            return self._again(block_bytes=min(block * _LARGER_BLOCKS, self._options.max_record_bytes))
        if self._lessons.quoting:
            return self._again(quoting=False, block_bytes=MIB)
        return RecordTooLarge(f"A record is longer than max_record_bytes = {self._options.max_record_bytes:,}.")

    def _again(self, widened: Iterable[str] = (), **lessons: Any) -> StartAgain:
        columns = tuple(self.report.columns) if widened else self._lessons.columns
        pins = self.pins | dict.fromkeys(widened, ColumnType.BIGINT) if widened else self._given_pins
        return StartAgain(dict(pins), replace(self._lessons, columns=columns, **lessons))

    def _finish(self) -> None:
        report, tokeniser = self.report, self._tokeniser
        report.rejected = len(self._layout.above) + tokeniser.rejected
        report.records = report.rows + report.rejected
        keep_rejects(report, tokeniser.ragged, self._layout, self._line_of, self._options.max_rejects)
        columns = [column._replace(type=self.pins[column.name]) for column in report.columns]
        report.columns = accounted(columns, self._misfits, self._filled)
        report.note_repaired(tokeniser.repaired)
        report.warnings += warnings(report)
        self._memory.remember(self._head, self._layout, rows=report.rows, rejected=tokeniser.rejected)

    def _line_of(self, number: int) -> int | None:
        """Return the physical line of a record, if every record stands on one line of its own."""
        ends = self._blocks.line_feeds or self._blocks.carriage_returns
        one_kind = self._blocks.carriage_returns in {0, ends} or not self._blocks.line_feeds
        if one_kind and ends + self._blocks.unended == self.report.records - len(self._layout.above):
            return self._layout.head_lines + number
        return None


def _is_sentinel(row: pa.RecordBatch) -> bool:
    first, *others = row.columns
    return bool(first[0].as_py() == SENTINEL.decode() and all(cells.null_count for cells in others))
