"""
Which type a column gets: from its first 1,000 values, by trying the casts themselves.

The 90 % rule and the order of types are the CSV specification's. `lossless` departs from it where a type would drop
something the text says: among the types that reach 90 % it takes the one that holds most values, and codes with leading
zeros, whole numbers beyond 64 bits and lone `no`s stay text.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv import commas, guards
from handlers.csv_to_iceberg.csv.casts import DATED, Caster, Notation
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.guards import DateOrder
from handlers.csv_to_iceberg.csv.letters import Mask
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import CounterExample

SAMPLE = 1000
"""Values that a column's type is inferred from."""
ENOUGH = 0.9
"""The share of them that must fit."""

_LOOK_AT_FIRST = 4 * SAMPLE

_SURE_DIGITS = 18
"""Every whole number of so many digits is below 2**63."""

# Most specific first, and what at least one value must look like for the types to be tried at all.
_LOOKS = (
    ((ColumnType.BOOLEAN,), "(?i)^(?:true|false|t|f|yes|no|y|n|1|0)$"),
    ((ColumnType.INTEGER, ColumnType.BIGINT, ColumnType.DOUBLE), "^-?[.]?[0-9][-+.eE0-9]*$"),
    ((ColumnType.DATE, ColumnType.TIMESTAMP), "^(?:[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}(?:$|[ T])|[0-9]{8}T[0-9])"),
)
_AMBIGUOUS = (
    (guards.EITHER_ORDER, "day and month cannot be told apart: set date_order"),
    (commas.COMMA_OR_THOUSANDS, "thousands or a decimal comma: `columns` can say that it is a double"),
)

ORDERS: Final[tuple[DateOrder, ...]] = ("dmy", "mdy")


class Mark(enum.Enum):
    """What a column says about the decimal mark of its file."""

    NONE = enum.auto()
    """Nothing."""
    POINT = enum.auto()
    """12.5: a point."""
    COMMA = enum.auto()
    """12,5 or 1.234,56: a comma."""
    EITHER = enum.auto()
    """Nothing but 1,234 or 1.234: a decimal mark, or thousands."""


def proved_order(dmy: int, mdy: int) -> tuple[DateOrder, ...]:
    """Return the order in which more dates exist; none when as many do in both."""
    if dmy == mdy:
        return ()
    return ("dmy",) if dmy > mdy else ("mdy",)


class Inferred(NamedTuple):
    """A type and why."""

    type: ColumnType
    reason: str
    values: int = 0
    """Looked at."""
    fits: int = 0
    """Of them, those that the type holds; for VARCHAR, those that the nearest other type would have held."""
    against: CounterExample | None = None
    """The first value that did not fit, or that kept the column text."""


class Inference:
    """Infers types under the options of a route."""

    def __init__(self, options: Options, caster: Caster) -> None:
        self._mode = options.types
        self._timestamptz = options.timestamptz
        self._date_order = options.date_order
        self._caster = caster

    def infer(self, texts: pa.Array, *, comma: bool = False) -> Inferred:
        """
        Infer the type of a column from the texts of its first records, NULLs included.

        `comma`: if the column holds numbers with a decimal mark, it is a comma.
        """
        if self._mode == "varchar":
            return Inferred(ColumnType.VARCHAR, "types = varchar")
        sample = self._sample(texts)
        values = sample.values
        if not len(values):
            return Inferred(ColumnType.VARCHAR, "no value")
        if comma and (found := self._with_comma(sample)):
            return found
        fits = self._fits(values)
        all_fit = any(fit.held == len(values) for fit in fits.values())
        # A code fits no type, so there is none where everything fits one.
        if self._mode == "lossless" and not all_fit and (code := _code(sample)):
            return code._replace(values=len(values), fits=self._nearest(fits).held)
        enough = [to for to in fits if fits[to].held >= ENOUGH * len(values)]
        if self._mode == "lossless":
            enough = [to for to in enough if to is not ColumnType.BOOLEAN or _says_yes_and_no(values)]
            enough.sort(key=lambda to: -fits[to].held)
        if not enough:
            return self._text(sample, fits)
        best = enough[0]
        held, misfits = fits[best]
        if best is ColumnType.TIMESTAMP and self._timestamptz and _any_matches(values, guards.OFFSET_AT_END):
            best = ColumnType.TIMESTAMPTZ
        return Inferred(best, f"{held} of {len(values)} values", len(values), held, sample.first(misfits))

    def date_orders(self, texts: pa.Array) -> tuple[DateOrder, ...]:
        """Return the orders to read a column's dates in: as the options say, else the one its values prove."""
        if self._caster.fixed_orders is not None:
            return self._caster.fixed_orders
        values = self._sample(texts).values
        return proved_order(*(int(self.reads(values, order).sum()) for order in ORDERS))

    def reads(self, values: pa.Array, order: DateOrder) -> Mask:
        """Tell which values are days or times in an order."""
        return np.asarray(self._caster.cast(values, ColumnType.TIMESTAMP, Notation((order,))).values.is_valid())

    def mark(self, texts: pa.Array, *, pinned: bool) -> Mark:
        """
        Tell what the first values of a column say about decimal marks.

        A column that is about to get a type must hold nothing but numbers to prove a comma; in one that is DOUBLE
        already (`pinned`), more numbers with commas than with points must fit.
        """
        values = self._sample(texts).values
        if not _any_matches(values, "[.,]"):
            return Mark.NONE
        if not _any_matches(values, ","):
            if _any_matches(values, commas.PROVES_POINT):
                return Mark.POINT
            return Mark.EITHER
        held = pc.sum(pc.match_substring_regex(values, commas.NUMBER)).as_py()
        points = pc.sum(pc.match_substring_regex(values, f"^{guards.LOSSLESS[ColumnType.DOUBLE]}$")).as_py()
        if held <= points or (held < len(values) and not pinned):
            return Mark.NONE
        return Mark.COMMA if _any_matches(values, commas.PROVES_COMMA) else Mark.EITHER

    def _sample(self, texts: pa.Array) -> _Sample:
        """Return the first `SAMPLE` values."""
        if len(texts) > _LOOK_AT_FIRST and len(texts) - texts.null_count > SAMPLE:
            few = self._sample(texts.slice(0, _LOOK_AT_FIRST))
            if len(few.values) == SAMPLE:
                return few
        meant = self._caster.meaning(texts)
        records = pc.indices_nonzero(pc.is_valid(meant))[:SAMPLE]
        return _Sample(pc.add(records, pa.scalar(1, pa.uint64())), meant.take(records))

    def _with_comma(self, sample: _Sample) -> Inferred | None:
        """Decide on a column of which the file says that its decimal marks are commas; None: it has no such mark."""
        if not _any_matches(sample.values, "^-?[0-9.]*[.,]"):
            return None
        fit = self._fitting(sample.values, ColumnType.DOUBLE, comma=True)
        if fit.misfits is None:
            return Inferred(ColumnType.DOUBLE, f"{fit.held} of {fit.held} values, decimal comma", fit.held, fit.held)
        against = sample.first(fit.misfits)
        if against and re.match(commas.THOUSANDS, against.text):
            reason = f"{against}: thousands, or a decimal point in a file of decimal commas"
            return Inferred(ColumnType.VARCHAR, reason, len(sample.values), fit.held, against)
        return None

    def _fits(self, values: pa.Array) -> dict[ColumnType, _Fit]:
        """Try the types in order that any value looks like, up to one that no later type can beat."""
        fits = {}
        enough = ENOUGH if self._mode == "seed" else 1
        for group, pattern in _LOOKS:
            if not _any_matches(values, pattern):
                continue
            for to in group:
                fits[to] = self._fitting(values, to)
                if fits[to].held >= enough * len(values):
                    return fits
        return fits

    def _fitting(self, values: pa.Array, to: ColumnType, *, comma: bool = False) -> _Fit:
        orders = self.date_orders(values) if to in DATED else ()
        cast = self._caster.cast(values, to, Notation(orders, comma))
        return _Fit(len(values) - cast.values.null_count, cast.misfits)

    @staticmethod
    def _nearest(fits: Mapping[ColumnType, _Fit]) -> _Fit:
        return max(fits.values(), key=lambda fit: fit.held, default=_Fit(0, None))

    def _text(self, sample: _Sample, fits: dict[ColumnType, _Fit]) -> Inferred:
        """Explain VARCHAR by the first value that the nearest type cannot hold."""
        values = sample.values
        if (found := _numbers_with_commas(sample)) and found.fits > self._nearest(fits).held:
            return found
        nearest = max(fits, key=lambda to: fits[to].held, default=ColumnType.VARCHAR)
        if nearest is ColumnType.BOOLEAN and 2 * fits[nearest].held <= len(values):
            # A `y` among other letters is one of them.
            return Inferred(ColumnType.VARCHAR, "text", len(values), 0, sample.at(0))
        if nearest is ColumnType.VARCHAR or not fits[nearest].held:
            for pattern, reason in _AMBIGUOUS:
                if (self._date_order == "auto" or pattern != guards.EITHER_ORDER) and _any_matches(values, pattern):
                    against = sample.first(pc.match_substring_regex(values, pattern))
                    return Inferred(ColumnType.VARCHAR, f"{against}: {reason}", len(values), 0, against)
            return Inferred(ColumnType.VARCHAR, "text", len(values), 0, sample.at(0))
        held, misfits = fits[nearest]
        against, reason = sample.first(misfits), f"no {nearest.value}"
        if against is None:
            against, reason = sample.at(0), "like all others, and may be a word"
        return Inferred(ColumnType.VARCHAR, f"{against}: {reason}", len(values), held, against)


class _Fit(NamedTuple):
    held: int
    misfits: pa.Array | None


class _Sample(NamedTuple):
    records: pa.Array
    """Numbers, from 1."""
    values: pa.Array

    def at(self, index: int) -> CounterExample:
        """Return a value and its record."""
        return CounterExample(self.records[index].as_py(), self.values[index].as_py())

    def first(self, marked: pa.Array | None) -> CounterExample | None:
        """Return the first value that a mask marks."""
        found = -1 if marked is None else pc.index(marked, pa.scalar(True)).as_py()
        return None if found < 0 else self.at(found)


def _code(sample: _Sample) -> Inferred | None:
    """Return why a column's whole numbers are codes rather than quantities; None when they are not."""
    values = sample.values
    if not _any_matches(values, "^[-+0-9]"):
        return None
    for pattern, why in ((guards.LEADING_ZERO, "a leading zero"), (guards.SIGNED_PLUS, "a plus sign")):
        if against := sample.first(pc.match_substring_regex(values, pattern)):
            return Inferred(ColumnType.VARCHAR, f"{against}: {why}", against=against)
    if pc.max(pc.binary_length(values)).as_py() <= _SURE_DIGITS:
        return None
    whole = pc.match_substring_regex(values, guards.WHOLE_NUMBER)
    for found in pc.indices_nonzero(pc.and_(whole, pc.greater(pc.binary_length(values), _SURE_DIGITS))).to_pylist():
        if not -(2**63) <= int(values[found].as_py()) < 2**63:
            against = sample.at(found)
            return Inferred(ColumnType.VARCHAR, f"{against}: beyond 64 bits", against=against)
    return None


def _numbers_with_commas(sample: _Sample) -> Inferred | None:
    """Explain why a column of numbers with decimal commas stays text; None when it is not mostly that."""
    values = sample.values
    fits = pc.match_substring_regex(values, commas.NUMBER)
    held = pc.sum(fits).as_py()
    if held < len(values) / 2 or not _any_matches(values, commas.PROVES_COMMA):
        return None
    against, reason = sample.first(pc.invert(fits)), "no number with a decimal comma"
    if against is None:
        against, reason = sample.at(0), "decimal commas are read only where the delimiter is no comma"
    return Inferred(ColumnType.VARCHAR, f"{against}: {reason}", len(values), held, against)


def _says_yes_and_no(values: pa.Array) -> bool:
    """
    Tell whether words are truth values: `true` and `false` always are, others only when both sides occur.

    A column of nothing but `NO` may be Norway.
    """
    lower = pc.utf8_lower(values)
    if pc.any(pc.is_in(lower, value_set=pa.array(["true", "false"]))).as_py():
        return True
    return all(
        pc.any(pc.is_in(lower, value_set=pa.array(words))).as_py() for words in (guards.TRUE_WORDS, guards.FALSE_WORDS)
    )


def _any_matches(values: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())
