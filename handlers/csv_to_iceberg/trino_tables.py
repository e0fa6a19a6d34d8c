"""What Trino is asked about our tables, and asked to do to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from handlers.csv_to_iceberg.lake.lake import REGISTRY
from handlers.csv_to_iceberg.lake.reader import literal, quoted
from handlers.csv_to_iceberg.lake.registry import SCHEMA
from handlers.csv_to_iceberg.lake.shape import SOURCE_ETAG, SOURCE_FILE
from handlers.csv_to_iceberg.trino_client import TrinoClient, TrinoRefused

LATEST: Final = "_ingest_latest"
"""View of the registry: the newest record of each source."""

NOT_THERE: Final = frozenset({"SCHEMA_NOT_FOUND", "TABLE_NOT_FOUND"})
NO_COLUMN: Final = "COLUMN_NOT_FOUND"

IDENTITY: Final = "bucket, file_key"

Versions = Mapping[str | None, int]
"""ETag -> rows, of one source; None is of rows that carry none."""


class TrinoTables:
    """
    The tables of a lake in the eyes of Trino. All methods block.

    Raises:
        TrinoAway: By all methods; see there for the others, too.
    """

    def __init__(self, client: TrinoClient) -> None:
        self._client = client

    def versions(self, table: str, keys: Sequence[str]) -> Mapping[str, Versions] | None:
        """
        Count the rows of sources in a table, `namespace.table`, by the version they are from.

        Args:
            table: Read once, between the first key and the last.
            keys: At least one, in byte order.

        Returns:
            By key; without those that have no rows. None when there is no such table.
        """
        sql = (
            f"SELECT {SOURCE_FILE}, {SOURCE_ETAG}, count(*) FROM {self._name(table)}"  # noqa: S608  # constants, and quoted
            f" WHERE {SOURCE_FILE} BETWEEN {literal(keys[0])} AND {literal(keys[-1])} GROUP BY 1, 2"
        )
        wanted, found = set(keys), dict[str, dict[str | None, int]]()
        try:
            for key, etag, count in self._client.run(sql).rows:
                if key in wanted:
                    found.setdefault(key, {})[etag] = count
        except TrinoRefused as refusal:
            if refusal.name in NOT_THERE:
                return None
            if refusal.name != NO_COLUMN:
                raise
        return found

    def show_latest(self, namespace: str) -> None:
        """Make the view `_ingest_latest` of a namespace that has a registry, or what it is now."""
        columns = ", ".join(SCHEMA.column_names)
        # Records of one moment are told apart by their claim, so that every reader takes the same.
        newest = f"row_number() OVER (PARTITION BY {IDENTITY} ORDER BY ingested_at DESC, dag_run_id DESC)"
        registry = self._name(f"{namespace}.{REGISTRY}")
        self._client.run(
            f"CREATE OR REPLACE VIEW {self._name(f'{namespace}.{LATEST}')} SECURITY INVOKER AS"  # noqa: S608  # constants, and quoted
            f" SELECT {columns} FROM (SELECT *, {newest} AS place FROM {registry}) WHERE place = 1"
        )

    def optimize(self, table: str, called_off: Callable[[], bool]) -> None:
        """Join the small files of a table, and rewrite those that have delete files; `CalledOff` when asked to stop."""
        self._client.run(f"ALTER TABLE {self._name(table)} EXECUTE optimize", called_off=called_off)

    def expire_snapshots(self, table: str, called_off: Callable[[], bool]) -> None:
        """Expire the snapshots older than Trino's own limit, a week by default; `CalledOff` when asked to stop."""
        self._client.run(f"ALTER TABLE {self._name(table)} EXECUTE expire_snapshots", called_off=called_off)

    def _name(self, table: str) -> str:
        namespace, _, name = table.rpartition(".")
        return ".".join(map(quoted, (self._client.settings.catalog, namespace, name)))
