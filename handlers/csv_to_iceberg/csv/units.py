"""
Units of measurement below the names of a header: a second line of it, not a record.

In doubt it is a record: a name that lacks its unit is less of a loss than a row.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.records import lines_of, records_of
from handlers.csv_to_iceberg.csv.tables import MISSING, is_value, value_columns

_BRACKETED: Final = r"\(.{0,20}\)|\[.{0,20}\]|<.{0,20}>"
_METRIC: Final = r"[num\u00b5\u03bckMGTdch]?(?:m|g|s|A|K|V|W|Wh|Hz|N|Pa|J|l|L|B|bit|bar|eV|mol)"
_ANGLO: Final = r"(?:deg|\u00b0) ?[CFK]?|[CF]|in|ft|yd|mi|nmi|kn|kt|kph|mph|lbs?|oz|gal|acre|ha"
_OTHER: Final = r"\u03a9|ohm|pp[mb]|pH|dBm?|rad|rpm|psi|px|pcs|lx|bytes?|percent|%|\u2030|[$\u20ac\u00a3\u00a5]"
_MONEY_AND_TIME: Final = r"USD|EUR|GBP|CHF|JPY|UTC|sec|min|h|hrs?|hours?|d|days?|months?|years?|yr"
_PLAIN: Final = rf"(?:{_METRIC}|{_ANGLO}|{_OTHER}|{_MONEY_AND_TIME})(?:\^?-?[1-4]|[\u00b2\u00b3])?"
_UNIT: Final = re.compile(rf"{_BRACKETED}|{_PLAIN}(?:(?:/| per |\*|\u00b7| ){_PLAIN})*")
_IN_BRACKETS: Final = re.compile(_BRACKETED)
_FEWEST: Final = 3
"""Rows that prove columns of values below units without brackets."""
_SEEN: Final = 101
"""Records that tell whether the first of them is none: with it, as many as `value_columns` looks at."""
_NUMBER: Final = re.compile(rb"(?<![^,;\t|])-?[0-9]+(?:\.[0-9]+)?(?![^,;\t|\r])")


def are_units(cells: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Tell whether a record below names goes on with them: above columns of values stand units and nothing else."""
    if len(cells) != width or not rows or any(map(is_value, cells)):
        return False
    under = [cell.strip() for cell, value in zip(cells, value_columns(rows, width), strict=True) if value]
    # A date has no unit. A row may lack such cells too, but hardly has several units.
    units = [cell for cell in under if cell.lower() not in MISSING]
    if len(units) > 1 or units == under != []:
        if all(map(_is_in_brackets, units)):
            return True
        return len(units) > 1 and len(rows) >= _FEWEST and all(map(_UNIT.fullmatch, units))
    return False


def _is_in_brackets(cell: str) -> bool:
    return _IN_BRACKETS.fullmatch(cell) is not None and cell[1:-1].strip().lower() not in MISSING


def may_begin_with_units(text: bytes, layout: Layout) -> bool:
    """Tell whether the records below a remembered header, in UTF-8 and a plain dialect, begin with a line of units."""
    line = text.partition(b"\n")[0]
    if _NUMBER.search(line):
        return False
    if b'"' not in line and not any(
        _UNIT.fullmatch(cell.strip()) for cell in line.decode().split(layout.dialect.delimiter)
    ):
        return False
    records = itertools.islice(records_of(lines_of(text.decode()), layout.dialect), _SEEN)
    rows = [record.cells for record in records]
    return bool(rows) and are_units(rows[0], rows[1:], layout.width)
