"""
Whole columns at once: Arrow's strict casts, and a few cheap questions that tell whether they lost anything.

Arrow's casts refuse a whole column for one cell that does not fit, which is the signal to look at each cell. What they
accept although the text says something else (`007`, `0x1A`, `1e400`, 0 as a truth value) is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv import guards
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.letters import MINUS, NINE, PLUS, POINT, ZERO, Bytes, Letters, is_digit

NEIGHBOURS_FALL_TOGETHER: Final = 2.0**53
"""Below it every whole number is a double of its own."""
FIRST_DAY: Final = -719_162
"""0001-01-01 in days since 1970-01-01."""
MICROSECONDS_A_DAY: Final = 86_400_000_000

_FEW: Final = 16
"""Cells that are cast first: Arrow makes a message for every cell that it refuses, at half a microsecond each."""

_DIGITS: Final = 17
"""Significant digits that a double carries."""


class StrictCaster:
    """Casts columns in which every cell fits. `seed`: under the rules of the CSV specification."""

    def __init__(self, *, seed: bool) -> None:
        self._seed = seed
        true, false = (
            (guards.SEED_TRUE_WORDS, guards.SEED_FALSE_WORDS) if seed else (guards.TRUE_WORDS, guards.FALSE_WORDS)
        )
        spelled = [_spellings(true), _spellings(false)]
        self._words = pa.array(spelled[0] + spelled[1])
        self._true_words = len(spelled[0])

    def cast(self, texts: pa.Array, to: ColumnType) -> pa.Array | None:
        """Return the cast array if every cell fits its type without loss, else None."""
        try:
            match to:
                case ColumnType.INTEGER | ColumnType.BIGINT:
                    values = _cast(texts, to.arrow)
                    return values if self._whole_numbers(Letters(texts)) else None
                case ColumnType.DOUBLE:
                    values = _cast(texts, pa.float64())
                    return values if self._no_digit_lost(texts, values) else None
                case ColumnType.BOOLEAN:
                    return self._truth(texts)
                case ColumnType.DATE:
                    values = _cast(texts, pa.date32())
                    return values if _first(values, pa.int32()) >= FIRST_DAY else None
                case _:
                    return _times(texts, to)
        except pa.ArrowInvalid:
            return None

    def _truth(self, texts: pa.Array) -> pa.Array | None:
        # Arrow takes 0 and 1 too, and nothing else below four letters.
        if pc.min(pc.binary_length(texts)).as_py() >= len("true"):
            return texts.cast(pa.bool_())
        found = pc.index_in(texts, value_set=self._words)
        return pc.less(found, self._true_words) if found.null_count == texts.null_count else None

    def _whole_numbers(self, letters: Letters) -> bool:
        """Tell that no text is 007, 0x1A or -05: what Arrow takes for an integer although it is written otherwise."""
        if letters.data.max() > NINE:
            return False
        return self._seed or not _zero_before_digit(letters, letters.at(letters.starts))

    def _no_digit_lost(self, texts: pa.Array, values: pa.Array) -> bool:
        """Tell that no text is a code (007.5, +5), beyond a double's range, or has more digits than a double keeps."""
        letters = Letters(texts)
        sizes = np.abs(_numbers(values))
        largest = sizes.max()
        first = letters.at(letters.starts)
        if not largest < np.inf or (first == PLUS).any():
            return False
        if self._seed:
            after_minus = letters.at(letters.starts[first == MINUS] + 1)
            return not ((first == POINT).any() or (after_minus == POINT).any())
        if _zero_before_digit(letters, first):
            return False
        doubts = [(sizes == 0, guards.NOT_ZERO), (letters.lengths > _DIGITS + len("."), guards.BEYOND_DOUBLE)]
        if largest >= NEIGHBOURS_FALL_TOGETHER:
            doubts.append((sizes >= NEIGHBOURS_FALL_TOGETHER, guards.WHOLE_NUMBER))
        # A pattern costs four times the cast, so it sees only the texts that leave a doubt.
        return not any(doubt.any() and _any(texts.filter(pa.array(doubt)), lost) for doubt, lost in doubts)


def _zero_before_digit(letters: Letters, first: Bytes) -> bool:
    """Tell whether a text, a minus aside, has a zero and another digit first: 007."""
    minus = first == MINUS
    starts = letters.starts
    if minus.any():
        starts = starts + minus
        first = letters.at(starts)
    zero = (first == ZERO) & (letters.ends - starts > 1)
    return bool(is_digit(letters.at(starts[zero] + 1)).any())


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    texts.slice(0, _FEW).cast(kind)
    return texts.cast(kind)


def _any(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())


def _spellings(words: Sequence[str]) -> list[str]:
    return [spelled for word in words for spelled in dict.fromkeys((word, word.capitalize(), word.upper()))]


def _numbers(values: pa.Array) -> npt.NDArray[np.float64]:
    """Return the values without a copy; the slots of NULLs hold zeros."""
    return np.frombuffer(values.buffers()[1], np.float64)[values.offset : values.offset + len(values)]


def _first(values: pa.Array, kind: pa.DataType) -> int:
    first: int = pc.min(values.cast(kind)).as_py()
    return first


def _times(texts: pa.Array, to: ColumnType) -> pa.Array | None:
    zoned = pc.match_substring_regex(texts.drop_null().slice(0, 1), guards.OFFSET_AT_END)[0].as_py()
    values = _cast(texts, pa.timestamp("us", "UTC") if zoned else pa.timestamp("us"))
    return values.cast(to.arrow) if _first(values, pa.int64()) >= FIRST_DAY * MICROSECONDS_A_DAY else None
