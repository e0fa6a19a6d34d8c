"""From cells to typed columns, with the cells that did not fit as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.casts import Cast, Caster
from handlers.csv_to_iceberg.columns import RESCUED, ColumnType, Pins
from handlers.csv_to_iceberg.guards import DateOrder
from handlers.csv_to_iceberg.inference import Inference
from handlers.csv_to_iceberg.joining import Span
from handlers.csv_to_iceberg.layout import Layout
from handlers.csv_to_iceberg.options import Options
from handlers.csv_to_iceberg.results import ReportColumn

MUCH: Final = 0.1
"""Share of a column's cells above which rescuing them deserves a warning."""

_DATED: Final = frozenset({ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.TIMESTAMPTZ})


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
        cells: dict[int, dict[str, str]] = {}
        for name, (texts, mask) in self.misfits.items():
            for row, text in zip(pc.indices_nonzero(mask).to_pylist(), texts.filter(mask).to_pylist(), strict=True):
                cells.setdefault(row, {})[name] = text
        rows = sorted(cells)
        mask = np.zeros(self.rows, dtype=bool)
        mask[rows] = True
        documents = pa.array([json.dumps(cells[row], ensure_ascii=False) for row in rows], pa.string())
        return pc.replace_with_mask(nothing, pa.array(mask), documents)

    def misfit_counts(self, span: Span) -> dict[str, int]:
        """Count the cells of a file that did not fit, by column."""
        return {name: pc.sum(mask.slice(*span)).as_py() or 0 for name, (_, mask) in self.misfits.items()}


def warnings(misfits: Mapping[str, int], rows: int) -> list[str]:
    """Name the columns of which much had to be rescued."""
    return [
        f"column {name}: {count:,} of {rows:,} cells did not fit and are in {RESCUED}"
        for name, count in misfits.items()
        if count > MUCH * rows
    ]


class Typing:
    """Casts the cells of files under the options of a route."""

    def __init__(self, options: Options) -> None:
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
        for name, texts in zip(layout.names, cells, strict=True):
            if name is None:
                continue
            if name in pins:
                columns.append(ReportColumn(name, pins[name], "as in the table"))
                continue
            found = self._inference.infer(texts)
            if len(texts) or even_without_rows:
                pins[name] = found.type
            columns.append(ReportColumn(name, *found))
        return columns

    def date_orders(self, cells: Sequence[pa.Array], layout: Layout, pins: Pins) -> dict[str, tuple[DateOrder, ...]]:
        """Tell from the first rows of a file in which order its dates are written, column by column."""
        return {
            name: self._inference.date_orders(texts)
            for name, texts in zip(layout.names, cells, strict=True)
            if name is not None and pins[name] in _DATED
        }

    def cast(
        self,
        cells: Sequence[pa.Array],
        layout: Layout,
        pins: Pins,
        spans: Sequence[Span] = (),
        orders: Mapping[str, tuple[DateOrder, ...]] | None = None,
    ) -> Typed:
        """
        Cast rows of files of one layout, each column to its pin; a column without a pin is left out.

        The order of day and month is each file's own affair: give it, or it is told for each of `spans` by itself.
        """
        typed = Typed(len(cells[0]))
        for position, (name, texts) in enumerate(zip(layout.names, cells, strict=True), 1):
            if name is None:
                if texts.null_count < len(texts):
                    typed.misfits[f"column_{position}"] = (texts, pc.is_valid(texts))
                continue
            if name not in pins:
                continue
            cast = self._column(texts, pins[name], spans, None if orders is None else orders.get(name, ()))
            if cast.overflow:
                typed.widened.add(name)
                cast = self._caster.cast(texts, ColumnType.BIGINT)
            typed.values[name] = cast.values
            if cast.misfits is not None:
                typed.misfits[name] = (texts, cast.misfits)
        return typed

    def _column(
        self, texts: pa.Array, to: ColumnType, spans: Sequence[Span], orders: tuple[DateOrder, ...] | None
    ) -> Cast:
        if orders is None:
            orders = self._caster.fixed_orders
        cast = self._caster.cast(texts, to, orders or ())
        if cast.misfits is None or to not in _DATED or orders is not None:
            return cast
        return _joined([self._in_own_order(texts, cast, to, span) for span in spans])

    def _in_own_order(self, texts: pa.Array, cast: Cast, to: ColumnType, span: Span) -> Cast:
        misfits = pa.nulls(0) if cast.misfits is None else cast.misfits.slice(*span)
        if pc.any(misfits).as_py():
            own = texts.slice(*span)
            if orders := self._inference.date_orders(own):
                return self._caster.cast(own, to, orders)
        return Cast(cast.values.slice(*span), misfits)


def _joined(casts: Sequence[Cast]) -> Cast:
    misfits = pa.concat_arrays(
        [pa.array(np.zeros(len(cast.values), dtype=bool)) if cast.misfits is None else cast.misfits for cast in casts]
    )
    values = pa.concat_arrays([cast.values for cast in casts])
    return Cast(values, misfits if pc.any(misfits).as_py() else None)
