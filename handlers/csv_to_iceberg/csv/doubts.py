"""What a person should look at: lines skipped as remarks that may be a table, a table that may be prose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from handlers.csv_to_iceberg.csv.layout import Above
from handlers.csv_to_iceberg.csv.records import Record
from handlers.csv_to_iceberg.csv.tables import are_names, sections

_PAIR: Final = 2
_SHORTEST: Final = 3
"""Records, names included, that may be a table."""
_SENTENCE: Final = re.compile(r"\S[,;.!?:](?:\s|$)|(?:\S+\s+){4}\S")
"""Punctuation, or five words."""


def doubt_about_skipped(records: Sequence[Record], before: int, rejected: Sequence[Above]) -> str:
    """
    Say which skipped records may have been a table of their own: names above cells of text; empty if none.

    Args:
        records: Above the header.
        before: Lines above the first line.
        rejected: Those of the records that were taken for a table.
    """
    known = {one.table for one in rejected}
    found = [table for table in _tables(records) if table[0].begin + before + 1 not in known]
    if not found:
        return ""
    first, last = found[0][0].begin + before + 1, found[-1][-1].end + before
    return (
        f"lines {first:,} to {last:,}, above the header, were skipped as remarks about the table. If they are a table "
        "themselves, put it into its own file"
    )


def doubt_about_column(names: Sequence[str]) -> str:
    """Say that a file of one column may be no table, if its header is a sentence."""
    if len(names) != 1 or not _SENTENCE.search(names[0]):
        return ""
    return (
        "the file was read as one column, as no delimiter splits its lines alike, and its header is a sentence. If it "
        "is no table, take it out of the bucket"
    )


def _tables(records: Sequence[Record]) -> Iterator[list[Record]]:
    for section in sections(records):
        names = next((number for number, record in enumerate(section) if are_names(record.cells)), len(section))
        table = section[names:]
        if len(table) < _SHORTEST or len({len(record.cells) for record in table}) > 1:
            continue
        # Titles may be padded to the width of the table below.
        told = all(sum(bool(cell.strip()) for cell in record.cells) >= _PAIR for record in table)
        if told and not any(record.cells[0].rstrip().endswith(":") for record in table):
            yield table
