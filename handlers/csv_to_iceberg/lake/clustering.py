"""Which tables are looked after, and in which order their rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake import registry, rejects_table
from handlers.csv_to_iceberg.lake.lake import REGISTRY, REJECTS, RESERVED_PREFIX, owner_bucket
from handlers.csv_to_iceberg.lake.shape import SOURCE_FILE


@dataclass(frozen=True, slots=True)
class Clustering:
    """The order of a table's rows."""

    key: str
    """The column that files are looked for by."""
    source: str | None
    """The column that rows are sorted by and whose values leave the table as one. None: rows only ever come in, and lie
    in the order in which they came."""


DATA: Final = Clustering(SOURCE_FILE, SOURCE_FILE)
"""One source lies in few files, so that replacing it touches few."""

OUTCOMES: Final = Clustering("ingested_at", None)
"""The registry: an append looks for doubles among the records of its own time, so that times must be told apart."""

REJECTED: Final = Clustering("file_key", "file_key")
"""Rejected records: asked for by file, and taken out with it."""


def clustering_of(name: str, table: Table) -> Clustering | None:
    """Return the order of a table of ours; None for all others."""
    short = name.rpartition(".")[2]
    if short == REGISTRY:
        return OUTCOMES if registry.OURS in table.properties else None
    if short == REJECTS:
        return REJECTED if rejects_table.OURS in table.properties else None
    if short.startswith(RESERVED_PREFIX) or owner_bucket(table) is None:
        return None
    return DATA
