"""Tokenising files of one layout as one text, with a sentinel row after each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.account import breaks_within, line_breaks
from handlers.csv_to_iceberg.csv.exact import split_exactly
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.repeats import headers_among, kept, rejected_headers
from handlers.csv_to_iceberg.csv.tokenise import SENTINEL, Ragged, ends_line, sentinel_row, tokenise


class Span(NamedTuple):
    """The rows of one file among joined ones."""

    start: int
    rows: int


class Joined(NamedTuple):
    """The rows of all files, one string array per cell of a record, and where each file's rows are."""

    cells: list[pa.Array]
    spans: list[Span]
    ragged: list[list[Ragged]]
    """Per file; numbered within it."""
    repaired: Sequence[int] = ()
    """Per file: records with damaged quotes; empty when none had any."""


def join(texts: Sequence[bytes], layout: Layout) -> Joined | None:
    """
    Tokenise the records of several files; None when a quote is open at the end of one of them, or a record was lost.

    If every sentinel comes out as a row of its own, no quote reached from one file into the next, so each file's
    records are exactly what it would have given alone.
    """
    if not layout.plain:
        return _join_exactly(texts, layout)
    name = SENTINEL
    while any(name in text for text in texts):
        name += b"X"
    pieces = []
    for number, text in enumerate(texts):
        pieces += [text, b"" if ends_line(text) else b"\n", sentinel_row(name + b"%d" % number, layout)]
    text = b"".join(pieces)
    table, ragged = tokenise(text, layout)
    accounted = _accounted(text, table, ragged)
    if len(headers := headers_among(table.columns, layout)):
        again = rejected_headers(headers.tolist(), ragged, layout)
        ragged = sorted([*ragged, *again], key=lambda record: record.number)
        table = table.filter(kept(table.num_rows, headers))
    first = _array(table.column(0))
    marks = pc.fill_null(pc.starts_with(first, name.decode()), fill_value=False)
    ends = pc.indices_nonzero(marks)
    if first.take(ends).to_pylist() != [f"{name.decode()}{number}" for number in range(len(texts))]:
        return None
    if not accounted:
        return None
    rows = np.diff(ends.to_numpy().astype(np.int64), prepend=-1) - 1
    starts = np.cumsum(rows) - rows
    spans = [Span(start, count) for start, count in zip(starts.tolist(), rows.tolist(), strict=True)]
    without_marks = table.slice(0, len(first) - 1) if len(texts) == 1 else table.filter(pc.invert(marks))
    return Joined(
        [_array(column) for column in without_marks.columns], spans, _by_file(ragged, [span.rows for span in spans])
    )


def _join_exactly(texts: Sequence[bytes], layout: Layout) -> Joined:
    parts = [split_exactly(text, layout) for text in texts]
    columns = [pa.concat_arrays([part.columns[i] for part in parts]) for i in range(layout.width)]
    counts = [len(part.columns[0]) for part in parts]
    spans = [Span(sum(counts[:i]), count) for i, count in enumerate(counts)]
    return Joined(columns, spans, [part.ragged for part in parts], [part.repaired for part in parts])


def _accounted(text: bytes, table: pa.Table, ragged: Sequence[Ragged]) -> bool:
    """Tell whether every record of a text, which ends with a line end, became a row or is among the ragged ones."""
    expected = line_breaks(text) - text.startswith((b"\n", b"\r"))
    found: int = table.num_rows + len(ragged)
    # Mostly cells hold no line ends, and need not be looked at.
    if found != expected:
        found += sum(record.breaks for record in ragged)
        found += breaks_within(chunk for column in table.columns for chunk in column.chunks)
    return found == expected


def _by_file(ragged: Sequence[Ragged], rows: Sequence[int]) -> list[list[Ragged]]:
    """Hand out rejected records, numbered through all files and sentinels, to the files they stand in."""
    files: list[list[Ragged]] = []
    at = before = 0
    for count in rows:
        own: list[Ragged] = []
        while at < len(ragged) and ragged[at].number - before <= count + len(own) + 1:
            own.append(ragged[at]._replace(number=ragged[at].number - before))
            at += 1
        files.append(own)
        before += count + len(own) + 1
    return files


def _array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined
