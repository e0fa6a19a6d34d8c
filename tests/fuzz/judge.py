"""Python's csv module as the judge of what a well-formed file says."""

from __future__ import annotations

import csv
import io

from handlers.csv_to_iceberg.csv.encoding import LONGEST_END
from handlers.csv_to_iceberg.csv.names import column_names
from handlers.csv_to_iceberg.csv.results import Report


def judged(text: str, report: Report) -> list[list[str]] | None:
    """
    Return the records after the header of a well-formed text; None where the rules of CSV leave a choice.

    They do where quotes stand in the wrong places, and for what no standard knows: comments, `sep=`, backslashes,
    blanks that belong to delimiters, whole lines in quotes, marks of the end.
    """
    if _beyond_standards(text, report):
        return None
    lines = list(io.StringIO(text, newline=""))
    if not report.quote and '"' in "".join(lines[: report.header_line]):
        # The header was read with quotes, the records without.
        return None
    reader = csv.reader(
        lines,
        delimiter=report.delimiter,
        quotechar=report.quote or None,
        quoting=csv.QUOTE_MINIMAL if report.quote else csv.QUOTE_NONE,
        strict=True,
    )
    records = []
    begin = 0
    try:
        for cells in reader:
            if cells and begin + 1 == report.header_line and not _names(cells, report):
                # The header goes on below.
                return None
            if cells and begin + 1 > report.header_line:
                records.append(cells)
            begin = reader.line_num
    except csv.Error:
        return None
    return records


def _beyond_standards(text: str, report: Report) -> bool:
    return (
        len(report.delimiter) != 1
        or bool(report.escape)
        or "#" in text
        or "//" in text
        or text[:4].lower() == "sep="
        or any(mark in text[-LONGEST_END:] for mark in "\x1a\f")
        or any("quotes" in warning for warning in report.warnings)
        or any(word in report.dialect_reason for word in ("blanks", "backslashes", "as a whole", "none and are text"))
    )


def _names(cells: list[str], report: Report) -> bool:
    names = [column.name for column in report.columns]
    return column_names(cells)[: len(names)] == names
