"""Whether a record says names or values: the cells of a header, against those of a first row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.cells import MOMENT, is_address
from handlers.csv_to_iceberg.csv.tables import MISSING, is_value, value_columns

_LONGEST_NAME: Final = 1000
"""Characters. A longer cell is content."""

VALUE: Final = re.compile(
    r"[-+]?(?:\d[\d.,' ]*|\.\d+)(?:[eE][-+]?\d+)?\s?%?|[$€£]\s?\d[\d.,]*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?"
    r"|true|false|null|nan",
    re.IGNORECASE,
)
"""Cells that are values, not names."""
_TRUTHS: Final = frozenset({"true", "false"})
_SHORT_TRUTHS: Final = frozenset({"yes", "no", "t", "f", "y", "n"})
_GAPS: Final = frozenset({"null", "nan"})
_MANY_NAMES: Final = 3
"""Names above values by which a gap is one of them, though gaps stand below it."""
_MOMENT: Final = re.compile(MOMENT)
_LETTER: Final = re.compile(r"[^\W_]")
_NUMBER: Final = re.compile(r"\d+")
_NUMBERED: Final = re.compile(r"(?=.*[^\W\d_])(?=.*\d).*")
"""Letters and a number."""
_FEWEST_ALIKE: Final = 2
"""Rows whose cells tell that the one above them is no name."""
_SEEN: Final = 100
"""Rows that are looked at for that."""
_YEAR: Final = re.compile(r"1[89]\d\d|20\d\d")


def is_header(cells: Sequence[str], below: Sequence[Sequence[str]] = ()) -> bool:
    """
    Tell whether a record could be a header.

    Args:
        cells: Of the record.
        below: Records as wide below it, if they may tell what some of the cells are.
    """
    names = [cell.strip() for cell in cells]
    filled = [name for name in names if name]
    if not filled or len(filled) * 2 < len(names) or any(len(name) > _LONGEST_NAME for name in filled):
        return False
    corner = _has_corner(names, below)
    if len(names) > 1 and not corner and not any(map(_LETTER.search, filled)):
        return False
    if _begin_columns(names, below):
        return False
    values = [name for name in filled if VALUE.fullmatch(name)]
    if not values:
        return True
    return len(values) < len(filled) + corner and (
        _go_on(values)
        or (corner and values == [str(number) for number in range(len(values))])
        or _are_days_over_others(names, below[0] if below else ())
        or _are_words_over_values(names, below)
    )


def _has_corner(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first cell is empty above the names of the rows, which all differ: a table with two headers."""
    labels = [] if names[0] else [row[0].strip() for row in below]
    return len(labels) > 1 and all(labels) and len(set(labels)) == len(labels)


def _begin_columns(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """
    Tell whether a cell is the first of its column: an address above others, or text whose number is the lowest.

    Linked data has addresses for names, above whatever they mean. A name over values tells that all are names.
    """
    rows = [row for row in below if len(row) >= len(names)][:_SEEN]
    if len(rows) < _FEWEST_ALIKE:
        return False
    linked = len(names) > 1 and all(map(is_address, names))
    begins = any(
        (not linked and is_address(name) and all(is_address(row[at].strip()) for row in rows))
        or (_NUMBERED.fullmatch(name) is not None and _count_on(name, (row[at].strip() for row in rows)))
        for at, name in enumerate(names)
    )
    return begins and not _stand_over_others(names, rows)


def _stand_over_others(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a name stands over what it is not: values, or addresses."""
    values = value_columns([row[: len(names)] for row in rows], len(names))
    return any(
        name
        and name.lower() not in MISSING
        and not is_value(name)
        and not is_address(name)
        and (values[at] or all(is_address(row[at].strip()) for row in rows))
        for at, name in enumerate(names)
    )


def _count_on(name: str, cells: Iterable[str]) -> bool:
    """Tell whether cells are a name with ever higher numbers."""
    text, last = _NUMBER.sub("0", name), _numbers(name)
    for cell in cells:
        numbers = _numbers(cell)
        if numbers <= last or _NUMBER.sub("0", cell) != text:
            return False
        last = numbers
    return True


def _numbers(cell: str) -> list[tuple[int, str]]:
    """Return the numbers in a cell such that they compare: Python refuses to read thousands of digits."""
    return [(len(digits), digits) for digits in (found.lstrip("0") for found in _NUMBER.findall(cell))]


def _are_words_over_values(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """
    Tell whether `true`, `false`, `null`, `nan` are names: all others are names too, and values stand below them.

    A gap may stand below `nan` if that is told by several other names; a truth below `true` would make it a value.
    """
    rows = [row[: len(names)] for row in below if len(row) >= len(names)]
    if not rows or not all(names) or len({name.lower() for name in names}) < len(names):
        return False
    named = truths = 0
    gaps = False
    columns = zip(*rows, strict=True)
    for name, values, cells in zip(map(str.lower, names), value_columns(rows, len(names)), columns, strict=True):
        words = {cell.strip().lower() for cell in cells}
        if name in _TRUTHS:
            if words & (_TRUTHS | _SHORT_TRUTHS):
                return False
            truths += values
        elif name in _GAPS:
            gaps = gaps or bool(words & _GAPS)
        elif VALUE.fullmatch(name):
            return False
        else:
            named += values
    return named >= _MANY_NAMES or (not gaps and (named > 0 or truths == len(_TRUTHS)))


def _go_on(values: Sequence[str]) -> bool:
    """Tell whether values are years in steps, or count from 0 or 1; one may be any number."""
    if len(values) < 2 or not all(value.isdecimal() for value in values):  # noqa: PLR2004 - see above
        return False
    numbers = [int(value) for value in values]
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    if all(_YEAR.fullmatch(value) for value in values):
        return len(steps) == 1
    return steps == {1} and numbers[0] in {0, 1} and len(numbers) > 2  # noqa: PLR2004 - 1,2 may be data


def _are_days_over_others(names: Sequence[str], below: Sequence[str]) -> bool:
    """Tell whether all values are days, all different, and something else than days stands below each."""
    days = [(name, cell) for name, cell in zip(names, below, strict=False) if name and VALUE.fullmatch(name)]
    return (
        len({name for name, _ in days}) == len(days) > 1
        and all(_MOMENT.fullmatch(name) for name, _ in days)
        and not any(_MOMENT.fullmatch(cell.strip()) for _, cell in days)
    )
