"""Records equal to the header among the rows that Arrow read, as `cat *.csv` puts them there: they are no rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.results import MAX_REJECT_BYTES
from handlers.csv_to_iceberg.csv.tables import BYTE_ORDER_MARK, HEADER_REPEATED
from handlers.csv_to_iceberg.csv.tokenise import Ragged

_Indices = npt.NDArray[np.int64]


def headers_among(columns: Sequence[pa.Array | pa.ChunkedArray], layout: Layout) -> _Indices:
    """Return the rows that are equal to the header; empty cells are NULL."""
    named = [(column, name) for column, name in zip(columns, layout.header, strict=False) if name]
    if not named or not len(columns[0]):
        return np.empty(0, np.int64)
    # Mostly the last column alone tells that there is none.
    found = _equal(*named[-1])
    if not pc.any(found).as_py():
        return np.empty(0, np.int64)
    empty = [pc.is_null(column) for column, name in zip(columns, layout.header, strict=True) if not name]
    if len(named) > 1:
        column, name = named[0]
        # Files put one behind another keep their byte order marks.
        first = pc.or_(_equal(column, name), _equal(column, BYTE_ORDER_MARK + name))
        empty += [first, *(_equal(*one) for one in named[1:-1])]
    return np.asarray(pc.indices_nonzero(functools.reduce(pc.and_, empty, found)), np.int64)


def _equal(column: pa.Array, name: str) -> pa.Array:
    return pc.fill_null(pc.equal(column, name), fill_value=False)


def kept(rows: int, headers: _Indices) -> pa.Array:
    """Return the mask of the other rows."""
    mask = np.ones(rows, np.bool_)
    mask[headers] = False
    return pa.array(mask)


def rejected_headers(headers: Iterable[int], ragged: Sequence[Ragged], layout: Layout) -> Iterator[Ragged]:
    """
    Number headers among all records.

    Args:
        headers: Their positions among the rows, from 0, ascending.
        ragged: The records that are no rows for their width, by number.
        layout: Of the file.
    """
    text = layout.dialect.delimiter.join(layout.header)[:MAX_REJECT_BYTES]
    before = 0
    for row in headers:
        while before < len(ragged) and ragged[before].number <= row + 1 + before:
            before += 1
        yield Ragged(row + 1 + before, layout.width, text, None, HEADER_REPEATED)
