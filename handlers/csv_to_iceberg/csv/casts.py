"""
From text to a column's type, a block at a time.

Three ways, each for what the one before leaves over: the whole column by a strict cast; every cell by its letters, all
at once; the odd ones by the pattern that defines the type. What does not fit becomes NULL and is reported.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv import guards
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.commas import with_points
from handlers.csv_to_iceberg.csv.dates import as_iso, read_dates
from handlers.csv_to_iceberg.csv.guards import DateOrder, Step
from handlers.csv_to_iceberg.csv.letters import MINUS, POINT, ZERO, Letters, Mask, is_digit
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.strict import FIRST_DAY, MICROSECONDS_A_DAY, NEIGHBOURS_FALL_TOGETHER, StrictCaster

_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1
_SURE_DIGITS: Final = 15
"""A number of so many digits is below 2**53: it is an int64 and a double of its own."""
_TWELVE_HOURS: Final = pa.scalar(12 * 3600 * 1_000_000, pa.duration("us"))
_NO_TEXT: Final = pa.scalar(None, pa.string())

WHOLE: Final = frozenset({ColumnType.INTEGER, ColumnType.BIGINT})
DATED: Final = frozenset({ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.TIMESTAMPTZ})


class Notation(NamedTuple):
    """How the values of a column are written in one file."""

    orders: tuple[DateOrder, ...] = ()
    """Tried in turn on dates that do not begin with the year."""
    comma: bool = False
    """The decimal mark is a comma."""


PLAIN: Final = Notation()
"""Dates by the year first, decimal points."""


@dataclass(frozen=True, slots=True)
class Cast:
    """A cast column: `values[i]` is NULL where the text was NULL, a null token, or did not fit."""

    values: pa.Array
    misfits: pa.Array | None = None
    """Boolean, without NULLs: the text said something that the type cannot hold. None: everything fitted."""
    overflow: bool = False
    """The type is INTEGER and a misfit is a number that BIGINT holds."""


class Caster:
    """Casts under the options of a route. Stateless between columns, safe on any thread."""

    def __init__(self, options: Options) -> None:
        self._seed = options.types == "seed"
        self._guards = guards.SEED if self._seed else guards.LOSSLESS
        self._separators = guards.SEED_SEPARATORS if self._seed else guards.SEPARATORS
        self._to_iso = {order: guards.to_iso(order, self._separators[order]) for order in ("ymd", "dmy", "mdy")}
        true_words, false_words = (
            (guards.SEED_TRUE_WORDS, guards.SEED_FALSE_WORDS) if self._seed else (guards.TRUE_WORDS, guards.FALSE_WORDS)
        )
        self._true_words = pa.array(true_words)
        self._words = pa.array(true_words + false_words)
        self._strict = StrictCaster(seed=self._seed)
        self._nothing = pa.array(["", *(token.strip() for token in options.null_tokens)], pa.string())
        self.fixed_orders = _fixed_orders(options)
        """The date orders to use for every column; None: each file's values must prove theirs."""
        self._nulls_look_like_values = _types_holding_any(options.null_tokens, options.types)

    def cast(self, texts: pa.Array, to: ColumnType, notation: Notation = PLAIN) -> Cast:
        """Cast a string array."""
        if to is ColumnType.VARCHAR:
            return Cast(texts)
        if texts.null_count == len(texts):
            return Cast(pa.nulls(len(texts), to.arrow))
        if to not in self._nulls_look_like_values and (values := self._whole(texts, to, notation)) is not None:
            return Cast(values)
        if notation.comma and to is ColumnType.DOUBLE:
            bare = with_points(self.meaning(texts))
        elif to in self._nulls_look_like_values:
            bare = self.meaning(texts)
        else:
            bare = trimmed(texts)
        return self._cell_by_cell(bare, to, notation)

    def meaning(self, texts: pa.Array) -> pa.Array:
        """Return the texts without blanks around them, NULL where they mean NULL in a typed column."""
        bare = trimmed(texts)
        return pc.if_else(pc.is_in(bare, value_set=self._nothing), _NO_TEXT, bare)

    def _whole(self, texts: pa.Array, to: ColumnType, notation: Notation) -> pa.Array | None:
        """Cast a column in which every cell fits and none needs a second look; else None."""
        if to is ColumnType.DOUBLE and notation.comma:
            return self._strict.cast(with_points(texts), to)
        if notation.orders and to in DATED and not (self._seed and to is not ColumnType.DATE):
            iso = as_iso(texts, notation.orders[0], self._separators)
            if iso is not None:
                return self._strict.cast(iso, to)
        return self._strict.cast(texts, to)

    def _cell_by_cell(self, bare: pa.Array, to: ColumnType, notation: Notation) -> Cast:
        values = self._sure(bare, to, notation)
        odd = pc.and_(pc.is_valid(bare), pc.is_null(values))
        misfits = None
        if pc.any(odd).as_py():
            # A number with a decimal comma was rewritten, and by then nothing meant NULL any more.
            texts = bare.filter(odd) if notation.comma else self.meaning(bare.filter(odd))
            guarded = self._guarded(texts, to, notation)
            values = pc.replace_with_mask(values, odd, guarded)
            misfits = pc.replace_with_mask(odd, odd, pc.and_(pc.is_valid(texts), pc.is_null(guarded)))
        if to is ColumnType.INTEGER:
            small = pc.and_(pc.less_equal(values, _INT32_MAX), pc.greater_equal(values, -_INT32_MAX - 1))
            if pc.all(small).as_py() is False:
                large = pc.fill_null(pc.invert(small), fill_value=False)
                values = pc.if_else(small, values, pa.scalar(None, pa.int64()))
                return Cast(
                    values.cast(pa.int32()), large if misfits is None else pc.or_(large, misfits), overflow=True
                )
            values = values.cast(pa.int32())
        return Cast(values, misfits if misfits is not None and pc.any(misfits).as_py() else None)

    def _sure(self, bare: pa.Array, to: ColumnType, notation: Notation) -> pa.Array:
        """Cast the cells of which the letters tell at once that they fit; NULL elsewhere."""
        if to is ColumnType.BOOLEAN:
            lower = pc.utf8_lower(bare)
            known = pc.is_in(lower, value_set=self._words)
            return pc.if_else(known, pc.is_in(lower, value_set=self._true_words), pa.scalar(None, pa.bool_()))
        if to in WHOLE or to is ColumnType.DOUBLE:
            return pc.if_else(pa.array(self._plain_numbers(bare, to)), bare, _NO_TEXT).cast(_wide(to))
        if self._seed and to is not ColumnType.DATE:
            return pa.nulls(len(bare), to.arrow)
        return read_dates(bare, to, notation.orders, self._separators)

    def _plain_numbers(self, bare: pa.Array, to: ColumnType) -> Mask:
        """Tell which texts are digits, an optional minus before, for DOUBLE an optional point between; no 007."""
        letters = Letters(bare)
        digits, points = is_digit(letters.data), letters.data == POINT
        minus = letters.data[letters.starts] == MINUS
        starts = letters.starts + minus
        length = letters.ends - starts
        others = letters.counts(~digits)
        first, second = letters.data[starts], letters.data[starts + 1]
        sure: Mask = (length > 0) & (length <= _SURE_DIGITS) & is_digit(first)
        if to is ColumnType.DOUBLE:
            pointed = letters.counts(points)
            code = (first == ZERO) & (length > 1) & (second != POINT)
            sure &= (pointed <= 1) & (others == pointed + minus)
        else:
            code = (first == ZERO) & (length > 1)
            sure &= others == minus
        return sure if self._seed else sure & ~code

    def _guarded(self, texts: pa.Array, to: ColumnType, notation: Notation) -> pa.Array:
        """Cast the cells that match the pattern of their type; NULL elsewhere. INTEGER comes as int64."""
        if to is ColumnType.BOOLEAN:
            return pa.nulls(len(texts), pa.bool_())
        if to in WHOLE:
            return _whole_numbers(self._keep(texts, to))
        if to is ColumnType.DOUBLE:
            return self._doubles(self._keep(texts, to))
        return self._days_and_times(texts, to, notation.orders)

    def _keep(self, texts: pa.Array, to: ColumnType) -> pa.Array:
        fits = pc.match_substring_regex(texts, f"^(?:{self._guards[to]})$")
        return pc.if_else(fits, texts, _NO_TEXT)

    def _doubles(self, texts: pa.Array) -> pa.Array:
        values = texts.cast(pa.float64())
        lost = pc.invert(pc.is_finite(values))
        if not self._seed:
            lost = pc.or_(lost, pc.match_substring_regex(texts, guards.BEYOND_DOUBLE))
            lost = pc.or_(lost, pc.and_(pc.equal(values, 0.0), pc.match_substring_regex(texts, guards.NOT_ZERO)))
            whole = pc.match_substring_regex(texts, guards.WHOLE_NUMBER)
            lost = pc.or_(lost, pc.and_(whole, pc.greater_equal(pc.abs(values), NEIGHBOURS_FALL_TOGETHER)))
        return pc.if_else(lost, pa.scalar(None, pa.float64()), values)

    def _days_and_times(self, texts: pa.Array, to: ColumnType, orders: tuple[DateOrder, ...]) -> pa.Array:
        if self._seed and to is not ColumnType.DATE:
            return self._iso(texts, to, (*guards.ISO_BASIC, guards.DIGITS_BEYOND_MICROSECONDS))
        steps = (*guards.ISO_BASIC, guards.ZEROS_BEYOND_MICROSECONDS)
        values = self._iso(texts, to, (*steps, *self._to_iso["ymd"], *guards.PADDING))
        for order in orders:
            values = pc.coalesce(values, self._iso(texts, to, (*steps, *self._to_iso[order], *guards.PADDING)))
        return values

    def _iso(self, texts: pa.Array, to: ColumnType, steps: tuple[Step, ...]) -> pa.Array:
        """Cast what the steps turn into ISO 8601."""
        if to is ColumnType.DATE:
            values = self._keep(_replaced(texts, *steps), to).cast(pa.date32())
            after_year_zero = pc.greater_equal(values.cast(pa.int32()), FIRST_DAY)
        else:
            twelve = pc.match_substring_regex(texts, guards.HALF_DAY)
            if not self._seed and pc.any(twelve).as_py():
                steps = ((guards.HALF_DAY, r"\1"), *steps)
            values = _instants(self._keep(_replaced(texts, *steps), to)).cast(to.arrow)
            if not self._seed:
                values = _by_the_day(values, texts, twelve)
            after_year_zero = pc.greater_equal(values.cast(pa.int64()), FIRST_DAY * MICROSECONDS_A_DAY)
        return pc.if_else(after_year_zero, values, pa.scalar(None, to.arrow))


def trimmed(texts: pa.Array) -> pa.Array:
    """Return the texts without blanks around them; as they are if none begins or ends with one."""
    letters = Letters(texts)
    edges = (letters.data[letters.starts], letters.data[np.maximum(letters.ends - 1, 0)])
    # A NULL shows a letter of its neighbour, or a zero beyond the last text.
    if all(((edge > ord(" ")) & (edge < 0x80) | (edge == 0)).all() for edge in edges):  # noqa: PLR2004 - the end of ASCII
        return texts
    return pc.utf8_trim_whitespace(texts)


@functools.lru_cache(maxsize=64)
def _types_holding_any(tokens: tuple[str, ...], types: Literal["lossless", "seed", "varchar"]) -> frozenset[ColumnType]:
    """Return the types that would take one of the null tokens for a value: -999, 0, no."""
    texts = pa.array([token for token in tokens if token.strip()], pa.string())
    if not len(texts):
        return frozenset()
    caster = Caster(Options(types=types, null_tokens=()))
    return frozenset(
        to
        for to in ColumnType
        for comma in (False, True)
        if to is not ColumnType.VARCHAR
        and caster.cast(texts, to, Notation(("dmy", "mdy"), comma)).values.null_count < len(texts)
    )


def _fixed_orders(options: Options) -> tuple[DateOrder, ...] | None:
    match options.date_order:
        case "dmy" | "mdy" as order:
            return (order,)
        case "ymd":
            return ()
        case _:
            return ("dmy", "mdy") if options.types == "seed" else None


def _wide(to: ColumnType) -> pa.DataType:
    return pa.int64() if to in WHOLE else to.arrow


def _by_the_day(values: pa.Array, texts: pa.Array, twelve: pa.Array) -> pa.Array:
    """Move times of the twelve-hour clock to where they are in a day."""
    noon = pc.match_substring_regex(texts, guards.TWELVE)
    afternoon = pc.match_substring_regex(texts, guards.AFTER_NOON)
    later = pc.and_(twelve, pc.and_(afternoon, pc.invert(noon)))
    earlier = pc.and_(twelve, pc.and_(noon, pc.invert(afternoon)))
    values = pc.if_else(later, pc.add(values, _TWELVE_HOURS), values)
    return pc.if_else(earlier, pc.subtract(values, _TWELVE_HOURS), values)


def _instants(texts: pa.Array) -> pa.Array:
    """Return timestamps in UTC; a time without an offset is taken as UTC. Every text must match its guard."""
    zoned = pc.match_substring_regex(texts, guards.OFFSET_AT_END)
    with_offset = pc.if_else(zoned, texts, _NO_TEXT).cast(pa.timestamp("us", "UTC"))
    without = pc.if_else(zoned, _NO_TEXT, texts).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return pc.coalesce(with_offset, without)


def _whole_numbers(texts: pa.Array) -> pa.Array:
    """Cast texts of at most 19 significant digits to int64, NULL beyond it."""
    try:
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:
        wide = _replaced(texts, ("^(-?)0+([0-9])", r"\1\2")).cast(pa.decimal128(19, 0))
        fits = pc.and_(
            pc.less_equal(wide, pa.scalar(_INT64_MAX, pa.decimal128(19, 0))),
            pc.greater_equal(wide, pa.scalar(-_INT64_MAX - 1, pa.decimal128(19, 0))),
        )
        return pc.if_else(fits, wide, pa.scalar(None, pa.decimal128(19, 0))).cast(pa.int64())


def _replaced(texts: pa.Array, *steps: Step) -> pa.Array:
    for pattern, replacement in steps:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=replacement)
    return texts
