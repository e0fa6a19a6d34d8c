"""What stands above the records and is none: titles, remarks, comments, rulers. It is skipped, counted and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.layout import Above, Dialect, Skipped

_LONGEST: Final = 100
"""Characters of a skipped line that are kept."""


def skipped_lines(
    lines: Sequence[str], before: int, rejected: Sequence[Above], dialect: Dialect
) -> tuple[Skipped, ...]:
    """
    Return the lines that are neither blank nor records.

    Args:
        lines: Above the first record; those of the header are empty.
        before: Lines above these.
        rejected: Records on some of these lines.
        dialect: Of the file: lines of nothing but delimiters are blank.
    """
    records = {one.line + number for one in rejected for number in range(one.text.count("\n") + 1)}
    nothing = f" \t\r\n{dialect.delimiter}{dialect.quote}"
    return tuple(
        Skipped(number, line.rstrip("\r\n")[:_LONGEST])
        for number, line in enumerate(lines, before + 1)
        if line.strip(nothing) and number not in records
    )
