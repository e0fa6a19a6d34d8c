"""
Where the header is, and whether there is one.

The header is the first record as wide as most records; what stands before it (titles, padded to that width or not,
comments, `sep=`) is skipped. A record with a number or a date in it is data, unless the values go on from cell to cell:
`country,2021,2022,2023`. A line of groups above it and a line of units below it belong to the names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from handlers.csv_to_iceberg.csv.cells import MOMENT
from handlers.csv_to_iceberg.csv.dialect import Detected, detect_dialect, sampled_records
from handlers.csv_to_iceberg.csv.errors import EmptyFile, HeaderMissing, TooManyColumns
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.records import Record, lines_of
from handlers.csv_to_iceberg.csv.tables import are_names, records_of_first, value_columns
from handlers.csv_to_iceberg.csv.units import are_units

_RECORDS: Final = 1000
"""Records whose usual width is the file's."""
_LONGEST_NAME: Final = 1000
"""Characters. A longer cell is content."""

_MOST_TITLES: Final = 10
"""Padded titles above a header; more of them are data."""

_SEPARATOR_LINE: Final = re.compile(r"\"?sep=(.)\"?[,;\t]*\r?[\n\r]", re.IGNORECASE)
"""What Excel writes and reads as a first line."""

_COMMENTS: Final = ("#", "//")

_VALUE: Final = re.compile(
    r"[-+]?(?:\d[\d.,' ]*|\.\d+)(?:[eE][-+]?\d+)?\s?%?|[$€£]\s?\d[\d.,]*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?"
    r"|true|false|null|nan",
    re.IGNORECASE,
)
"""Cells that are values, not names."""
_MOMENT: Final = re.compile(MOMENT)
_LETTER: Final = re.compile(r"[^\W_]")
_YEAR: Final = re.compile(r"1[89]\d\d|20\d\d")


def detect_layout(text: str, *, complete: bool, options: Options) -> tuple[Layout, int]:
    """
    Return the layout and the number of characters before the first record, from the beginning of a file.

    Args:
        text: Without a byte order mark; cut anywhere unless `complete`.
        complete: There is no more.
        options: Of the route.

    Raises:
        EmptyFile, HeaderMissing, TooManyColumns: The file cannot be ingested.
    """
    declared = _SEPARATOR_LINE.match(text)
    if declared and (not declared[1].isascii() or declared[1].isalnum() or declared[1] in "\"'\\"):
        declared = None
    lines = lines_of(text[declared.end() :] if declared else text)
    if not complete and len(lines) > 1:
        lines.pop()
    detected = detect_dialect("".join(lines), complete=complete, delimiter=declared[1] if declared else "")
    records, width = sampled_records(lines, detected.dialect, _RECORDS)
    if not complete and len(records) > 1:
        # Its quote may close beyond the cut.
        records.pop()
    if not any(cell.strip() for record in records for cell in record.cells):
        raise EmptyFile
    table = records_of_first(records, width)
    width = _checked_width(usual_width(table), options)
    header = _find_header(table, width)
    if header is None and options.header == "require":
        raise _missing(records[0])
    above = 1 if declared else 0
    layout = _layout(table, header, width, detected, above)
    head = layout.head_lines - above
    between = [record for record in records if record.begin >= head]
    return replace(
        layout,
        several=any(later.begin > earlier.end for earlier, later in itertools.pairwise(between)),
        dialect=replace(layout.dialect, comment=_comment_mark(between, width)),
    ), (declared.end() if declared else 0) + sum(map(len, lines[:head]))


def usual_width(records: Sequence[Record]) -> int:
    """Return the most frequent number of cells; of equally frequent ones the largest."""
    widths = [len(record.cells) for record in records]
    return max(set(widths), key=lambda width: (widths.count(width), width))


def _checked_width(width: int, options: Options) -> int:
    if width > options.max_columns:
        raise TooManyColumns(
            f"The file has {width:,} columns, max_columns is {options.max_columns:,}. Raise it on the route, or check "
            "that the file has line breaks."
        )
    return width


def _layout(table: Sequence[Record], header: Record | None, width: int, detected: Detected, above: int) -> Layout:
    dialect, reason = detected
    if header is None:
        values = value_columns([record.cells for record in table], width)
        return Layout(dialect, tuple(column_names([""] * width)), 0, above, values, reason)
    rows = [record for record in table if record.begin >= header.end]
    cells, begin = header.cells, header.begin
    group = next((record for record in table if record.end == header.begin), None)
    if group and _is_group(group.cells, header.cells):
        cells, begin = _combined(_filled_on(group.cells), cells), group.begin
    end = header.end
    if rows and rows[0].begin == end and are_units(rows[0].cells, [row.cells for row in rows[1:]], width):
        cells, end = _combined(cells, rows[0].cells), rows.pop(0).end
    data = [record.cells for record in rows]
    names = _names(cells, width, data)
    return Layout(dialect, names, begin + above + 1, end + above, value_columns(data, width), reason)


def _combined(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    return [" ".join(filter(None, (one.strip(), other.strip()))) for one, other in zip(upper, lower, strict=True)]


def _filled_on(cells: Sequence[str]) -> list[str]:
    """Let a group reach to the next one: a spreadsheet writes a merged cell once."""
    filled: list[str] = []
    for cell in cells:
        filled.append(cell if cell.strip() or not filled else filled[-1])
    return filled


def _is_group(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether a record above names is a line of groups: fewer cells filled than below, at least two."""
    filled = [cell for cell in cells if cell.strip()]
    return (
        len(cells) == len(names)
        and 1 < len(filled) < len(cells)
        and all(name.strip() for name in names[1:])
        and (len({name.strip().lower() for name in names}) < len(names) or not cells[0].strip())
    )


def _find_header(records: Sequence[Record], width: int) -> Record | None:
    if _is_header(records[0].cells) and (
        _rows_end_in_delimiter(records, width)
        or _rows_are_named(records, width)
        or (width == 1 and all(records[0].cells))
    ):
        return records[0]
    full = [record for record in records if len(record.cells) == width and not _is_comment(record, width)]
    named = width - _unused([record.cells for record in full])
    for candidate in (_below_titles(full, width), _below_groups(full), *full[:1], _below_gap(full, width)):
        if candidate is not None and _is_header(candidate.cells[:named], _next_cells(full, candidate)):
            return candidate
    if full and full[0] is records[0] and _names_first_column_only(full, width):
        return full[0]
    # The usual width may be that of broken rows.
    first = next((record for record in records if not _is_comment(record, width)), None)
    return first if first is not None and len(first.cells) > 1 and _is_header(first.cells) else None


def _unused(rows: Sequence[Sequence[str]]) -> int:
    """Count the last cells that are empty in every row; nothing if fewer than two were left."""
    if not rows or len(rows[0]) <= 2:  # noqa: PLR2004 - see above
        return 0
    used = max((number for row in rows for number, cell in enumerate(row, 1) if cell.strip()), default=0)
    return len(rows[0]) - used if used > 1 else 0


def _next_cells(records: Sequence[Record], record: Record) -> list[str]:
    return next((other.cells for other in records if other.begin >= record.end), [])


def _below_titles(full: Sequence[Record], width: int) -> Record | None:
    """
    Return the first record as wide as the table that is no title; None when there is none, or it cannot be told.

    Spreadsheets pad a title to that width: `Report;;`. It may as well be a header over unnamed columns, unless it is
    more than a word, or there are names below it and values below those.
    """
    table = list(itertools.dropwhile(_is_padded_title, full))
    titles = full[: len(full) - len(table)]
    if not table or len(titles) > _MOST_TITLES:
        return None
    first, *rows = table
    if titles and not (all(first.cells) and any(value_columns([row.cells for row in rows], width))):
        told = width > 2 and any(" " in title.cells[0].strip() for title in titles)  # noqa: PLR2004 - see above
        return first if told and all(first.cells) else None
    return first


def _below_gap(full: Sequence[Record], width: int) -> Record | None:
    """Return the names above values that a blank line sets apart from a few lines that happen to be as wide."""
    for number, (above, record) in enumerate(itertools.pairwise(full[: _MOST_TITLES + 1]), 1):
        rows = [row.cells for row in full[number + 1 :]]
        if record.begin > above.end and all(record.cells) and len(rows) >= number:
            return record if any(value_columns(rows, width)) else None
    return None


def _below_groups(full: Sequence[Record]) -> Record | None:
    """Return the second record when the first is a line of groups."""
    return full[1] if len(full) > 1 and _is_group(full[0].cells, full[1].cells) else None


def _names_first_column_only(full: Sequence[Record], width: int) -> bool:
    """Tell whether the first record is a name beside unnamed columns of text."""
    return (
        _is_padded_title(full[0])
        and not all(map(_is_padded_title, full[:2]))
        and " " not in full[0].cells[0].strip()
        and bool(full[0].cells[0].strip())
        and not any(value_columns([record.cells for record in full[1:]], width))
    )


def _is_padded_title(record: Record) -> bool:
    first, *others = (cell.strip() for cell in record.cells)
    return bool(others) and not any(others) and not _VALUE.fullmatch(first)


def _rows_end_in_delimiter(records: Sequence[Record], width: int) -> bool:
    """Tell whether the rows are one cell wider than the first record, and that cell is always empty."""
    rows = [record.cells for record in records if len(record.cells) == width]
    return len(records[0].cells) == width - 1 and all(row[-1] == "" for row in rows)


def _rows_are_named(records: Sequence[Record], width: int) -> bool:
    """Tell whether every row has one cell more than the first record, as R writes rows that have names."""
    first, *rows = records
    return (
        len(first.cells) == width - 1
        and bool(rows)
        and all(len(row.cells) == width for row in rows)
        and rows[0].begin == first.end
        and are_names([*first.cells, "row"])
        and not _is_header(rows[0].cells)
    )


def _is_comment(record: Record, width: int) -> bool:
    first = record.cells[0]
    return first.startswith(_COMMENTS) and (len(record.cells) != width or first.lstrip("#/")[:1].isspace())


def _comment_mark(records: Sequence[Record], width: int) -> str:
    """Return what the comments between records begin with; empty when there are none."""
    for mark in _COMMENTS:
        begun = [record for record in records if record.cells[0].startswith(mark)]
        if begun and len(begun) * 2 <= len(records) and all(_is_comment(record, width) for record in begun):
            return mark
    return ""


def _is_header(cells: Sequence[str], below: Sequence[str] = ()) -> bool:
    names = [cell.strip() for cell in cells]
    filled = [name for name in names if name]
    if not filled or len(filled) * 2 < len(names) or any(len(name) > _LONGEST_NAME for name in filled):
        return False
    if len(names) > 1 and not any(map(_LETTER.search, filled)):
        return False
    values = [name for name in filled if _VALUE.fullmatch(name)]
    if not values:
        return True
    return len(values) < len(filled) and (_go_on(values) or _are_days_over_others(names, below))


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
    days = [(name, cell) for name, cell in zip(names, below, strict=False) if name and _VALUE.fullmatch(name)]
    return (
        len({name for name, _ in days}) == len(days) > 1
        and all(_MOMENT.fullmatch(name) for name, _ in days)
        and not any(_MOMENT.fullmatch(cell.strip()) for _, cell in days)
    )


def _names(cells: Sequence[str], width: int, data: Sequence[Sequence[str]]) -> tuple[str | None, ...]:
    """
    Name the cells of a record. Trailing delimiters make no column.

    They may stand in the header only (`a,b,` over `1,2`), in the rows only (`a,b` over `1,2,`), or in both.
    """
    if len(cells) == width + 1 and not cells[-1].strip():
        return tuple(column_names(cells[:-1]))
    named = tuple(column_names(cells))
    rows = [row for row in data if len(row) == width]
    if not all(row[-1] == "" for row in rows):
        return tuple(column_names(["", *cells])) if len(cells) == width - 1 else named
    if len(cells) == width - 1:
        return (*named, None)
    if width > 1 and not cells[-1].strip():
        unused = _unused([cells, *rows]) or 1
        return (*named[:-unused], *[None] * unused)
    return named


def _missing(first: Record) -> HeaderMissing:
    value = next((cell for cell in first.cells if _VALUE.fullmatch(cell.strip())), first.cells[0])
    shown = value if len(value) <= 40 else value[:37] + "..."  # noqa: PLR2004 - fits a line of a terminal
    return HeaderMissing(
        f"Line {first.begin + 1} looks like data ({shown!r}), and no header was found. Add a header row, or set "
        'header = "generate" on the route.'
    )
