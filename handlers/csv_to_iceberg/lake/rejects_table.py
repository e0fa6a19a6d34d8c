"""`_ingest_rejects`: the records of files that are no rows, beside the tables they were meant for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from pyiceberg.manifest import ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import LongType, NestedField, StringType, TimestampType

from handlers.csv_to_iceberg.lake.entries import Block
from handlers.csv_to_iceberg.lake.expiry import Expiry
from handlers.csv_to_iceberg.lake.lake import METRICS, REJECTS, Lake
from handlers.csv_to_iceberg.lake.live import LiveFiles, LiveManifest
from handlers.csv_to_iceberg.lake.own_table import OwnTable
from handlers.csv_to_iceberg.lake.parquet import plain_data_file, write_deletes, write_table
from handlers.csv_to_iceberg.lake.positions import Removal
from handlers.csv_to_iceberg.lake.rejects_port import Rejected, Superseded
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.sources import SourceRuns
from handlers.csv_to_iceberg.lake.table import unpartitioned

OURS: Final = "lakedrop.rejects"
"""Table property that says who made the table."""

COMMIT: Final = "lakedrop.commit"
"""Key in a snapshot's summary: the path of the data file it was to bring, with or without records in the end."""

FILE_KEY_ID: Final = 1
SCHEMA: Final = Schema(
    NestedField(FILE_KEY_ID, "file_key", StringType(), required=True),
    NestedField(2, "etag", StringType(), required=True),
    NestedField(3, "table_name", StringType(), required=True),
    NestedField(4, "record", LongType(), required=True),
    NestedField(5, "line", LongType(), required=False),
    NestedField(6, "text", StringType(), required=True),
    NestedField(7, "reason", StringType(), required=True),
    NestedField(8, "bucket", StringType(), required=True),
    NestedField(9, "rejected_at", TimestampType(), required=True),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """Rejected records and the table their file belongs to."""

    table_name: str
    """Without its namespace."""
    bucket: str
    rejected: Rejected


@dataclass(frozen=True)
class Opened:
    """The table at one moment; commits are compared against exactly this."""

    table: Table
    live: LiveFiles

    @cached_property
    def paths(self) -> frozenset[str]:
        """The data files."""
        return frozenset(self._places)

    @cached_property
    def landed(self) -> frozenset[str]:
        """What the commits of the retained snapshots were told apart by."""
        summaries = [snapshot.summary for snapshot in self.table.metadata.snapshots]
        return frozenset(summary.additional_properties.get(COMMIT, "") for summary in summaries if summary is not None)

    @cached_property
    def _places(self) -> dict[str, tuple[LiveManifest, Block]]:
        data = self.live.of_content(ManifestContent.DATA)
        return {path: (manifest, block) for manifest in data for block in manifest.blocks for path in block.paths}

    def only(self, path: str) -> LiveFiles:
        """Return one live data file with all delete files."""
        manifest, block = self._places[path]
        (file,) = (entry for entry in block.entries if entry.path == path)
        one = LiveManifest(manifest.file, [Block.of(file.packed, [file])])
        return replace(self.live, manifests=[one, *self.live.of_content(ManifestContent.DELETES)], memory=None)


class RejectsTable:
    """The rejected records of one namespace. Methods block and belong on the `commit` lane."""

    def __init__(self, lake: Lake, namespace: str, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self.name = f"{namespace}.{REJECTS}"
        self._own = OwnTable(lake, self.name, SCHEMA, OURS, {f"{METRICS}file_key": "full"})
        self._lake = lake
        self._clock = clock
        self._new_id = new_id
        self._expiry = Expiry(lake.settings, clock)

    def load(self) -> Table | None:
        """Load the table for reading; None when there is none."""
        return self._own.load()

    def open(self, *, create: bool) -> Opened | None:
        """
        Load the table for writing; None when there is none and none is to be made.

        Raises:
            PermanentError: It is not ours to write.
        """
        table = self._own.load_or_create() if create else self._own.load_to_write()
        if table is None:
            return None
        return Opened(table, LiveFiles.of(table, self._lake.manifests, "file_key"))

    def held(self, opened: Opened, keys: Collection[str]) -> Superseded:
        """Return the data files that show records of some of the keys; it may name keys a file has none of."""
        removal = self._lake.rows.removal(opened.live, keys, FILE_KEY_ID, opened.table.io)
        paths = (removal.dropped & opened.paths) | {file.file_path for file, _ in removal.deletes}
        return dict.fromkeys(paths, frozenset(keys))

    def new_path(self, opened: Opened, suffix: str = ".parquet") -> str:
        """Return a location no file had before."""
        return opened.table.location_provider().new_data_location(f"{self._new_id()}{suffix}")

    def commit(self, opened: Opened, placed: Sequence[Placed], path: str, clear: Superseded) -> None:
        """
        Add records as the data file `path`, if there are any, and take out others, in one snapshot.

        Files of `clear` that are live no more are left out: somebody rewrote them.

        Raises:
            CommitConflict: Nothing was committed; open again.
            Exception: Anything else leaves the outcome unknown.
        """
        table = opened.table
        removal = self._removal(opened, clear)
        deletes = [
            write_deletes(table.io, self.new_path(opened, "-deletes.parquet"), file, positions)
            for file, positions in removal.deletes
        ]
        added = []
        if placed:
            rows = self._own.rows(table, _columns(placed, self._clock()))
            entry = plain_data_file(
                write_table(table.io, path, rows), table.schema(), table.properties, unpartitioned(table)
            )
            keys = [one.rejected.key for one in placed]
            # Exact, whatever the footer kept of them.
            entry.lower_bounds[FILE_KEY_ID] = min(keys).encode()
            entry.upper_bounds[FILE_KEY_ID] = max(keys).encode()
            self._lake.rows.know_runs(path, SourceRuns.of(keys, [one.rejected.kept.num_rows for one in placed]))
            added.append(entry)
        change = Change(added, deletes, frozenset(removal.dropped))
        commit_snapshot(table, opened.live, change, new_id=self._new_id, now=self._clock(), summary={COMMIT: path})
        self._expiry.committed(table)

    def _removal(self, opened: Opened, clear: Superseded) -> Removal:
        total = Removal()
        for path, keys in clear.items():
            if path in opened.paths:
                one = self._lake.rows.removal(opened.only(path), keys, FILE_KEY_ID, opened.table.io)
                total.dropped.update(one.dropped)
                total.deletes.extend(one.deletes)
        return total


def _columns(placed: Sequence[Placed], at: int) -> Mapping[str, pa.Array | pa.ChunkedArray]:
    """Return the columns of a data file; `at` in epoch milliseconds."""
    counts = [one.rejected.kept.num_rows for one in placed]
    kept = pa.Table.from_batches([one.rejected.kept for one in placed])
    return {
        "file_key": _repeated([one.rejected.key for one in placed], counts),
        "etag": _repeated([one.rejected.etag for one in placed], counts),
        "table_name": _repeated([one.table_name for one in placed], counts),
        "record": kept["record"],
        "line": kept["line"],
        "text": kept["text"],
        "reason": kept["reason"],
        "bucket": _repeated([one.bucket for one in placed], counts),
        "rejected_at": pa.array(np.full(sum(counts), at * 1000, np.int64)).cast(pa.timestamp("us")),
    }


def _repeated(values: Sequence[str], counts: Sequence[int]) -> pa.Array:
    indices = np.repeat(np.arange(len(values), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(values, pa.string()))
