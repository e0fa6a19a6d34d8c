"""
Decimal commas: 1.234,56 read as 1234.56.

A comma is a decimal mark only with evidence, and points are thousands only before a comma: 1.234 alone may be either.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.letters import COMMA, MINUS, POINT, ZERO, Letters, Mask, is_digit

NUMBER: Final = (
    "^-?(?:(?:(?:0|[1-9][0-9]*)(?:,[0-9]*)?|,[0-9]+)(?:[eE][+-]?[0-9]+)?|[1-9][0-9]{0,2}(?:[.][0-9]{3}){1,5},[0-9]*)$"
)
"""A number whose decimal mark, if it has any, is a comma."""

PROVES_COMMA: Final = (
    "^-?(?:0?,[0-9]+|[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|[0-9]{4,},[0-9]*|[0-9]{1,3}(?:[.][0-9]{3})+,[0-9]*)(?:$|[eE])"
)
"""A number whose comma cannot stand between thousands."""

PROVES_POINT: Final = "^-?(?:0?[.][0-9]+|[0-9]+[.](?:[0-9]{0,2}|[0-9]{4,})|[0-9]{4,}[.][0-9]*)(?:$|[eE])"
"""A number whose point cannot stand between thousands."""

COMMA_OR_THOUSANDS: Final = "^-?[1-9][0-9]{0,2},[0-9]{3}$"
THOUSANDS: Final = "^-?[1-9][0-9]{0,2}(?:[.][0-9]{3})+$"

_GROUP: Final = len(".000")
_MOST_GROUPS: Final = 5
"""Of a number below 10**18."""


def with_points(texts: pa.Array) -> pa.Array:
    """
    Write numbers with decimal commas as ones with decimal points.

    Every other text comes out as something that is no number, above all 1.5 and 1.234. It costs a twentieth of doing
    the same by patterns.
    """
    letters = Letters(texts)
    points, commas = letters.data == POINT, letters.data == COMMA
    if not points.any() and not commas.any():
        return texts
    data = letters.data.copy()
    data[points], data[commas] = COMMA, POINT
    swapped = letters.rewritten(texts, data)
    if not points.any():
        return swapped
    return pc.if_else(pa.array(_grouped(letters, points, commas)), pc.replace_substring(swapped, ",", ""), swapped)


def _grouped(letters: Letters, points: Mask, commas: Mask) -> Mask:
    """Tell which texts are numbers with points between thousands and a decimal comma: 1.234,56."""
    data = letters.data
    digits = is_digit(data)
    starts = letters.starts + (data[letters.starts] == MINUS)
    groups = letters.counts(points)
    others = letters.counts(~(points | commas | digits))
    leading = data[starts]
    # The comma stands a multiple of four after the first point, which has one to three digits before it.
    first = np.full(len(starts), -1)
    for length in (3, 2, 1):
        first = np.where(data[starts + length] == POINT, starts + length, first)
    comma = first + _GROUP * groups
    ok: Mask = (
        (groups > 0)
        & (groups <= _MOST_GROUPS)
        & (letters.counts(commas) == 1)
        & (others == starts - letters.starts)
        & (leading > ZERO)
        & is_digit(leading)
        & (first >= 0)
        & (comma < letters.ends)
    )
    ok &= data[np.where(ok, comma, 0)] == COMMA
    for group in range(_MOST_GROUPS):
        ok &= (group >= groups) | (data[np.where(ok, first + _GROUP * group, 0)] == POINT)
    return ok
