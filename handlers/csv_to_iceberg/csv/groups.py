"""A line of groups above the names of a header: `,2020,,2021,`, or `region,2020,,2021,` above `,m,f,m,f`."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.csv_to_iceberg.csv.tables import MISSING, is_value, value_columns


def combined(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    """Return the names that two lines of a header make."""
    return [" ".join(filter(None, (one.strip(), other.strip()))) for one, other in zip(upper, lower, strict=True)]


def filled_on(cells: Sequence[str]) -> list[str]:
    """Let a group reach to the next one: a spreadsheet writes a merged cell once."""
    filled: list[str] = []
    for cell in cells:
        filled.append(cell if cell.strip() or not filled else filled[-1])
    return filled


def is_group(cells: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a record above names and rows is a line of groups: fewer cells filled than below, at least two."""
    if len(cells) != len(names):
        return False
    # Trailing delimiters are no cells.
    used = max((number for number, name in enumerate(names, 1) if name.strip()), default=0)
    filled = [cell for cell in cells if cell.strip()]
    if len(filled) <= 1:
        return False
    if complete_each_other(cells, names, rows):
        return True
    cells, names = cells[:used], names[:used]
    return (
        len(filled) == sum(bool(cell.strip()) for cell in cells) < len(cells)
        and all(name.strip() for name in names[1:])
        and (
            len({name.strip().lower() for name in names}) < len(names)
            or (not cells[0].strip() and not all(cell.strip() for cell in cells[1:]))
        )
    )


def complete_each_other(cells: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """
    Tell whether names stand below groups, and beside the groups names with nothing below them.

    A first row below a header that lacks names may look like this, but for its first cell, and for words where values
    stand below.
    """
    upper, lower = ([cell.strip() for cell in line] for line in (cells, names))
    columns = range(len(cells))
    unnamed = {at for at in columns if not upper[at]}
    grouped = unnamed | {at - 1 for at in unnamed}
    if not unnamed or 0 in unnamed or lower[0] or not all(lower[at] for at in grouped):
        return False
    values = value_columns(rows, len(cells))
    return not any(map(is_value, filter(None, lower))) and any(
        values[at] and lower[at].lower() not in MISSING for at in grouped
    )
