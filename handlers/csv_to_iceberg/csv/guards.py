"""
Which texts a type can hold, as regular expressions (RE2) that a whole cell must match, blanks around it aside.

Arrow's strict casts accept more than is lossless (`007` and `0x1A` as integers, `1e400` as infinity) and fail a whole
column for one bad cell. A text that matches its guard is safe to cast, with the exceptions named here.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from handlers.csv_to_iceberg.csv.columns import ColumnType

DateOrder = Literal["dmy", "mdy"]

TRUE_WORDS: Final = ("true", "t", "yes", "y")
FALSE_WORDS: Final = ("false", "f", "no", "n")
SEED_TRUE_WORDS: Final = ("true", "yes", "1")
SEED_FALSE_WORDS: Final = ("false", "no", "0")

LEADING_ZERO: Final = r"^\s*[+-]?0[0-9]+\s*$"
"""Codes, not numbers: postal codes, article numbers."""

SIGNED_PLUS: Final = r"^\s*\+[0-9]+\s*$"
"""Telephone numbers."""

WHOLE_NUMBER: Final = r"^\s*[+-]?[0-9]+\s*$"

NOT_ZERO: Final = "^[^eE]*[1-9]"
"""A number that is not zero: one that a double makes zero is lost."""

BEYOND_DOUBLE: Final = r"^[-0.]*[1-9](?:\.?[0-9]){16,}\.?[1-9]"
"""More than the 17 significant digits that a double can carry."""

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
"""A day of the calendar, as YYYY-MM-DD. Year 0000 must be excluded by value: Python and Iceberg readers have none."""
_TIME = r"(?:[01][0-9]|2[0-3])(?::[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?)?"
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"

OFFSET_AT_END: Final = f":[0-9]{{2}}(?:\\.[0-9]+)?{_OFFSET}$"

# 19 digits may exceed int64, exponents a double: both are checked by value.
_INTEGER = "-?(?:0|[1-9][0-9]{0,18})"
_TIMESTAMP = f"{_DAY}(?:[ T]{_TIME}{_OFFSET}?)?"

LOSSLESS: Final = {
    ColumnType.INTEGER: _INTEGER,
    ColumnType.BIGINT: _INTEGER,
    ColumnType.DOUBLE: r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    ColumnType.DATE: _DAY,
    ColumnType.TIMESTAMP: _TIMESTAMP,
    ColumnType.TIMESTAMPTZ: _TIMESTAMP,
}
"""A plus sign is kept by text only: +4915112345 is a telephone number."""

SEED: Final = LOSSLESS | {
    ColumnType.INTEGER: "-?0*[0-9]{1,19}",
    ColumnType.BIGINT: "-?0*[0-9]{1,19}",
    ColumnType.DOUBLE: r"-?[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?",
}
"""The patterns of the CSV specification, section type inference."""

SEPARATORS: Final = {"ymd": "-/.", "dmy": "/.-", "mdy": "/-"}
"""Between the parts of a date, the same twice. Nobody writes month.day.year with points."""
SEED_SEPARATORS: Final = {"ymd": "-", "dmy": "/", "mdy": "/"}
"""The formats of the CSV specification: `YYYY-MM-DD`, `DD/MM/YYYY`, `MM/DD/YYYY`."""

EITHER_ORDER: Final = "^(?:[0-9]{1,2}/[0-9]{1,2}/|[0-9]{1,2}-[0-9]{1,2}-)[0-9]{4}(?:$|[ T])"

Step = tuple[str, str]
"""A pattern and its replacement."""


def to_iso(order: Literal["ymd", "dmy", "mdy"], separators: str) -> tuple[Step, ...]:
    """Return the steps that turn days of an order into YYYY-MM-DD, parts still of one or two digits."""
    year, other = "([0-9]{4})", "([0-9]{1,2})"
    parts = [year if part == "y" else other for part in order]
    target = "-".join(rf"\{order.index(part) + 1}" for part in "ymd") + r"\4"
    return tuple((f"^{re.escape(separator).join(parts)}($|[ T])", target) for separator in separators)


PADDING: Final[tuple[Step, ...]] = (
    (r"^([0-9]{4})-([0-9])-", r"\1-0\2-"),
    (r"^([0-9]{4}-[0-9]{2})-([0-9])($|[ T])", r"\1-0\2\3"),
    (r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[ T])([0-9]):", r"\10\2:"),
)

ISO_BASIC: Final[tuple[Step, ...]] = (
    (r"^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})", r"\1-\2-\3T\4:\5:\6"),
    (r"^([0-9]{4}-[^,]*:[0-9]{2}),([0-9])", r"\1.\2"),
)
"""What else ISO 8601 allows: 20240115T103000Z, and a comma before the decimals of a second."""

ZEROS_BEYOND_MICROSECONDS: Final[Step] = (r"(:[0-9]{2}\.[0-9]{6})0+", r"\1")
DIGITS_BEYOND_MICROSECONDS: Final[Step] = (r"(:[0-9]{2}\.[0-9]{6})[0-9]+", r"\1")

HALF_DAY: Final = "^(.*[ T](?:0?[1-9]|1[0-2]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?) ?([AaPp])[Mm]$"
"""A time by the twelve-hour clock; replaced by its first group, it is read as one of twenty-four hours."""
AFTER_NOON: Final = "[Pp][Mm]$"
TWELVE: Final = "[ T]12:"
