"""What sources tell of datasets, and how that is put into the table: without losing what is known already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from handlers.dataset_catalogue.statuses import Status
from handlers.dataset_catalogue.tables import datasets

GONE: Final = "no longer in the files of the source"
"""Why a dataset is not active that a later version of its seed does not tell of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one source tells of one dataset; None: nothing. Times have an offset."""

    external_id: str
    ref: str | None = None
    title: str | None = None
    url: str | None = None
    description: str | None = None
    tags: Sequence[str] | None = None
    license: str | None = None
    file_formats: Sequence[str] | None = None
    total_size_bytes: int | None = None
    column_names: Sequence[str] | None = None
    row_count: int | None = None
    download_count: int | None = None
    view_count: int | None = None
    like_count: int | None = None
    source_created_at: datetime | None = None
    source_updated_at: datetime | None = None
    source_meta: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Seed:
    """The version of the files that datasets are seeded from."""

    unit: str
    version: str
    takes_over: bool = False
    """Also what another one told of first."""


FACTS: Final = tuple(field.name for field in fields(Description) if field.name != "external_id")

LICENSE_LENGTH: Final = 100
REF_LENGTH: Final = 500


def seeded(connection: sa.Connection, source: str, found: Sequence[Description], seed: Seed, now: datetime) -> int:
    """
    Put in what a file tells: new datasets, and values that nobody who knows better has told.

    An API knows better than a file, which is older; the status of a known dataset stays as it is.

    Returns:
        How many datasets are new.
    """
    statement = _insert(connection)
    new, old = statement.excluded, datasets.c
    facts = {
        name: sa.case((old.listed_at.is_(None), sa.func.coalesce(new[name], old[name])), else_=_known(old, new, name))
        for name in FACTS
    }
    gone = old.inactive_reason == GONE
    ours = sa.true() if seed.takes_over else sa.func.coalesce(old.seed_unit, new.seed_unit) == new.seed_unit
    changes = {
        **facts,
        "embedding_of": _still(facts),
        "is_active": sa.or_(old.is_active, sa.func.coalesce(gone, sa.false())),
        "inactive_reason": sa.case((gone, sa.null()), else_=old.inactive_reason),
        "seed_unit": sa.case((ours, new.seed_unit), else_=old.seed_unit),
        "seed_version": sa.case((ours, new.seed_version), else_=old.seed_version),
        "updated_at": new.updated_at,
    }
    more = {**_begun(Status.MINIMAL, now), "seed_unit": seed.unit, "seed_version": seed.version}
    return _upsert(connection, statement, changes, _rows(source, found, more))


def listed(connection: sa.Connection, source: str, found: Sequence[Description], now: datetime) -> int:
    """
    Put in what a source's listing tells, which is not all there is: what is new, or newer than known, is then pending.

    Returns:
        How many datasets are new.
    """
    statement = _insert(connection)
    new, old = statement.excluded, datasets.c
    changed = sa.or_(old.source_updated_at.is_(None), new.source_updated_at > old.source_updated_at)
    again = sa.and_(old.enrichment_status != Status.ENRICHING, sa.or_(changed, old.enrichment_status == Status.MINIMAL))
    changes = {
        **_told(statement),
        "enrichment_status": sa.case((again, Status.PENDING), else_=old.enrichment_status),
        "enrichment_attempts": sa.case((again, 0), else_=old.enrichment_attempts),
        "next_attempt_at": sa.case((again, sa.null()), else_=old.next_attempt_at),
    }
    return _upsert(connection, statement, changes, _rows(source, found, _api(Status.PENDING, now)))


def described(connection: sa.Connection, source: str, found: Sequence[Description], now: datetime) -> int:
    """
    Put in what a source's API tells where that is all there is.

    Returns:
        How many datasets are new.
    """
    statement = _insert(connection)
    new = statement.excluded
    settled: dict[str, Any] = {
        "enrichment_status": new.enrichment_status,
        "enrichment_attempts": 0,
        "last_enrichment_error": None,
        "last_enriched_at": new.listed_at,
        "next_attempt_at": None,
    }
    more = {**_api(Status.ENRICHED, now), "last_enriched_at": now}
    return _upsert(connection, statement, {**_told(statement), **settled}, _rows(source, found, more))


def facts_of(description: Description, source: str) -> dict[str, Any]:
    """Return what is told, as the table's columns take it."""
    given = {name: getattr(description, name) for name in ("external_id", *FACTS)}
    for name in ("tags", "file_formats", "column_names"):
        given[name] = None if given[name] is None else list(given[name])
    for name, longest in (("license", LICENSE_LENGTH), ("ref", REF_LENGTH)):
        given[name] = None if given[name] is None else given[name][:longest]
    return {"source_name": source, **{name: _storable(value) for name, value in given.items()}}


def gone(connection: sa.Connection, source: str, seed: Seed) -> int:
    """Deactivate what an earlier version of a seed told of and this one does not; return how many."""
    earlier = sa.and_(datasets.c.source_name == source, datasets.c.seed_unit == seed.unit)
    rest = sa.and_(earlier, datasets.c.seed_version != seed.version, datasets.c.is_active)
    return connection.execute(sa.update(datasets).where(rest).values(is_active=False, inactive_reason=GONE)).rowcount


def aware(moment: datetime | None) -> datetime | None:
    """Return a time with its offset; one without is in UTC, as Kaggle's are."""
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _begun(status: Status, now: datetime) -> dict[str, Any]:
    """What a new dataset begins with."""
    return {
        "enrichment_status": status,
        "enrichment_attempts": 0,
        "is_active": True,
        "created_at": now,
        "updated_at": now,
    }


def _api(status: Status, now: datetime) -> dict[str, Any]:
    return {**_begun(status, now), "listed_at": now}


def _told(statement: Any) -> dict[str, Any]:
    """What an API tells is right, and what it does not tell stays as it is."""
    new, old = statement.excluded, datasets.c
    facts = {name: sa.func.coalesce(new[name], old[name]) for name in FACTS}
    return {
        **facts,
        "embedding_of": _still(facts),
        "listed_at": new.listed_at,
        "is_active": sa.true(),
        "inactive_reason": None,
        "updated_at": new.updated_at,
    }


def _known(old: Any, new: Any, name: str) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(old[name], new[name])


def _still(facts: Mapping[str, sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    """Tell of what text the vector is: of none any more where that changes."""
    same = [
        sa.cast(facts[name], sa.Text).is_not_distinct_from(sa.cast(datasets.c[name], sa.Text))
        for name in ("title", "description", "tags")
    ]
    return sa.case((sa.and_(*same), datasets.c.embedding_of), else_=sa.null())


def _insert(connection: sa.Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(datasets)


def _rows(source: str, found: Sequence[Description], begun: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of new datasets; one told of twice is what was told last, as no statement changes a row twice."""
    once = {description.external_id: description for description in found}
    return [{**facts_of(description, source), **begun} for description in once.values()]


def _upsert(
    connection: sa.Connection, statement: Any, changes: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> int:
    if not rows:
        return 0
    source, ids = rows[0]["source_name"], [row["external_id"] for row in rows]
    there = sa.select(sa.func.count()).where(datasets.c.source_name == source, datasets.c.external_id.in_(ids))
    known: int = connection.execute(there).scalar_one()
    identity = [datasets.c.source_name, datasets.c.external_id]
    connection.execute(statement.on_conflict_do_update(index_elements=identity, set_=dict(changes)), rows)
    return len(rows) - known


def _storable(value: Any) -> Any:
    """Return a value that any database takes: PostgreSQL has no text with NUL or half a surrogate pair."""
    match value:
        case str():
            return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
        case dict():
            return {_storable(name): _storable(item) for name, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
        case _:
            return value
