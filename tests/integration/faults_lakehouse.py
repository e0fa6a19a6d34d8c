"""A REST catalog and Trino in a world of faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.integration.faults_readers import Reading, by_trino
from tests.stack.rest_catalog import RestCatalog
from tests.stack.s3 import S3Server
from tests.stack.trino import Trino

SETTINGS: Mapping[str, object] = {
    # So often that there is always something to be killed in the middle.
    "maintenance_seconds": 8.0,
    "compact_small_files": 10,
    # On two cores with two Java servers beside them, replicas would lose claims for want of heartbeats.
    "lease_seconds": 10.0,
    "heartbeat_seconds": 1.0,
}
"""Of a replica, other than in a world without a lakehouse."""


@dataclass
class Lakehouse:
    """
    The tables' catalog, and a Trino that knows it.

    Args:
        rest: keeps the warehouse in the world's store.
        trino: where the catalog is made, while the world is open.
    """

    rest: RestCatalog
    trino: Trino
    name: str = ""
    """Of the catalog, in Trino."""

    @contextmanager
    def known_to_trino(self, properties: Mapping[str, str], store: S3Server) -> Iterator[None]:
        """Have Trino know the catalog that PyIceberg opens with these properties."""
        self.name = self.trino.create_catalog(properties, store)
        try:
            yield
        finally:
            if self.trino.running:  # else a round has failed, and will tell why
                self.trino.drop_catalog(self.name)

    def settings(self, url: str, *, maintains: bool) -> dict[str, object]:
        """
        Return the settings of a replica.

        Args:
            url: of Trino, as the replica sees it.
            maintains: Trino compacts tables when it is this replica's turn to look after them.
        """
        return {**SETTINGS, "trino_url": url, "trino_catalog": self.name, "trino_maintains": maintains}

    def read(self, bucket: str) -> Reading:
        """Read the tables of a bucket with Trino."""
        return by_trino(self.trino, self.name, bucket)
