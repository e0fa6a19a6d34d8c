"""The shape of a file: how its text splits into cells, and which cell belongs to which table column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Dialect:
    """How text splits into records and cells."""

    delimiter: str = ","
    """One character or several alike (`||`). A blank with `blanks = "runs"`: any run of blanks and tabs."""
    quote: str = '"'
    """Empty: quotes have no meaning."""
    escape: str = ""
    """Empty, or a backslash."""
    escaped: str = ""
    """The characters that a backslash before them makes literal. Before any other it is a character like any other."""
    blanks: Literal["", "after", "around", "runs"] = ""
    """Which blanks belong to no cell: those after delimiters, those on both sides, or all."""
    comment: str = ""
    """What lines between records begin with that are none."""
    damaged: bool = False
    """Quotes do not always enclose whole cells: records are repaired one by one."""
    lines_quoted: bool = False
    """Whole lines were quoted once more: `"1,""a, b"",2"`."""

    @property
    def plain(self) -> bool:
        """Whether Arrow reads it exactly."""
        return (
            len(self.delimiter.encode()) == 1
            and not (self.escape or self.blanks or self.comment)
            and not (self.damaged or self.lines_quoted)
        )


class Above(NamedTuple):
    """A record of another table, above the header."""

    line: int
    """The physical line it begins on, from 1."""
    cells: int
    text: str
    table: int
    """The line its table begins on."""


class Skipped(NamedTuple):
    """A line above the header that is no record and not blank."""

    line: int
    """From 1."""
    text: str
    """Its beginning."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A dialect and the columns of a file."""

    dialect: Dialect
    names: tuple[str | None, ...]
    """Table column of each cell; None for unnamed last cells that trailing delimiters make."""
    header_line: int
    """Physical line the header begins on, from 1; 0 when the names were generated."""
    head_lines: int
    """Physical lines before the first record."""
    values: tuple[bool, ...] = ()
    """Of each cell, whether its column holds numbers or dates; empty when nobody looked."""
    reason: str = ""
    """Why the dialect was chosen, for people."""
    above: tuple[Above, ...] = ()
    """Records that are rejected before the first one is read."""
    skipped: tuple[Skipped, ...] = ()
    """Titles, remarks and comments above the header."""
    doubts: tuple[str, ...] = ()
    """What to warn of: lines above the header that may be a table, or its names; names that may stand one cell off."""
    header: tuple[str, ...] = ()
    """The cells of the names, one for each column: a record equal to them is no row. Empty if that cannot be told."""
    several: bool = False
    """Blank lines stand between records: another table may begin below one."""

    @property
    def width(self) -> int:
        """Cells of a record."""
        return len(self.names)

    @property
    def columns(self) -> list[str]:
        """Table columns, in file order."""
        return [name for name in self.names if name is not None]

    @property
    def plain(self) -> bool:
        """Whether Arrow reads the records exactly."""
        return self.dialect.plain and not self.several

    def repairing(self) -> Layout:
        """Return the layout for a file whose quotes turned out to be damaged."""
        return replace(self, dialect=replace(self.dialect, damaged=True))
