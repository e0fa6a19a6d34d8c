"""The shape of a file: how its text splits into cells, and which cell belongs to which table column."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Dialect:
    """How text splits into records and cells."""

    delimiter: str = ","
    """One ASCII character."""
    quote: str = '"'
    """Empty: quotes have no meaning."""
    escape: str = ""
    """Empty, or a backslash."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A dialect and the columns of a file."""

    dialect: Dialect
    names: tuple[str | None, ...]
    """Table column of each cell; None for an unnamed last cell that trailing delimiters make."""
    header_line: int
    """Physical line the header begins on, from 1; 0 when the names were generated."""
    head_lines: int
    """Physical lines before the first record."""

    @property
    def width(self) -> int:
        """Cells of a record."""
        return len(self.names)

    @property
    def columns(self) -> list[str]:
        """Table columns, in file order."""
        return [name for name in self.names if name is not None]

    def without_quotes(self) -> Layout:
        """Return the layout in which quotes and backslashes are characters like any other."""
        return replace(self, dialect=Dialect(self.dialect.delimiter, quote=""))
