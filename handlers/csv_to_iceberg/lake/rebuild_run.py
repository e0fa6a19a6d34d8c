"""One preparation of a rebuilt table, and the commit it leads to."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import structlog
from pyiceberg.manifest import DataFile

from handlers.contract import HandlerError, OutcomeUnknown, TransientError
from handlers.csv_to_iceberg.csv.columns import RESCUED, ColumnType, Pins
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.reading import Reading, on_its_lane
from handlers.csv_to_iceberg.csv.results import MUCH, Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StartAgain
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.committer import MAX_TRIES, backoff
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.parquet import data_file, plain_data_file, write_deletes
from handlers.csv_to_iceberg.lake.rebuild_files import Key, NewFile, RebuiltFiles
from handlers.csv_to_iceberg.lake.rebuild_plan import RebuildPlan, State, countable, sources_of
from handlers.csv_to_iceberg.lake.rebuild_rows import OldRows, Widened, stamped
from handlers.csv_to_iceberg.lake.rebuild_site import Site
from handlers.csv_to_iceberg.lake.shape import INGESTED_AT, SOURCE_ETAG, SOURCE_FILE
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.table import Loaded, unpartitioned

log = structlog.get_logger(__name__)

FOLDER: Final = "rebuild-"
"""
Begins the name of the folder that new files lie in until they are committed. Files with other names than a commit's are
left alone for three days (`unreferenced.FOREIGN_GRACE`), and a rebuild is done before that.
"""


REBUILD: Final = "lakedrop.rebuild"
"""Key in a snapshot's summary: the folder of the run that made it."""


class BeginAgain(Exception):
    """What was prepared is of no use: a type was wrong and the plan is corrected, or the table got other columns."""


class Run:
    """
    Prepares new files, commits them, and does what changed meanwhile again until the commit succeeds.

    `snapshot` and `rescued` tell of a run that has ended well.
    """

    def __init__(self, site: Site, loaded: Loaded, plan: RebuildPlan) -> None:
        self.snapshot = 0
        self._site = site
        self._context = site.context
        self._plan = plan
        self._base = loaded.shape
        self._target = loaded.shape.retyped(plan.pins)
        self._changing = {name: kind for name, kind in plan.pins.items() if name in loaded.shape.fields}
        folder, _, name = site.table.new_data_path(loaded, "").rpartition("/")
        self._folder = f"{folder}/{FOLDER}{name}"
        self._files = RebuiltFiles(loaded.table.io, self._folder, self._target.arrow(self._target.fields))
        self._done: dict[Key, State] = {}
        self._rescued: Counter[Key] = Counter()
        """Rows with a rescued cell, by source."""
        self._values: Counter[str] = Counter()
        self._misfits: Counter[str] = Counter()
        self._swapping = False
        self._unknown = False

    @property
    def rescued(self) -> int:
        """Rows with a rescued cell."""
        return sum(self._rescued.values())

    async def swap(self) -> None:
        """
        Do it.

        Raises:
            BeginAgain: See there.
            HandlerError: The table kept changing, or something did not answer.
        """
        try:
            await self._until_swapped()
        except BaseException:
            # A commit of unknown outcome may have named the files, or may yet.
            if not self._swapping and not self._unknown:
                await asyncio.shield(asyncio.ensure_future(self._context.run("stream", self._files.discard)))
            raise

    async def _until_swapped(self) -> None:
        for attempt in range(MAX_TRIES):
            try:
                await self._attempt()
            except CommitConflict as conflict:
                log.info("rebuild.conflict", table=self._plan.table, reason=str(conflict))
            except Exception as error:
                if not self._swapping:
                    raise
                self._unknown = True
                log.warning("rebuild.commit_failed", table=self._plan.table, error=repr(error))
            else:
                return
            self._swapping = False
            await asyncio.sleep(backoff(attempt, self._context.new_id()))
        message = f"table {self._plan.table}: no commit succeeded in {MAX_TRIES} tries; do it again later"
        raise OutcomeUnknown(message) if self._unknown else TransientError(message)

    async def _attempt(self) -> None:
        loaded = await self._site.load()
        live = await self._context.run("commit", LiveFiles.of, loaded.table, self._site.lake.manifests)
        if self._unknown and (landed := self._landed(loaded)) is not None:
            self.snapshot = landed
            return
        if loaded.shape.schema != self._base.schema or loaded.shape.last_id != self._base.last_id:
            raise BeginAgain
        states = await self._context.run("stream", sources_of, loaded.table)
        changed = {key: state for key, state in states.items() if self._done.get(key) != state}
        self._forget({*changed, *(self._done.keys() - states.keys())})
        await self._prepare(loaded, changed, sum(state.rows for state in states.values()))
        files = await self._context.run("stream", self._files.finish)
        self._swapping = True
        self.snapshot = await self._context.run("commit", self._commit, loaded, live, files)

    def _landed(self, loaded: Loaded) -> int | None:
        """Return the snapshot of this run, if an earlier try made it."""
        for snapshot in loaded.table.metadata.snapshots:
            if snapshot.summary is not None and snapshot.summary.additional_properties.get(REBUILD) == self._folder:
                return snapshot.snapshot_id
        return None

    def _forget(self, keys: Collection[Key]) -> None:
        self._files.drop(keys)
        for key in keys:
            self._done.pop(key, None)
            self._rescued.pop(key, None)

    async def _prepare(self, loaded: Loaded, states: Mapping[Key, State], total: int) -> None:
        """Write the rows of sources: from their objects where those are still there, else from the table."""
        old: list[Key] = []
        through = total - sum(state.rows for state in states.values())
        try:
            for key, state in states.items():
                self._site.progress("writing", through, total)
                through += state.rows
                if not await self._read_object(key, state):
                    self._forget([key])
                    old.append(key)
            if old:
                await self._context.run("stream", self._read_table, loaded, old)
        except Widened as widened:
            self._correct(dict.fromkeys(widened.columns, ColumnType.BIGINT), "a source has numbers beyond 32 bits")
        self._done |= states
        wrong = [name for name, count in self._misfits.items() if count > MUCH * self._values[name]]
        # What a person wishes (`columns`) holds all the same.
        wished = self._plan.options.hint
        if wrong := [name for name in wrong if self._changing[name] is not ColumnType.VARCHAR and wished(name) is None]:
            self._correct(dict.fromkeys(wrong, ColumnType.VARCHAR), "no other type holds nine tenths of all values")

    def _correct(self, pins: Pins, reason: str) -> None:
        self._plan.correct(pins, reason)
        raise BeginAgain

    async def _read_object(self, key: Key, state: State) -> bool:
        """Write the rows of an object; False when they are not what the table shows of it."""
        found = await self._site.object_of(key, state)
        if found is None or key is None:
            return False
        stored, options = found
        lessons = Lessons()
        while True:
            source = Source(key, stored.etag)
            try:
                reading = Reading(await stored.open())
                work = self._stream, reading, source, state, options, lessons
                rows = await on_its_lane(self._context, reading, *work)
            except StartAgain as again:
                pins = self._target.pins
                new = {name for name, kind in again.pins.items() if pins.get(name, kind) is not kind}
                if new:
                    raise Widened(new) from again
                lessons = again.lessons
                self._forget([key])
            except TransientError:
                raise
            except HandlerError as error:
                log.info("rebuild.not_read_again", key=key, reason=error.message)
                return False
            else:
                if rows != state.rows:
                    log.warning("rebuild.reads_differently", key=key, rows=rows, shown=state.rows)
                return rows == state.rows

    def _stream(self, reading: Reading, source: Source, state: State, options: Options, lessons: Lessons) -> int:
        """Write what one pass over an object gives; return the number of rows, -1 for columns the table has not."""
        constants = {SOURCE_FILE: source.key, SOURCE_ETAG: source.etag, INGESTED_AT: state.at}
        values: Counter[str] = Counter()
        misfits: Counter[str] = Counter()
        rescued = 0
        with reading:
            rows = reading.open(source, dict(self._target.pins), Memory(), options, lessons)
            if not rows.columns.keys() <= self._target.fields.keys():
                return -1
            for batch in reading.batches():
                held, unfit = countable(batch, list(self._changing))
                values += held
                misfits += unfit
                rescued += batch.num_rows - batch.column(RESCUED).null_count
                self._files.add(source.key, stamped(batch, self._files.schema, constants))
            if rows.report.rows == state.rows:
                self._values += values
                self._misfits += misfits
                self._rescued[source.key] = rescued
            return rows.report.rows

    def _read_table(self, loaded: Loaded, keys: Sequence[Key]) -> None:
        old = OldRows(self._target, self._changing, self._plan.options, self._plan.delimiter)
        scratch = self._site.table.settings.home / "staging" / self._folder.rpartition("/")[2]
        scratch.mkdir(parents=True)
        try:
            for key, rows in old.read(loaded.table, keys, str(scratch)):
                self._rescued[key] += rows.num_rows - rows[RESCUED].null_count
                self._files.add(key, rows)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._values += old.values
        self._misfits += old.misfits

    def _commit(self, loaded: Loaded, live: LiveFiles, files: Sequence[NewFile]) -> int:
        """Put the new files in the place of all that are live. Raises as `commit_snapshot`."""
        table = loaded.table
        added: list[DataFile] = []
        deletes: list[DataFile] = []
        for file in files:
            arguments = (file.written, self._target.schema, table.properties, unpartitioned(table))
            entry = plain_data_file(*arguments) if file.keys is None else data_file(*arguments, file.keys)
            added.append(entry)
            if len(file.gone):
                path = f"{self._folder}/{self._context.new_id()}-deletes.parquet"
                deletes.append(write_deletes(table.io, path, entry, file.gone))
        dropped = frozenset(file.path for some in (live.data(), live.deletes()) for file in some)
        return commit_snapshot(
            table,
            live,
            Change(added, deletes, dropped, shape=self._target),
            new_id=self._context.new_id,
            now=self._context.clock(),
            summary={REBUILD: self._folder},
        )
