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

from handlers.csv_to_iceberg.csv.dialect import Detected, detect_dialect, sampled_records
from handlers.csv_to_iceberg.csv.directives import COMMENT, directed
from handlers.csv_to_iceberg.csv.doubts import doubt_about_column, doubt_about_skipped
from handlers.csv_to_iceberg.csv.errors import EmptyFile, HeaderMismatch, HeaderMissing, TooManyColumns
from handlers.csv_to_iceberg.csv.groups import combined, complete_each_other, filled_on, is_group
from handlers.csv_to_iceberg.csv.header_cells import VALUE, is_header
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.nameless import doubt_about_skipped_names, with_gap
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.records import Record, lines_of
from handlers.csv_to_iceberg.csv.remarks import skipped_lines
from handlers.csv_to_iceberg.csv.rulers import is_ruler
from handlers.csv_to_iceberg.csv.tables import (
    are_names,
    names_below_remark,
    records_above,
    records_of_first,
    value_columns,
)
from handlers.csv_to_iceberg.csv.titles import below_gap, below_padding, below_titles, names_first_column_only
from handlers.csv_to_iceberg.csv.units import are_units

_RECORDS: Final = 1000
"""Records whose usual width is the file's."""

_SEPARATOR_LINE: Final = re.compile(r"\"?sep=(.)\"?[,;\t]*\r?[\n\r]", re.IGNORECASE)
"""What Excel writes and reads as a first line."""

_COMMENTS: Final = ("#", "//")


def detect_layout(text: str, *, complete: bool, options: Options) -> tuple[Layout, int]:
    """
    Return the layout and the number of characters before the first record, from the beginning of a file.

    Args:
        text: Without a byte order mark; cut anywhere unless `complete`.
        complete: There is no more.
        options: Of the route.

    Raises:
        EmptyFile, HeaderMissing, HeaderMismatch, TooManyColumns: The file cannot be ingested.
    """
    blank = len(text) - len(text.lstrip("\r\n"))
    blank_lines = len(lines_of(text[:blank]))
    text = text[blank:]
    declared = _SEPARATOR_LINE.match(text)
    if declared and (not declared[1].isascii() or declared[1].isalnum() or declared[1] in "\"'\\"):
        declared = None
    lines = lines_of(text[declared.end() :] if declared else text)
    if not complete and len(lines) > 1:
        lines.pop()
    directives = None if declared else directed(lines)
    split = directives.lines if directives else lines
    known = declared[1] if declared else directives.delimiter if directives else ""
    detected = detect_dialect("".join(split), complete=complete, delimiter=known)
    records, width = sampled_records(split, detected.dialect, _RECORDS)
    if not complete and len(records) > 1:
        # Its quote may close beyond the cut.
        records.pop()
    if not any(cell.strip() for record in records for cell in record.cells):
        raise EmptyFile
    table = records_of_first(records, width)
    width = _checked_width(usual_width([one for one in table if not _is_comment(one, width)] or table), options)
    header = _find_header(_uncommented(table, detected.dialect), width)
    above = blank_lines + (1 if declared else 0)
    if header is None and options.header == "require":
        raise _missing(records[0], above)
    if header is not None:
        _check_width(table, header, above)
    layout, ruled = _layout(table, header, width, detected, above)
    head = layout.head_lines - above
    head_begin = layout.header_line - 1 - above
    between = [record for record in records if record.begin >= head]
    top = [one for one in records if one.end <= head_begin]
    rejected = tuple(records_above(top, lines, above))
    names_end = head - ruled
    skippable = [*lines[: max(0, head_begin)], *[""] * (names_end - max(0, head_begin)), *lines[names_end:head]]
    comment = COMMENT if directives else _comment_mark(between, width, alone=layout.dialect.delimiter == " ")
    doubts = (
        doubt_about_skipped(top, above, rejected),
        doubt_about_column(header.cells if header else ()),
        _doubt_about_names(top, layout, above),
    )
    return replace(
        layout,
        above=rejected,
        skipped=skipped_lines(skippable, above, rejected, detected.dialect),
        doubts=(*layout.doubts, *filter(None, doubts)),
        several=any(later.begin > earlier.end for earlier, later in itertools.pairwise(between)),
        dialect=replace(layout.dialect, comment=comment),
    ), blank + (declared.end() if declared else 0) + sum(map(len, lines[:head]))


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


def _layout(
    table: Sequence[Record], header: Record | None, width: int, detected: Detected, above: int
) -> tuple[Layout, int]:
    """Return the layout, and how many lines below the header are rulers."""
    dialect, reason = detected
    if header is None:
        values = value_columns([record.cells for record in table], width)
        return Layout(dialect, tuple(column_names([""] * width)), 0, above, values, reason), 0
    rows = [record for record in table if record.begin >= header.end and record.cells != header.cells]
    cells, begin = header.cells, header.begin
    group = next((record for record in table if record.end == header.begin), None)
    if group and is_group(group.cells, header.cells, [row.cells for row in rows]):
        used = width - _unused([cells, *(row.cells for row in rows if len(row.cells) == width)])
        cells, begin = combined([*filled_on(group.cells[:used]), *group.cells[used:]], cells), group.begin
    end = header.end
    if rows and rows[0].begin == end and are_units(rows[0].cells, [row.cells for row in rows[1:]], width):
        cells, end = combined(cells, rows[0].cells), rows.pop(0).end
    ruled = 0
    if rows and rows[0].begin == end and is_ruler(rows[0].cells):
        ruled, end = rows[0].end - end, rows.pop(0).end
        if dialect.delimiter == "|" and not dialect.blanks:
            # The ruler alone may reach from delimiter to delimiter: Markdown has blanks around all others.
            dialect = replace(dialect, blanks="around")
    data = [record.cells for record in rows]
    full = [row for row in rows if len(row.cells) == width]
    doubt = ""
    if len(cells) == width - 1 and any(row.cells[-1] for row in full):
        cells, doubt = with_gap(cells, full, above, aligned=dialect.blanks == "runs")
        names: tuple[str | None, ...] = tuple(column_names(cells))
    else:
        names = _names(cells, width, data)
    if ruled and len(names) > 1 and not any(row[0].strip() for row in (cells, *data) if len(row) == width):
        # Markdown and mysql begin their lines with a delimiter.
        names = (None, *names[1:])
    said = tuple(header.cells) if len(header.cells) == width > 1 else ()
    values = value_columns(data, width)
    doubts = (doubt,) if doubt else ()
    return Layout(dialect, names, begin + above + 1, end + above, values, reason, doubts=doubts, header=said), ruled


def _find_header(records: Sequence[Record], width: int) -> Record | None:
    top = records[0]
    if is_header(top.cells) and (_rows_end_in_delimiter(records, width) or _rows_are_named(records, width)):
        return top
    if width == 1 and all(top.cells) and is_header(top.cells, _rows_below(records, top)):
        return top
    full = [record for record in records if len(record.cells) == width and not _is_comment(record, width)]
    named = width - _unused([record.cells for record in full])
    gap, remark = below_gap(full, width), names_below_remark(full, width)
    for candidate in (below_padding(full), below_titles(full, width), _below_groups(full), *full[:1], gap, remark):
        if candidate is not None and is_header(candidate.cells[:named], _rows_below(full, candidate)):
            return _going_on(candidate, full)
    if full and full[0] is top and names_first_column_only(full, width):
        return full[0]
    # The usual width may be that of broken rows.
    first = next((record for record in records if not _is_comment(record, width)), None)
    if first is not None and len(first.cells) > 1 and is_header(first.cells, _rows_below(records, first)):
        return first
    return None


def _unused(rows: Sequence[Sequence[str]]) -> int:
    """Count the last cells that are empty in every row; nothing if fewer than two were left."""
    if not rows or len(rows[0]) <= 2:  # noqa: PLR2004 - see above
        return 0
    used = max((number for row in rows for number, cell in enumerate(row, 1) if cell.strip()), default=0)
    return len(rows[0]) - used if used > 1 else 0


def _rows_below(records: Sequence[Record], record: Record) -> list[list[str]]:
    return [other.cells for other in records if other.begin >= record.end]


def _going_on(header: Record, full: Sequence[Record]) -> Record:
    """Return the line below a header if its names go on there: some of them are groups."""
    names, *rows = [record for record in full if record.begin >= header.end] or [header]
    return names if complete_each_other(header.cells, names.cells, [row.cells for row in rows]) else header


def _below_groups(full: Sequence[Record]) -> Record | None:
    """Return the second record when the first is a line of groups."""
    if len(full) > 1 and is_group(full[0].cells, full[1].cells, _rows_below(full, full[1])):
        return full[1]
    return None


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
        and not is_header(rows[0].cells)
    )


def _is_comment(record: Record, width: int) -> bool:
    first = record.cells[0]
    return first.startswith(_COMMENTS) and (len(record.cells) != width or first.lstrip("#/")[:1].isspace())


def _uncommented(records: Sequence[Record], dialect: Dialect) -> Sequence[Record]:
    """Leave comments out that blanks split, if a header stands below them: `# x y` may as well be one itself."""
    below = [record for record in records if record.cells[0] not in _COMMENTS]
    return below if dialect.delimiter == " " and below and is_header(below[0].cells) else records


def _comment_mark(records: Sequence[Record], width: int, *, alone: bool) -> str:
    """Return what the comments between records begin with, `alone` if in a cell of its own; empty without any."""
    for mark in _COMMENTS:
        begun = [record for record in records if record.cells[0].startswith(mark)]
        told = all((alone and record.cells[0] == mark) or _is_comment(record, width) for record in begun)
        if begun and told and len(begun) * 2 <= len(records):
            return mark
    return ""


def _doubt_about_names(top: Sequence[Record], layout: Layout, above: int) -> str:
    """Say that the record right above the names may be the names; see `doubt_about_skipped_names`."""
    if not top or top[-1].end + above + 1 != layout.header_line or _is_comment(top[-1], layout.width):
        return ""
    return doubt_about_skipped_names(top[-1], layout.width, above, values=any(layout.values))


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
        return named
    if len(cells) == width - 1:
        return (*named, None)
    if width > 1 and not cells[-1].strip():
        unused = _unused([cells, *rows]) or 1
        return (*named[:-unused], *[None] * unused)
    return named


def _check_width(table: Sequence[Record], header: Record, above: int) -> None:
    """
    Refuse a header that has more cells than any record below it.

    The missing cells may be the last ones, which some programs leave out where they are empty, or others: nobody can
    tell, and to reject every record would be a table without rows. Lines of one cell are remarks (`0 rows`).

    Raises:
        HeaderMismatch: See above.
    """
    widths = [len(record.cells) for record in table if record.begin >= header.end]
    if header.cells[-1].strip() and 1 < max(widths, default=0) < len(header.cells):
        raise HeaderMismatch(
            f"The header on line {header.begin + above + 1} has {len(header.cells):,} cells, and no record below it "
            f"has so many: the longest has {max(widths):,}. Add the missing cells, also where they are empty, or "
            "correct the header."
        )


def _missing(first: Record, above: int) -> HeaderMissing:
    value = next((cell for cell in first.cells if VALUE.fullmatch(cell.strip())), first.cells[0])
    shown = value if len(value) <= 40 else value[:37] + "..."  # noqa: PLR2004 - fits a line of a terminal
    return HeaderMissing(
        f"Line {first.begin + above + 1} looks like data ({shown!r}), and no header was found. Add a header row, or "
        'set header = "generate" on the route.'
    )
