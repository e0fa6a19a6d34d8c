"""One well-formed file, and every small damage to one cell of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.unit.csv.nasty import words
from tests.unit.csv.nasty.case import quoted

COLUMNS: Final[dict[str, words.Cell]] = {
    "id": words.number, "name": words.comma_name, "city": words.city, "joined": words.iso_date,
    "amount": words.decimal, "remark": words.quip, "note": words.paragraphs, "code": words.code,
    "active": words.boolean,
}  # fmt: skip


@dataclass(frozen=True)
class Damaged:
    """A file with one damaged record."""

    kind: str
    text: str
    row: int
    """The damaged one, from 0."""
    column: int
    rows: list[list[str]]
    """As they were before."""


def _written(cell: str, *, always: bool) -> str:
    return quoted(cell) if always or any(mark in cell for mark in ',"\n') else cell


def table(seed: int = 0, rows: int = 80) -> list[list[str]]:
    """Make a header and rows."""
    rng = random.Random(f"damage {seed}")  # noqa: S311 - nothing secret
    made = words.table(rng, COLUMNS, rows, gaps=0)
    for row in made[1:]:
        if rng.random() < 0.8:
            row[6] = row[6].replace("\n", " ")
    return made


Damage = Callable[[list[str], int], str]


def _joined(cells: list[str]) -> str:
    return ",".join(cells)


def _changed(change: Callable[[str], str]) -> Damage:
    return lambda cells, at: _joined([*cells[:at], change(cells[at]), *cells[at + 1 :]])


def _without_delimiter(cells: list[str], at: int) -> str:
    return (
        _joined([*cells[:at], cells[at] + cells[at + 1], *cells[at + 2 :]])
        if at + 1 < len(cells)
        else _joined(cells[:-1])
    )


def _without_last_quote(cell: str) -> str:
    return cell[:-1] if cell.endswith('"') else cell + '"'


def _without_first_quote(cell: str) -> str:
    return cell[1:] if cell.startswith('"') else '"' + cell


def _quote_in_the_middle(cell: str) -> str:
    return cell[: len(cell) // 2] + '"' + cell[len(cell) // 2 :]


DAMAGES: Final[dict[str, Damage]] = {
    "delimiter missing": _without_delimiter,
    "delimiter too many": lambda cells, at: _joined([*cells[: at + 1], "", *cells[at + 1 :]]),
    "another delimiter in the row": lambda cells, _: ";".join(cells),
    "another quote in the row": lambda cells, _: _joined([cell.replace('"', "'") for cell in cells]),
    "quote at the beginning": _changed(lambda cell: '"' + cell),
    "quote in the middle": _changed(_quote_in_the_middle),
    "quote at the end": _changed(lambda cell: cell + '"'),
    "closing quote missing": _changed(_without_last_quote),
    "opening quote missing": _changed(_without_first_quote),
    "blank before": _changed(lambda cell: " " + cell),
    "tab in the cell": _changed(lambda cell: cell[:-1] + "\t" + cell[-1:] if not cell.endswith('"') else cell),
    "backslash before a quote": _changed(
        lambda cell: cell[:-1] + '\\"' + cell[-1:] if cell.endswith('"') else cell + '\\"'
    ),
    "cut off": lambda cells, at: _joined(cells[: at + 1]),
}


def damaged(*, always: bool, seed: int = 0, step: int = 1) -> Iterator[Damaged]:
    """Yield each damage of each cell, or of every `step`th."""
    names, *rows = table(seed)
    lines = [[_written(cell, always=always) for cell in row] for row in rows]
    head = _joined([_written(cell, always=always) for cell in names]) + "\n"
    number = 0
    for kind, damage in DAMAGES.items():
        for row, cells in enumerate(lines):
            for column in range(len(cells)):
                number += 1
                if number % step:
                    continue
                texts = [_joined(other) for other in lines]
                texts[row] = damage(cells, column)
                yield Damaged(kind, head + "\n".join(texts) + "\n", row, column, rows)
