"""Where vectors of datasets are kept: the port, and the table, which is one of the two places. Blocks."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa

from handlers.contract import PermanentError
from handlers.dataset_catalogue.database import Database
from handlers.dataset_catalogue.tables import datasets

PAGE: Final = 10_000
"""Vectors of the table that are compared at a time; so many are in memory."""


class Entry(NamedTuple):
    """A dataset with its vector."""

    source: str
    external_id: str
    title: str
    url: str | None
    vector: Sequence[float]


class Kept(NamedTuple):
    """What became of vectors."""

    mark: str
    """Of the vectors of their place, as they were put in."""
    columns: Sequence[bytes | PermanentError | None]
    """Of each, what the table's column `embedding` is to hold, or why it was refused and is not kept."""


class Vectors(Protocol):
    """
    Where vectors are kept.

    Which dataset has one is in the table, wherever they are: `embedding_of` is the mark of the place's vectors.
    """

    def mark(self, model: str) -> str | None:
        """
        Return what `embedding_of` says of datasets whose vectors of a model are here; None: there are none.

        Raises:
            SinkAway: The place does not answer.
        """
        ...

    def keep(self, model: str, entries: Sequence[Entry], new_id: Callable[[], str]) -> Kept:
        """
        Keep vectors, in the places of those before.

        Args:
            model: Made them.
            entries: Different ones, at least one.
            new_id: Names a place that has to be made.

        Raises:
            HandlerError: Nobody knows which were kept; to be done again.
        """
        ...

    def nearest(
        self, connection: sa.Connection, wanted: bytes, limit: int, of: Sequence[Any], source: str | None
    ) -> dict[int, float]:
        """
        Return ids of rows with the cosine of their angles, the nearest first.

        Args:
            connection: To the table.
            wanted: A vector as `packed` returns it.
            limit: Rows, at most.
            of: Conditions on rows.
            source: Whose rows they are, as the conditions have it already; None: of all.
        """
        ...

    def forget_inactive(self, database: Database) -> None:
        """Let go of vectors that no search finds, where somebody else could find them."""
        ...


class InTable:
    """Vectors beside what they were made of."""

    def mark(self, model: str) -> str | None:
        """Return the name of the model."""
        return model

    def keep(self, model: str, entries: Sequence[Entry], new_id: Callable[[], str]) -> Kept:
        """Leave it to the table."""
        del new_id
        return Kept(model, [packed(one.vector) for one in entries])

    def nearest(
        self, connection: sa.Connection, wanted: bytes, limit: int, of: Sequence[Any], source: str | None
    ) -> dict[int, float]:
        """Look at every vector."""
        del source
        best: list[tuple[float, int]] = []
        # A server may have got another model under the same name; its vectors do not compare.
        alike = sa.func.length(datasets.c.embedding) == len(wanted)
        query = sa.select(datasets.c.id, datasets.c.embedding).where(*of, alike)
        for page in _pages(connection, query):
            vectors = np.frombuffer(b"".join(row.embedding for row in page), "<f4").reshape(len(page), -1)
            scores = vectors @ np.frombuffer(wanted, "<f4")
            top = np.argsort(-scores)[:limit]
            best = heapq.nlargest(limit, [*best, *((float(scores[at]), int(page[at].id)) for at in top)])
        return {number: score for score, number in best}

    def forget_inactive(self, database: Database) -> None:
        """Nothing: a dataset that is active again has its vector."""
        del database


def packed(vector: Sequence[float]) -> bytes:
    """Return a vector as the table keeps it, little-endian float32 of length 1; one of zeros stays so."""
    given = np.asarray(vector, dtype="<f4")
    length = float(np.linalg.norm(given))
    return (given / length if length else given).tobytes()


def _pages(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[list[Any]]:
    rows = connection.execution_options(yield_per=PAGE).execute(query)
    for page in rows.partitions():
        yield list(page)
