"""
Where one table ends and another begins: files may hold several, of which the first is read.

A table is at least three records as wide as each other, the first of them names. It ends where, below a blank line or
in another width, a record of names stands again. Pairs that begin with words are remarks about the table below them,
unless they are names above numbers: three rows of those are a table, two may be one.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.cells import MOMENT, NUMBER, Look, look_of
from handlers.csv_to_iceberg.csv.layout import Above, Layout
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.records import COMMENT, Record

ANOTHER_TABLE: Final = "part of another table, which begins on line {line}"
"""Why records behind the first table are no rows."""
HEADER_AGAIN: Final = "the header again"
"""Why a record that says the names once more below a blank line, as pages do, is no row."""
HEADER_REPEATED: Final = "header repeated"
"""Why a record equal to the header, as files put one behind another have it, is no row."""

BYTE_ORDER_MARK: Final = "\ufeff"

_VALUE: Final = re.compile(rf"{NUMBER}|{MOMENT}|true|false|null|nan", re.IGNORECASE)
# `null_tokens` says what is NULL in a table, so it is short. This says what tells nothing about a column while a header
# is looked for, so it is long: a dash taken for a gap costs no value here.
MISSING: Final = frozenset({"", "-", "--", "na", "n/a", "null", "none", "nan", "?", ".", "..", "\\n"})
_NO_NAMES: Final = frozenset({Look.NUMBER, Look.MOMENT, Look.TOKEN})
_MOSTLY: Final = 0.8
_NEARLY_ALL: Final = 0.95
_PAIR: Final = 2
"""Cells of a record that may be a remark and its name: of a table only if the first of them are values."""
_FEWEST_PAIRS: Final = 3
"""Words beside numbers that make a table."""
_SHORTEST: Final = 3
"""Records of such a table, with its header."""
_COMMENT: Final = re.compile(r"(?:#|//)(?:\s|$)")
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


def names_below_remark(records: Sequence[Record], width: int) -> Record | None:
    """
    Return the names above values below a first record that happens to be as wide, and has a word where values stand.

    `"EXTF";700;21` above `Konto;Betrag;Datum` says with which program a file was written.
    """
    if len(records) <= _SHORTEST:
        return None
    remark, names, *rows = records
    values = value_columns([row.cells for row in rows], width)
    odd = (
        value and cell.strip().lower() not in MISSING and not is_value(cell)
        for cell, value in zip(remark.cells, values, strict=True)
    )
    return names if are_names(names.cells) and any(odd) else None


def records_of_first(records: Sequence[Record], width: int) -> list[Record]:
    """
    Return the records through the end of the first table; `width` is what most records have.

    Without what stands above it, if some of that has its width too: names and one row are no table above a longer one.
    """
    parts = list(sections(records))
    for number, section in enumerate(parts):
        told = [record for record in section if not _COMMENT.match(record.cells[0])]
        own, share = _width_of(told)
        if own < _PAIR or share < _MOSTLY or len(told) < _SHORTEST:
            continue
        below = parts[number + 1][0] if number < len(parts) - 1 else None
        if not _is_table(told, own, apart=below is not None and _any_gap([*section[section.index(told[-1]) :], below])):
            continue
        if below is not None and _may_be_remarks(section, own) and len(parts[number + 1]) > len(section):
            continue
        above = [record for before in parts[:number] for record in before]
        alike = [record for record in above if len(record.cells) == own]
        if (
            alike
            and len(section) > sum(record.cells[-1] != "" for record in alike)
            and section[0].begin > above[-1].end
        ):
            return section
        if number < len(parts) - 1:
            return [*above, *section]
    main = [record for record in records if len(record.cells) == width]
    return [record for record in records if not main or record.begin <= main[-1].begin]


def records_above(records: Sequence[Record], lines: Sequence[str], before: int) -> list[Above]:
    """
    Return those of tables that were not read: names above columns of values.

    Everything else above a header is a title or a remark and no record. So are most pairs: `Owner;Ann` and
    `Account;1234` tell about the table below.

    Args:
        records: Above the header.
        lines: That they stand on.
        before: Lines above these.
    """
    found: list[Above] = []
    for section in sections(records):
        names = next((number for number, record in enumerate(section) if are_names(record.cells)), len(section))
        table = section[names:]
        if _was_table([record.cells for record in table]):
            begins = table[0].begin + before + 1
            found += [
                Above(
                    one.begin + before + 1, len(one.cells), "".join(lines[one.begin : one.end]).rstrip("\r\n"), begins
                )
                for one in table
            ]
    return found


def _was_table(rows: Sequence[Sequence[str]]) -> bool:
    if len(rows) <= 1 or len(rows[0]) != len(rows[1]):
        return False
    if _used(rows) <= _PAIR:
        # `Owner;Ann` over two numbers tells about a table; a name is seldom written small.
        least = _PAIR if rows[0][1].strip().islower() else _FEWEST_PAIRS
        return len(rows) > least and _are_named_numbers(rows)
    return any(value_columns(rows[1:], len(rows[0])))


def _may_be_remarks(section: Sequence[Record], width: int) -> bool:
    """Tell whether a table may be pairs about a longer one below it: `Owner;Ann` over numbers, not `owner;sales`."""
    rows = [record.cells for record in section if len(record.cells) == width]
    return _used(rows) <= _PAIR and not rows[0][1].strip().islower() and not value_columns(rows[1:], width)[0]


def _are_named_numbers(rows: Sequence[Sequence[str]]) -> bool:
    """
    Tell whether pairs of words and numbers may be a table: `region,sales` above `North,1`.

    Remarks give themselves away by a colon, or a capital in their first value but not in its name: `owner,Ann`.
    """
    names, *pairs = ([cell.strip() for cell in row[:_PAIR]] for row in rows)
    return (
        len(names) == _PAIR
        and all(any(map(str.isalpha, name)) for name in names)
        and names[1].islower() >= names[0].islower()
        and not any(cell.endswith(":") for cell in (*names, *(pair[0] for pair in pairs)))
        and all(
            len(pair) == _PAIR and (look_of(pair[1]) is Look.NUMBER or pair[1].lower() in MISSING) for pair in pairs
        )
        and any(look_of(pair[1]) is Look.NUMBER for pair in pairs)
    )


def sections(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Cut records before names that stand below a blank line, or as wide as the next record but not as the last one."""
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


def _any_gap(records: Sequence[Record]) -> bool:
    return any(later.begin > earlier.end for earlier, later in itertools.pairwise(records))


def _width_of(section: Sequence[Record]) -> tuple[int, float]:
    if not section:
        return 0, 0.0
    width, count = Counter(len(record.cells) for record in section).most_common(1)[0]
    return width, count / len(section)


def _is_table(section: Sequence[Record], width: int, *, apart: bool) -> bool:
    """Tell whether a section is a table, `apart` from another one below it by a blank line."""
    rows = [record.cells for record in section if len(record.cells) == width]
    if not are_names(rows[0]):
        return False
    values = value_columns(rows[1:], width)
    if _used(rows) > _PAIR:
        return any(values)
    return values[0] or (apart and len(rows) > _FEWEST_PAIRS and _are_named_numbers(rows))


def _used(rows: Sequence[Sequence[str]]) -> int:
    """Count the cells of a record, but for those that trailing delimiters make."""
    return max((number for row in rows for number, cell in enumerate(row, 1) if cell.strip()), default=0)


def marked(records: Iterator[Record], layout: Layout) -> Iterator[Record]:
    """Give what is no row beside its width its reason: the header again, and all behind the first table."""
    began = ""
    end = -1
    record = next(records, None)
    while record is not None:
        following = next(records, None)
        if not began and 0 <= end < record.begin and _begins_another(record, following, layout):
            began = ANOTHER_TABLE.format(line=record.begin + layout.head_lines + 1)
        if record.reason != COMMENT or record.begin == end:  # comments do not fill a gap
            end = record.end
        if began:
            yield record._replace(reason=record.reason or began)
        elif not record.reason and len(record.cells) == layout.width and _repeats_header(record, layout):
            yield record._replace(reason=HEADER_AGAIN)
        else:
            yield record
        record = following


def unrepeated(records: Iterator[Record], layout: Layout) -> Iterator[Record]:
    """Give records equal to the header that reason."""
    header = list(layout.header)
    marked = [BYTE_ORDER_MARK + header[0], *header[1:]] if header else []
    for record in records:
        repeated = bool(header) and record.cells in (header, marked)
        yield record._replace(reason=HEADER_REPEATED) if repeated else record


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
