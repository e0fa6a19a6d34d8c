"""
One run of compaction over one table: prepare aside, then swap against the newest metadata.

Preparing takes seconds, and the table goes on changing meanwhile. So the swap is planned from the metadata it is
compared against, like every commit: rows that have left an old file since it was read leave the new ones in the same
snapshot. What cannot be carried over so exactly is given up, and the run begins again from the newest metadata.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.clustering import Clustering, clustering_of
from handlers.csv_to_iceberg.lake.compaction_plan import Work
from handlers.csv_to_iceberg.lake.entries import FileEntry
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.parquet import plain_data_file, write_deletes
from handlers.csv_to_iceberg.lake.rewrite import NewFile, Origin, Rewriter, Rewritten, deleted_rows, positions_of
from handlers.csv_to_iceberg.lake.shape import Shape
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.sources import NOTHING, Positions
from handlers.csv_to_iceberg.lake.staged import STAGED_MILLISECONDS
from handlers.csv_to_iceberg.lake.table import unpartitioned

SUMMARY: Final = "lakedrop.compacted-files"
"""Key in a snapshot's summary: data files it took out."""


class Overtaken(Exception):
    """The table changed in a way that cannot be carried over; nothing was committed."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A data file that stays, and the delete file to take the place of its several."""

    origin: Origin
    deletes: DataFile
    positions: Positions


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a run changed."""

    snapshot: int | None = None
    """None when nothing was left to change."""
    data_files_removed: int = 0
    data_files_added: int = 0
    delete_files_removed: int = 0
    delete_files_added: int = 0
    rows: int = 0
    """Live rows that moved."""
    bytes_written: int = 0


class Compaction:
    """
    A run over one table. Blocks; for one thread at a time, but for `call_off`.

    Args:
        lake: Where the table is.
        name: `namespace.table`.
        clustering: The order of its rows.
        clock: Epoch milliseconds.
        new_id: Gives names that no file had before.
    """

    def __init__(
        self,
        lake: Lake,
        name: str,
        clustering: Clustering,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self.name = name
        self._lake = lake
        self._clustering = clustering
        self._clock = clock
        self._new_id = new_id
        self._rewriter: Rewriter | None = None
        self._uuid = ""
        self._rewritten = Rewritten((), (), {}, 0)
        self._merged: Sequence[Merged] = ()
        self._ready_at = 0

    def call_off(self) -> None:
        """End `prepare` as soon as possible; may be called from another thread."""
        if self._rewriter is not None:
            self._rewriter.call_off()

    def prepare(self, table: Table, work: Work) -> None:
        """
        Write the new files for a state of the table; nothing names them yet.

        Raises:
            CalledOff: The service is stopping.
            DifferentRows: What was written is not what was read.
        """
        self._uuid = str(table.metadata.table_uuid)
        scratch = Path(self._lake.settings.home) / "staging" / self._new_id()
        self._rewriter = Rewriter(table.io, Shape.of(table.metadata), self._clustering, scratch, self._clock)
        if work.rewrite:
            # In a folder of their own: while the last is being written, none of them counts as unreferenced.
            folder = self._new_id()
            numbers = itertools.count()
            self._rewritten = self._rewriter.rewrite(
                sorted(work.rewrite, key=lambda one: one.entry.sequence_number),
                lambda: self._new_path(table, f"{folder}/{next(numbers)}.parquet"),
            )
        merged = []
        for candidate in work.merge:
            gone = deleted_rows(table.io, candidate.entry, candidate.deletes)
            origin = Origin(candidate.path, frozenset(other.path for other in candidate.deletes), gone, None)
            positions = positions_of(gone)
            path = self._new_path(table, f"{self._new_id()}-deletes.parquet")
            deletes = write_deletes(table.io, path, candidate.entry.data_file, positions)
            merged.append(Merged(origin, deletes, positions))
        self._merged = merged
        self._ready_at = self._rewritten.at if self._rewritten.files else self._clock()

    def swap(self) -> Swapped:
        """
        Put the new files into the place of the old ones, in one snapshot. Belongs on the `commit` lane.

        Raises:
            Overtaken: The run is to begin again, if there is still something to do.
            CommitConflict: Somebody else committed; call again.
            Exception: The outcome is unknown; call again.
        """
        table = self._load()
        live = LiveFiles.of(table, self._lake.manifests, self._clustering.key)
        if live.has_equality_deletes:
            # They apply to older files only: the rows they take out would come back with the new files.
            raise Overtaken("rows were deleted by value meanwhile")
        entries = {entry.path: entry for entry in live.data()}
        if any(file.written.path in entries for file in self._rewritten.files):
            return Swapped(table.metadata.current_snapshot_id)  # an earlier try, whose answer was lost
        carried = self._carry(table, live, entries)
        merged, replaced = self._still_merged(live, entries)
        dropped = carried.dropped | replaced
        if not dropped and not carried.added:
            return Swapped()
        for file in carried.files:
            if file.runs is not None:
                self._lake.rows.know_runs(file.written.path, file.runs)
        for one in merged:
            self._lake.rows.know_deletes(one.deletes.file_path, one.positions)
        deletes = [*carried.deletes, *(one.deletes for one in merged)]
        removed = len(dropped & entries.keys())
        snapshot = commit_snapshot(
            table,
            live,
            Change(carried.added, deletes, frozenset(dropped), replaces=True),
            new_id=self._new_id,
            now=self._clock(),
            summary={SUMMARY: str(removed)},
        )
        return Swapped(
            snapshot,
            removed,
            len(carried.added),
            len(dropped) - removed,
            len(deletes),
            carried.rows,
            sum(file.file_size_in_bytes for file in (*carried.added, *deletes)),
        )

    def _load(self) -> Table:
        """Load the table for writing; it must be the one that was read, with all columns that were written."""
        table = self._lake.load(self.name)
        if table is None or clustering_of(self.name, table) != self._clustering:
            raise Overtaken(f"{self.name} is gone, or no table of ours any more")
        table = self._lake.without_retries(self.name, table)
        if str(table.metadata.table_uuid) != self._uuid:
            raise Overtaken(f"{self.name} was made anew")
        if not Shape.of(table.metadata).takes(self._rewritten.fields):
            raise Overtaken(f"columns of {self.name} were dropped or have other types now")
        if self._clock() - self._ready_at > STAGED_MILLISECONDS:
            raise Overtaken("the new files lay ready for so long that they may have been taken for unreferenced")
        return table

    def _carry(self, table: Table, live: LiveFiles, entries: Mapping[str, FileEntry]) -> _Carried:
        """Work out what the new files must look like for the table as it is now."""
        lost: Counter[str | None] = Counter()
        dropped: set[str] = set()
        remaining = 0
        for origin in self._rewritten.origins:
            entry = entries.get(origin.path)
            if entry is None:
                lost += origin.sources(~origin.gone)
                continue
            delete_files = live.deletes_of(entry)
            dropped.add(entry.path)
            dropped |= {other.path for other in delete_files if other.one_value}
            newly = self._newly_gone(table, entry, delete_files, origin)
            remaining += origin.rows
            if newly is not None:
                lost += origin.sources(newly)
                remaining -= int(np.count_nonzero(newly))
        self._must_be_whole(lost)
        carried = self._new_files(table, lost, dropped)
        if carried.rows != remaining:
            raise Overtaken(f"{carried.rows} rows would take the place of {remaining}")
        return carried

    def _newly_gone(
        self, table: Table, entry: FileEntry, delete_files: Sequence[FileEntry], origin: Origin
    ) -> NDArray[np.bool_] | None:
        """Return the rows that left a live file since it was read; None when its delete files are the same."""
        if {other.path for other in delete_files} == origin.delete_files:
            return None
        gone = deleted_rows(table.io, entry, delete_files)
        if bool((origin.gone & ~gone).any()):
            raise Overtaken(f"rows came back in {entry.path}: somebody rolled the table back")
        newly: NDArray[np.bool_] = gone & ~origin.gone
        return newly

    def _must_be_whole(self, lost: Counter[str | None]) -> None:
        """Refuse when only some rows of a source have left: which of those in the new files is not known."""
        if not lost:
            return
        if None in lost:
            raise Overtaken("rows without a source were deleted meanwhile")
        moved: Counter[str | None] = Counter()
        for origin in self._rewritten.origins:
            moved += origin.sources(~origin.gone)
        partly = [key for key, count in lost.items() if moved[key] != count]
        if partly:
            raise Overtaken(f"some rows of {partly[0]} were deleted or moved meanwhile")

    def _new_files(self, table: Table, lost: Counter[str | None], dropped: set[str]) -> _Carried:
        keys = pa.array(sorted(key for key in lost if key is not None), pa.string())
        carried = _Carried(dropped=dropped)
        for file in self._rewritten.files:
            taken = file.runs.positions(keys) if file.runs is not None and len(keys) else NOTHING
            if len(taken) == file.rows:
                continue
            carried.files.append(file)
            added = self._described(table, file)
            carried.added.append(added)
            carried.rows += file.rows - len(taken)
            if len(taken):
                deletes = write_deletes(
                    table.io, self._new_path(table, f"{self._new_id()}-deletes.parquet"), added, taken
                )
                self._lake.rows.know_deletes(deletes.file_path, taken)
                carried.deletes.append(deletes)
        return carried

    def _described(self, table: Table, file: NewFile) -> DataFile:
        described = plain_data_file(file.written, table.schema(), table.properties, unpartitioned(table))
        keys = [] if file.runs is None else file.runs.keys.drop_null().to_pylist()
        if keys and self._clustering.source is not None:
            # Exact, whatever the footer kept of them.
            field_id = Shape.of(table.metadata).fields[self._clustering.source].field_id
            described.lower_bounds[field_id] = min(keys, key=str.encode).encode()
            described.upper_bounds[field_id] = max(keys, key=str.encode).encode()
        return described

    def _still_merged(self, live: LiveFiles, entries: Mapping[str, FileEntry]) -> tuple[list[Merged], set[str]]:
        """Return the merged delete files whose data files are still there, and the paths of those they replace."""
        merged: list[Merged] = []
        replaced: set[str] = set()
        for one in self._merged:
            entry = entries.get(one.origin.path)
            if entry is None:
                continue
            delete_files = live.deletes_of(entry)
            if not one.origin.delete_files <= {other.path for other in delete_files}:
                continue  # somebody rewrote them, or rolled the table back: not all of these rows may be gone
            own = {other.path for other in delete_files if other.one_value} & one.origin.delete_files
            if len(own) > 1:
                merged.append(one)
                replaced |= own
        return merged, replaced

    @staticmethod
    def _new_path(table: Table, name: str) -> str:
        return table.location_provider().new_data_location(name)


class _Carried:
    """New files as they enter the table."""

    def __init__(self, dropped: set[str]) -> None:
        self.dropped = dropped
        """Paths of old data files, and of the delete files that apply to nothing else."""
        self.files: list[NewFile] = []
        self.added: list[DataFile] = []
        self.deletes: list[DataFile] = []
        self.rows = 0
        """Live ones in all of them."""
