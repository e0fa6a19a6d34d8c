"""
Where the header is, and whether there is one.

The header is the first record as wide as most records; what stands before it (titles, padded to that width or not,
comments, `sep=`) is skipped. A record with a number or a date in it is data, unless the numbers are years in a row:
`country,2021,2022,2023`.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from handlers.csv_to_iceberg.dialect import Record, detect_dialect, lines_of, records_of, usual_width
from handlers.csv_to_iceberg.errors import EmptyFile, HeaderMissing, TooManyColumns
from handlers.csv_to_iceberg.layout import Dialect, Layout
from handlers.csv_to_iceberg.names import column_names
from handlers.csv_to_iceberg.options import Options

_RECORDS: Final = 1000
"""Records whose usual width is the file's."""
_LONGEST_NAME: Final = 1000
"""Characters. A longer cell is content."""

_MOST_TITLES: Final = 10
"""Padded titles above a header; more of them are data."""

_SEPARATOR_LINE: Final = re.compile(r"sep=(.)\r?[\n\r]", re.IGNORECASE)
"""What Excel writes and reads as a first line."""

_VALUE: Final = re.compile(
    r"[-+]?(?:\d[\d.,' ]*|\.\d+)(?:[eE][-+]?\d+)?\s?%?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|true|false|null|nan",
    re.IGNORECASE,
)
"""Cells that are values, not names."""
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
    lines = lines_of(text[declared.end() :] if declared else text)
    if not complete and len(lines) > 1:
        lines.pop()
    dialect = detect_dialect("".join(lines))
    if declared and declared[1].isascii() and not declared[1].isalnum() and declared[1] not in "\"'\\":
        dialect = Dialect(declared[1], dialect.quote, dialect.escape)
    records = list(itertools.islice(records_of(lines, dialect), _RECORDS))
    if not complete and len(records) > 1:
        # Its quote may close beyond the cut.
        records.pop()
    if not any(cell.strip() for record in records for cell in record.cells):
        raise EmptyFile
    skipped_lines = 1 if declared else 0
    width = _checked_width(records, options)
    header = _find_header(records, width)
    if header is None:
        if options.header == "require":
            raise _missing(records[0])
        return Layout(dialect, tuple(column_names([""] * width)), 0, skipped_lines), declared.end() if declared else 0
    cells = header.cells
    data = [record.cells for record in records if record.begin >= header.end]
    layout = Layout(dialect, _names(cells, width, data), header.begin + skipped_lines + 1, header.end + skipped_lines)
    return layout, (declared.end() if declared else 0) + sum(map(len, lines[: header.end]))


def _checked_width(records: list[Record], options: Options) -> int:
    width = usual_width([record.cells for record in records])
    if width > options.max_columns:
        raise TooManyColumns(
            f"The file has {width:,} columns, max_columns is {options.max_columns:,}. Raise it on the route, or check "
            "that the file has line breaks."
        )
    return width


def _find_header(records: list[Record], width: int) -> Record | None:
    if _is_header(records[0].cells) and (
        _rows_end_in_delimiter(records, width) or (width == 1 and all(records[0].cells))
    ):
        return records[0]
    full = [record for record in records if len(record.cells) == width and not _is_comment(record, width)]
    for candidate in (_below_titles(full, width), *full[:1]):
        if candidate is not None and _is_header(candidate.cells):
            return candidate
    # The usual width may be that of broken rows.
    first = next((record for record in records if not _is_comment(record, width)), None)
    return first if first is not None and len(first.cells) > 1 and _is_header(first.cells) else None


def _below_titles(full: list[Record], width: int) -> Record | None:
    """
    Return the first record as wide as the table that is no title; None when there is none, or it cannot be told.

    Spreadsheets pad a title to that width: `Report;;`. In two columns `name;` may as well be a header over an unnamed
    column, unless there are names below it, and values below those.
    """
    table = list(itertools.dropwhile(_is_padded_title, full))
    if not table or len(full) - len(table) > _MOST_TITLES:
        return None
    first, *rows = table
    if width == 2 and not (  # noqa: PLR2004 - of three names, one is no header
        all(first.cells) and any(_VALUE.fullmatch(cell.strip()) for row in rows for cell in row.cells)
    ):
        return None
    return first


def _is_padded_title(record: Record) -> bool:
    first, *others = (cell.strip() for cell in record.cells)
    return bool(others) and not any(others) and not _VALUE.fullmatch(first)


def _rows_end_in_delimiter(records: list[Record], width: int) -> bool:
    """Tell whether the rows are one cell wider than the first record, and that cell is always empty."""
    rows = [record.cells for record in records if len(record.cells) == width]
    return len(records[0].cells) == width - 1 and all(row[-1] == "" for row in rows)


def _is_comment(record: Record, width: int) -> bool:
    first = record.cells[0]
    return first.startswith("#") and (len(record.cells) != width or first[1:2].isspace())


def _is_header(cells: list[str]) -> bool:
    names = [cell.strip() for cell in cells]
    filled = [name for name in names if name]
    if not filled or len(filled) * 2 < len(names) or any(len(name) > _LONGEST_NAME for name in filled):
        return False
    values = [name for name in filled if _VALUE.fullmatch(name)]
    return not values or (len(values) < len(filled) and _are_years(values))


def _are_years(values: list[str]) -> bool:
    if len(values) < 2 or not all(_YEAR.fullmatch(value) for value in values):  # noqa: PLR2004 - one may be any number
        return False
    return len({int(later) - int(earlier) for earlier, later in itertools.pairwise(values)}) == 1


def _names(cells: list[str], width: int, data: list[list[str]]) -> tuple[str | None, ...]:
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
        return (*named[:-1], None)
    return named


def _missing(first: Record) -> HeaderMissing:
    value = next((cell for cell in first.cells if _VALUE.fullmatch(cell.strip())), first.cells[0])
    shown = value if len(value) <= 40 else value[:37] + "..."  # noqa: PLR2004 - fits a line of a terminal
    return HeaderMissing(
        f"Line {first.begin + 1} looks like data ({shown!r}), and no header was found. Add a header row, or set "
        'header = "generate" on the route.'
    )
