"""Writing tables in many dialects, as careful programs do, for reading them back."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import zstandard

PACKERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "gzip of two members": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
}

_MARKS: Final = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


def encoded(text: str, encoding: str) -> bytes:
    """Encode; `utf-16-be marked` puts a byte order mark before what Python writes without."""
    name, _, marked = encoding.partition(" ")
    return (_MARKS[name] if marked else b"") + text.encode(name)


@dataclass(frozen=True, slots=True)
class Style:
    """A way to write a table."""

    delimiter: str = ","
    """As written between cells, blanks and all: `, ` too."""
    quote: str = '"'
    quoting: Literal["needed", "all", "text", "none"] = "needed"
    """`text`: all cells but numbers. `none`: nothing in the table needs quotes."""
    escape: Literal["double", "backslash"] = "double"
    line_end: str = "\n"
    last_end: int = 1
    """Line ends at the end of the file."""
    declared: bool = False
    """A line `sep=` comes first."""
    trailing: bool = False
    """Every record ends with a delimiter."""
    preamble: tuple[str, ...] = ()
    """Lines before the header."""
    comments: tuple[tuple[int, str], ...] = ()
    """Lines between records, each with the number of the row it stands above."""
    aligned: bool = False
    """Cells are filled up with blanks to the width of their column."""

    @property
    def mark(self) -> str:
        """The delimiter without the blanks that belong to it, as a report names it."""
        return self.delimiter.strip(" ") or " "

    def needs_quotes(self, cell: str) -> bool:
        """Tell whether a cell would not come back as it is without quotes."""
        return (
            any(special in cell for special in (self.mark[0], self.quote, "\n", "\r"))
            or cell != cell.strip()
            or (self.escape == "backslash" and "\\" in cell)
            or (self.mark == " " and cell.split() != [cell])
        )

    def cell(self, cell: str) -> str:
        """Write one cell."""
        needed = self.needs_quotes(cell)
        quoted = {
            "needed": needed,
            "all": True,
            "text": needed or not cell.isdecimal(),
            "none": False,
        }[self.quoting]
        if not quoted:
            return cell
        if self.escape == "backslash":
            cell = cell.replace("\\", "\\\\").replace(self.quote, "\\" + self.quote)
        else:
            cell = cell.replace(self.quote, 2 * self.quote)
        return self.quote + cell + self.quote

    def text(self, table: Sequence[Sequence[str]], headers: int = 1) -> str:
        """Write a table, its header of so many lines first."""
        written = [[self.cell(cell) for cell in row] for row in table]
        if self.aligned:
            widths = [max(map(len, column)) for column in zip(*written, strict=True)]
            written = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in written]
        lines = [f"sep={self.delimiter}"] if self.declared else []
        lines += self.preamble
        for number, row in enumerate(written, -headers):
            lines += [text for above, text in self.comments if above == number]
            line = self.delimiter.join(row) + self.delimiter * self.trailing
            # A record of one empty cell would be a blank line.
            lines.append(line or 2 * self.quote)
        return self.line_end.join(lines) + self.line_end * self.last_end
