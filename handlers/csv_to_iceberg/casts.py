"""
From text to a column's type, a block at a time.

The fast way casts the whole block strictly and asks a few cheap questions that tell whether anything was lost. Only
when it fails is each cell held against its guard; what does not fit becomes NULL and is reported, so nothing is lost.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg import guards
from handlers.csv_to_iceberg.columns import ColumnType
from handlers.csv_to_iceberg.guards import DateOrder
from handlers.csv_to_iceberg.options import Options

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_NEIGHBOURS_FALL_TOGETHER = 2.0**53
"""Below it every whole number is a double of its own."""
_DIGITS = 17
"""Significant digits that a double carries."""
_FIRST_DAY = -719_162
"""0001-01-01 in days since 1970-01-01."""
_MICROSECONDS_A_DAY = 86_400_000_000


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
        seed = options.types == "seed"
        self._strict_first = not seed
        self._guards = guards.SEED if seed else guards.LOSSLESS
        true_words, false_words = (
            (guards.SEED_TRUE_WORDS, guards.SEED_FALSE_WORDS) if seed else (guards.TRUE_WORDS, guards.FALSE_WORDS)
        )
        self._true_words = pa.array(true_words)
        self._words = pa.array(true_words + false_words)
        self._nothing = pa.array(["", *(token.strip() for token in options.null_tokens)], pa.string())
        self._nulls_look_like_values = _types_holding_any(options.null_tokens)
        self.fixed_orders = _fixed_orders(options)
        """The date orders to use for every column; None: each file's values must prove theirs."""

    def cast(self, texts: pa.Array, to: ColumnType, orders: tuple[DateOrder, ...] = ()) -> Cast:
        """Cast a string array. `orders` are tried in turn on dates that do not begin with the year."""
        if to is ColumnType.VARCHAR:
            return Cast(texts)
        if texts.null_count == len(texts):
            return Cast(pa.nulls(len(texts), to.arrow))
        if self._strict_first and to not in self._nulls_look_like_values:
            values = _strictly(texts, to)
            if values is not None:
                return Cast(values)
        return self._guardedly(texts, to, orders)

    def meaning(self, texts: pa.Array) -> pa.Array:
        """Return the texts without blanks around them, NULL where they mean NULL in a typed column."""
        bare = pc.utf8_trim_whitespace(texts)
        return pc.if_else(pc.is_in(bare, value_set=self._nothing), pa.scalar(None, pa.string()), bare)

    def _guardedly(self, texts: pa.Array, to: ColumnType, orders: tuple[DateOrder, ...]) -> Cast:
        bare = self.meaning(texts)
        overflow = False
        if to is ColumnType.BOOLEAN:
            lower = pc.utf8_lower(bare)
            values = pc.if_else(
                pc.is_in(lower, value_set=self._words),
                pc.is_in(lower, value_set=self._true_words),
                pa.scalar(None, pa.bool_()),
            )
        elif to in {ColumnType.INTEGER, ColumnType.BIGINT}:
            values = _whole_numbers(self._keep(bare, to))
            if to is ColumnType.INTEGER:
                small = pc.and_(pc.less_equal(values, _INT32_MAX), pc.greater_equal(values, -_INT32_MAX - 1))
                overflow = pc.all(small).as_py() is False
                values = pc.if_else(small, values, pa.scalar(None, pa.int64())).cast(pa.int32())
        elif to is ColumnType.DOUBLE:
            values = self._doubles(self._keep(bare, to))
        else:
            values = self._days_and_times(bare, to, orders)
        misfits = pc.and_(pc.is_valid(bare), pc.is_null(values))
        return Cast(values, misfits if pc.any(misfits).as_py() else None, overflow)

    def _keep(self, texts: pa.Array, to: ColumnType) -> pa.Array:
        fits = pc.match_substring_regex(texts, f"^(?:{self._guards[to]})$")
        return pc.if_else(fits, texts, pa.scalar(None, pa.string()))

    def _doubles(self, texts: pa.Array) -> pa.Array:
        values = texts.cast(pa.float64())
        lost = pc.invert(pc.is_finite(values))
        if self._strict_first:
            lost = pc.or_(lost, pc.match_substring_regex(texts, guards.BEYOND_DOUBLE))
            whole = pc.match_substring_regex(texts, guards.WHOLE_NUMBER)
            lost = pc.or_(lost, pc.and_(whole, pc.greater_equal(pc.abs(values), _NEIGHBOURS_FALL_TOGETHER)))
        return pc.if_else(lost, pa.scalar(None, pa.float64()), values)

    def _days_and_times(self, texts: pa.Array, to: ColumnType, orders: tuple[DateOrder, ...]) -> pa.Array:
        values = self._iso(_padded(_replaced(texts, *guards.YEAR_FIRST)), to)
        for order in orders:
            values = pc.coalesce(values, self._iso(_padded(_replaced(texts, guards.ORDERED[order])), to))
        return values

    def _iso(self, texts: pa.Array, to: ColumnType) -> pa.Array:
        texts = self._keep(texts, to)
        if to is ColumnType.DATE:
            values = texts.cast(pa.date32())
            after_year_zero = pc.greater_equal(values.cast(pa.int32()), _FIRST_DAY)
        else:
            values = _instants(texts).cast(to.arrow)
            after_year_zero = pc.greater_equal(values.cast(pa.int64()), _FIRST_DAY * _MICROSECONDS_A_DAY)
        return pc.if_else(after_year_zero, values, pa.scalar(None, to.arrow))


@functools.lru_cache(maxsize=64)
def _types_holding_any(tokens: tuple[str, ...]) -> frozenset[ColumnType]:
    """Return the types whose strict cast would take one of the null tokens for a value: -999, 0."""
    return frozenset(
        to
        for to in ColumnType
        if to is not ColumnType.VARCHAR and any(_strictly(pa.array([token]), to) is not None for token in tokens)
    )


def _fixed_orders(options: Options) -> tuple[DateOrder, ...] | None:
    match options.date_order:
        case "dmy" | "mdy" as order:
            return (order,)
        case "ymd":
            return ()
        case _:
            return ("dmy", "mdy") if options.types == "seed" else None


def _strictly(texts: pa.Array, to: ColumnType) -> pa.Array | None:
    """Return the cast array if every cell fits its type without loss, else None."""
    try:
        match to:
            case ColumnType.INTEGER | ColumnType.BIGINT:
                return texts.cast(to.arrow) if _no_code(texts) else None
            case ColumnType.DOUBLE:
                values = texts.cast(pa.float64())
                return values if _no_digit_lost(texts, values) else None
            case ColumnType.BOOLEAN:
                # Arrow takes 0 and 1 too, and nothing else below four letters.
                return texts.cast(pa.bool_()) if pc.min(pc.binary_length(texts)).as_py() >= len("true") else None
            case ColumnType.DATE:
                values = texts.cast(pa.date32())
                return values if pc.min(values.cast(pa.int32())).as_py() >= _FIRST_DAY else None
            case _:
                return _times(texts, to)
    except pa.ArrowInvalid:
        return None


def _times(texts: pa.Array, to: ColumnType) -> pa.Array | None:
    zoned = pc.match_substring_regex(texts.slice(0, 1), guards.OFFSET_AT_END)[0].as_py()
    values = texts.cast(pa.timestamp("us", "UTC")) if zoned else texts.cast(pa.timestamp("us"))
    first = pc.min(values.cast(pa.int64())).as_py()
    return values.cast(to.arrow) if first >= _FIRST_DAY * _MICROSECONDS_A_DAY else None


def _instants(texts: pa.Array) -> pa.Array:
    """Return timestamps in UTC; a time without an offset is taken as UTC. Every text must match its guard."""
    zoned = pc.match_substring_regex(texts, guards.OFFSET_AT_END)
    nothing = pa.scalar(None, pa.string())
    with_offset = pc.if_else(zoned, texts, nothing).cast(pa.timestamp("us", "UTC"))
    without = pc.if_else(zoned, nothing, texts).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return pc.coalesce(with_offset, without)


def _no_code(texts: pa.Array) -> bool:
    """Tell that no text is 007, 0x1A or -05: what Arrow takes for an integer although it is written otherwise."""
    if pc.any(pc.starts_with(texts, "-0")).as_py():
        return False
    zero = pc.starts_with(texts, "0")
    return not pc.any(zero).as_py() or pc.max(pc.binary_length(texts.filter(zero))).as_py() == 1


_CODES = pa.array([f"0{digit}".encode() for digit in range(10)])


def _no_digit_lost(texts: pa.Array, values: pa.Array) -> bool:
    """Tell that no text is a code (007.5, +5), beyond a double's range, or has more digits than a double keeps."""
    if pc.all(pc.is_finite(values)).as_py() is False or pc.any(pc.starts_with(texts, "+")).as_py():
        return False
    zero = texts.filter(pc.starts_with(texts, "0"))
    if len(zero) and pc.any(pc.is_in(pc.binary_slice(zero.cast(pa.binary()), 0, 2), value_set=_CODES)).as_py():
        return False
    if pc.any(pc.starts_with(texts, "-0")).as_py() and pc.any(pc.match_substring_regex(texts, "^-0[0-9]")).as_py():
        return False
    largest = pc.max(pc.abs(values)).as_py()
    if largest >= _NEIGHBOURS_FALL_TOGETHER and pc.any(pc.match_substring_regex(texts, guards.WHOLE_NUMBER)).as_py():
        return False
    # The pattern costs four times the cast, so it sees only texts whose length leaves a doubt.
    doubtful = _longer(pc.ascii_ltrim(_longer(texts, _DIGITS + len(".")), characters="-0."), _DIGITS)
    return not len(doubtful) or not pc.any(pc.match_substring_regex(doubtful, guards.BEYOND_DOUBLE)).as_py()


def _longer(texts: pa.Array, length: int) -> pa.Array:
    return texts.filter(pc.greater(pc.binary_length(texts), length))


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


def _replaced(texts: pa.Array, *steps: tuple[str, str]) -> pa.Array:
    for pattern, replacement in steps:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=replacement)
    return texts


def _padded(texts: pa.Array) -> pa.Array:
    return _replaced(texts, *guards.PADDING)
