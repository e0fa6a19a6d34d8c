"""From cells to typed columns, with the cells that did not fit as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.casts import DATED, Cast, Caster, Notation
from handlers.csv_to_iceberg.csv.columns import RESCUED, ColumnType, Pins
from handlers.csv_to_iceberg.csv.inference import ORDERS, SAMPLE, Inference, Inferred, Mark, proved_order
from handlers.csv_to_iceberg.csv.joining import Span
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Report, ReportColumn
from handlers.csv_to_iceberg.csv.tables import ANOTHER_TABLE

ESCAPED: Final = r'[\x00-\x1f"\\]'
"""What stands in a JSON string as an escape only (RFC 8259, section 7)."""

DOUBLE: Final = ColumnType.DOUBLE

ORDER_UNKNOWN: Final = "; if its dates are like 03/04/2024 and nothing proves their order, set date_order on the route"


@dataclass(slots=True)
class Typed:
    """Cast columns of `rows` rows."""

    rows: int
    values: dict[str, pa.Array] = field(default_factory=dict)
    misfits: dict[str, tuple[pa.Array, pa.Array]] = field(default_factory=dict)
    """By column: texts and the mask of those that did not fit."""
    widened: set[str] = field(default_factory=set)
    """INTEGER columns that hold numbers beyond 32 bits; their values must be cast again as BIGINT."""

    def rescued(self) -> pa.Array:
        """Return the column `_rescued`: per row a JSON object of the texts that did not fit, or NULL."""
        nothing = pa.nulls(self.rows, pa.string())
        if not self.misfits:
            return nothing
        rows = reduce(pc.or_, (mask for _, mask in self.misfits.values()))
        members = [
            pc.if_else(
                mask.filter(rows), pc.binary_join_element_wise(_dumped(name), _quoted(texts.filter(rows)), ": "), None
            )
            for name, (texts, mask) in self.misfits.items()
        ]
        joined = pc.binary_join_element_wise(*members, ", ", null_handling="skip")
        return pc.replace_with_mask(nothing, rows, pc.binary_join_element_wise("{", joined, "}", ""))

    def misfit_counts(self, span: Span) -> dict[str, int]:
        """Count the cells of a file that did not fit, by column."""
        return {name: pc.sum(mask.slice(*span)).as_py() or 0 for name, (_, mask) in self.misfits.items()}


def _quoted(texts: pa.Array) -> pa.Array:
    """Return texts as JSON strings: a table whose type a whole file does not fit has millions of them."""
    quoted = pc.binary_join_element_wise('"', texts, '"', "")
    escaped = pc.match_substring_regex(texts, ESCAPED)
    return pc.replace_with_mask(quoted, escaped, pa.array(map(_dumped, texts.filter(escaped).to_pylist()), pa.string()))


def _dumped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def filled(cells: Sequence[pa.Array], layout: Layout, span: Span) -> dict[str, int]:
    """Count the cells of a file that are not empty, by column."""
    return {
        name: span.rows - texts.slice(*span).null_count
        for name, texts in zip(layout.names, cells, strict=True)
        if name is not None
    }


def accounted(
    columns: Sequence[ReportColumn], misfits: Mapping[str, int], values: Mapping[str, int]
) -> list[ReportColumn]:
    """Return the columns of a file with what became of all its cells."""
    return [
        column._replace(filled=values.get(column.name, 0), rescued=misfits.get(column.name, 0)) for column in columns
    ]


def warnings(report: Report) -> list[str]:
    """Name columns of which much had to be rescued or whose type is not the wished one; say when most is rejected."""
    found = [
        f"column {column.name}: {column.rescued:,} of {column.filled:,} values did not fit {column.type.value} and are "
        f"in {RESCUED}{ORDER_UNKNOWN if column.type in DATED else ''}"
        for column in report.columns
        if column.rescued and column.suits_badly
    ]
    found += [
        f"column {column.name} is {column.type.value} in the table, `columns` says {column.wished.value}: the table's "
        "type is kept"
        for column in report.columns
        if column.wished
    ]
    if report.rejected > report.rows:
        found.append(f"most records were rejected ({report.rejected:,} of {report.records:,}): {_advice(report)}")
    return found


def _advice(report: Report) -> str:
    """Say what to do about rejected records, by what is wrong with most of those that are told."""
    elsewhere = sum(one.reason.startswith(ANOTHER_TABLE.partition("{")[0]) for one in report.rejects)
    if 2 * elsewhere > len(report.rejects):
        return "they are part of another table. Of several tables in a file one is read: put each into its own file"
    return f"is the delimiter of the file {report.delimiter!r}, and does its header have as many cells as its records?"


class Typing:
    """Casts the cells of files under the options of a route."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._caster = Caster(options)
        self._inference = Inference(options, self._caster)

    def settle(
        self, cells: Sequence[pa.Array], layout: Layout, pins: Pins, *, even_without_rows: bool = False
    ) -> list[ReportColumn]:
        """
        Infer the type of each column that has none yet into `pins`, and say why each has its type.

        Without rows there is nothing to store, so nothing is pinned, unless the caller needs a type for every column.
        """
        columns = []
        commas = self._commas(cells, layout, pins)
        for name, texts in zip(layout.names, cells, strict=True):
            if name is None:
                continue
            hint = self._options.hint(name)
            if name in pins:
                columns.append(ReportColumn(name, pins[name], "as in the table", wished=_wished(hint, pins[name])))
                continue
            found = Inferred(hint, "as `columns` says") if hint else self._inference.infer(texts, comma=name in commas)
            if len(texts) or even_without_rows:
                pins[name] = found.type
            columns.append(ReportColumn(name, *found))
        return columns

    def notations(self, cells: Sequence[pa.Array], layout: Layout, pins: Pins) -> dict[str, Notation]:
        """Tell from the first rows of a file how its values are written, column by column."""
        commas = self._commas(cells, layout, pins)
        return {
            name: Notation(self._inference.date_orders(texts) if pins[name] in DATED else (), name in commas)
            for name, texts in zip(layout.names, cells, strict=True)
            if name is not None
        }

    def cast(
        self,
        cells: Sequence[pa.Array],
        layout: Layout,
        pins: Pins,
        spans: Sequence[Span] = (),
        notations: Mapping[str, Notation] | None = None,
    ) -> Typed:
        """
        Cast rows of files of one layout, each column to its pin; a column without a pin is left out.

        How values are written is each file's own affair: give it, or it is told for each of `spans` by itself.
        """
        typed = Typed(len(cells[0]))
        commas = [] if notations is not None else self._commas_of_each(cells, layout, pins, spans)
        for position, (name, texts) in enumerate(zip(layout.names, cells, strict=True), 1):
            if name is None:
                if texts.null_count < len(texts):
                    typed.misfits[f"column_{position}"] = (texts, pc.is_valid(texts))
                continue
            if name not in pins:
                continue
            if notations is not None:
                cast = self._caster.cast(texts, pins[name], notations[name])
            elif pins[name] in DATED:
                cast = self._dates(texts, pins[name], spans)
            elif any(commas):
                cast = self._by_span(texts, pins[name], spans, [Notation(comma=name in own) for own in commas])
            else:
                cast = self._caster.cast(texts, pins[name])
            if cast.overflow:
                typed.widened.add(name)
                cast = self._caster.cast(texts, ColumnType.BIGINT)
            typed.values[name] = cast.values
            if cast.misfits is not None:
                typed.misfits[name] = (texts, cast.misfits)
        return typed

    def _commas(self, cells: Sequence[pa.Array], layout: Layout, pins: Pins) -> set[str]:
        """
        Name the columns of a file in which numbers have decimal commas, if they have any decimal mark.

        A column proves it for itself (12,5); one that leaves it open (1,234) follows those of its file that prove it,
        or `columns` where it says that it is a DOUBLE.
        """
        if layout.dialect.delimiter == "," or self._options.types == "seed":
            return set()
        marks = {
            name: self._inference.mark(texts, pinned=name in pins)
            for name, texts in zip(layout.names, cells, strict=True)
            if name is not None and (pins.get(name) or self._options.hint(name) or DOUBLE) is DOUBLE
        }
        if Mark.COMMA in marks.values():
            return {name for name, mark in marks.items() if mark is not Mark.POINT}
        return {name for name, mark in marks.items() if mark is Mark.EITHER and self._options.hint(name) is DOUBLE}

    def _commas_of_each(
        self, cells: Sequence[pa.Array], layout: Layout, pins: Pins, spans: Sequence[Span]
    ) -> list[set[str]]:
        doubles = [
            texts.buffers()[2]
            for name, texts in zip(layout.names, cells, strict=True)
            if name is not None and pins.get(name) is DOUBLE
        ]
        if layout.dialect.delimiter == "," or not any(
            data is not None and b"," in data.to_pybytes() for data in doubles
        ):
            return [set()] * len(spans)
        return [self._commas([texts.slice(*span) for texts in cells], layout, pins) for span in spans]

    def _dates(self, texts: pa.Array, to: ColumnType, spans: Sequence[Span]) -> Cast:
        fixed = self._caster.fixed_orders
        cast = self._caster.cast(texts, to, Notation(fixed or ()))
        if cast.misfits is None or fixed is not None:
            return cast
        counts = [np.cumsum(self._inference.reads(texts, order), dtype=np.int64) for order in ORDERS]
        orders = []
        for span in spans:
            if span.rows > SAMPLE:
                orders.append(self._inference.date_orders(texts.slice(*span)))
            else:
                orders.append(proved_order(*(_between(count, span) for count in counts)))
        return self._by_span(texts, to, spans, [Notation(order) for order in orders])

    def _by_span(self, texts: pa.Array, to: ColumnType, spans: Sequence[Span], notations: Sequence[Notation]) -> Cast:
        """Cast the rows of several files, each in its own notation."""
        rest = list(dict.fromkeys(notations))
        first = rest.pop(0) if rest else Notation()
        cast = self._caster.cast(texts, to, first)
        for notation in rest:
            rows = pa.array(np.repeat([other == notation for other in notations], [span.rows for span in spans]))
            cast = _merged(rows, self._caster.cast(texts, to, notation), cast)
        return cast


def _wished(hint: ColumnType | None, pin: ColumnType) -> ColumnType | None:
    """Return the type that `columns` says if the table has another; INTEGER that became BIGINT is as wished."""
    return None if hint is pin or (hint, pin) == (ColumnType.INTEGER, ColumnType.BIGINT) else hint


def _merged(rows: pa.Array, cast: Cast, other: Cast) -> Cast:
    """Take the marked rows from `cast`, all others from `other`."""
    nothing = pa.array(np.zeros(len(rows), dtype=bool))
    misfits = pc.if_else(
        rows,
        nothing if cast.misfits is None else cast.misfits,
        nothing if other.misfits is None else other.misfits,
    )
    return Cast(pc.if_else(rows, cast.values, other.values), misfits if pc.any(misfits).as_py() else None)


def _between(counts: npt.NDArray[np.int64], span: Span) -> int:
    """Return the part of a running count that falls to a file."""
    if not span.rows:
        return 0
    return int(counts[span.start + span.rows - 1] - (counts[span.start - 1] if span.start else 0))
