"""
Looking after tables: compaction, expiry of snapshots, removal of unreferenced files.

Long work runs on the `maintain` lane, so that neither small files nor large ones wait for it; the `commit` lane sees
only what a commit of any kind does there. Whatever ends a run half-way leaves files that no snapshot names.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import structlog

from handlers.contract import HandlerContext, PermanentError
from handlers.csv_to_iceberg.cleaning import Cleaning
from handlers.csv_to_iceberg.kept import Kept, load_kept
from handlers.csv_to_iceberg.lake.clustering import clustering_of
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.committer import MAX_TRIES, backoff
from handlers.csv_to_iceberg.lake.compaction import Compaction, Overtaken, Swapped
from handlers.csv_to_iceberg.lake.compaction_plan import CompactionPlan, Thresholds, plan_compaction
from handlers.csv_to_iceberg.lake.expiry import expire_snapshots
from handlers.csv_to_iceberg.lake.lake import REGISTRY, Lake
from handlers.csv_to_iceberg.lake.rewrite import Unfit
from handlers.csv_to_iceberg.lake.unreferenced import clear_scratch
from handlers.csv_to_iceberg.maintain_lane import MaintainLane
from handlers.csv_to_iceberg.trino_upkeep import LostRace, TrinoUpkeep, difference
from handlers.upkeep import Upkeep

log = structlog.get_logger(__name__)

MAX_RUNS: Final = 20
"""Runs of compaction over one table before the next table gets its turn."""

TURN: Final = 30_000
"""Milliseconds after which no further run begins in it: where writers are steady each run loses races to them."""

LISTS_PER_GRACE: Final = 6
"""Times a folder is listed within the grace time: a file is deleted at most a sixth of it too late."""


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


class Maintenance:
    """
    Looks after the tables of one lake. One round at a time.

    Args:
        lake: Where they are.
        context: Of the handler.
        trino: Does part of it, where there is one.
    """

    def __init__(self, lake: Lake, context: HandlerContext, trino: TrinoUpkeep | None = None) -> None:
        self._lake = lake
        self._context = context
        self._trino = trino
        self._known: dict[str, Known] = {}
        self._lane = MaintainLane(context)
        self.cleaning = Cleaning(lake, context, self._lane)
        settings = lake.settings
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
        seen = await self._lane.run(self._look)
        if self._trino is not None and not dry_run:
            registries = [name for name, table in seen.items() if table.ours and name.endswith(f".{REGISTRY}")]
            await self._lane.run(self._trino.show_latest, [name.rpartition(".")[0] for name in registries])
        for name in only or [name for name, table in seen.items() if table.ours]:
            upkeep = await self._table(name, seen, asked=bool(only) or dry_run, dry_run=dry_run)
            if upkeep is not None:
                yield upkeep
        now = self._context.clock()
        scratch = Path(self._lake.settings.home) / "staging"
        gone = await self._lane.run(lambda: clear_scratch(scratch, now, self.cleaning.grace, dry_run=dry_run))
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
            if asked or self._context.clock() - known.listed_at >= self.cleaning.grace / LISTS_PER_GRACE:
                locations = {other: table.location for other, table in seen.items()}
                await self.cleaning.clean(name, locations, counts, notes, dry_run=dry_run)
                known.listed_at = self._context.clock()
        except Exception as failure:
            log.warning("table.not_maintained", table=name, exc_info=not isinstance(failure, PermanentError))
            error = f"{type(failure).__name__}: {failure}"
        done = {key: count for key, count in counts.items() if count}
        if not (asked or error or done.keys() - {"files_unreferenced", "bytes_unreferenced"}):
            return None
        return Upkeep(name, done, tuple(notes), error)

    # Compaction

    async def _compact(self, name: str, known: Known, counts: Counter[str], notes: list[str], *, dry_run: bool) -> None:
        """Run compaction until nothing is due, or enough was done for one round."""
        began = self._context.clock()
        for run in range(MAX_RUNS):
            if run and self._context.clock() - began >= TURN:
                return
            kept = await self._context.run("commit", load_kept, self._lake, name)
            if kept is None:
                return
            plan = await self._lane.run(
                plan_compaction, kept.table, kept.live, self._thresholds, frozenset(known.refused)
            )
            if dry_run:
                self._describe(plan, counts, notes)
                return
            # Should a run fail for good, it is not tried again before the table has changed.
            known.metadata = kept.table.metadata_location
            if not plan.work:
                notes += _left_alone(plan)
                return
            if self._trino is not None and self._trino.compacts:
                await self._delegate(self._trino, kept, known, counts, notes)
                return
            try:
                swapped = await self._run_once(kept, plan)
            except Unfit as unfit:
                known.refused.add(unfit.path)
                continue
            if swapped is None:
                known.metadata = ""
                return
            if swapped.snapshot is not None:
                counts["compactions"] += 1
                counts.update({key: value for key, value in asdict(swapped).items() if key != "snapshot"})

    @staticmethod
    def _describe(plan: CompactionPlan, counts: Counter[str], notes: list[str]) -> None:
        counts.update(asdict(plan.health))
        counts["to_rewrite"] = len(plan.work.rewrite)
        counts["to_merge"] = len(plan.work.merge)
        notes += _left_alone(plan)

    async def _delegate(
        self, trino: TrinoUpkeep, kept: Kept, known: Known, counts: Counter[str], notes: list[str]
    ) -> None:
        """Have Trino compact a table. What is due by our own rules afterwards it takes for well done."""
        run = trino.compaction(kept.name)
        try:
            await self._lane.run(run.run, call_off=run.call_off)
        except LostRace as reason:
            known.metadata = ""
            notes.append(f"compaction by Trino was overtaken by another commit, and is tried again: {reason}")
            return
        after = await self._context.run("commit", load_kept, self._lake, kept.name)
        if after is None:
            return
        known.metadata = after.table.metadata_location
        counts.update({"compactions": 1, **difference(kept.live, after.live)})

    async def _run_once(self, kept: Kept, plan: CompactionPlan) -> Swapped | None:
        """Make one run; None when the table changed under it in a way that cannot be carried over."""
        context = self._context
        started = context.clock()
        compaction = Compaction(self._lake, kept.name, kept.clustering, clock=context.clock, new_id=context.new_id)
        await self._lane.run(compaction.prepare, kept.table, plan.work, call_off=compaction.call_off)
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
                if swapped.snapshot is None:
                    log.info("compaction.overtaken", table=kept.name, reason="all that it moved was taken out")
                    return swapped
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
        expire_snapshots(table, self._lake.settings.snapshots_kept, now=self._context.clock())
        after = self._lake.load(name)
        return 0 if after is None else max(before - len(after.metadata.snapshots), 0)


def _left_alone(plan: CompactionPlan) -> list[str]:
    return [f"{number:,} data files are never compacted: {reason}" for reason, number in plan.left_alone.items()]
