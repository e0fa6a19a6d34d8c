"""
Dialects by vote: our own consistency score, DuckDB's sniffer and Python's.

The score decides alone when it is clear. Quotes other than `"` and backslash escapes need evidence: an apostrophe in a
name must not swallow rows.
"""

from __future__ import annotations

import csv
import functools
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import duckdb

from handlers.csv_to_iceberg.layout import Dialect
from handlers.csv_to_iceberg.options import KIB

# A process-wide setting of the standard library, whose default refuses cells beyond 128 KiB.
csv.field_size_limit(2**31 - 1)

DELIMITERS: Final = (",", ";", "\t", "|")
"""In order of preference."""

_SCORED_TEXT: Final = 64 * KIB
_SCORED_RECORDS: Final = 1000
_SCORED_CELLS: Final = 4000
_SCORED_CELL: Final = 200
"""Characters of a cell."""
_CLEAR: Final = 0.85
_CLEARLY_AHEAD: Final = 0.75
"""A score needs no vote when it is at least `_CLEAR` and the second is at most this share of it."""
_CONSISTENT: Final = 0.4
"""Below it, a delimiter is punctuation of a one-column file."""

_PLAIN_CELL: Final = re.compile(r"\s*(?:[-+]?[\d.,]*\d%?|\d[\d:.,/T +Z-]*|[^,;\t|]*)\s*", re.DOTALL)
"""A number, a date or time, or text without any other delimiter in it."""


_NAME: Final = re.compile(r"\s*[^\W\d][\w .-]{0,30}")
"""A short name of a column."""


class Record(NamedTuple):
    """A record and the physical lines it stands on, counted from 0; `end` is exclusive."""

    cells: list[str]
    begin: int
    end: int


def records_of(lines: list[str], dialect: Dialect) -> Iterator[Record]:
    """Split lines (with their ends) into records by the rules of Python's csv module; blank lines are none."""
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape or None,
    )
    begin = 0
    for cells in reader:
        if cells:
            yield Record(cells, begin, reader.line_num)
        begin = reader.line_num


def lines_of(text: str) -> list[str]:
    """Split at LF, CRLF and CR, keeping the ends."""
    return list(io.StringIO(text, newline=""))


def detect_dialect(text: str) -> Dialect:
    """Find the dialect of a text that ends with a line, or with the file."""
    lines = lines_of(_scored_part(text))
    text = text[:_SCORED_TEXT]
    quote = "'" if _wrapped_in_apostrophes(text) else '"'
    escape = "\\" if _escapes_quotes(text, quote) else ""
    scores = {
        delimiter: _score(lines, Dialect(delimiter, quote, escape)) for delimiter in DELIMITERS if delimiter in text
    }
    best, *others = sorted(scores, key=lambda delimiter: -scores[delimiter]) or [","]
    if not scores or scores[best] < _CONSISTENT:
        return Dialect(_of_first_line(lines, quote) or _absent_delimiter(text), quote, escape)
    second = max((scores[other] for other in others), default=0.0)
    if scores[best] < _CLEAR or second > _CLEARLY_AHEAD * scores[best]:
        votes = Counter([best, _duckdb_vote(text), _python_vote(text)])
        winner, count = votes.most_common(1)[0]
        if count > 1 and winner in scores:
            best = winner
    return Dialect(best, quote, escape)


def _scored_part(text: str) -> str:
    """Cut at a line end, but never within the first two lines."""
    if len(text) <= _SCORED_TEXT:
        return text
    lines = lines_of(text)
    length = 0
    for kept, line in enumerate(lines):
        length += len(line)
        if length > _SCORED_TEXT and kept > 0:
            return "".join(lines[: kept + 1])
    return text


def _score(lines: list[str], dialect: Dialect) -> float:
    """Rate 0 to 1: the share of records of the usual width, times the share of their cells that look like one cell."""
    rows = []
    try:
        for record in records_of(lines, dialect):
            rows.append(record.cells)
            if len(rows) == _SCORED_RECORDS:
                break
    except csv.Error:
        return 0.0
    width = usual_width(rows)
    if width <= 1:
        return 0.0
    usual = [row for row in rows if len(row) == width]
    cells = [cell[:_SCORED_CELL] for row in usual[: max(1, _SCORED_CELLS // width)] for cell in row[:_SCORED_CELLS]]
    plain = sum(1 for cell in cells if _PLAIN_CELL.fullmatch(cell)) / len(cells)
    return len(usual) / len(rows) * plain


def usual_width(rows: list[list[str]]) -> int:
    """Return the most frequent number of cells; of equally frequent ones the largest. 0 without rows."""
    widths = Counter(map(len, rows))
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _of_first_line(lines: list[str], quote: str) -> str | None:
    """Return the delimiter that makes names of the first line, for a file whose rows do not follow any."""
    for delimiter in DELIMITERS:
        first = next(records_of(lines, Dialect(delimiter, quote)), None)
        if first and len(first.cells) > 1 and all(_NAME.fullmatch(cell) for cell in first.cells):
            return delimiter
    return None


def _absent_delimiter(text: str) -> str:
    """Return the delimiter for a file of one column: one that does not occur in it, if possible."""
    return next((delimiter for delimiter in DELIMITERS if delimiter not in text), ",")


def _wrapped_in_apostrophes(text: str) -> bool:
    """Tell whether apostrophes enclose whole cells, and double quotes do not."""
    wrapped = re.findall(r"(?:^|[,;\t|])'(?:[^'\r\n]|'')*'(?=[,;\t|\r\n]|\Z)", text, re.MULTILINE)
    opened = re.findall(r"(?:^|[,;\t|])'", text, re.MULTILINE)
    return len(wrapped) > 1 and len(wrapped) == len(opened) and not re.search(r'(?:^|[,;\t|])"', text, re.MULTILINE)


def _escapes_quotes(text: str, quote: str) -> bool:
    r"""Tell whether `\"` stands in cells where a doubled quote would; the end of `"C:\"` does not count."""
    return bool(re.search(rf"\\{quote}(?![,;\t|\r\n]|\Z)", text)) and not re.search(
        rf"[^,;\t|\r\n]{quote}{quote}[^,;\t|\r\n]", text
    )


@functools.cache
def _sniffing_database() -> duckdb.DuckDBPyConnection:
    """Return an empty database, opened once: that takes longer than sniffing. Threads use cursors of their own."""
    return duckdb.connect(config={"threads": 1})


def _duckdb_vote(text: str) -> str | None:
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(text.encode())
        file.flush()
        try:
            with _sniffing_database().cursor() as cursor:
                found = cursor.execute("select Delimiter from sniff_csv(?)", [file.name]).fetchone()
        except duckdb.Error:
            return None
    return found[0] if found else None


def _python_vote(text: str) -> str | None:
    try:
        return csv.Sniffer().sniff(text[: 8 * KIB], "".join(DELIMITERS)).delimiter
    except csv.Error:
        return None
