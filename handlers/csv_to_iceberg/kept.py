"""A table of ours as maintenance finds it."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.clustering import Clustering, clustering_of
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.live import LiveFiles


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of ours at one moment."""

    name: str
    clustering: Clustering
    table: Table
    live: LiveFiles


def load_kept(lake: Lake, name: str) -> Kept | None:
    """Load a table; None when there is none of ours by this name."""
    table = lake.load(name)
    clustering = None if table is None else clustering_of(name, table)
    if table is None or clustering is None:
        return None
    return Kept(name, clustering, table, LiveFiles.of(table, lake.manifests, clustering.key))
