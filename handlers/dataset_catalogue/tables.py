"""The tables of the catalogue, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from handlers.dataset_catalogue.statuses import Result, Stage, Status

metadata = sa.MetaData()


class Moment(sa.types.TypeDecorator[datetime]):
    """A time with its offset; SQLite keeps none, so it is always UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC; a time without an offset is a mistake of the caller."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without an offset: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Say that it is UTC."""
        del dialect
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)


def _one_of(kind: type[Any]) -> sa.Enum:
    """Text that the database checks; a new value needs no change of a type."""
    return sa.Enum(
        kind, native_enum=False, create_constraint=True, values_callable=lambda given: [one.value for one in given]
    )


IDENTITY: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", IDENTITY, primary_key=True),
    sa.Column("source_name", sa.String(50), nullable=False),
    # As the source's files and its API both know it. Kaggle: the number, not `owner/slug`, which people change.
    sa.Column("external_id", sa.String(500), nullable=False),
    # What its API is asked by, and its page: `owner/slug`.
    sa.Column("ref", sa.String(500)),
    sa.Column("title", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("tags", sa.JSON(none_as_null=True)),
    sa.Column("license", sa.String(100)),
    sa.Column("file_formats", sa.JSON(none_as_null=True)),
    sa.Column("total_size_bytes", sa.BigInteger),
    sa.Column("column_names", sa.JSON(none_as_null=True)),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("download_count", sa.BigInteger),
    sa.Column("view_count", sa.BigInteger),
    sa.Column("like_count", sa.BigInteger),
    sa.Column("source_created_at", Moment),
    sa.Column("source_updated_at", Moment),
    sa.Column("source_meta", sa.JSON(none_as_null=True)),
    sa.Column("enrichment_status", _one_of(Status), nullable=False),
    # Since the last success.
    sa.Column("enrichment_attempts", sa.Integer, nullable=False, default=0),
    sa.Column("last_enrichment_error", sa.Text),
    sa.Column("last_enriched_at", Moment),
    # Not before: after a failure.
    sa.Column("next_attempt_at", Moment),
    # Of `enriching`: whose, and until when.
    sa.Column("claim", sa.String(64)),
    sa.Column("claimed_until", Moment),
    # When its API told of it last; NULL: only files did.
    sa.Column("listed_at", Moment),
    sa.Column("is_active", sa.Boolean, nullable=False, default=True),
    sa.Column("inactive_reason", sa.Text),
    sa.Column("last_checked_at", Moment),
    # Little-endian float32.
    sa.Column("embedding", sa.LargeBinary),
    # Name of the model; NULL: the text is another one by now.
    sa.Column("embedding_of", sa.String(200)),
    # The file, or folder, that told of it last, and the version of that.
    sa.Column("seed_unit", sa.Text),
    sa.Column("seed_version", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.UniqueConstraint("source_name", "external_id", name="datasets_identity"),
    sa.Index("datasets_to_enrich", "source_name", "enrichment_status", "next_attempt_at", "id"),
    sa.Index("datasets_checked", "last_checked_at"),
    sa.Index("datasets_seeded", "seed_unit", "seed_version"),
)

logs = sa.Table(
    "dataset_enrichment_logs",
    metadata,
    sa.Column("id", IDENTITY, primary_key=True),
    sa.Column("dataset_id", IDENTITY, sa.ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("stage", _one_of(Stage), nullable=False),
    sa.Column("result", _one_of(Result), nullable=False),
    sa.Column("attempt_number", sa.Integer, nullable=False),
    sa.Column("error_message", sa.Text),
    sa.Column("error_type", sa.String(200)),
    sa.Column("duration_ms", sa.Integer, nullable=False),
    # The process, and the run of the task in it.
    sa.Column("worker_id", sa.String(100), nullable=False),
    sa.Column("task_id", sa.String(64), nullable=False),
    sa.Column("at", Moment, nullable=False),
)

sources = sa.Table(
    "catalogue_sources",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    # It limited us, and is not asked before.
    sa.Column("paused_until", Moment),
)

units = sa.Table(
    "catalogue_units",
    metadata,
    sa.Column("bucket", sa.Text, primary_key=True),
    sa.Column("unit", sa.Text, primary_key=True),
    sa.Column("receipt", sa.JSON(none_as_null=True)),
    sa.Column("failure", sa.JSON(none_as_null=True)),
    # Epoch milliseconds, also of the receipt: earlier failures are told later.
    sa.Column("failed_at", sa.BigInteger),
)
