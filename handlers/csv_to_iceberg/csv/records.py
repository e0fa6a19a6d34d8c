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
from dataclasses import replace
from typing import Any, Final, NamedTuple

from handlers.csv_to_iceberg.csv import repairs
from handlers.csv_to_iceberg.csv.gaps import squeezed, squeezed_alone
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

_LEAST_OPEN: Final = 512
"""Characters that a quote may be open for in a file where too many were in vain."""
_PATIENCE: Final = 8
"""Characters that may be looked at in vain for each that is read."""
_LINE_COSTS: Final = 64
"""A line costs as much time as so many characters."""


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
    return fed_records(Feed(lines, dialect), dialect, width)


def fed_records(feed: Feed, dialect: Dialect, width: int) -> Iterator[Record]:
    """Split lines as `exact_records` does."""
    reader = csv.reader(feed, **_rules(dialect))
    finish = _finisher(dialect)
    delimiter = _rules(dialect)["delimiter"]
    prepared = replace(dialect, delimiter=delimiter)
    # Of a blank line; one of delimiters is a record of empty cells.
    nothing = "\r\n" if not dialect.blanks else " \t\r\n"
    if dialect.blanks != "runs":
        nothing = nothing.replace(dialect.delimiter, "")
    while True:
        feed.begin_record()
        cells = next(reader, None)
        yield from feed.comments
        if cells is None:
            return
        text = "".join(feed.taken)
        damaged = False
        if not text.strip(nothing):
            continue
        if dialect.quote and dialect.quote in text and not well_formed("".join(feed.prepared), prepared):
            found = repairs.repaired(
                cells, feed.prepared_singly(), dialect, delimiter, width=width, patience=feed.patience
            )
            damaged = found.cells != cells or found.lines < len(feed.taken)
            cells = [cell.strip(" ") for cell in found.cells] if dialect.blanks == "around" else found.cells
            feed.give_back(found.lines, found.tried)
            text = "".join(feed.taken)
        if finish:
            cells = finish(cells)
        yield Record(cells, feed.line - len(feed.taken), feed.line, text, "", damaged)


def _rules(dialect: Dialect) -> dict[str, Any]:
    return {
        "delimiter": dialect.delimiter if len(dialect.delimiter) == 1 else _ONE_DELIMITER,
        "quotechar": dialect.quote or None,
        "quoting": csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        "escapechar": dialect.escape or None,
        "skipinitialspace": dialect.blanks != "",
    }


class Feed:
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
        self._delimiter = _rules(dialect)["delimiter"]
        self._prepare = _preparer(dialect)
        self._size = 0
        self._spared = self.patience = _LONGEST_OPEN
        """Characters that may yet be looked at in vain, and those for one record."""

    def take(self, characters: int) -> list[str]:
        """Hand out lines between two records, past the csv module: at least so many characters, if there are."""
        lines: list[str] = []
        size = 0
        while size < characters and (line := self._back.popleft() if self._back else next(self._lines, "")):
            lines.append(line)
            size += len(line)
        self.line += len(lines)
        return lines

    def put_back(self, lines: Sequence[str]) -> None:
        """Take back what `take` handed out last."""
        self._back.extendleft(reversed(lines))
        self.line -= len(lines)

    def prepared_singly(self) -> list[str]:
        """Return the record's lines prepared as if none of them went on in a cell of the one before."""
        if self._dialect.blanks not in {"around", "runs"}:
            return self.prepared
        lines = list(map(self._prepare, self.taken)) if self._prepare else self.taken
        return [squeezed_alone(line, self._dialect) for line in lines] if self._dialect.blanks == "runs" else lines

    def begin_record(self) -> None:
        """Forget the last record."""
        self._spared += _PATIENCE * self._size
        self.patience = max(_LEAST_OPEN, min(self._spared, _LONGEST_OPEN))
        self.taken, self.prepared, self.comments, self._size = [], [], [], 0

    def give_back(self, used: int, tried: int) -> None:
        """Take all lines of the record but the first `used` for the next ones; `tried` characters were looked at."""
        self._spared -= self._size + tried + _LINE_COSTS * len(self.taken)
        self._size = sum(map(len, self.taken[:used]))
        self._back.extendleft(reversed(self.taken[used:]))
        self.line -= len(self.taken) - used
        del self.taken[used:]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._size > self.patience:
            raise StopIteration
        line = self._next()
        comment = self._dialect.comment
        while comment and not self.taken and line.startswith(comment):
            self.comments.append(Record([line.rstrip("\r\n")], self.line - 1, self.line, line, COMMENT))
            line = self._next()
        inside = bool(self.taken)
        self.taken.append(line)
        self._size += len(line)
        if self._prepare:
            line = self._prepare(line)
        if self._dialect.blanks in {"around", "runs"}:
            line = squeezed(line, self._dialect, self._delimiter, inside=inside)
        self.prepared.append(line)
        return line

    def _next(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.line += 1
        return line


@functools.lru_cache(maxsize=64)
def _preparer(dialect: Dialect) -> Callable[[str], str] | None:
    """Return what prepares lines of a dialect, but for runs of blanks."""
    steps: list[Callable[[str], str]] = []
    if dialect.escape:
        # A backslash before anything else than it escapes is a character like any other.
        lone = re.compile(rf"(\\[{re.escape(dialect.escaped)}])|\\")
        steps.append(lambda line: lone.sub(lambda found: found[1] or "\\\\", line) if "\\" in line else line)
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
    if len(dialect.delimiter) > 1:
        steps.append(lambda cells: [cell.replace(_ONE_DELIMITER, dialect.delimiter) for cell in cells])
    if not steps:
        return None
    return lambda cells: functools.reduce(lambda row, step: step(row), steps, cells)
