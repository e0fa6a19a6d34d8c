"""CSV files of a release as tables of text. Cells may hold line breaks, and half a megabyte."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from handlers.contract import PermanentError

_BLOCK: Final = 1 << 20

csv.field_size_limit(2**31 - 1)  # of a cell; a list of concepts has half a megabyte


class Damaged(PermanentError):
    """The file is not as a release has it."""


def read(path: Path, columns: Collection[str], optional: Collection[str] = ()) -> pl.DataFrame:
    """
    Read columns of a file as text; an empty cell is the empty text.

    Args:
        path: The file.
        columns: It must have these.
        optional: Is empty text where the file has no such column: older releases lack some.

    Raises:
        Damaged: It is no such CSV file.
    """
    if _quotes(path) % 2:
        raise Damaged(f"{path.name} ends within a quoted cell: it was cut short, upload it again.")
    try:
        _refuse_ragged(path)
        scan = pl.scan_csv(path, infer_schema=False)
        there = scan.collect_schema().names()
        if missing := [name for name in columns if name not in there]:
            raise Damaged(f"{path.name} has no column {', '.join(missing)}; it has {', '.join(there)}.")
        frame = scan.select(*columns, *(name for name in optional if name in there)).collect()
    except (pl.exceptions.PolarsError, csv.Error, UnicodeDecodeError) as error:
        raise Damaged(f"{path.name} cannot be read as CSV: {str(error).splitlines()[0]}") from error
    lacking = [pl.lit("").alias(name) for name in optional if name not in there]
    return frame.with_columns(lacking).fill_null("")


def lines(column: str) -> pl.Expr:
    """Return the labels of cells: one a line, without blanks around them, empty ones and repetitions."""
    return _split(pl.col(column), "\n")


def uris(column: str) -> pl.Expr:
    """Return the addresses in cells, with commas, line breaks or both between them."""
    return _split(pl.col(column).str.replace_all(",", "\n", literal=True), "\n")


def _split(text: pl.Expr, by: str) -> pl.Expr:
    parts = text.str.split(by).list.eval(pl.element().str.strip_chars())
    return parts.list.eval(pl.element().filter(pl.element() != "")).list.unique(maintain_order=True)


def _refuse_ragged(path: Path) -> None:
    """Polars fills a row up that has too few cells, as one has that was cut off."""
    width = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        for row in rows:
            width = width or len(row)
            if row and len(row) != width:
                raise Damaged(
                    f"{path.name} cannot be read as CSV: the row that ends in line {rows.line_num} has {len(row)} "
                    f"cells instead of {width}; upload it again."
                )


def _quotes(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b'"') for block in iter(lambda: file.read(_BLOCK), b""))
