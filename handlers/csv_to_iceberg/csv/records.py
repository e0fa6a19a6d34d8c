"""
Text to records, exactly: Python's csv module, with what it lacks around it.

Slower than Arrow's reader, for the dialects which that cannot read (see `Dialect.plain`), and for looking at samples.
Lines are prepared for the csv module one by one: delimiters of several characters become one, backslashes that escape
nothing are doubled, runs of blanks become one, comments are taken out. A record whose quotes do not enclose whole cells
is repaired by itself, so a stray quote never reaches into the next record.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from handlers.csv_to_iceberg.csv.layout import Dialect
from handlers.csv_to_iceberg.csv.options import MIB
from handlers.csv_to_iceberg.csv.quotes import well_formed

# A process-wide setting of the standard library, whose default refuses cells beyond 128 KiB.
csv.field_size_limit(2**31 - 1)

COMMENT: Final = "a comment"
"""Why a line between records is none."""

_ONE_DELIMITER: Final = "\U0010fffe"
"""Stands for a delimiter of several characters; a noncharacter, which no text has (Unicode 16, section 23.7)."""

_LONGEST_OPEN: Final = 16 * MIB
"""Characters. A quote that is open for longer is taken for a stray one."""

_MOST_LINES: Final = 100
"""Lines of a record with damaged quotes that are tried together."""
_LINE_END: Final = re.compile(r"[\r\n]")


class Record(NamedTuple):
    """A record and the physical lines it stands on, counted from 0; `end` is exclusive."""

    cells: list[str]
    begin: int
    end: int
    text: str = ""
    """Of a record that was split by `exact_records`."""
    reason: str = ""
    """Why it is no row, beside its width."""
    repaired: bool = False
    """Its quotes were damaged, and were read otherwise than the csv module does."""


def lines_of(text: str) -> list[str]:
    """Split at LF, CRLF and CR, keeping the ends."""
    return list(io.StringIO(text, newline=""))


def records_of(lines: Iterable[str], dialect: Dialect, width: int = 0) -> Iterator[Record]:
    """Split lines (with their ends) into records; blank lines are none. `width` helps to repair damaged ones."""
    return _plain_records(lines, dialect) if dialect.plain else exact_records(lines, dialect, width)


def _plain_records(lines: Iterable[str], dialect: Dialect) -> Iterator[Record]:
    reader = csv.reader(lines, **_rules(dialect))
    begin = 0
    for cells in reader:
        if cells:
            yield Record(cells, begin, reader.line_num)
        begin = reader.line_num


def exact_records(lines: Iterable[str], dialect: Dialect, width: int) -> Iterator[Record]:
    """Split lines as `records_of` does, with the text of each record."""
    feed = _Feed(lines, dialect)
    reader = csv.reader(feed, **_rules(dialect))
    finish = _finisher(dialect)
    while True:
        feed.begin_record()
        cells = next(reader, None)
        yield from feed.comments
        if cells is None:
            return
        text = "".join(feed.taken)
        repaired = False
        if not text.strip(" \t\r\n" if dialect.blanks else "\r\n"):
            continue
        if dialect.quote and dialect.quote in text and not well_formed("".join(feed.prepared), dialect):
            found, lines_used = _repaired(cells, feed.prepared, dialect, width)
            repaired = found != cells or lines_used < len(feed.taken)
            cells = found
            feed.give_back(lines_used)
            text = "".join(feed.taken)
        if finish:
            cells = finish(cells)
        yield Record(cells, feed.line - len(feed.taken), feed.line, text, "", repaired)


def _rules(dialect: Dialect) -> dict[str, Any]:
    return {
        "delimiter": dialect.delimiter if len(dialect.delimiter) == 1 else _ONE_DELIMITER,
        "quotechar": dialect.quote or None,
        "quoting": csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        "escapechar": dialect.escape or None,
        "skipinitialspace": dialect.blanks != "",
    }


class _Feed:
    """Hands prepared lines to the csv module, and knows which belong to the record it is splitting."""

    def __init__(self, lines: Iterable[str], dialect: Dialect) -> None:
        self.line = 0
        """Lines handed out so far."""
        self.taken: list[str] = []
        """The record's lines."""
        self.prepared: list[str] = []
        self.comments: list[Record] = []
        """Before the record."""
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self._dialect = dialect
        self._prepare = _preparer(dialect)
        self._size = 0

    def begin_record(self) -> None:
        self.taken, self.prepared, self.comments, self._size = [], [], [], 0

    def give_back(self, used: int) -> None:
        """Take all lines of the record but the first `used` for the next ones."""
        self._back.extendleft(reversed(self.taken[used:]))
        self.line -= len(self.taken) - used
        del self.taken[used:]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._size > _LONGEST_OPEN:
            raise StopIteration
        line = self._next()
        comment = self._dialect.comment
        while comment and not self.taken and line.startswith(comment):
            self.comments.append(Record([line.rstrip("\r\n")], self.line - 1, self.line, line, COMMENT))
            line = self._next()
        self.taken.append(line)
        self._size += len(line)
        if self._prepare:
            line = self._prepare(line)
        self.prepared.append(line)
        return line

    def _next(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.line += 1
        return line


@functools.lru_cache(maxsize=64)
def _preparer(dialect: Dialect) -> Callable[[str], str] | None:
    steps: list[Callable[[str], str]] = []
    if dialect.escape:
        # A backslash before anything else than it escapes is a character like any other.
        lone = re.compile(rf"(\\[{re.escape(dialect.escaped)}])|\\")
        steps.append(lambda line: lone.sub(lambda found: found[1] or "\\\\", line) if "\\" in line else line)
    if dialect.blanks == "runs":
        quote = re.escape(dialect.quote) if dialect.quote else "(?!)"
        runs = re.compile(rf"({quote}(?:[^{quote}]|{quote}{quote})*{quote})|[ \t]+")
        steps.append(lambda line: runs.sub(lambda found: found[1] or " ", line.strip(" \t\r\n")) + "\n")
    if len(dialect.delimiter) > 1:
        steps.append(lambda line: line.replace(dialect.delimiter, _ONE_DELIMITER))
    if not steps:
        return None
    return lambda line: functools.reduce(lambda text, step: step(text), steps, line)


@functools.lru_cache(maxsize=64)
def _finisher(dialect: Dialect) -> Callable[[list[str]], list[str]] | None:
    steps: list[Callable[[list[str]], list[str]]] = []
    if dialect.lines_quoted:
        inner = _rules(dialect)
        steps.append(lambda cells: next(csv.reader(lines_of(cells[0]), **inner), cells) if len(cells) == 1 else cells)
    if dialect.blanks == "around":
        steps.append(lambda cells: [cell.strip(" ") for cell in cells])
    if len(dialect.delimiter) > 1:
        steps.append(lambda cells: [cell.replace(_ONE_DELIMITER, dialect.delimiter) for cell in cells])
    if not steps:
        return None
    return lambda cells: functools.reduce(lambda row, step: step(row), steps, cells)


def _repaired(cells: list[str], lines: Sequence[str], dialect: Dialect, width: int) -> tuple[list[str], int]:
    """
    Split a record whose quotes are damaged; return its cells and how many of the lines are used.

    As few lines as possible are used: a quote that closes nothing shall not swallow records. Of several ways to split
    those, the first that gives `width` cells is taken.
    """
    delimiter = dialect.delimiter if len(dialect.delimiter) == 1 else _ONE_DELIMITER
    for used in range(1, min(len(lines), _MOST_LINES) + 1):
        text = "".join(lines[:used]).rstrip("\r\n")
        for split in (*_leniently(text, dialect, delimiter), _piecewise(text, dialect, delimiter)):
            if split is not None and len(split) == width:
                return split, used
    first = lines[0].rstrip("\r\n")
    unquoted = _unquoted(first, dialect, delimiter)
    if len(unquoted) == width:
        return unquoted, 1
    if len(lines) == 1 and len(cells) == width:
        return cells, 1
    return next(filter(None, _leniently(first, dialect, delimiter)), unquoted), 1


def _leniently(text: str, dialect: Dialect, delimiter: str) -> list[list[str] | None]:
    """Split so that quotes close before a delimiter or at the end only: by single quotes, and by doubled ones too."""
    return [_closing_late(text, dialect, delimiter, doubled=doubled) for doubled in (False, True)]


def _closing_late(text: str, dialect: Dialect, delimiter: str, *, doubled: bool) -> list[str] | None:
    opening, closing = _late_patterns(dialect.quote, delimiter)
    cells: list[str] = []
    at = 0
    while True:
        if opened := opening.match(text, at):
            closed = next(
                (
                    found
                    for found in closing.finditer(text, opened.end())
                    if (doubled or len(found[1]) % 2) and not (dialect.escape and text[found.start() - 1] == "\\")
                ),
                None,
            )
            if closed is None:
                return None
            cell = text[opened.end() : closed.end(1) - 1].replace(dialect.quote * 2, dialect.quote)
            at = closed.end()
        else:
            end = text.find(delimiter, at)
            at, begin = len(text) if end < 0 else end, at
            cell = text[begin:at].lstrip(" ") if dialect.blanks else text[begin:at]
            if _LINE_END.search(cell):
                return None
        cells.append(_unescaped(cell) if dialect.escape else cell)
        if at >= len(text):
            return cells
        at += len(delimiter)


def _piecewise(text: str, dialect: Dialect, delimiter: str) -> list[str] | None:
    """Let quotes have a meaning only in those cells that they enclose as they should."""
    whole = _whole_cell(dialect.quote, delimiter)
    cells: list[str] = []
    at = 0
    while at <= len(text):
        if found := whole.match(text, at):
            cells.append(found[1].replace(dialect.quote * 2, dialect.quote))
            end = found.end()
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            cells.append(text[at:end].lstrip(" ") if dialect.blanks else text[at:end])
            if _LINE_END.search(cells[-1]):
                return None
        at = end + len(delimiter)
    return list(map(_unescaped, cells)) if dialect.escape else cells


@functools.lru_cache(maxsize=64)
def _whole_cell(quote: str, delimiter: str) -> re.Pattern[str]:
    quote, delimiter = re.escape(quote), re.escape(delimiter)
    return re.compile(rf" *+{quote}([^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+){quote} *+(?={delimiter}|\Z)")


@functools.lru_cache(maxsize=64)
def _late_patterns(quote: str, delimiter: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    quote, delimiter = re.escape(quote), re.escape(delimiter)
    return re.compile(rf" *+{quote}"), re.compile(rf"({quote}++) *+(?={delimiter}|\Z)")


def _unquoted(text: str, dialect: Dialect, delimiter: str) -> list[str]:
    cells = [cell.lstrip(" ") for cell in text.split(delimiter)] if dialect.blanks else text.split(delimiter)
    return list(map(_unescaped, cells)) if dialect.escape else cells


def _unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell, flags=re.DOTALL)
