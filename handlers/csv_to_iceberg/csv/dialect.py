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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.cells import WORTH, Look, look_of
from handlers.csv_to_iceberg.csv.layout import Dialect
from handlers.csv_to_iceberg.csv.options import KIB
from handlers.csv_to_iceberg.csv.quotes import Quoting, quoting_of
from handlers.csv_to_iceberg.csv.records import Record, lines_of, records_of

DELIMITERS: Final = (",", ";", "\t", "|")
"""The usual ones, in order of preference."""

_LIKELY: Final = {
    ",": 1.0, ";": 1.0, "\t": 1.0, "|": 1.0,
    "^": 0.9, "~": 0.9, "\x01": 0.95, "\x1f": 0.95, "¦": 0.9, "§": 0.9,
    ":": 0.75, " ": 0.75,
}  # fmt: skip
"""Delimiters, and how likely each is to be one when it occurs as regularly as another."""

_DOUBLED: Final = "|;:~^"
"""May stand twice as one delimiter. Not commas and tabs: those enclose empty cells."""
_PUNCTUATION: Final = (" ", ":")
"""Delimiters only where a column of values proves it: both stand in ordinary text."""

_SAMPLE: Final = 64 * KIB
"""Characters that quotes are counted in."""
_RECORDS: Final = 400
_CELLS: Final = 500
"""Cells whose looks are judged."""
_ONE_COLUMN: Final = 0.5
"""What a single column is worth when its cells are text: a delimiter must explain more."""
_MOST_TITLES: Final = 10
"""Lines above a blank line that may be titles of what is below it."""
_SIMPLER: Final = 1.02
"""A more complicated dialect must be better by this factor."""
_MOST_BLANKS: Final = 0.9
"""Share of the delimiters with a blank beside them above which blanks belong to the delimiters."""
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
    sample = _beginning(text, _SAMPLE)
    whole = complete and len(sample) == len(text)
    lines = lines_of(sample)
    column = _Judged(Dialect(delimiter), 0) if delimiter else _one_column(lines, text)
    best = column
    judged: list[_Judged] = []
    for candidate in [delimiter] if delimiter else _LIKELY:
        if candidate not in sample or best.score >= _LIKELY.get(candidate, 1):
            continue
        for dialect, quoting in _candidates(sample, candidate, complete=whole):
            other = _judge(lines, dialect, quoting)
            judged.append(other)
            alike = best is not column and best.dialect.delimiter == other.dialect.delimiter
            if other.score > best.score * (_SIMPLER if alike else 1):
                best = other
    if best is column and (named := _of_first_line(lines)):
        best = _Judged(Dialect(named), 0)
    return Detected(best.dialect, _reason(best, [column, *judged]))


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


def _candidates(text: str, delimiter: str, *, complete: bool) -> Iterator[tuple[Dialect, Quoting]]:
    """Yield the dialects of a delimiter that the characters of a text allow, the simplest first."""
    written = [delimiter]
    if delimiter in _DOUBLED and delimiter * 2 in text:
        written = [delimiter, delimiter * 2] if _stands_alone(text, delimiter) else [delimiter * 2]
    for form, quote in itertools.product(written, _quotes(text, delimiter)):
        for dialect in _variants(text, Dialect(form, quote), complete=complete):
            quoting = quoting_of(text, dialect, complete=complete)
            if not quoting.stray:
                yield dialect, quoting
            elif quoting.cells:
                yield replace(dialect, damaged=True), quoting
            else:
                yield replace(dialect, quote=""), quoting


def _stands_alone(text: str, delimiter: str) -> bool:
    found = re.escape(delimiter)
    return re.search(rf"(?<!{found}){found}(?!{found})", text) is not None


def _quotes(text: str, delimiter: str) -> list[str]:
    """Double quotes, unless apostrophes enclose cells and they do not."""
    if "'" not in text:
        return ['"']
    apostrophes = quoting_of(text, Dialect(delimiter, "'", blanks="after"))
    if "\\'" in text:
        escaping = Dialect(delimiter, "'", "\\", _escaped(text, "'", delimiter), blanks="after")
        apostrophes = max(apostrophes, quoting_of(text, escaping), key=lambda quoting: quoting.cells)
    begin = "[ \t]" if delimiter == " " else re.escape(delimiter)
    opened = apostrophes.cells + len(re.findall(rf"(?:^|{begin}) *'", apostrophes.rest, re.MULTILINE))
    if apostrophes.cells < 2 or apostrophes.cells < 0.9 * opened:  # noqa: PLR2004 - one may be a coincidence
        return ['"']
    double = quoting_of(text, Dialect(delimiter, '"', blanks="after"))
    return ['"', "'"] if double.cells else ["'"]


def _variants(text: str, dialect: Dialect, *, complete: bool) -> Iterator[Dialect]:
    quoting = quoting_of(text, dialect, complete=complete)
    delimiter, quote = dialect.delimiter, dialect.quote
    if quoting.stray and f"\\{quote}" in text:
        escaping = replace(dialect, escape="\\", escaped=_escaped(text, quote, delimiter))
        escaped = quoting_of(text, escaping, complete=complete)
        if escaped.stray < quoting.stray:
            dialect, quoting = escaping, escaped
    spaced = _with_blanks(text, dialect, quoting, complete=complete)
    yield spaced
    if f"\\{delimiter}" in quoting.rest and not dialect.escape and delimiter != " ":
        yield replace(spaced, escape="\\", escaped=_escaped(text, quote, delimiter))
    if quoting.cells and _whole_lines_quoted(text, delimiter, quote):
        yield replace(dialect, lines_quoted=True)


def _escaped(text: str, quote: str, delimiter: str) -> str:
    r"""Return what backslashes escape: themselves too, unless some stand alone, as in `C:\dir`. `\n` proves nothing."""
    own = quote + (delimiter if len(delimiter) == 1 else "")
    behind = set(re.findall(r"\\(.)", text, re.DOTALL))
    alone = behind - {*own, "\\", *"ntrNu0/"}
    return own if alone or ("\\" not in behind and behind - set(own)) else own + "\\"


def _with_blanks(text: str, dialect: Dialect, quoting: Quoting, *, complete: bool) -> Dialect:
    """Let blanks beside delimiters belong to them where nearly all have some, or quotes follow them."""
    delimiter, quote = dialect.delimiter, dialect.quote
    if delimiter == " ":
        several = re.search(r"[ \t]{2}|^ |[\t ]$", quoting.rest, re.MULTILINE)
        return replace(dialect, blanks="runs") if several else dialect
    loose = replace(dialect, blanks="after")
    between = quoting
    found = re.escape(delimiter)
    if quoting.stray and re.search(rf"(?:{found}|^) +{quote}|{quote} +{found}", text, re.MULTILINE):
        between = quoting_of(text, loose, complete=complete)
    quotes_spaced = between.stray < quoting.stray
    if quotes_spaced and quote and re.search(rf"{quote} +{found}", text):
        return replace(dialect, blanks="around")
    after = between.rest.count(delimiter + " ")
    if not quotes_spaced and max(after, between.rest.count(" " + delimiter)) < between.rest.count(delimiter) / 3:
        return dialect
    total = len(re.findall(rf"{found}(?!{found}|$)", between.rest, re.MULTILINE))
    before = len(re.findall(rf"[^ \r\n] +{found}", between.rest))
    most = _MOST_BLANKS * total
    if total and before >= most / 2 and max(before, after) >= most:
        return replace(dialect, blanks="around")
    if quotes_spaced or (total and after >= most):
        return loose
    return dialect


def _whole_lines_quoted(text: str, delimiter: str, quote: str) -> bool:
    lines = [line for line in text.splitlines() if line]
    return len(lines) > 1 and all(
        line.startswith(quote) and line.endswith(quote) and len(line[1:-1].strip(delimiter).split(delimiter)) > 1
        for line in lines
    )


def _judge(lines: Sequence[str], dialect: Dialect, quoting: Quoting) -> _Judged:
    """Rate a way to split: 0 to 1."""
    records, width = sampled_records(lines, dialect, _RECORDS)
    if width <= 1:
        return _Judged(dialect, 0)
    usual = [index for index, record in enumerate(records) if len(record.cells) == width]
    body = records[usual[0] : usual[-1] + 1]
    share = len(usual) / len(body)
    within = len(body) / len(records)
    rows = [records[index].cells for index in usual]
    cells, alike, values = _looks(rows)
    score = share**1.5 * (0.5 + 0.5 * within) * (1 - 0.45 / width) * (0.65 * cells + 0.35 * alike)
    score *= _LIKELY.get(dialect.delimiter[0], 1) * (1 - 0.2 * quoting.stray / (quoting.stray + 2 * quoting.cells + 1))
    if dialect.delimiter in _PUNCTUATION and not values:
        score *= 0.4
    if _headed_by_one_name(records, usual[0], dialect, valued=values):
        score *= 0.6
    return _Judged(dialect, score, width, len(usual), len(records), quoting)


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
    named_below = all(_NAME.fullmatch(cell.strip()) for cell in below)
    return not named_below or (not valued and (dialect.blanks != "" or dialect.delimiter in _PUNCTUATION))


def _one_column(lines: Sequence[str], text: str) -> _Judged:
    cells = [line.strip() for line in lines if line.strip()][:_RECORDS]
    sampled = cells[1:][:_CELLS] or cells
    looks = Counter(map(look_of, sampled))
    single = sum(looks[look] for look in (Look.NUMBER, Look.MOMENT, Look.TOKEN))
    torn = looks[Look.UNSPLIT] + looks[Look.TORN]
    score = _ONE_COLUMN + 0.4 * (single / max(1, len(sampled))) - 0.2 * (torn / max(1, len(sampled)))
    if (cells and look_of(cells[0]) is Look.UNSPLIT) or _split_below_titles(lines):
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
