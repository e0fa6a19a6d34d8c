"""What Trino does for tables in a round of maintenance: compaction where it is told to, and the registry's view."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

import structlog

from handlers.contract import HandlerError
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.trino_client import TrinoFailed
from handlers.csv_to_iceberg.trino_tables import TrinoTables

log = structlog.get_logger(__name__)

LOST: Final = "ICEBERG_COMMIT_ERROR"
"""What Trino calls a commit that another was faster than."""


class LostRace(Exception):
    """Somebody else committed while Trino rewrote the files: it changed nothing."""


class Delegated:
    """
    One run of Trino's compaction and expiry over a table. Blocks; for one thread, but for `call_off`.

    Args:
        tables: Of the Trino that does it.
        name: `namespace.table`.
    """

    def __init__(self, tables: TrinoTables, name: str) -> None:
        self._tables = tables
        self._name = name
        self._called_off = threading.Event()

    def call_off(self) -> None:
        """End `run` as soon as possible; may be called from another thread."""
        self._called_off.set()

    def run(self) -> None:
        """
        Do it.

        Raises:
            LostRace: Nothing was changed; a later round tries again.
            CalledOff: The service is stopping.
            HandlerError: Trino cannot, or is away.
        """
        try:
            self._tables.optimize(self._name, self._called_off.is_set)
            self._tables.expire_snapshots(self._name, self._called_off.is_set)
        except TrinoFailed as failure:
            if failure.name == LOST:
                raise LostRace(failure.message) from failure
            raise


class TrinoUpkeep:
    """
    Trino's part of the maintenance of a lake.

    Args:
        tables: Of the Trino that does it.
        compacts: Whether it compacts tables and expires snapshots; else it has the views alone.
    """

    def __init__(self, tables: TrinoTables, *, compacts: bool) -> None:
        self.compacts = compacts
        self._tables = tables
        self._shown: set[str] = set()

    def compaction(self, name: str) -> Delegated:
        """Return a run over a table, not yet begun."""
        return Delegated(self._tables, name)

    def show_latest(self, namespaces: Iterable[str]) -> None:
        """
        See to it that these namespaces, which have a registry, have the view of its newest records. Blocks.

        What Trino cannot do now is tried again the next time; nothing else waits for it.
        """
        for namespace in namespaces:
            if namespace in self._shown:
                continue
            try:
                self._tables.show_latest(namespace)
            except HandlerError as error:
                log.warning("view.not_made", namespace=namespace, error=error.message)
                return
            self._shown.add(namespace)
            log.info("view.made", namespace=namespace)


def difference(before: LiveFiles, after: LiveFiles) -> dict[str, int]:
    """Count the files that left a table and that came to it between two of its states, named as an `Upkeep` does."""
    counts = {}
    for what, old, new in (
        ("data_files", before.data(), after.data()),
        ("delete_files", before.deletes(), after.deletes()),
    ):
        there, now = ({one.path for one in files} for files in (old, new))
        counts[f"{what}_removed"] = len(there - now)
        counts[f"{what}_added"] = len(now - there)
    return counts
