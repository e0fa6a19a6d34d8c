"""The ways to split a text at a delimiter that its characters allow: quotes, escapes, blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from handlers.csv_to_iceberg.csv.layout import Dialect
from handlers.csv_to_iceberg.csv.quotes import Quoting, cells_across_records, quoting_of

_DOUBLED: Final = "|;:~^"
"""May stand twice as one delimiter. Not commas and tabs: those enclose empty cells."""
_ENCLOSING: Final = "|~^#@!*&"
"""May stand on both sides of a delimiter and belong to it: `|~|`."""
_ENCLOSED: Final = frozenset(",;|^~:\t")
_RUN: Final = re.compile(r"[ \t]{2}|^ |[\t ]$", re.MULTILINE)
_MOST_ACROSS: Final = 0.2
"""Share of the cells in apostrophes that may go on over lines which split like all others without them."""
_MOST_BLANKS: Final = 0.9
"""Share of the delimiters with a blank beside them above which blanks belong to the delimiters."""


def candidates(text: str, delimiter: str, *, complete: bool) -> Iterator[tuple[Dialect, Quoting]]:
    """Yield the dialects of a delimiter that the characters of a text allow, the simplest first."""
    for form, quote in _forms(text, delimiter):
        for dialect in _variants(text, Dialect(form, quote), complete=complete):
            quoting = quoting_of(text, dialect, complete=complete)
            if not quoting.stray:
                yield dialect, quoting
            elif quoting.cells:
                yield replace(dialect, damaged=True), quoting
            else:
                yield replace(dialect, quote=""), quoting


def _forms(text: str, delimiter: str) -> Iterator[tuple[str, str]]:
    """Yield delimiter and quote; the delimiter twice, or with what is on both its sides, where it stands so."""
    if enclosed := _enclosed(text, delimiter):
        for quote in _quotes(text, enclosed):
            yield enclosed, quote
        return
    if _encloses(text, delimiter):
        return
    twice = delimiter * 2
    doubled = delimiter in _DOUBLED and twice in text
    for quote in _quotes(text, delimiter):
        if not doubled or _stands_alone(_with_escapes(text, Dialect(twice, quote))[1].rest, delimiter):
            yield delimiter, quote
    for quote in _quotes(text, twice) if doubled else ():
        yield twice, quote


def _enclosed(text: str, delimiter: str) -> str:
    """Return a delimiter with the character on both sides of it, if it never stands without, and encloses no line."""
    at = text.find(delimiter)
    side = text[at - 1 : at]
    if at < 1 or side not in _ENCLOSING or side == delimiter:
        return ""
    form = side + delimiter + side
    cells = "".join(text.split(form)).splitlines()
    wrapped = any(line.startswith(side) or line.endswith(side) for line in cells)
    return "" if wrapped or text.count(form) < text.count(delimiter) else form


def _encloses(text: str, side: str) -> bool:
    """Tell whether a delimiter only stands on both sides of another one."""
    at = text.find(side)
    inner = text[at + 1 : at + 2]
    form = side + inner + side
    return (
        at >= 0 and inner in _ENCLOSED and text.count(side) == 2 * text.count(form) and _enclosed(text, inner) == form
    )


def _stands_alone(text: str, delimiter: str) -> bool:
    found = re.escape(delimiter)
    return re.search(rf"(?<!{found}){found}(?!{found})", text) is not None


def _quotes(text: str, delimiter: str) -> list[str]:
    """Double quotes, unless apostrophes enclose cells and they do not."""
    if "'" not in text:
        return ['"']
    plain = Dialect(delimiter, "'", blanks="after")
    unescaped = apostrophes = quoting_of(text, plain)
    if "\\'" in text:
        escaping = Dialect(delimiter, "'", "\\", _escaped(text, "'", delimiter), blanks="after")
        apostrophes = max(apostrophes, quoting_of(text, escaping), key=lambda quoting: quoting.cells)
    begin = "[ \t]" if delimiter == " " else re.escape(delimiter)
    opened = apostrophes.cells + len(re.findall(rf"(?:^|{begin}) *'", apostrophes.rest, re.MULTILINE))
    if apostrophes.cells < 2 or apostrophes.cells < 0.9 * opened:  # noqa: PLR2004 - one may be a coincidence
        return ['"']
    if cells_across_records(text, plain, unescaped) > _MOST_ACROSS * apostrophes.cells:
        return ['"']
    double = quoting_of(text, Dialect(delimiter, '"', blanks="after"))
    return ['"', "'"] if double.cells else ["'"]


def _variants(text: str, dialect: Dialect, *, complete: bool) -> Iterator[Dialect]:
    dialect, quoting = _with_escapes(text, dialect, complete=complete)
    delimiter, quote = dialect.delimiter, dialect.quote
    spaced = _with_blanks(text, dialect, quoting, complete=complete)
    if spaced.blanks and not spaced.escape:
        # Without its blanks no cell began with a quote.
        spaced, _ = _with_escapes(text, spaced, complete=complete)
    yield spaced
    if spaced.blanks == "runs":
        # Single blanks enclose empty cells, if that makes all records alike.
        yield dialect
    if f"\\{delimiter}" in quoting.rest and not dialect.escape and delimiter != " ":
        yield replace(spaced, escape="\\", escaped=_escaped(text, quote, delimiter))
    if quoting.cells and _whole_lines_quoted(text, delimiter, quote):
        yield replace(dialect, lines_quoted=True)


def _with_escapes(text: str, dialect: Dialect, *, complete: bool = True) -> tuple[Dialect, Quoting]:
    """Let backslashes escape quotes where that leaves fewer stray ones."""
    quoting = quoting_of(text, dialect, complete=complete)
    if quoting.stray and f"\\{dialect.quote}" in text:
        escaping = replace(dialect, escape="\\", escaped=_escaped(text, dialect.quote, dialect.delimiter))
        escaped = quoting_of(text, escaping, complete=complete)
        if escaped.stray < quoting.stray:
            return escaping, escaped
    return dialect, quoting


def _escaped(text: str, quote: str, delimiter: str) -> str:
    r"""Return what backslashes escape: themselves too, unless some stand alone, as in `C:\dir`. `\n` proves nothing."""
    own = quote + (delimiter if len(delimiter) == 1 else "")
    behind = set(re.findall(r"\\(.)", text, re.DOTALL))
    alone = behind - {*own, "\\", *"ntrNu0/"}
    return own if alone or ("\\" not in behind and behind - set(own)) else own + "\\"


def has_runs(quoting: Quoting) -> bool:
    """Tell whether blanks stand beside each other, or at the ends of lines, outside of quoted cells."""
    return _RUN.search(quoting.rest) is not None


def _with_blanks(text: str, dialect: Dialect, quoting: Quoting, *, complete: bool) -> Dialect:
    """Let blanks beside delimiters belong to them where nearly all have some, or quotes follow them."""
    delimiter, quote = dialect.delimiter, dialect.quote
    if delimiter == " ":
        return replace(dialect, blanks="runs") if has_runs(quoting) else dialect
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
