"""
Where one table ends and another begins: files may hold several, of which the first is read.

A table is at least three records as wide as each other, the first of them names. It ends where, below a blank line or
in another width, a record of names stands again. Pairs that begin with words are remarks about the table below them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.cells import MOMENT, NUMBER, Look, look_of
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.records import Record

ANOTHER_TABLE: Final = "part of another table, which begins on line {line}"
"""Why records behind the first table are no rows."""
HEADER_AGAIN: Final = "the header again"
"""Why a record that says the names once more, as pages do, is no row."""

_VALUE: Final = re.compile(rf"{NUMBER}|{MOMENT}|true|false|null|nan", re.IGNORECASE)
MISSING: Final = frozenset({"", "-", "--", "na", "n/a", "null", "none", "nan", "?", ".", "..", "\\n"})
_NO_NAMES: Final = frozenset({Look.NUMBER, Look.MOMENT, Look.TOKEN})
_MOSTLY: Final = 0.8
_NEARLY_ALL: Final = 0.95
_PAIR: Final = 2
"""Cells of a record that may be a remark and its name: of a table only if the first of them are values."""
_SHORTEST: Final = 3
"""Records of such a table, with its header."""
_SEEN: Final = 100
"""Records by which columns of values are told."""


def is_value(cell: str) -> bool:
    """Tell whether a cell holds a number, a date, a truth or a gap, not a name."""
    return _VALUE.fullmatch(cell.strip()) is not None


def value_columns(rows: Sequence[Sequence[str]], width: int) -> tuple[bool, ...]:
    """Tell for each column whether most of its cells are values."""
    usual = list(itertools.islice((row for row in rows if len(row) == width), _SEEN))
    return tuple(_mostly_values(column) for column in zip(*usual, strict=True)) if usual else (False,) * width


def _mostly_values(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip().lower() not in MISSING]
    return bool(filled) and sum(map(is_value, filled)) >= _NEARLY_ALL * len(filled)


def are_names(cells: Sequence[str]) -> bool:
    """Tell whether a record could be a header: names in nearly all of its cells, all different, and no value."""
    names = [cell.strip().lower() for cell in cells]
    return (
        len(names) > 1
        and all(names[:-1])
        and len(set(names)) == len(names)
        and not any(look_of(name) in _NO_NAMES or is_value(name) for name in names)
    )


def records_of_first(records: Sequence[Record], width: int) -> list[Record]:
    """Return the records through the end of the first table; `width` is what most records have."""
    sections = list(_sections(records))
    for number, section in enumerate(sections[:-1]):
        own, share = _width_of(section)
        if own >= _PAIR and share >= _MOSTLY and len(section) >= _SHORTEST and _is_table(section, own):
            return [record for before in sections[: number + 1] for record in before]
    main = [record for record in records if len(record.cells) == width]
    return [record for record in records if not main or record.begin <= main[-1].begin]


def _sections(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Cut before names that stand below a blank line, or as wide as the next record but not as the last one."""
    section: list[Record] = []
    for number, record in enumerate(records):
        if section and _may_begin(record, section[-1], records[number + 1 : number + 2]) and are_names(record.cells):
            yield section
            section = []
        section.append(record)
    if section:
        yield section


def _may_begin(record: Record, last: Record, following: Sequence[Record]) -> bool:
    gap = record.begin > last.end
    width = len(record.cells)
    return gap or (width != len(last.cells) and any(len(other.cells) == width for other in following))


def _width_of(section: Sequence[Record]) -> tuple[int, float]:
    width, count = Counter(len(record.cells) for record in section).most_common(1)[0]
    return width, count / len(section)


def _is_table(section: Sequence[Record], width: int) -> bool:
    rows = [record.cells for record in section if len(record.cells) == width]
    values = value_columns(rows[1:], width)
    return are_names(rows[0]) and (values[0] if width == _PAIR else any(values))


def marked(records: Iterator[Record], layout: Layout) -> Iterator[Record]:
    """Give what is no row beside its width its reason: the header again, and all behind the first table."""
    began = ""
    end = -1
    record = next(records, None)
    while record is not None:
        following = next(records, None)
        if not began and 0 <= end < record.begin and _begins_another(record, following, layout):
            began = ANOTHER_TABLE.format(line=record.begin + layout.head_lines + 1)
        end = record.end
        if began:
            yield record._replace(reason=record.reason or began)
        elif not record.reason and len(record.cells) == layout.width and _repeats_header(record, layout):
            yield record._replace(reason=HEADER_AGAIN)
        else:
            yield record
        record = following


def _repeats_header(record: Record, layout: Layout) -> bool:
    return layout.header_line > 0 and layout.width > 1 and tuple(column_names(record.cells)) == layout.names


def _begins_another(record: Record, following: Record | None, layout: Layout) -> bool:
    """Tell whether a record below a blank line is the header of another table."""
    if not are_names(record.cells) or _repeats_header(record, layout):
        return False
    if len(record.cells) != layout.width:
        return following is not None and len(following.cells) == len(record.cells)
    return any(layout.values) and all(
        not value or cell.strip().lower() not in MISSING
        for cell, value in zip(record.cells, layout.values, strict=False)
    )
