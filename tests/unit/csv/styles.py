"""
Tables, and the ways to write them that leave enough evidence in the file: what any two careful readers agree about.

The rule: what could be read otherwise is quoted, as a program that writes such files does; and what only convention
tells (a blank, a colon, an apostrophe, a backslash) stands often enough to be seen.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from hypothesis import strategies as st

from tests.unit.csv.writing import Style

NAMES: Final = (
    "id",
    "name",
    "city",
    "amount",
    "note",
    "country",
    "first name",
    "kind",
    "unit price",
    "remark",
    "größe",
    "Straße",
)
WORDS: Final = (
    "Anna",
    "Bob",
    "red",
    "Main Street",
    "São Paulo",
    "naïve",
    "x",
    "O'Brien",
    "C:\\temp",
    "a-b",
    "R&D",
    "日本",
    "😀",
)
PIECES: Final = (
    *WORDS, ",", ";", "\t", "|", ":", " ", "||", ", ", "  ", '"', '""', "'", "\\", '\\"', "\n", "\r\n", "\n\n", "\n ",
    "#", "\n# ", "//", "^", "~", "§", "0", "1.5", "é", "\u00a0", "\u2028", "\ufeff", "=", "-",
)  # fmt: skip
"""What a cell is put together of: anything that means something to some dialect."""

USUAL: Final = (",", ";", "\t", "|")
RARE: Final = (" ", ":", ", ", "; ", " | ", "||", "::", ";;", "^^", "~~", "^", "~", "\x01", "\x1f", "¦", "§")
OF_PROSE: Final = frozenset({" ", ":", ", ", "; "})
"""Delimiters that stand in any sentence too."""
LINE_ENDS: Final = ("\n", "\r\n", "\r")

nasty = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
long = st.sampled_from(("y" * 2000, "long, " * 2000, 'say "so" ' * 2000, "line\n" * 200))
KINDS = st.sampled_from(("words", "nasty", "numbers", "empty"))
CELLS: Final = {
    "words": st.sampled_from(WORDS),
    "nasty": st.one_of(nasty, nasty, nasty, st.text(max_size=10), long),
    "numbers": st.integers(0, 5000).map(str),
    "empty": st.just(""),
}

LONG: Final = 200

seldom = st.sampled_from((False, False, False, True))


class File(NamedTuple):
    """A table as text, and what a reader has to find in it."""

    text: str
    names: list[str]
    rows: list[list[str]]
    style: Style


@st.composite
def tables(draw: st.DrawFn, *, valued: bool) -> list[list[str]]:
    """
    Header and rows.

    A first column of words or numbers, as real tables have: of nasty cells alone no human could tell the dialect.
    `valued`: some column is of numbers, which tell a delimiter from punctuation.
    """
    kinds = [draw(st.sampled_from(("words", "numbers"))), *draw(st.lists(KINDS, min_size=1, max_size=5))]
    if valued and "numbers" not in kinds:
        kinds[draw(st.integers(0, len(kinds) - 1))] = "numbers"
    names = draw(st.permutations(NAMES))[: len(kinds)]
    rows = draw(st.lists(st.tuples(*(CELLS[kind] for kind in kinds)), min_size=3, max_size=10))
    return [list(names), *map(list, rows)]


PREAMBLES: Final = (
    (),
    (),
    (),
    ("Report of the year", ""),
    ("Report of the year",),
    ("Report of the year", "Printed on Monday", "", ""),
    ("# written by a program", "# version 3"),
    ("// written by a program",),
)
COMMENTS: Final = ("# checked", "# checked: yes, twice; by Anna", '# "quoted"', "#")


@st.composite
def styles(draw: st.DrawFn, table: list[list[str]], delimiter: str) -> Style:
    """
    Any way to write a table that leaves enough evidence in the file.

    Apostrophes are quotes if they enclose most text: a few may as well be part of it. Backslashes escape if they do so
    before a quote: two of them may as well be the beginning of a path. Titles stand above delimiters that no title
    has. Blanks at the end of a line are no trailing delimiter.
    """
    quote = draw(st.sampled_from(('"', '"', '"', "'")))
    quotings: tuple[Literal["needed", "all", "text"], ...] = ("needed", "all", "text")
    quoting = draw(st.sampled_from(quotings[1:] if quote == "'" else quotings))
    escaping = any(quote in cell for row in table for cell in row)
    of_prose = delimiter in OF_PROSE
    preamble = draw(st.sampled_from(PREAMBLES))
    if of_prose and preamble and not preamble[0].startswith(("#", "/")):
        preamble = ()
    rows = len(table) - 1
    return Style(
        delimiter=delimiter,
        quote=quote,
        quoting=quoting,
        escape=draw(st.sampled_from(("double", "backslash") if escaping else ("double",))),
        line_end=draw(st.sampled_from(LINE_ENDS)),
        last_end=draw(st.integers(0, 2)),
        declared=delimiter in USUAL and draw(seldom),
        trailing=delimiter.strip(" ") == delimiter and draw(seldom),
        preamble=preamble,
        comments=tuple(draw(st.lists(st.tuples(st.integers(0, rows - 1), st.sampled_from(COMMENTS)), max_size=1)))
        if draw(seldom)
        else (),
        # Beside long cells all others are long too, and what stands behind the first 64 KiB is no evidence.
        aligned=delimiter in {" ", " | "}
        and max(len(cell) for row in table for cell in row) < LONG
        and draw(st.booleans()),
    )


@st.composite
def files(draw: st.DrawFn) -> File:
    """Any table in any style that suits it."""
    delimiter = draw(st.sampled_from((*USUAL, *USUAL, *RARE)))
    table = draw(tables(valued=delimiter in OF_PROSE))
    if delimiter == " ":
        # A gap and a delimiter look alike.
        table = [[cell or "-" for cell in row] for row in table]
    style = draw(styles(table, delimiter))
    return File(style.text(table), table[0], table[1:], style)


MEASURES: Final = ("(kg)", "[m]", "(m/s)", "[°C]", "(%)")
GROUPS: Final = ("2020", "2021", "North", "South region", "größte")
PARTS: Final = ("male", "female", "all", "first half")


@st.composite
def headed_files(draw: st.DrawFn) -> File:
    """
    A table of numbers whose header has two lines: groups above names, or units in brackets below them.

    Groups begin beside a first column that has none, and each goes on to the next, over the same names.
    """
    delimiter = draw(st.sampled_from((*USUAL, "^", "||")))
    labels = st.sampled_from(WORDS)
    if draw(st.booleans()):
        groups = draw(st.lists(st.sampled_from(GROUPS), min_size=2, max_size=3, unique=True))
        parts = draw(st.lists(st.sampled_from(PARTS), min_size=2, max_size=3, unique=True))
        upper = ["", *(cell for group in groups for cell in (group, *[""] * (len(parts) - 1)))]
        lower = ["area", *parts * len(groups)]
        names = ["area", *(f"{group} {part}" for group in groups for part in parts)]
        head = [upper, lower]
    else:
        measured = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
        units = [draw(st.sampled_from(MEASURES)) for _ in measured]
        head = [["station", *measured], ["", *units]]
        names = ["station", *(f"{name} {unit}" for name, unit in zip(measured, units, strict=True))]
    numbers = st.lists(st.integers(0, 5000).map(str), min_size=len(names) - 1, max_size=len(names) - 1)
    rows = [[draw(labels), *draw(numbers)] for _ in range(draw(st.integers(3, 8)))]
    style = Style(
        delimiter=delimiter,
        quoting=draw(st.sampled_from(("needed", "all", "text"))),
        line_end=draw(st.sampled_from(LINE_ENDS)),
        last_end=draw(st.integers(0, 2)),
        declared=delimiter in USUAL and draw(seldom),
        trailing=draw(seldom),
        preamble=draw(st.sampled_from(((), (), ("Report of the year", "")))),
    )
    return File(style.text([*head, *rows], headers=2), names, rows, style)
