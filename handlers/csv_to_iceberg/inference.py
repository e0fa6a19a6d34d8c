"""
Which type a column gets: from its first 1,000 values, by trying the casts themselves.

The 90 % rule and the order of types are the CSV specification's. `lossless` departs from it where a type would drop
something the text says: among the types that reach 90 % it takes the one that holds most values, and codes with leading
zeros, whole numbers beyond 64 bits and lone `no`s stay text.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg import guards
from handlers.csv_to_iceberg.casts import Caster
from handlers.csv_to_iceberg.columns import ColumnType
from handlers.csv_to_iceberg.guards import DateOrder
from handlers.csv_to_iceberg.options import Options

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
    ((ColumnType.DATE, ColumnType.TIMESTAMP), "^[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}(?:$|[ T])"),
)
_DAYS = frozenset({ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.TIMESTAMPTZ})


class Inferred(NamedTuple):
    """A type and why."""

    type: ColumnType
    reason: str


class Inference:
    """Infers types under the options of a route."""

    def __init__(self, options: Options, caster: Caster) -> None:
        self._mode = options.types
        self._timestamptz = options.timestamptz
        self._date_order = options.date_order
        self._caster = caster

    def infer(self, texts: pa.Array) -> Inferred:
        """Infer the type of a column from the texts of its first records, NULLs included."""
        if self._mode == "varchar":
            return Inferred(ColumnType.VARCHAR, "types = varchar")
        records, values = self._sample(texts)
        if not len(values):
            return Inferred(ColumnType.VARCHAR, "no value")
        fits = self._fits(values)
        all_fit = any(fit.held == len(values) for fit in fits.values())
        # A code fits no type, so there is none where everything fits one.
        if self._mode == "lossless" and not all_fit and (code := _code(records, values)):
            return Inferred(ColumnType.VARCHAR, code)
        enough = [to for to in fits if fits[to].held >= ENOUGH * len(values)]
        if self._mode == "lossless":
            enough = [to for to in enough if to is not ColumnType.BOOLEAN or _says_yes_and_no(values)]
            enough.sort(key=lambda to: -fits[to].held)
        if not enough:
            return self._text(records, values, fits)
        best = enough[0]
        reason = f"{fits[best].held} of {len(values)} values"
        if best is ColumnType.TIMESTAMP and self._timestamptz and _any_matches(values, guards.OFFSET_AT_END):
            best = ColumnType.TIMESTAMPTZ
        return Inferred(best, reason)

    def date_orders(self, texts: pa.Array) -> tuple[DateOrder, ...]:
        """Return the orders to read a column's dates in: as the options say, else the one its values prove."""
        if self._caster.fixed_orders is not None:
            return self._caster.fixed_orders
        _, values = self._sample(texts)
        fits = {order: self._caster.cast(values, ColumnType.TIMESTAMP, (order,)) for order in guards.ORDERED}
        held = {order: len(values) - cast.values.null_count for order, cast in fits.items()}
        if held["dmy"] == held["mdy"]:
            return ()
        return ("dmy",) if held["dmy"] > held["mdy"] else ("mdy",)

    def _sample(self, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Return the record numbers and texts of the first `SAMPLE` values."""
        if len(texts) > _LOOK_AT_FIRST and len(texts) - texts.null_count > SAMPLE:
            few = self._sample(texts.slice(0, _LOOK_AT_FIRST))
            if len(few[1]) == SAMPLE:
                return few
        meant = self._caster.meaning(texts)
        valid = pc.is_valid(meant)
        records = pc.indices_nonzero(valid)[:SAMPLE]
        return pc.add(records, pa.scalar(1, pa.uint64())), meant.take(records)

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

    def _fitting(self, values: pa.Array, to: ColumnType) -> _Fit:
        orders = self.date_orders(values) if to in _DAYS else ()
        cast = self._caster.cast(values, to, orders)
        return _Fit(len(values) - cast.values.null_count, cast.misfits)

    def _text(self, records: pa.Array, values: pa.Array, fits: dict[ColumnType, _Fit]) -> Inferred:
        """Explain VARCHAR by the first value that the nearest type cannot hold."""
        nearest = max(fits, key=lambda to: fits[to].held, default=ColumnType.VARCHAR)
        if nearest is ColumnType.VARCHAR or not fits[nearest].held:
            if self._date_order == "auto" and _any_matches(values, guards.EITHER_ORDER):
                return Inferred(ColumnType.VARCHAR, "day and month cannot be told apart: set date_order")
            return Inferred(ColumnType.VARCHAR, "text")
        misfits = fits[nearest].misfits
        if misfits is None:
            return Inferred(ColumnType.VARCHAR, f"only {_shown(values[0])} and its like: may be a word")
        misfit = pc.index(misfits, pa.scalar(True)).as_py()
        return Inferred(ColumnType.VARCHAR, f"record {records[misfit]}, {_shown(values[misfit])}: no {nearest.value}")


class _Fit(NamedTuple):
    held: int
    misfits: pa.Array | None


def _code(records: pa.Array, values: pa.Array) -> str | None:
    """Return why a column's whole numbers are codes rather than quantities; None when they are not."""
    if not _any_matches(values, "^[-+0-9]"):
        return None
    for pattern, why in ((guards.LEADING_ZERO, "a leading zero"), (guards.SIGNED_PLUS, "a plus sign")):
        found = pc.index(pc.match_substring_regex(values, pattern), pa.scalar(True)).as_py()
        if found >= 0:
            return f"record {records[found]}, {_shown(values[found])}: {why}"
    if pc.max(pc.binary_length(values)).as_py() <= _SURE_DIGITS:
        return None
    whole = pc.match_substring_regex(values, guards.WHOLE_NUMBER)
    for found in pc.indices_nonzero(pc.and_(whole, pc.greater(pc.binary_length(values), _SURE_DIGITS))).to_pylist():
        if not -(2**63) <= int(values[found].as_py()) < 2**63:
            return f"record {records[found]}, {_shown(values[found])}: beyond 64 bits"
    return None


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


def _shown(value: pa.Scalar) -> str:
    text = value.as_py()
    return repr(text if len(text) <= 40 else text[:37] + "...")  # noqa: PLR2004 - fits a line of a terminal
