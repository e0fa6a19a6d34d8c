"""
Looking after tables: compaction, expiry of snapshots, removal of unreferenced files.

Long work runs on the `maintain` lane, so that neither small files nor large ones wait for it; the `commit` lane sees
only what a commit of any kind does there. Whatever ends a run half-way leaves files that no snapshot names.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import structlog
from pyiceberg.table import Table

from handlers.contract import HandlerContext, PermanentError, Upkeep
from handlers.csv_to_iceberg.lake.clustering import Clustering, clustering_of
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.committer import MAX_TRIES, backoff
from handlers.csv_to_iceberg.lake.compaction import Compaction, Overtaken, Swapped
from handlers.csv_to_iceberg.lake.compaction_plan import CompactionPlan, Thresholds, plan_compaction
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.rewrite import Unfit
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot, expire_snapshots
from handlers.csv_to_iceberg.lake.unreferenced import (
    Listed,
    Marks,
    TableFolder,
    Unreferenced,
    clear_scratch,
    find_unreferenced,
    manifests,
    of_another_table,
    references,
    why_shared,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_RUNS: Final = 20
"""Runs of compaction over one table before the next table gets its turn."""

LISTS_PER_GRACE: Final = 6
"""Times a folder is listed within the grace time: a file is deleted at most a sixth of it too late."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of ours at one moment."""

    name: str
    clustering: Clustering
    table: Table
    live: LiveFiles


@dataclass(frozen=True, slots=True)
class Seen:
    """A table of the catalog, ours or not, at the beginning of a round."""

    location: str
    metadata: str
    """Location of its metadata."""
    snapshots: int
    ours: bool


@dataclass(slots=True)
class Known:
    """What is remembered of a table between two rounds."""

    metadata: str = ""
    """Location of the metadata that needed no compaction, or could not be compacted."""
    listed_at: int = -(1 << 62)
    """Epoch milliseconds."""
    refused: set[str] = field(default_factory=set)
    """Paths of data files that cannot be rewritten."""


@dataclass(frozen=True, slots=True)
class Found:
    """Unreferenced files of a table, and the state they were looked for in."""

    folder: TableFolder
    files: Unreferenced
    snapshot: int | None
    """The newest one before the folder was listed."""
    other: str | None
    """A file that says that another table has files in the folder, too."""


class Maintenance:
    """Looks after the tables of one lake. One round at a time."""

    def __init__(self, lake: Lake, context: HandlerContext) -> None:
        self._lake = lake
        self._context = context
        self._known: dict[str, Known] = {}
        self._manifests = manifests()
        settings = lake.settings
        self._grace = round(settings.unreferenced_grace * 1000)
        self._thresholds = Thresholds(
            settings.compact_small_files,
            settings.compact_deleted_share,
            settings.compact_delete_files,
            settings.compact_bytes,
        )

    async def round(self, only: Collection[str] = (), *, dry_run: bool = False) -> AsyncIterator[Upkeep]:
        """
        Do what is due and yield what was done, table by table; those that need nothing are yielded only if asked for.

        Args:
            only: Names of tables; none means all, and that folders listed lately are not listed again.
            dry_run: Change nothing; tell what would be done first.
        """
        seen = await self._run(self._look)
        for name in only or [name for name, table in seen.items() if table.ours]:
            upkeep = await self._table(name, seen, asked=bool(only) or dry_run, dry_run=dry_run)
            if upkeep is not None:
                yield upkeep
        now = self._context.clock()
        scratch = Path(self._lake.settings.home) / "staging"
        gone = await self._run(lambda: clear_scratch(scratch, now, self._grace, dry_run=dry_run))
        if gone:
            log.info("scratch.cleared", folders=gone, dry_run=dry_run)
            yield Upkeep(str(scratch), {"to_delete" if dry_run else "folders_deleted": len(gone)})

    def _look(self) -> dict[str, Seen]:
        """Return all tables of the catalog by name."""
        seen = {}
        for name in self._lake.table_names():
            table = self._lake.load(name)
            if table is not None:
                ours = clustering_of(name, table) is not None
                seen[name] = Seen(table.location(), table.metadata_location, len(table.metadata.snapshots), ours)
        return seen

    async def _table(self, name: str, seen: Mapping[str, Seen], *, asked: bool, dry_run: bool) -> Upkeep | None:
        if name not in seen or not seen[name].ours:
            return Upkeep(name, {}, error="there is no such table of ours")
        known = self._known.setdefault(name, Known())
        counts: Counter[str] = Counter()
        notes: list[str] = []
        error = None
        settings = self._lake.settings
        try:
            if asked or seen[name].metadata != known.metadata:
                await self._compact(name, known, counts, notes, dry_run=dry_run)
            if not dry_run and seen[name].snapshots > settings.snapshots_kept + settings.expire_every:
                counts["snapshots_expired"] = await self._context.run("commit", self._expire, name)
            if asked or self._context.clock() - known.listed_at >= self._grace / LISTS_PER_GRACE:
                await self._clean(name, seen, counts, notes, dry_run=dry_run)
                known.listed_at = self._context.clock()
        except Exception as failure:
            log.warning("table.not_maintained", table=name, exc_info=not isinstance(failure, PermanentError))
            error = f"{type(failure).__name__}: {failure}"
        done = {key: count for key, count in counts.items() if count}
        if not (asked or error or done.keys() - {"files_unreferenced", "bytes_unreferenced"}):
            return None
        return Upkeep(name, done, tuple(notes), error)

    def _load(self, name: str) -> Kept | None:
        table = self._lake.load(name)
        clustering = None if table is None else clustering_of(name, table)
        if table is None or clustering is None:
            return None
        return Kept(name, clustering, table, LiveFiles.of(table, self._lake.manifests, clustering.key))

    # Compaction

    async def _compact(self, name: str, known: Known, counts: Counter[str], notes: list[str], *, dry_run: bool) -> None:
        """Run compaction until nothing is due, or enough was done for one round."""
        for _ in range(MAX_RUNS):
            kept = await self._context.run("commit", self._load, name)
            if kept is None:
                return
            plan = await self._run(plan_compaction, kept.table, kept.live, self._thresholds, frozenset(known.refused))
            if dry_run:
                self._describe(plan, counts, notes)
                return
            # Should a run fail for good, it is not tried again before the table has changed.
            known.metadata = kept.table.metadata_location
            if not plan.work:
                notes += _left_alone(plan)
                return
            try:
                swapped = await self._run_once(kept, plan)
            except Unfit as unfit:
                known.refused.add(unfit.path)
                continue
            if swapped is None:
                known.metadata = ""
                return
            counts["compactions"] += 1
            counts.update({key: value for key, value in asdict(swapped).items() if key != "snapshot"})

    @staticmethod
    def _describe(plan: CompactionPlan, counts: Counter[str], notes: list[str]) -> None:
        counts.update(asdict(plan.health))
        counts["to_rewrite"] = len(plan.work.rewrite)
        counts["to_merge"] = len(plan.work.merge)
        notes += _left_alone(plan)

    async def _run_once(self, kept: Kept, plan: CompactionPlan) -> Swapped | None:
        """Make one run; None when the table changed under it in a way that cannot be carried over."""
        context = self._context
        started = context.clock()
        compaction = Compaction(self._lake, kept.name, kept.clustering, clock=context.clock, new_id=context.new_id)
        await self._run(compaction.prepare, kept.table, plan.work, call_off=compaction.call_off)
        for attempt in range(MAX_TRIES):
            try:
                swapped = await context.run("commit", compaction.swap)
            except CommitConflict:
                pass
            except Overtaken as reason:
                log.info("compaction.overtaken", table=kept.name, reason=str(reason))
                return None
            except PermanentError:
                raise
            except Exception:
                log.warning("compaction.not_swapped", table=kept.name, outcome_unknown=True, exc_info=True)
            else:
                log.info(
                    "table.compacted",
                    table=kept.name,
                    **asdict(swapped),
                    seconds=(context.clock() - started) / 1000,
                )
                return swapped
            await asyncio.sleep(backoff(attempt, context.new_id()))
        log.info("compaction.overtaken", table=kept.name, reason=f"no commit in {MAX_TRIES} tries")
        return None

    # Snapshots

    def _expire(self, name: str) -> int:
        """
        Expire snapshots that a committer did not live to expire; returns their number.

        A committer does it after every `expire_every` commits of its own.
        """
        table = self._lake.load(name)
        if table is None:
            return 0
        before = len(table.metadata.snapshots)
        expire_snapshots(table, self._lake.settings.snapshots_kept)
        after = self._lake.load(name)
        return 0 if after is None else max(before - len(after.metadata.snapshots), 0)

    # Unreferenced files

    async def _clean(
        self, name: str, seen: Mapping[str, Seen], counts: Counter[str], notes: list[str], *, dry_run: bool
    ) -> None:
        """Find the files nothing refers to, and delete those whose time has come."""
        others = {table.location: other for other, table in seen.items() if other != name}
        settings = self._lake.settings
        reason = why_shared(seen[name].location, others, None if settings.catalog else settings.home)
        if reason is not None:
            notes.append(f"unreferenced files stay: {reason}")
            return
        found = await self._run(self._find, name, dry_run)
        if found is None:
            return
        counts["files_unreferenced"] = len(found.files.waiting) + len(found.files.due)
        counts["bytes_unreferenced"] = sum(file.bytes for file in (*found.files.waiting, *found.files.due))
        if found.other is not None:
            notes.append(f"unreferenced files stay: {found.other} is of another table, dropped or of another catalog")
            return
        if dry_run:
            counts["to_delete"] = len(found.files.due)
        if dry_run or not found.files.due:
            return
        await self._context.run("commit", self._fence, name, found.snapshot)
        gone = await self._run(self._delete, name, found)
        counts["files_deleted"] = len(gone)
        counts["bytes_deleted"] = sum(file.bytes for file in gone)
        log.info("table.cleaned", table=name, files=len(gone), bytes=counts["bytes_deleted"])

    def _find(self, name: str, dry_run: bool) -> Found | None:
        """List a table's folder, compare it with what the table refers to, and remember what was seen."""
        now = self._context.clock()
        before = self._lake.load(name)
        if before is None:
            return None
        folder = TableFolder(before.io, before.location())
        files = list(folder.files())
        table = self._lake.load(name)
        if table is None or table.location() != before.location():
            return None
        referenced = references(table, folder, self._manifests)
        marks = Marks(Path(self._lake.settings.home), str(table.metadata.table_uuid))
        seen = marks.read()
        found = find_unreferenced(files, referenced, seen, now, self._grace)
        if not dry_run:
            marks.write({file.name: seen.get(file.name, now) for file in (*found.waiting, *found.due)})
        other = of_another_table(found, folder, str(table.metadata.table_uuid)) if found.due else None
        return Found(folder, found, before.metadata.current_snapshot_id, other)

    def _fence(self, name: str, snapshot: int | None) -> None:
        """
        See to it that a snapshot was committed after the folder was listed: commits loaded before it fail.

        A conflict says that somebody just did.
        """
        kept = self._load(name)
        if kept is None or kept.table.metadata.current_snapshot_id != snapshot:
            return
        table = self._lake.without_retries(name, kept.table)
        try:
            commit_snapshot(
                table, kept.live, Change(), new_id=self._context.new_id, now=self._context.clock(), summary={}
            )
        except CommitConflict:
            return

    def _delete(self, name: str, found: Found) -> list[Listed]:
        """Delete the files that are due and that the newest metadata does not refer to either."""
        table = self._lake.load(name)
        if table is None:
            return []
        referenced = references(table, found.folder, self._manifests)
        gone = []
        for file in found.files.due:
            if file.path not in referenced and found.folder.delete(file):
                log.debug("unreferenced.deleted", table=name, file=file.name, bytes=file.bytes)
                gone.append(file)
        found.folder.drop_empty(gone)
        return gone

    async def _run(self, function: Callable[..., T], /, *args: object, call_off: Callable[[], None] | None = None) -> T:
        """Run work on the lane; cancelled, call it off and wait for its end, as it holds files and the catalog."""
        work = asyncio.ensure_future(self._context.run("maintain", function, *args))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if call_off is not None:
                call_off()
            await asyncio.wait([work])
            raise


def _left_alone(plan: CompactionPlan) -> list[str]:
    return [f"{number:,} data files are never compacted: {reason}" for reason, number in plan.left_alone.items()]
