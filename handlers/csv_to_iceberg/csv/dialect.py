"""
Which dialect a text is written in: every plausible one is tried on a sample, the most consistent one wins.

A way to split is good when most records are as wide as each other, their cells look like one cell each, and the cells
of a column look alike. Delimiter, quote, escape and blanks are judged together; of equals the simplest is taken.
"""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.candidates import candidates, has_runs
from handlers.csv_to_iceberg.csv.cells import WORTH, Look, look_of
from handlers.csv_to_iceberg.csv.layout import Dialect
from handlers.csv_to_iceberg.csv.options import KIB
from handlers.csv_to_iceberg.csv.quotes import Quoting
from handlers.csv_to_iceberg.csv.records import Record, lines_of, records_of

DELIMITERS: Final = (",", ";", "\t", "|")
"""The usual ones, in order of preference."""

LIKELY: Final = {
    ",": 1.0, ";": 1.0, "\t": 1.0, "|": 1.0,
    "^": 0.9, "~": 0.9, "\x01": 0.95, "\x1f": 0.95, "¦": 0.9, "§": 0.9,
    ":": 0.75, " ": 0.75,
}  # fmt: skip
"""Delimiters, and how likely each is to be one when it occurs as regularly as another."""

_BESIDE_QUOTES: Final = 0.95
"""How likely one is that splits all records alike and stands beside every quote."""

_PUNCTUATION: Final = (" ", ":")
"""Delimiters only where a column of values proves it: both stand in ordinary text."""

_PUNCTUATION_ALONE: Final = frozenset(",;|:")
"""A column of them between blanks is a delimiter."""

_SAMPLE: Final = 64 * KIB
"""Characters that quotes are counted in."""
_RECORDS: Final = 400
_CELLS: Final = 500
"""Cells whose looks are judged."""
_ONE_COLUMN: Final = 0.5
"""What a single column is worth when its cells are text: a delimiter must explain more."""
_MOST_TITLES: Final = 10
"""Lines above a blank line that may be titles of what is below it."""
_SEVERAL: Final = 4
"""Quoted cells that are no coincidence."""
_EXPLAINING: Final = 0.7
"""What a dialect that explains all quotes must be worth, in parts of one that explains none."""
_SIMPLER: Final = 1.02
"""A more complicated dialect must be better by this factor."""
_COMMENTED: Final = re.compile(r"(?:(?:#|//)(?:[ \t][^\r\n]*+)?+(?:\r\n|\n|\r))*+")
"""Comments above everything else, which say nothing about the delimiter."""
_NO_RECORD: Final = re.compile(r"#|//|[-+=|_ ]{3,}+$")
"""Begins a comment, or is the ruler that a program draws below the names: both say nothing about the delimiter."""
_QUOTED_BEFORE_MORE: Final = re.compile(r'"[^"]++"[ \t]++[^\s"]|[^"]*+[ \t]"[^"]++"(?:$|[ \t])')
"""Several names, one of them quoted: `0 717 153` below them are no thousands."""
_NAME: Final = re.compile(r"[^\W\d][\w .()/#%-]{0,39}")
"""A cell that may name a column."""


class Detected(NamedTuple):
    """A dialect, and why it was chosen."""

    dialect: Dialect
    reason: str


class _Judged(NamedTuple):
    dialect: Dialect
    score: float
    width: int = 1
    usual: int = 0
    """Records of that width."""
    records: int = 0
    quoting: Quoting = Quoting(0, 0, "")


def detect_dialect(text: str, *, complete: bool = True, delimiter: str = "") -> Detected:
    """
    Find the dialect of a text that ends with a line, or with the file.

    Args:
        text: The beginning of a file.
        complete: There is no more.
        delimiter: Which it is, if that is known.
    """
    text = text[_COMMENTED.match(text).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    sample = _beginning(text, _SAMPLE)
    whole = complete and len(sample) == len(text)
    lines = lines_of(sample)
    column = _Judged(Dialect(delimiter), 0) if delimiter else _one_column(lines, text)
    best = column
    judged: list[_Judged] = []
    quoted = '"' in sample or "'" in sample
    for candidate in [delimiter] if delimiter else LIKELY:
        if candidate not in sample or best.score >= (1 if quoted else LIKELY.get(candidate, 1)):
            continue
        for dialect, quoting in candidates(sample, candidate, complete=whole):
            other = _judge(lines, dialect, quoting)
            judged.append(other)
            alike = best is not column and best.dialect.delimiter == other.dialect.delimiter
            if other.score > best.score * (_SIMPLER if alike else 1):
                best = other
    best = _explaining_quotes(best, judged)
    if best is column:
        best = max(filter(_is_quoted_throughout, judged), key=lambda other: other.score, default=column)
    if best is column and (named := _of_first_line(lines)):
        best = _Judged(Dialect(named), 0)
    return Detected(best.dialect, _reason(best, [column, *judged]))


def _is_quoted_throughout(judged: _Judged) -> bool:
    """Tell whether all records are as wide as each other, and have several quoted cells and no other quote."""
    several = judged.quoting.cells >= 2 * judged.records and not judged.quoting.stray
    return several and judged.width > 1 and judged.usual == judged.records > 1


def _explaining_quotes(best: _Judged, judged: Sequence[_Judged]) -> _Judged:
    """Prefer a dialect whose cells all quotes enclose to one that makes nothing of them."""
    if best.quoting.cells or not best.quoting.stray:
        return best
    explaining = [
        other
        for other in judged
        if other.quoting.cells >= _SEVERAL and not other.quoting.stray and other.score > _EXPLAINING * best.score
    ]
    return max(explaining, key=lambda other: other.score, default=best)


def _beginning(text: str, length: int) -> str:
    """Cut at a line end, but never within the first two lines."""
    if len(text) <= length:
        return text
    kept = 0
    for number, line in enumerate(io.StringIO(text, newline="")):
        kept += len(line)
        if kept > length and number > 0:
            return text[:kept]
    return text


def _judge(lines: Sequence[str], dialect: Dialect, quoting: Quoting) -> _Judged:
    """Rate a way to split: 0 to 1."""
    records, width = sampled_records(lines, dialect, _RECORDS)
    if width <= 1:
        return _Judged(dialect, 0)
    records = [one for one in records if len(one.cells) == width or not _NO_RECORD.match(one.cells[0])]
    usual = [index for index, record in enumerate(records) if len(record.cells) == width]
    body = records[usual[0] : usual[-1] + 1]
    share = len(usual) / len(body)
    within = len(body) / len(records)
    rows = [records[index].cells for index in usual]
    if dialect.delimiter == " ":
        columns = list(zip(*rows, strict=True))
        single = not dialect.blanks and has_runs(quoting)
        uneven = single and (share < 1 or not all(column[0] and any(column[1:]) for column in columns))
        if uneven or any(map(_is_delimiter, columns)):
            return _Judged(dialect, 0)
    cells, alike, values = _looks(rows)
    score = share**1.5 * (0.5 + 0.5 * within) * (1 - 0.45 / width) * (0.65 * cells + 0.35 * alike)
    likely = LIKELY.get(dialect.delimiter[0], 1)
    if len(usual) == len(records) and quoting.cells and not quoting.stray:
        likely = max(likely, _BESIDE_QUOTES)
    score *= likely * (1 - 0.2 * quoting.stray / (quoting.stray + 2 * quoting.cells + 1))
    if dialect.delimiter in _PUNCTUATION and not values:
        score *= 0.4
    if _headed_by_one_name(records, usual[0], dialect, valued=values):
        score *= 0.6
    return _Judged(dialect, score, width, len(usual), len(records), quoting)


def _is_delimiter(column: Sequence[str]) -> bool:
    return 2 * sum(cell in _PUNCTUATION_ALONE for cell in column) > len(column)


def sampled_records(lines: Sequence[str], dialect: Dialect, most: int) -> tuple[list[Record], int]:
    """Return the first records and their common width, which damaged ones are repaired by."""
    records = list(itertools.islice(records_of(lines, dialect), most))
    width = _common_width(records)
    if not dialect.damaged:
        return records, width
    unquoted = Counter(line.count(dialect.delimiter) + 1 for line in lines[:most])
    found = []
    for guess in {width, unquoted.most_common(1)[0][0]} - {1}:
        repaired = list(itertools.islice(records_of(lines, dialect, guess), most))
        found.append((sum(len(record.cells) == guess for record in repaired) / len(repaired), guess, repaired))
    share, _, repaired = max(found, default=(0, width, records))
    if share:
        records = repaired
    return records, _common_width(records)


def _common_width(records: Sequence[Record]) -> int:
    """Return the most frequent number of cells; one cell counts half, because what does not fit ends there."""
    widths = Counter(len(record.cells) for record in records)
    return max(widths, key=lambda width: (widths[width] * (1 - 0.5 / width), width), default=0)


def _looks(rows: Sequence[Sequence[str]]) -> tuple[float, float, bool]:
    """Return how much cells look like one each, how much those of a column look alike, and whether any holds values."""
    width = len(rows[0])
    below = rows[1:] or rows
    step = max(1, len(below) * width // _CELLS)
    sampled = below[::step]
    worth = alike = 0.0
    valued = False
    columns = list(zip(*sampled, strict=True))[:_CELLS]
    for column in columns:
        looks = Counter(map(look_of, column))
        worth += sum(WORTH[look] * count for look, count in looks.items()) / len(column)
        filled = len(column) - looks[Look.EMPTY]
        texts = looks[Look.TEXT] + looks[Look.PROSE]
        most = max(texts, *(looks[look] for look in (Look.NUMBER, Look.MOMENT, Look.TOKEN)))
        alike += most / filled if filled else 0.7
        values = looks[Look.NUMBER] + looks[Look.MOMENT] + looks[Look.TOKEN]
        valued = valued or (filled > 0 and values > 0.7 * filled)
    heads = [look_of(cell) for cell in rows[0][:_CELLS]]
    worth_of_head = sum(map(WORTH.__getitem__, heads)) / len(heads)
    return 0.85 * worth / len(columns) + 0.15 * worth_of_head, alike / len(columns), valued


def _headed_by_one_name(records: Sequence[Record], first: int, dialect: Dialect, *, valued: bool) -> bool:
    """Tell whether a one-column header stands right above rows that a delimiter of prose would split."""
    if not first or len(records[0].cells) != 1:
        return False
    name = records[0].cells[0].strip()
    below = records[first].cells
    if any(later.begin > earlier.end for earlier, later in itertools.pairwise(records[: first + 1])):
        return False
    if not _NAME.fullmatch(name):
        return look_of(name) is Look.UNSPLIT
    named_below = all(_NAME.fullmatch(cell.strip()) for cell in (below if below[-1] else below[:-1]))
    return not named_below or (not valued and (dialect.blanks == "after" or dialect.delimiter in _PUNCTUATION))


def _one_column(lines: Sequence[str], text: str) -> _Judged:
    cells = [line.strip() for line in lines if line.strip()][:_RECORDS]
    sampled = cells[1:][:_CELLS] or cells
    looks = Counter(Look.UNSPLIT if cell.endswith(DELIMITERS) else look_of(cell) for cell in sampled)
    single = sum(looks[look] for look in (Look.NUMBER, Look.MOMENT, Look.TOKEN))
    torn = looks[Look.UNSPLIT] + looks[Look.TORN]
    score = _ONE_COLUMN + 0.4 * (single / max(1, len(sampled))) - 0.2 * (torn / max(1, len(sampled)))
    ends = {line.rstrip("\r\n ")[-1:] for line in lines[1:] if line.strip()}
    if (cells and _QUOTED_BEFORE_MORE.match(cells[0])) or (len(ends) == 1 and ends < LIKELY.keys()):
        score = min(score, _ONE_COLUMN)
    # No lone name begins with a delimiter: an index without one stands before it, as pandas writes `,count`.
    unsplit = cells and (look_of(cells[0]) is Look.UNSPLIT or cells[0].startswith(DELIMITERS))
    if unsplit or _split_below_titles(lines):
        score /= 2
    delimiter = next((delimiter for delimiter in DELIMITERS if delimiter not in text), "\x1f")
    return _Judged(Dialect(delimiter), score, 1, len(cells), len(cells))


def _split_below_titles(lines: Sequence[str]) -> bool:
    """Tell whether a blank line ends a few titles, and one delimiter stands in all lines of what begins below it."""
    stripped = [line.strip("\r\n") for line in lines]
    titles = list(itertools.takewhile(str.strip, stripped))
    below = itertools.dropwhile(lambda line: not line.strip(), stripped[len(titles) :])
    block = list(itertools.takewhile(str.strip, below))
    if len(titles) > _MOST_TITLES or len(block) < 2 or look_of(block[0]) is not Look.UNSPLIT:  # noqa: PLR2004 - rows
        return False
    return any(all(delimiter in line for line in block) for delimiter in DELIMITERS)


def _of_first_line(lines: Sequence[str]) -> str | None:
    """Return the delimiter that makes names of the first line, for a file whose rows do not follow any."""
    first = next((line.strip() for line in lines if line.strip()), "")
    for delimiter in DELIMITERS:
        cells = [cell.strip('"') for cell in first.split(delimiter)]
        if len(cells) > 1 and all(_NAME.fullmatch(cell) and not cell.startswith(" ") for cell in cells):
            return delimiter
    return None


def _reason(best: _Judged, judged: Sequence[_Judged]) -> str:
    dialect, quoting = best.dialect, best.quoting
    said = [
        f"delimiter {_shown(dialect)}: {best.usual:,} of {best.records:,} records have {best.width:,} cells"
        if best.width > 1
        else f"delimiter {_shown(dialect)}: it separates the names in the first line; the records follow none"
        if not best.score
        else "one column: no delimiter splits the lines alike"
    ]
    others = [other for other in judged if other.width > 1 and other.dialect.delimiter != dialect.delimiter]
    if others:
        second = max(others, key=lambda other: other.score)
        said.append(f"{_shown(second.dialect)} gives {second.width:,} cells in {second.usual:,} of {second.records:,}")
    if quoting.cells:
        said.append(f"{dialect.quote} encloses {quoting.cells:,} cells")
    if quoting.stray:
        said.append(f"{quoting.stray:,} quotes enclose none and are text")
    if dialect.escape:
        said.append("backslashes escape " + " ".join(dialect.escaped))
    if dialect.blanks:
        said.append("blanks beside delimiters are no content")
    if dialect.lines_quoted:
        said.append("every line is quoted as a whole")
    return "; ".join(said)


def _shown(dialect: Dialect) -> str:
    names = {"\t": "TAB", " ": "blank", "\x01": "U+0001", "\x1f": "U+001F"}
    return names.get(dialect.delimiter) or repr(dialect.delimiter)
