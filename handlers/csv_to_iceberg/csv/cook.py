"""
Many small files at once: like files are joined, tokenised and cast as one, which costs an eighth of one by one.

A file of unknown layout is read alone and its layout remembered; a like one waits and is joined. When a quote that is
never closed keeps files from being joined, they are halved until the culprit is alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

import pyarrow as pa

from handlers.contract import PermanentError
from handlers.csv_to_iceberg.csv.columns import RESCUED, ColumnType, Pins
from handlers.csv_to_iceberg.csv.content import MAX_UNPACKED, Body, Plain, TooLargeToCook, split_head, unpack
from handlers.csv_to_iceberg.csv.encoding import ENDS, LONGEST_END, UTF8, is_utf8
from handlers.csv_to_iceberg.csv.errors import CsvError
from handlers.csv_to_iceberg.csv.joining import Joined, join
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.quotes import speaks_against
from handlers.csv_to_iceberg.csv.rejects import LineFinder, check_record_sizes, keep_rejects
from handlers.csv_to_iceberg.csv.results import Cooked, Part, Report, ReportColumn, SmallFile, Source
from handlers.csv_to_iceberg.csv.rulers import may_begin_with_ruler
from handlers.csv_to_iceberg.csv.typed import Typed, Typing, accounted, filled, warnings
from handlers.csv_to_iceberg.csv.units import may_begin_with_units

_WIDE: Final = 400
"""Columns from which telling their types takes a second: on a lane of its own, others are not kept waiting."""
NO_ROWS = "without rows there is no telling the types: the columns come with the first file that has some"


def cook(files: Sequence[SmallFile], pins: Pins, memory: Memory, options: Options) -> Cooked:
    """
    Turn small files of one table into typed rows. `pins` is not changed; an empty one means a new table.

    A file that cannot be read is in `failures` and leaves no trace in the pins.
    """
    batch = _Batch(pins, memory, options)
    for file in files:
        batch.add(file)
    batch.finish()
    return Cooked(
        [part for file in files if (part := batch.parts.get(file.source.key))],
        batch.failures,
        batch.too_large,
        batch.pins,
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """A file in UTF-8 whose layout is known."""

    source: Source
    body: Body
    compression: str


@dataclass(frozen=True, slots=True)
class _Group:
    """Files of one layout, their rows typed together."""

    reads: list[_Read]
    joined: Joined
    typed: Typed
    columns: list[ReportColumn]


class _Batch:
    def __init__(self, pins: Pins, memory: Memory, options: Options) -> None:
        self.pins = dict(pins)
        self.parts: dict[str, Part] = {}
        self.failures: dict[str, PermanentError] = {}
        self.too_large: list[str] = []
        self._room = MAX_UNPACKED
        self._memory = memory
        self._options = options
        self._typing = Typing(options)
        self._waiting: dict[Layout, list[_Read]] = {}
        self._groups: list[_Group] = []

    def add(self, file: SmallFile) -> None:
        """Read a file that may bring something new; put one that does not aside, to be joined with its like."""
        try:
            plain = unpack(file.data, self._options, self._room)
        except TooLargeToCook:
            self.too_large.append(file.source.key)
        except PermanentError as error:
            self.failures[file.source.key] = error
        else:
            self._room -= len(plain.data) if plain.compression else 0
            like = self._like(plain.data)
            if like is None:
                self._read_alone(file.source, plain)
            else:
                self._waiting.setdefault(like.layout, []).append(_Read(file.source, like, plain.compression))

    def finish(self) -> None:
        """Read what was put aside, then give every file its part, in the types that all agree on."""
        for layout, reads in self._waiting.items():
            odd = speaks_against([read.body.text for read in reads], layout.dialect)
            for read in compress(reads, odd):
                self._read_again(read)
            if like := [read for read, is_odd in zip(reads, odd, strict=True) if not is_odd]:
                self._read_joined(like)
        for group in self._groups:
            self._give_parts(group)

    def _like(self, data: bytes) -> Body | None:
        """Return the body of a file of a remembered layout without new columns, if nothing speaks against it."""
        known = self._memory.recall(data)
        if known is None or not all(name in self.pins for name in known.layout.columns):
            return None
        text = data[len(known.head) :]
        if text.startswith((b"\n", b"\r")) or may_begin_with_ruler(text):
            # A blank line below it may make a title of what was a header.
            return None
        if b"\0" in text or text[-LONGEST_END:].strip(ENDS) != text[-LONGEST_END:].strip(b"\r\n"):
            # Neighbours could hold what stands in for a NUL, and an end mark is taken off a text by itself.
            return None
        if not is_utf8(text) or len(text) > self._options.max_record_bytes or may_begin_with_units(text, known.layout):
            return None
        return Body(text, known.layout, known.head, UTF8)

    def _read_joined(self, reads: list[_Read]) -> None:
        joined = join([read.body.text for read in reads], reads[0].body.layout)
        if joined is None:
            if len(reads) == 1:
                self._read_again(reads[0])
            else:
                half = len(reads) // 2
                self._read_joined(reads[:half])
                self._read_joined(reads[half:])
            return
        doubtful = {i for i, span in enumerate(joined.spans) if len(joined.ragged[i]) > span.rows}
        if not doubtful:
            self._type(reads, joined)
            return
        for i in doubtful:
            self._read_again(reads[i])
        if rest := [read for i, read in enumerate(reads) if i not in doubtful]:
            self._read_joined(rest)

    def _read_again(self, read: _Read) -> None:
        """Forget what the table remembers and look at the file for itself."""
        self._read_alone(read.source, Plain(read.body.head + read.body.text, read.compression))

    def _read_alone(self, source: Source, plain: Plain) -> None:
        try:
            body = split_head(plain.data, self._options)
            if body.layout.width > _WIDE and not all(name in self.pins for name in body.layout.columns):
                self.too_large.append(source.key)
                return
            joined = join([body.text], body.layout)
            if joined is None:
                body = body._replace(layout=body.layout.repairing(), head=b"")
                joined = join([body.text], body.layout)
            if joined is None:
                raise CsvError("The end of the file cannot be told from its rows.")
            if len(body.text) > self._options.max_record_bytes:
                check_record_sizes(joined.cells, self._options)
        except PermanentError as error:
            self.failures[source.key] = error
            return
        self._memory.remember(body.head, body.layout, rows=joined.spans[0].rows, rejected=len(joined.ragged[0]))
        self._type([_Read(source, body, plain.compression)], joined)

    def _type(self, reads: list[_Read], joined: Joined) -> None:
        layout = reads[0].body.layout
        columns = self._typing.settle(joined.cells, layout, self.pins)
        typed = self._typing.cast(joined.cells, layout, self.pins, joined.spans)
        self.pins |= dict.fromkeys(typed.widened, ColumnType.BIGINT)
        self._groups.append(_Group(reads, joined, typed, columns))

    def _give_parts(self, group: _Group) -> None:
        """Cut the typed columns of a group into the parts of its files, without copying."""
        types = {name: self.pins[name] for name in group.typed.values}
        rescued = group.typed.rescued()
        arrays = [values.cast(types[name].arrow) for name, values in group.typed.values.items()]
        table = pa.Table.from_arrays([*arrays, rescued], [*types, RESCUED])
        columns = [column._replace(type=types[column.name]) for column in group.columns if column.name in types]
        for read, span, ragged in zip(group.reads, group.joined.spans, group.joined.ragged, strict=True):
            report = Report.of(read.body.layout, read.body.encoding, read.compression)
            above = read.body.layout.above
            report.rows = span.rows
            report.rejected = len(above) + len(ragged)
            report.records = report.rows + report.rejected
            report.rescued = span.rows - rescued.slice(*span).null_count
            report.note_repaired(sum(group.joined.repaired))
            if len(columns) < len(group.columns):
                report.warnings.append(NO_ROWS)
            if report.rejected:
                lines = LineFinder(read.body.text, read.body.layout, span.rows + len(ragged))
                keep_rejects(report, ragged, read.body.layout, lines, self._options.max_rejects)
            report.columns = columns
            if report.rescued:
                values = filled(group.joined.cells, read.body.layout, span)
                report.columns = accounted(columns, group.typed.misfit_counts(span), values)
            report.warnings += warnings(report)
            self.parts[read.source.key] = Part(read.source, table.slice(*span), report, types)
