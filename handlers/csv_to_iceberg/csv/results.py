"""What reading a file gives: rows as Arrow, and a report that accounts for every record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import pyarrow as pa

from handlers.contract import PermanentError
from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.encoding import Encoding
from handlers.csv_to_iceberg.csv.layout import Layout, Skipped

MAX_REJECTS = 20
"""Rejected records that a report tells; `Report.kept` has more of them, `Report.rejected` counts all."""

MAX_REJECT_BYTES = 1000
"""UTF-8 bytes of a rejected record's text that are kept."""


STRAY_QUOTES: Final = "quotes that do not enclose whole cells were read as plain characters"
"""Warning of a report."""

MUCH: Final = 0.1
"""Share of a column's values above which rescuing them deserves a warning."""

_SHOWN: Final = 40
"""Characters of a cell in a message."""


@dataclass(frozen=True, slots=True)
class Source:
    """The version of an object that rows come from."""

    key: str
    etag: str


@dataclass(frozen=True, slots=True)
class SmallFile:
    """An object held in memory."""

    source: Source
    data: bytes
    """As stored: possibly compressed, in any encoding."""


KEPT = pa.schema([("record", pa.int64()), ("line", pa.int64()), ("text", pa.string()), ("reason", pa.string())])
"""The columns of `Report.kept`: the fields of `Reject`."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is not a row."""

    record: int
    """Its number among the records after the header, from 1; 0 above it. Blank lines are no records."""
    line: int | None
    """The physical line it begins on, from 1; None when cells with line breaks make that unknown."""
    text: str
    """Cut at `MAX_REJECT_BYTES`."""
    reason: str


def shown(text: str) -> str:
    """Quote a cell for a message, cut to fit a line of a terminal."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


class CounterExample(NamedTuple):
    """A value that spoke against a type."""

    record: int
    """Its number among the records after the header, from 1."""
    text: str

    def __str__(self) -> str:
        """Say where it stands and what it is."""
        return f"record {self.record}, {shown(self.text)}"


class ReportColumn(NamedTuple):
    """A column of the file, as the table has it, and why."""

    name: str
    type: ColumnType
    reason: str
    values: int = 0
    """From which the type was inferred; 0 when it was not."""
    fits: int = 0
    """Of them, those that the type holds; for VARCHAR, those that the nearest other type would have held."""
    against: CounterExample | None = None
    """The first of them that the type does not hold, or that made the column VARCHAR."""
    filled: int = 0
    """Cells of the whole file that are not empty; 0 when nothing was rescued from a small file."""
    rescued: int = 0
    """Of them, those that did not fit and are in `_rescued`."""
    wished: ColumnType | None = None
    """What the route's `columns` says, where the table has another type."""

    @property
    def suits_badly(self) -> bool:
        """Whether so much of the column did not fit that it deserves a warning."""
        return self.rescued > MUCH * self.filled


@dataclass(slots=True)
class Report:
    """What was found in a file. Always: records == rows + rejected."""

    records: int = 0
    """After the header, and those of other tables above it; blank lines are none."""
    rows: int = 0
    rejected: int = 0
    rescued: int = 0
    """Rows with at least one cell in `_rescued`."""
    rejects: list[Reject] = field(default_factory=list)
    """The first `MAX_REJECTS`."""
    kept: pa.RecordBatch | None = field(default=None, repr=False, compare=False)
    """The first `Options.max_rejects`, in the columns of `KEPT`; None without any."""
    encoding: str = "utf-8"
    compression: str = ""
    """gzip, bzip2, xz, zstd; empty when the file is not compressed."""
    delimiter: str = ","
    """Empty when the file has one column."""
    quote: str = '"'
    """Empty when quotes have no meaning in the file."""
    escape: str = ""
    """Empty unless backslashes escape."""
    dialect_reason: str = ""
    """Why the text was split like this, for people."""
    header_line: int = 1
    """The physical line the header begins on, from 1; 0 when column names were generated."""
    skipped: tuple[Skipped, ...] = ()
    """Lines above the header that are neither blank nor records; with records they are all that the file has."""
    columns: list[ReportColumn] = field(default_factory=list)
    doubts: tuple[str, ...] = ()
    """How else the file might have been meant, each with what to do about it."""
    warnings: list[str] = field(default_factory=list)
    """The doubts too."""

    def note_repaired(self, records: int) -> None:
        """Warn of records with damaged quotes, if there were any."""
        if records:
            self.warnings.append(f"{STRAY_QUOTES} in {records:,} {'record' if records == 1 else 'records'}")

    @classmethod
    def of(cls, layout: Layout, encoding: Encoding, compression: str) -> Self:
        """Begin a report with what is known before the first record."""
        dialect = layout.dialect
        doubts = tuple(filter(None, (encoding.doubt, *layout.doubts)))
        return cls(
            encoding=encoding.name,
            compression=compression,
            delimiter=dialect.delimiter if layout.width > 1 else "",
            quote=dialect.quote,
            escape=dialect.escape,
            dialect_reason=layout.reason,
            header_line=layout.header_line,
            skipped=layout.skipped,
            doubts=doubts,
            warnings=[*doubts, *([] if dialect.quote else [STRAY_QUOTES])],
        )


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one source."""

    source: Source
    table: pa.Table
    """This file's columns in its own order, then `_rescued`; rows in file order."""
    report: Report
    columns: dict[str, ColumnType]
    """This file's columns and the types they have in `table`. Parts that share one mapping share the schema."""


@dataclass(frozen=True, slots=True)
class Cooked:
    """What became of a batch of small files: each is in exactly one of `parts`, `failures` and `too_large`."""

    parts: list[Part]
    """In the order of the files. Columns of one name have one type in all of them: that of `pins`."""
    failures: dict[str, PermanentError]
    """By key."""
    too_large: list[str]
    """Keys of files to stream: compressed ones that unpack to more than is cooked in memory, and very wide ones."""
    pins: Pins
    """The pins handed in, with new columns and INTEGER columns that had to become BIGINT."""
