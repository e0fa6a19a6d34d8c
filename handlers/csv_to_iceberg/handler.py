"""The CSV handler: objects of a bucket become rows of Iceberg tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from handlers.contract import (
    Claim,
    Failure,
    HandlerContext,
    HandlerError,
    ObjectRef,
    Outcome,
    PermanentError,
    Receipt,
    StoredObject,
    TransientError,
    Unit,
    Verdict,
)
from handlers.csv_to_iceberg.counting import Counting
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Report, SmallFile, Source
from handlers.csv_to_iceberg.inventory import Inventory, OwnTable
from handlers.csv_to_iceberg.lake.budget import ByteBudget
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict, Entry, Landed, Plan, Unpacked
from handlers.csv_to_iceberg.lake.committer import MAX_TRIES, backoff
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings, Placement, owner_bucket
from handlers.csv_to_iceberg.lake.presence import Presence
from handlers.csv_to_iceberg.lake.probe import probe
from handlers.csv_to_iceberg.lake.rebuild import Rebuild
from handlers.csv_to_iceberg.lake.rebuild_site import FindIn, NoSuchTable, Progress, Site
from handlers.csv_to_iceberg.lake.registry import Record, Registry, record_of
from handlers.csv_to_iceberg.lake.rejects_keeper import RejectsKeeper
from handlers.csv_to_iceberg.lake.rejects_table import RejectsTable
from handlers.csv_to_iceberg.lake.shape import ShapeChanged
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.table import IcebergTable
from handlers.csv_to_iceberg.lake.target import Target, table_of
from handlers.csv_to_iceberg.maintenance import Maintenance
from handlers.csv_to_iceberg.notices import notice_report, notice_size
from handlers.csv_to_iceberg.receipts import VERSION, receipt_of_absence, receipt_of_rows
from handlers.csv_to_iceberg.superset_tasks import SupersetTasks
from handlers.csv_to_iceberg.trino_client import TrinoClient, TrinoSettings
from handlers.csv_to_iceberg.trino_tables import TrinoTables
from handlers.csv_to_iceberg.trino_upkeep import TrinoUpkeep
from handlers.tasks import Task
from handlers.upkeep import Upkeep

if TYPE_CHECKING:
    from handlers.csv_to_iceberg.superset import Superset

log = structlog.get_logger(__name__)

MAX_STAGES: Final = 5
"""Times one object is staged because its table changed meanwhile, before it is tried again later."""


class CsvToIceberg:
    """Brings Iceberg tables to the state of a bucket's CSV files."""

    name: str = "csv_to_iceberg"
    version: str = VERSION
    max_in_flight: int = 4000
    fenced: bool = True

    def __init__(
        self,
        settings: LakeSettings,
        context: HandlerContext,
        superset: Superset | None = None,
        trino: TrinoSettings | None = None,
    ) -> None:
        self._settings = settings
        self._context = context
        self._lake = Lake(settings)
        self._presence = Presence(self._lake)
        self._targets: dict[tuple[str, str], Target] = {}
        self._registries: dict[str, Registry] = {}
        self._keepers: dict[str, RejectsKeeper] = {}
        self._budget = ByteBudget(settings.max_bytes_in_flight)
        tables = None if trino is None else TrinoTables(TrinoClient(trino))
        upkeep = None if trino is None or tables is None else TrinoUpkeep(tables, compacts=trino.maintains)
        self._counting = Counting(context, self._table, tables)
        self._maintenance = Maintenance(self._lake, context, upkeep)
        self._superset = None if superset is None else SupersetTasks(superset, self._lake, context)

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        """Every object is a unit."""
        del options
        return ref.key

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        """
        Replace the rows of an object, or remove them when it is gone.

        Raises:
            Skip: The object lies in no folder, so there is no table for it.
            HandlerError: See the contract.
        """
        options: Options = unit.options
        target = self._target(unit)
        if not objects:
            claim.staged()
            mode: Literal["remove", "keep"] = options.on_delete
            landed = await target.committer.submit(Entry(unit.name, claim.token, mode, _future()))
            return receipt_of_absence(target.table.name, landed)
        (found,) = objects
        noticed = notice_size(unit, target.table.name, found.size, self._settings.large_file_warning)
        streamed = found.size > self._settings.small_file_bytes
        for _ in range(MAX_STAGES):
            try:
                landed = await (self._large if streamed else self._small)(target, found, options, claim)
            except ShapeChanged as change:
                log.info("csv.staged_again", key=found.key, table=target.table.name, reason=str(change))
            except Unpacked:
                streamed = True
            else:
                if landed.report is not None:
                    landed.report.warnings += noticed
                    notice_report(unit, target.table.name, landed.report)
                self._tell_of(target)
                return receipt_of_rows(found.etag, target.table.name, landed)
        raise TransientError(f"table {target.table.name} changed {MAX_STAGES} times while the object was being read")

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """Count the rows of objects in their tables: as Trino sees them, where there is one."""
        return await self._counting.verify(bucket, receipts)

    async def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        """Fence every table of ours, then tell what all of them show and what failed."""
        tables = await self._context.run("commit", self._own_tables)
        for own in tables:
            try:
                await self._fence(own)
            except PermanentError as refusal:
                # Nobody can commit to it. What it shows is told all the same, and so are the other tables.
                log.warning("table.not_fenced", table=own.name, reason=refusal.message)
        registries = [self._registry(name) for name in await self._context.run("commit", self._lake.own_namespaces)]
        opened = await self._context.run("stream", Inventory, self._lake, tables, registries)
        try:
            while page := await self._context.run("stream", opened.page):
                for item in page:
                    yield item
        finally:
            await self._context.run("stream", opened.close)

    def _own_tables(self) -> list[OwnTable]:
        return [OwnTable(name, bucket) for name, bucket in self._lake.ours()]

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Append outcomes to the registries of their namespaces; when one refuses, the others get theirs first."""
        by_namespace: dict[str, list[Record]] = {}
        for outcome in outcomes:
            place = self._settings.routes.get(outcome.route, Placement())
            namespace, record = record_of(outcome, place.namespace, place.prefix)
            by_namespace.setdefault(namespace, []).append(record)
        refusals: list[HandlerError] = []
        for namespace, records in by_namespace.items():
            append = partial(self._registry(namespace).append, records)
            try:
                await self._until_committed(append)
            except HandlerError as error:
                log.warning("record.refused", namespace=namespace, outcomes=len(records), error=error.message)
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def maintain(self, only: Collection[str] = (), *, dry_run: bool = False) -> AsyncIterator[Upkeep]:
        """Compact tables, expire snapshots, delete files that nothing refers to."""
        return self._maintenance.round(only, dry_run=dry_run)

    async def retargeted(self) -> Collection[str]:
        """Wait until a table gets other columns; return which."""
        if self._superset is None:
            await asyncio.Event().wait()  # for ever: nobody is to be told
            return []
        return await self._superset.retargeted()

    async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        """Yield one for each table that Superset is to know."""
        if self._superset is not None:
            for task in await self._superset.tasks(only):
                yield task

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        """Tell Superset of a table."""
        if self._superset is None:
            raise TransientError("superset_url is not set")
        return await self._superset.run(task)

    async def rebuilding(self, name: str, find: FindIn, progress: Progress) -> Rebuild:
        """
        Begin the rebuild of a table, `namespace.table`; `find` gets the bucket and the key of a source.

        Raises:
            PermanentError: There is no such table of ours.
        """
        found = await self._context.run("commit", self._lake.load, name)
        bucket = None if found is None else owner_bucket(found)
        if bucket is None:
            raise NoSuchTable(f"there is no table {name} that a route made")
        table = self._table(name, bucket)
        return Rebuild(Site(self._lake, table, partial(find, bucket), self._context, progress))

    async def ping(self) -> None:
        """Ask the catalog and the store of the warehouse; see the contract."""
        await self._context.run("ping", self._presence.ping)

    async def try_warehouse(self) -> str | None:
        """Write to where tables are kept, and clean up; see `probe`."""
        return await self._context.run("commit", probe, self._lake, f".lakedrop-check-{self._context.new_id()}")

    async def aclose(self) -> None:
        """Wait for commits under way, fail those not begun, let go of the catalog."""
        for target in self._targets.values():
            await target.committer.aclose()
        for keeper in self._keepers.values():
            await keeper.aclose()
        if self._superset is not None:
            await self._superset.aclose()
        await self._context.run("commit", self._lake.close)

    async def _small(self, target: Target, found: StoredObject, options: Options, claim: Claim) -> Landed:
        source = Source(found.key, found.etag)
        if claim.alone:
            file = SmallFile(source, await found.read())
            own, report = await target.stager(options).small(file, claim.staged)
            return await target.committer.submit(_own_entry(found, claim, own, report))
        async with self._budget.hold(found.size):
            with target.committer.expected():
                file = SmallFile(source, await found.read())
            entry: Entry[Staged] = Entry(
                found.key, claim.token, "replace", _future(), file, options, etag=found.etag, staged=claim.staged
            )
            return await target.committer.submit(entry)

    async def _large(self, target: Target, found: StoredObject, options: Options, claim: Claim) -> Landed:
        own, report = await target.stager(options).large(found, claim.staged)
        return await target.committer.submit(_own_entry(found, claim, own, report))

    def _tell_of(self, target: Target) -> None:
        if self._superset is not None and target.told_of != target.table.shapes:
            target.told_of = target.table.shapes
            self._superset.notice(target.table.name)

    def _target(self, unit: Unit) -> Target:
        name = table_of(unit)
        target = self._targets.get((name, unit.bucket))
        if target is None:
            rejects = self._keeper(unit.options.namespace).of(name, unit.bucket)
            target = Target(self._table(name, unit.bucket, unit.prefix), self._context, rejects)
            self._targets[name, unit.bucket] = target
        return target

    def _table(self, name: str, bucket: str, prefix: str = "") -> IcebergTable:
        return IcebergTable(self._lake, name, bucket, prefix, clock=self._context.clock, new_id=self._context.new_id)

    def _keeper(self, namespace: str) -> RejectsKeeper:
        keeper = self._keepers.get(namespace)
        if keeper is None:
            table = RejectsTable(self._lake, namespace, self._context.clock, self._context.new_id)
            keeper = RejectsKeeper(table, self._context, self._settings.max_commit_latency)
            self._keepers[namespace] = keeper
        return keeper

    def _registry(self, namespace: str) -> Registry:
        registry = self._registries.get(namespace)
        if registry is None:
            registry = Registry(self._lake, namespace, self._context.clock, self._context.new_id)
            self._registries[namespace] = registry
        return registry

    async def _fence(self, own: OwnTable) -> None:
        """Commit an empty snapshot: commits loaded before it fail, whoever holds them."""
        table = self._table(own.name, own.bucket)

        def fence() -> None:
            loaded = table.load()
            if loaded is not None:
                table.commit(loaded, Plan())

        await self._until_committed(fence)

    async def _until_committed(self, attempt: Callable[[], object]) -> None:
        """
        Run `attempt`, which may be repeated, on the commit lane until it succeeds.

        Raises:
            HandlerError: It cannot, or did not in `MAX_TRIES` tries.
        """
        for number in range(MAX_TRIES):
            try:
                await self._context.run("commit", attempt)
            except CommitConflict:
                pass
            except HandlerError:
                raise
            except Exception:
                log.warning("commit.failed", outcome_unknown=True, exc_info=True)
            else:
                return
            await asyncio.sleep(backoff(number, self._context.new_id()))
        raise TransientError(f"no commit succeeded in {MAX_TRIES} tries")


def create(
    settings: LakeSettings,
    context: HandlerContext,
    superset: Superset | None = None,
    trino: TrinoSettings | None = None,
) -> CsvToIceberg:
    """Make the handler; opens the catalog, and asks nobody else."""
    return CsvToIceberg(settings, context, superset, trino)


def _own_entry(found: StoredObject, claim: Claim, own: Staged, report: Report) -> Entry[Staged]:
    return Entry(found.key, claim.token, "replace", _future(), own=own, report=report, etag=found.etag)


def _future() -> asyncio.Future[Landed]:
    return asyncio.get_running_loop().create_future()
