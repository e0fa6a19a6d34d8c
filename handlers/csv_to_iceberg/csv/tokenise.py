"""
Text to cells, by Arrow's CSV reader: all columns text, records of another width rejected and counted.

DuckDB's reader is faster but loses good rows without a word next to many ragged ones, so it is not used here. Arrow's
pitfalls, each handled in this module or in blocks.py: reject numbers come only with `use_threads=False`; an empty input
is an error; a record may not span more than two blocks; a rejected record that is not UTF-8 cannot be shown (callers
hand in UTF-8); a NUL hides the delimiters and quotes beside it (apache/arrow#50481); the LF of a CRLF within quotes is
dropped where a block ends between the two (apache/arrow#51368).
"""

from __future__ import annotations

import codecs
import functools
from collections.abc import Callable
from typing import BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from handlers.csv_to_iceberg.csv.account import line_breaks
from handlers.csv_to_iceberg.csv.errors import NotText
from handlers.csv_to_iceberg.csv.layout import Dialect, Layout
from handlers.csv_to_iceberg.csv.results import MAX_REJECT_BYTES

SENTINEL: Final = b"EndOfFile"
"""First cell of the row that is appended to a file: if it does not come out as a row, a quote swallowed it."""


_STAND_IN: Final = "\ufdd0\ufdef"
"""Takes the place of NUL while Arrow reads: noncharacters, which no text has in a row (Unicode 16, section 23.7)."""

_ANY_BLOCK: Final = 2**31 - 1
"""Arrow's largest block size. Nothing of that size is allocated: a block is as large as what `read` returns."""


class Ragged(NamedTuple):
    """A record with another number of cells than the file."""

    number: int
    """Among the records of the tokenised text, from 1; blank lines do not count."""
    cells: int
    text: str
    """Cut at `MAX_REJECT_BYTES` characters: nobody is shown more of it."""
    line: int | None = None
    """The physical line it begins on, from 1, if the reader knows."""
    reason: str = ""
    """Why it is no row, if not for its width."""
    breaks: int = 0
    """Runs of line ends within its cells, if the reader counts them."""


class Nuls:
    """Takes the NULs out of a text for Arrow, and puts them back into its cells."""

    def __init__(self) -> None:
        self._hidden = False
        self._found = False
        """The stand-in was in the text itself."""

    def hide(self, text: bytes) -> bytes:
        """
        Return a piece of the text without NULs; pieces are handed in in their order.

        Raises:
            NotText: The text has the stand-in too.
        """
        # The first byte alone is found at the speed of memory.
        self._found = self._found or (_STAND_IN.encode()[:1] in text and _STAND_IN.encode() in text)
        if b"\0" in text:
            self._hidden = True
            text = text.replace(b"\0", _STAND_IN.encode())
        if self._hidden and self._found:
            raise NotText("The file has both NUL and the noncharacters U+FDD0 U+FDEF in a row: take one out of it.")
        return text

    def restore(self, cells: pa.Array) -> pa.Array:
        """Return cells as they were."""
        return pc.replace_substring(cells, _STAND_IN, "\0") if self._hidden else cells

    def restore_text(self, text: str) -> str:
        """Return a text as it was."""
        return text.replace(_STAND_IN, "\0") if self._hidden else text


class Tokens(NamedTuple):
    """A tokenised text: `cells` has one string column per cell of a record, empty cells are NULL."""

    cells: pa.Table
    ragged: list[Ragged]


def tokenise(text: bytes, layout: Layout) -> Tokens:
    """Split a whole UTF-8 text with at least one record."""
    nuls = Nuls()
    text = nuls.hide(guarded(text))
    ragged: list[Ragged] = []
    cells = pa_csv.read_csv(
        pa.BufferReader(text),
        read_options=_read_options(layout.width, len(text) + 1),
        parse_options=_parse_options(layout.dialect, ragged.append),
        convert_options=_all_text(layout.width),
    )
    return Tokens(
        pa.table([nuls.restore(column) for column in cells.columns], cells.column_names),
        [record._replace(text=nuls.restore_text(record.text)) for record in ragged],
    )


def open_tokeniser(stream: BinaryIO, layout: Layout, on_ragged: Callable[[Ragged], None]) -> pa_csv.CSVStreamingReader:
    """
    Split a UTF-8 stream with at least one record.

    What one `stream.read` returns is one block, whatever size was asked for; it becomes about one batch.
    """
    return pa_csv.open_csv(
        stream,
        read_options=_read_options(layout.width, _ANY_BLOCK),
        parse_options=_parse_options(layout.dialect, on_ragged),
        convert_options=_all_text(layout.width),
    )


def sentinel_row(name: bytes, layout: Layout) -> bytes:
    """Return a record whose first cell is `name` and whose others are empty."""
    return name + layout.dialect.delimiter.encode() * (layout.width - 1) + b"\n"


def guarded(beginning: bytes) -> bytes:
    """Keep Arrow from taking a first cell's U+FEFF for a byte order mark: put a blank line, no record, before it."""
    return b"\n" + beginning if beginning.startswith(codecs.BOM_UTF8) else beginning


def ends_line(text: bytes) -> bool:
    """Tell whether a record may follow the text directly."""
    return not text or text.endswith((b"\n", b"\r"))


def _read_options(width: int, block_size: int) -> pa_csv.ReadOptions:
    return pa_csv.ReadOptions(use_threads=False, block_size=block_size, column_names=_cell_names(width))


def _parse_options(dialect: Dialect, on_ragged: Callable[[Ragged], None]) -> pa_csv.ParseOptions:
    def skip(row: pa_csv.InvalidRow) -> str:
        breaks = line_breaks(row.text.encode())
        on_ragged(Ragged(row.number, row.actual_columns, row.text[:MAX_REJECT_BYTES], breaks=breaks))
        return "skip"

    return pa_csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote or False,
        newlines_in_values=True,
        invalid_row_handler=skip,
    )


@functools.lru_cache(maxsize=64)
def _cell_names(width: int) -> list[str]:
    return [str(cell) for cell in range(width)]


@functools.lru_cache(maxsize=64)
def _all_text(width: int) -> pa_csv.ConvertOptions:
    return pa_csv.ConvertOptions(
        column_types=dict.fromkeys(_cell_names(width), pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        null_values=[""],
        check_utf8=False,
    )
