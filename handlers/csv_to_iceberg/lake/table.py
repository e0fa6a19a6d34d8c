"""One Iceberg table as the committer sees it: load, stage, compare-and-swap."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce

import duckdb
import numpy as np
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.results import Part
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Plan, Shown
from handlers.csv_to_iceberg.lake.expiry import Expiry
from handlers.csv_to_iceberg.lake.lake import ROUTE, Lake, LakeSettings
from handlers.csv_to_iceberg.lake.live import LiveFiles, LiveMemory
from handlers.csv_to_iceberg.lake.parquet import data_file, renamed, write_deletes, write_table
from handlers.csv_to_iceberg.lake.positions import Removal
from handlers.csv_to_iceberg.lake.reader import fetch, local_path, readable
from handlers.csv_to_iceberg.lake.refusals import UnsupportedTable
from handlers.csv_to_iceberg.lake.shape import SOURCE_ETAG, SOURCE_FILE, Shape, ShapeChanged, merged
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.sources import Positions, SourceRuns
from handlers.csv_to_iceberg.lake.staged import STAGED_MILLISECONDS, Staged, one_table


@dataclass(frozen=True, slots=True)
class Loaded:
    """The table at one moment; commits are compared against exactly this."""

    table: Table
    shape: Shape


class IcebergTable:
    """
    A table of ours, by name; it need not exist yet.

    Methods block and belong on the `commit` lane.
    """

    def __init__(
        self,
        lake: Lake,
        name: str,
        bucket: str,
        prefix: str,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self.name = name
        self._lake = lake
        self._bucket = bucket
        self._properties = {ROUTE: f"{bucket}/{prefix}"}
        self._clock = clock
        self._new_id = new_id
        self._expiry = Expiry(lake.settings, clock)
        self.shapes = 0
        """Shapes that commits of ours gave the table, the one that the first of them found included."""

    @property
    def settings(self) -> LakeSettings:
        """Settings of the lake."""
        return self._lake.settings

    def now(self) -> int:
        """Return epoch milliseconds."""
        return self._clock()

    def load(self) -> Loaded | None:
        """
        Load the table; None when there is none.

        Raises:
            PermanentError: It is not ours to write.
        """
        table = self._lake.load_ours(self.name, self._bucket)
        return None if table is None else Loaded(table, Shape.of(table.metadata))

    def create(self, columns: Mapping[str, ColumnType]) -> Loaded:
        """Create the table for these columns, unless it exists by now; return it as it is."""
        self._lake.create(self.name, Shape.new(columns).schema, self._properties)
        loaded = self.load()
        if loaded is None:
            raise CommitConflict(f"table {self.name} was dropped as soon as it was made")
        return loaded

    def stage(self, loaded: Loaded, shape: Shape, parts: Sequence[Part], at: int) -> Staged:
        """
        Write the rows of several sources to one file.

        Args:
            loaded: Any state of the table: says where files go.
            shape: What the table is expected to look like when the file is committed.
            parts: In the order of their keys.
            at: Epoch milliseconds, for `_ingested_at`.

        Raises:
            ShapeChanged: The parts do not fit that shape.
        """
        columns = merged(part.columns for part in parts)
        grown = shape.grown(columns)
        schema = grown.arrow(columns)
        rows = tuple(part.table.num_rows for part in parts)
        written = {field.name.lower(): grown.fields[field.name.lower()] for field in schema}
        uuid = str(loaded.table.metadata.table_uuid)
        if not sum(rows):
            return Staged((), (), rows, columns, written, grown, uuid, self.now())
        table = one_table(parts, schema, at)
        keys = [part.source.key for part in parts]
        file = write_table(loaded.table.io, self.new_data_path(loaded), table)
        filled = [key for key, count in zip(keys, rows, strict=True) if count]
        entry = data_file(
            file, grown.schema, loaded.table.properties, unpartitioned(loaded.table), (filled[0], filled[-1])
        )
        return Staged((entry,), (SourceRuns.of(keys, rows),), rows, columns, written, grown, uuid, self.now())

    def new_data_path(self, loaded: Loaded, suffix: str = ".parquet") -> str:
        """Return a location no data file had before."""
        return loaded.table.location_provider().new_data_location(f"{self._new_id()}{suffix}")

    def fits(self, loaded: Loaded, staged: Staged, beside: Sequence[Staged]) -> bool:
        """
        Tell whether staged files can be added to the table as it is now.

        Those `beside` come in first; columns they bring take the field ids that others were written with.
        """
        if staged.table_uuid != str(loaded.table.metadata.table_uuid):
            return False
        if self.now() - staged.at > STAGED_MILLISECONDS:
            return False
        try:
            return _grown(loaded.shape, [*beside, staged]).takes(staged.written)
        except ShapeChanged:
            return False

    def again(self, loaded: Loaded, staged: Staged) -> Staged:
        """Return the same rows under new names: the old ones may be in the table by now."""
        at = self.now()  # nothing keeps the first copy young while the others are made
        files = []
        for file in staged.files:
            path = self.new_data_path(loaded)
            _copy(loaded.table.io, file.file_path, path)
            files.append(renamed(file, path))
        return replace(staged, files=tuple(files), at=at)

    def commit(self, loaded: Loaded, plan: Plan[Staged]) -> int:
        """
        Plan from the loaded metadata and swap it; return the snapshot id.

        Raises:
            CommitConflict: Nothing was committed; load and plan again.
            Exception: Anything else leaves the outcome unknown.
        """
        table, io = loaded.table, loaded.table.io
        live = self._live(loaded, self._lake.manifests)
        source = loaded.shape.fields.get(SOURCE_FILE)
        # A table that was handed over to us has no such column before our first rows, and none of them in it.
        removal = Removal() if source is None else self._lake.rows.removal(live, plan.clear, source.field_id, io)
        gone = list(removal.deletes)
        added = []
        for staged, lost in plan.add:
            for file, runs in zip(staged.files, staged.runs, strict=True):
                self._lake.rows.know_runs(file.file_path, runs)
                added.append(file)
            if taken := [staged.positions(part) for part in lost if staged.rows[part]]:
                gone.append((staged.files[0], np.concatenate(taken)))
        deletes = [self._write_deletes(loaded, file, positions) for file, positions in gone]
        grown = _grown(loaded.shape, [staged for staged, _ in plan.add])
        if not all(grown.takes(staged.written) for staged, _ in plan.add):
            raise RuntimeError(f"{self.name}: staged files disagree about field ids; nothing was committed")
        change = Change(added, deletes, frozenset(removal.dropped), shape=None if grown is loaded.shape else grown)
        snapshot = commit_snapshot(
            table,
            live,
            change,
            new_id=self._new_id,
            now=self._clock(),
            summary={"lakedrop.sources": str(plan.sources)},
        )
        if grown is not loaded.shape or not self.shapes:
            self.shapes += 1
        self._expiry.committed(table)
        return snapshot

    def _live(self, loaded: Loaded, memory: LiveMemory) -> LiveFiles:
        live = LiveFiles.of(loaded.table, memory)
        if live.has_equality_deletes:
            # Nothing here can read such a table, so nobody could tell what a commit did to it.
            raise UnsupportedTable(
                f"table {self.name} has equality delete files, which only the engine that wrote them applies: let it"
                " rewrite the table's files (Trino: ALTER TABLE ... EXECUTE optimize), then replay the object"
            )
        return live

    def _write_deletes(self, loaded: Loaded, file: DataFile, positions: Positions) -> DataFile:
        delete_file = write_deletes(loaded.table.io, self.new_data_path(loaded, "-deletes.parquet"), file, positions)
        self._lake.rows.know_deletes(delete_file.file_path, positions)
        return delete_file

    def shown(self, loaded: Loaded, keys: Collection[str], memory: LiveMemory | None = None) -> dict[str, Shown]:
        """
        Count what the table shows of some keys: rows, and the versions they are from.

        Only files that may hold the keys are read. Lanes other than `commit` give a `memory` of their own.
        """
        shown: dict[str, Shown] = {key: Shown({}) for key in keys}
        if not {SOURCE_FILE, SOURCE_ETAG} <= loaded.shape.fields.keys():
            return shown
        live = self._live(loaded, self._lake.manifests if memory is None else memory)
        tasks = [
            FileScanTask(file.data_file, {one.data_file for one in live.deletes_of(file)})
            for file in live.may_hold(keys)
        ]
        with duckdb.connect() as connection:
            rows = fetch(
                connection,
                f"SELECT {SOURCE_FILE}, {SOURCE_ETAG}, count(*)"  # noqa: S608  # names are constants, keys are bound
                f" FROM ({readable(connection, loaded.table, 'shown', tasks).sql})"
                f" WHERE {SOURCE_FILE} IN (SELECT unnest(?)) GROUP BY ALL",
                [list(keys)],
            )
        for key, etag, count in rows:
            shown[key].rows[etag] = count
        return shown


def _grown(shape: Shape, staged: Sequence[Staged]) -> Shape:
    """Return the shape after staged files came in, one after the other."""
    return reduce(Shape.grown, [one.columns for one in staged], shape)


def unpartitioned(table: Table) -> int:
    """Return the id of the spec without partitions that our data files are written under."""
    for spec_id, spec in table.metadata.specs().items():
        if spec.is_unpartitioned():
            return spec_id
    raise UnsupportedTable(f"table {'.'.join(table.name())} has only partitioned specs")


def _copy(io: FileIO, source: str, target: str) -> None:
    """Give a file that never changes a second name; on this machine without copying it."""
    with suppress(OSError):
        if (old_path := local_path(source)) is not None and (new_path := local_path(target)) is not None:
            os.link(old_path, new_path)
            os.utime(new_path)  # what cleans up after us goes by the time a file was last written
            return
    with io.new_input(source).open() as old, io.new_output(target).create() as new:
        shutil.copyfileobj(old, new)
