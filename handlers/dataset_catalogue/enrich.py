"""Vectors of what datasets say of themselves, to search by meaning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

import sqlalchemy as sa
from pydantic import PositiveInt

from handlers.contract import PermanentError
from handlers.dataset_catalogue.attempts import Attempt
from handlers.dataset_catalogue.named import HOUR, task
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.statuses import Result, Stage
from handlers.dataset_catalogue.tables import datasets, logs
from handlers.dataset_catalogue.vectors import Entry
from handlers.embedders import Embedder

AT_ONCE: Final = 64
"""Texts that the embedder is given together."""

TEXT_LENGTH: Final = 4000
"""Characters of a description that count: the beginning says what it is about."""


REFUSED_SECONDS: Final = 86_400.0
"""Until a dataset is tried again whose text, or vector, was refused."""


class Embedded(TypedDict):
    """What became of a batch."""

    embedded: int
    failed: int
    model: str


@task("enrich.generate_embeddings", every=HOUR, after_seeds=True)
def generate_embeddings(site: Site, batch_size: PositiveInt = 10_000) -> Embedded:
    """
    Make vectors of datasets that have none, or one of another text or model.

    Args:
        site: What is worked with.
        batch_size: Datasets, at most.

    Raises:
        PermanentError: The model refuses every text, or what keeps the vectors every one of them.
        TransientError: It does not answer, or what keeps the vectors does not.
    """
    embedder = site.embedder
    if embedder is None:
        return Embedded(embedded=0, failed=0, model="none")
    done = Embedded(embedded=0, failed=0, model=embedder.name)
    site.vectors.forget_inactive(site.database)
    run, after, since = site.new_id(), 0, site.later(-REFUSED_SECONDS)
    mark = site.vectors.mark(embedder.name)
    while (left := batch_size - done["embedded"] - done["failed"]) > 0:
        site.check_stop()
        with site.database.read() as connection:
            rows = connection.execute(_stale(mark, after, since).limit(min(left, AT_ONCE))).all()
        if not rows:
            break
        after = rows[-1].id
        attempts = [Attempt(dataset=row.id, stage=Stage.EMBEDDING, run=run, began=site.clock()) for row in rows]
        vectors: Sequence[list[float] | None]
        try:
            vectors = embedder.embed([text_of(row) for row in rows])
        except PermanentError:
            vectors = [_alone(embedder, site, row, attempt) for row, attempt in zip(rows, attempts, strict=True)]
            if len(rows) > 1 and not any(vectors):  # not one of the texts is to blame, but how the model is asked
                raise
        some = [one for one in zip(rows, attempts, vectors, strict=True) if one[2] is not None]
        done["failed"] += len(rows) - len(some)
        if some:
            mark, kept = _keep(site, embedder.name, some)
            done["embedded"] += kept
            done["failed"] += len(some) - kept
    return done


def text_of(row: Any) -> str:
    """Return what a dataset says of itself."""
    parts = (row.title, ", ".join(row.tags or ()), (row.description or "")[:TEXT_LENGTH])
    return "\n".join(part for part in parts if part)


def _stale(mark: str | None, after: int, since: datetime) -> sa.Select[Any]:
    """Select what has no vector of a mark, but for what was refused since then: others have their turn."""
    columns = datasets.c
    refused = sa.exists().where(
        logs.c.dataset_id == columns.id,
        logs.c.stage == Stage.EMBEDDING,
        logs.c.result == Result.FAILED,
        logs.c.at > since,
    )
    # No row has a mark of None.
    of_another = sa.or_(columns.embedding_of.is_(None), columns.embedding_of.is_distinct_from(mark))
    mine = (columns.id > after, columns.is_active, columns.title.is_not(None), of_another, ~refused)
    told = (columns.title, columns.tags, columns.description, sa.cast(columns.tags, sa.Text).label("stored_tags"))
    named = (columns.id, columns.source_name, columns.external_id, columns.url)
    return sa.select(*named, *told).where(*mine).order_by(columns.id)


def _alone(embedder: Embedder, site: Site, row: Any, attempt: Attempt) -> list[float] | None:
    """One of several texts was refused: the others do not suffer from it."""
    try:
        (vector,) = embedder.embed([text_of(row)])
    except PermanentError as error:
        with site.database.begin() as connection:
            attempt.ended(connection, site, Result.FAILED, error)
        return None
    return vector


def _keep(site: Site, model: str, some: Sequence[tuple[Any, Attempt, Any]]) -> tuple[str, int]:
    """
    Put in vectors, of datasets whose text is still the same.

    Returns:
        The mark of the place's vectors by now, and how many were not refused.

    Raises:
        PermanentError: All of several were; it is in the log, so that the next run begins with others.
    """
    entries = [Entry(row.source_name, row.external_id, row.title, row.url, vector) for row, _, vector in some]
    mark, stored = site.vectors.keep(model, entries, site.new_id)
    update = (
        sa.update(datasets)
        .where(
            datasets.c.id == sa.bindparam("of"),
            datasets.c.title.is_not_distinct_from(sa.bindparam("title_then")),
            datasets.c.description.is_not_distinct_from(sa.bindparam("description_then")),
            sa.cast(datasets.c.tags, sa.Text).is_not_distinct_from(sa.bindparam("tags_then")),
        )
        .values(embedding=sa.bindparam("vector"), embedding_of=mark)
    )
    faults = [one if isinstance(one, PermanentError) else None for one in stored]
    given = [
        {
            "of": row.id,
            "title_then": row.title,
            "description_then": row.description,
            "tags_then": row.stored_tags,
            "vector": column,
        }
        for (row, _, _), column in zip(some, stored, strict=True)
        if not isinstance(column, PermanentError)
    ]
    attempts = [
        attempt.entry(site, Result.FAILED if fault else Result.SUCCESS, fault)
        for (_, attempt, _), fault in zip(some, faults, strict=True)
    ]
    with site.database.begin() as connection:
        if given:
            connection.execute(update, given)
        connection.execute(sa.insert(logs), attempts)
    if faults[0] and len(some) > 1 and not given:  # not one of them is to blame, but what keeps them
        raise faults[0]
    return mark, len(given)
