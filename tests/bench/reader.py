"""A reader that follows a catalog and notes when it first sees each source of a table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

TABLE: Final = "lakehouse.orders"

LOOK_SECONDS: Final = 0.02
"""Between two looks: what is measured is off by half of it."""


class Reader:
    """
    Follows `TABLE` on a thread of its own until it is stopped.

    Args:
        open_catalog: Opens a catalog for it alone.
    """

    def __init__(self, open_catalog: Callable[[], Catalog]) -> None:
        self.moments: dict[str, float] = {}
        """When each source was first seen, in seconds of `time.monotonic`."""
        self.commits = 0
        """Since the first snapshot that it saw."""
        self._open_catalog = open_catalog
        self._files: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last: int | None = None
        with closing(self._open_catalog()) as catalog:
            while not self._stop.wait(LOOK_SECONDS):
                try:
                    table = catalog.load_table(TABLE)
                except NoSuchTableError:
                    continue
                current = table.metadata.current_snapshot_id
                if current == last:
                    continue
                known = [snapshot.snapshot_id for snapshot in table.metadata.snapshots]
                # Several commits may lie between two looks.
                self.commits += len(known) - known.index(last) - 1 if last in known else last is not None
                last = current
                self._note(table, time.monotonic())

    def _note(self, table: Table, now: float) -> None:
        for task in table.scan(selected_fields=("_source_file",)).plan_files():
            path = task.file.file_path
            if path in self._files:
                continue
            self._files.add(path)
            with table.io.new_input(path).open() as stream:
                keys = pq.read_table(stream, columns=["_source_file"])
            for key in keys["_source_file"].unique().to_pylist():
                self.moments.setdefault(key, now)
