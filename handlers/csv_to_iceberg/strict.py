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

from handlers.csv_to_iceberg import guards
from handlers.csv_to_iceberg.columns import ColumnType
from handlers.csv_to_iceberg.letters import MINUS, NINE, PLUS, POINT, ZERO, Letters, Mask, is_digit

NEIGHBOURS_FALL_TOGETHER: Final = 2.0**53
"""Below it every whole number is a double of its own."""
FIRST_DAY: Final = -719_162
"""0001-01-01 in days since 1970-01-01."""
MICROSECONDS_A_DAY: Final = 86_400_000_000

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
                    values = texts.cast(to.arrow)
                    return values if self._whole_numbers(Letters(texts)) else None
                case ColumnType.DOUBLE:
                    values = texts.cast(pa.float64())
                    return values if self._no_digit_lost(texts, values) else None
                case ColumnType.BOOLEAN:
                    return self._truth(texts)
                case ColumnType.DATE:
                    values = texts.cast(pa.date32())
                    return values if _first(values, pa.int32()) >= FIRST_DAY else None
                case _:
                    return _times(texts, to)
        except pa.ArrowInvalid:
            return None

    def _truth(self, texts: pa.Array) -> pa.Array | None:
        found = pc.index_in(texts, value_set=self._words)
        return pc.less(found, self._true_words) if found.null_count == texts.null_count else None

    def _whole_numbers(self, letters: Letters) -> bool:
        """Tell that no text is 007, 0x1A or -05: what Arrow takes for an integer although it is written otherwise."""
        if letters.data.max() > NINE:
            return False
        if self._seed:
            return True
        long = letters.lengths > 1
        zero = _begins(letters, ZERO) | (_begins(letters, MINUS) & _begins(letters, ZERO, 1))
        return not (zero & long).any()

    def _no_digit_lost(self, texts: pa.Array, values: pa.Array) -> bool:
        """Tell that no text is a code (007.5, +5), beyond a double's range, or has more digits than a double keeps."""
        letters = Letters(texts)
        numbers = _numbers(values)
        sizes = np.abs(numbers)
        largest = sizes.max()
        if not largest < np.inf or _begins(letters, PLUS).any():
            return False
        if self._seed:
            return not (_begins(letters, POINT).any() or (_begins(letters, MINUS) & _begins(letters, POINT, 1)).any())
        if _code(letters, 0).any() or (_begins(letters, MINUS) & _code(letters, 1)).any():
            return False
        if (zero := sizes == 0).any() and _any(texts.filter(pa.array(zero)), guards.NOT_ZERO):
            return False
        if largest >= NEIGHBOURS_FALL_TOGETHER:
            large = texts.filter(pa.array(sizes >= NEIGHBOURS_FALL_TOGETHER))
            if _any(large, guards.WHOLE_NUMBER):
                return False
        # The pattern costs four times the cast, so it sees only texts whose length leaves a doubt.
        long = letters.lengths > _DIGITS + len(".")
        return not long.any() or not _any(texts.filter(pa.array(long)), guards.BEYOND_DOUBLE)


def _begins(letters: Letters, letter: int, at: int = 0) -> Mask:
    """Tell which texts have a letter at a place near their beginning; nonsense where they are shorter."""
    found: Mask = letters.data[letters.starts + at] == letter
    return found


def _code(letters: Letters, at: int) -> Mask:
    """Tell which texts have a zero and another digit at a place: 007."""
    zero = _begins(letters, ZERO, at)
    return zero & (letters.lengths > at + 1) & is_digit(letters.data[letters.starts + at + 1]) if zero.any() else zero


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
    values = texts.cast(pa.timestamp("us", "UTC")) if zoned else texts.cast(pa.timestamp("us"))
    return values.cast(to.arrow) if _first(values, pa.int64()) >= FIRST_DAY * MICROSECONDS_A_DAY else None
