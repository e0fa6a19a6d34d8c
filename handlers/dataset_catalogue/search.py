"""Finding datasets: by the nearest vectors, or by words where there are none. Blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from handlers.dataset_catalogue.database import FILE, Database
from handlers.dataset_catalogue.options import Options, embedder_of, vectors_of
from handlers.dataset_catalogue.statuses import Status
from handlers.dataset_catalogue.tables import datasets
from handlers.dataset_catalogue.vectors import packed

SHOWN: Final = (datasets.c.external_id, datasets.c.title, datasets.c.url, datasets.c.description)


class Catalogue:
    """
    The catalogue, to be read.

    Args:
        options: Of the route.
        url: Of the database; None for SQLite in the home.
        environment: May hold the keys of the embedder and of Weaviate.
        home: Of the installation.
    """

    def __init__(self, options: Options, url: str | None, environment: Mapping[str, str], home: Path) -> None:
        self._options = options
        self._environment = environment
        self._vectors = vectors_of(options, environment)
        self._database = Database(url, home / FILE)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def search(self, text: str, limit: int, source: str | None = None) -> list[dict[str, Any]]:
        """
        Find active datasets, the nearest first.

        Args:
            text: What to look for.
            limit: Datasets, at most.
            source: Only of this one.

        Returns:
            For each: source, external_id, title, url, description, and score; None where words were looked for.

        Raises:
            SinkAway: The database does not answer, or what keeps the vectors.
            HandlerError: The text cannot be made a vector.
        """
        embedder = embedder_of(self._options, self._environment)
        of = [datasets.c.is_active] if source is None else [datasets.c.is_active, datasets.c.source_name == source]
        self._database.make()
        with self._database.read() as connection:
            if embedder is not None and (mark := self._vectors.mark(embedder.name)) is not None:
                wanted = packed(embedder.embed([text])[0])
                ours = [*of, datasets.c.embedding_of == mark]
                near = self._vectors.nearest(connection, wanted, limit, ours, source)
                if near:
                    return _shown(connection, near)
            return _shown(connection, dict.fromkeys(_with_words(connection, text, limit, of)))

    def counts(self) -> dict[str, dict[str, int]]:
        """Count datasets by source: by their status, then those not active, and those with a vector."""
        found: dict[str, dict[str, int]] = {}
        columns = datasets.c
        by = (columns.source_name, columns.enrichment_status)
        inactive = sa.func.count().filter(sa.not_(columns.is_active))
        query = sa.select(*by, sa.func.count(), inactive, sa.func.count(columns.embedding_of)).group_by(*by)
        self._database.make()
        with self._database.read() as connection:
            for source, status, number, resting, embedded in connection.execute(query.order_by(columns.source_name)):
                one = found.setdefault(source, dict.fromkeys([*(status.value for status in Status), *MORE], 0))
                one[status] += number
                one["inactive"] += resting
                one["embedded"] += embedded
        return found


MORE: Final = ("inactive", "embedded")


def _with_words(connection: sa.Connection, text: str, limit: int, of: list[Any]) -> list[int]:
    """Return ids of datasets whose title, tags or description hold all words; those that are downloaded most first."""
    columns = datasets.c
    told = sa.func.lower(
        sa.func.coalesce(columns.title, "")
        + sa.literal(" ")
        + sa.func.coalesce(sa.cast(columns.tags, sa.Text), "")
        + sa.literal(" ")
        + sa.func.coalesce(columns.description, "")
    )
    words = [told.contains(word, autoescape=True) for word in text.lower().split()]
    order = columns.download_count.desc().nulls_last()
    return list(connection.scalars(sa.select(columns.id).where(*of, *words).order_by(order, columns.id).limit(limit)))


def _shown(connection: sa.Connection, found: Mapping[int, float | None]) -> list[dict[str, Any]]:
    query = sa.select(datasets.c.id, datasets.c.source_name.label("source"), *SHOWN)
    told = connection.execute(query.where(datasets.c.id.in_(found))).mappings()
    rows = {row["id"]: {name: row[name] for name in row if name != "id"} for row in told}
    return [{**rows[number], "score": score} for number, score in found.items()]
