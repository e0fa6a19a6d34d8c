"""
Blanks that belong to no cell taken out of lines, before these are split: around delimiters, or runs that are one.

Quoted cells keep theirs, also over several lines.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.layout import Dialect

_AROUND: Final = " \t\r\n"
_GAP: Final = re.compile(r"[ \t]{2,}|\t")


def squeezed(line: str, dialect: Dialect, delimiter: str, *, inside: bool) -> str:
    """
    Leave out what a dialect with blanks `around` or in `runs` does not count.

    Args:
        line: With its end; backslashes that escape nothing doubled.
        dialect: Of the file.
        delimiter: In this line.
        inside: The line begins within a quoted cell that an earlier one opened.
    """
    runs = dialect.blanks == "runs"
    if runs and not inside and (not dialect.quote or dialect.quote not in line):
        return _GAP.sub(" ", line.strip(_AROUND)) + "\n"
    patterns = _patterns(dialect, delimiter)
    within = ""
    if inside:
        closed = patterns.closing.match(line)
        if closed is None:
            return line
        within, line = closed[0], line[closed.end() :]
    elif runs:
        line = line.lstrip(_AROUND)
    if not runs:
        return within + patterns.blanks.sub(_kept, line)
    if any(found["open"] for found in patterns.blanks.finditer(line)):
        return within + patterns.blanks.sub(_kept_or_one, line)
    return within + patterns.blanks.sub(_kept_or_one, line.rstrip(_AROUND)) + "\n"


def squeezed_alone(line: str, dialect: Dialect) -> str:
    """Make runs one blank each in a line of damaged quotes: one that it leaves open means nothing."""
    return (
        _patterns(dialect, dialect.delimiter).blanks.sub(
            lambda found: _GAP.sub(" ", found["open"] or _kept_or_one(found)), line.strip(_AROUND)
        )
        + "\n"
    )


class _Patterns(NamedTuple):
    blanks: re.Pattern[str]
    """Blanks outside of quoted cells, and those cells: `whole`, or `open` at the end of the line."""
    closing: re.Pattern[str]
    """The rest of a cell that was open."""


def _kept(found: re.Match[str]) -> str:
    return found["whole"] or found["open"] or ""


def _kept_or_one(found: re.Match[str]) -> str:
    return _kept(found) or " "


@functools.lru_cache(maxsize=64)
def _patterns(dialect: Dialect, delimiter: str) -> _Patterns:
    quote = re.escape(dialect.quote) if dialect.quote else "(?!)"
    other = rf"[^{quote}\\]|\\." if dialect.escape else f"[^{quote}]"
    inside = rf"(?:{other}|{quote}{quote})*+" if dialect.quote else ""
    found = re.escape(delimiter)
    begin, blanks = (
        (r"(?<![^ \t])", r"[ \t]+")
        if dialect.blanks == "runs"
        else (rf"(?:\A|{found})[ ]*+", rf" +(?={found}|[\r\n]|\Z)")
    )
    cells = rf"(?P<whole>{begin}{quote}{inside}{quote})|(?P<open>{begin}{quote}{inside}\Z)"
    return _Patterns(re.compile(f"{cells}|{blanks}", re.DOTALL), re.compile(inside + quote, re.DOTALL))
