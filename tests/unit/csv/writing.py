"""Writing tables in many dialects, as careful programs do, for reading them back."""

from __future__ import annotations

import bz2
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


@dataclass(frozen=True, slots=True)
class Style:
    """A way to write a table."""

    delimiter: str = ","
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

    def needs_quotes(self, cell: str) -> bool:
        """Tell whether a cell would not come back as it is without quotes."""
        return (
            any(special in cell for special in (self.delimiter, self.quote, "\n", "\r"))
            or cell != cell.strip()
            or (self.escape == "backslash" and "\\" in cell)
        )

    def cell(self, cell: str) -> str:
        """Write one cell."""
        quoted = {
            "needed": self.needs_quotes(cell),
            "all": True,
            "text": not cell.isdecimal(),
            "none": False,
        }[self.quoting]
        if not quoted:
            return cell
        if self.escape == "backslash":
            cell = cell.replace("\\", "\\\\").replace(self.quote, "\\" + self.quote)
        else:
            cell = cell.replace(self.quote, 2 * self.quote)
        return self.quote + cell + self.quote

    def text(self, table: Sequence[Sequence[str]]) -> str:
        """Write a table, its header first."""
        lines = [f"sep={self.delimiter}"] if self.declared else []
        lines += self.preamble
        for row in table:
            line = self.delimiter.join(map(self.cell, row)) + self.delimiter * self.trailing
            # A record of one empty cell would be a blank line.
            lines.append(line or 2 * self.quote)
        return self.line_end.join(lines) + self.line_end * self.last_end
