"""The catalogue handler: files of a source seed datasets, and tasks enrich, embed and look after them."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from handlers.contract import (
    ABSENT,
    Claim,
    Failure,
    HandlerContext,
    ObjectRef,
    Outcome,
    PermanentError,
    Receipt,
    StoredObject,
    TransientError,
    Unit,
    Verdict,
    check_claim,
)
from handlers.dataset_catalogue import NAME, dropped, unit_notes
from handlers.dataset_catalogue.database import FILE, Database
from handlers.dataset_catalogue.descriptions import Seed
from handlers.dataset_catalogue.named import NamedTask
from handlers.dataset_catalogue.options import Options, embedder_of, vectors_of
from handlers.dataset_catalogue.registry import FILES, TASKS
from handlers.dataset_catalogue.seeding import Seeding
from handlers.dataset_catalogue.site import ENDPOINTS, Credentials, Site
from handlers.dataset_catalogue.tables import datasets
from handlers.dataset_catalogue.vectors import Vectors
from handlers.embedders import Embedder
from handlers.tasks import SCHEDULED, BadArguments, Task, TaskKind

VERSION = "1"
"""Of this handler; raised when files would become other datasets than before."""

SEEDS: Final = "catalogue seeds"
TASK_LANE: Final = "catalogue tasks"
LOOKS: Final = "catalogue looks"
"""Threads: a seed waits for no source, and a look for neither."""

BATCH: Final = 5000
"""Datasets that are put in at a time."""

LOOK_SECONDS: Final = 30.0
"""How often it is looked, at least, whether an interval has begun."""


class DatasetCatalogue:
    """
    Brings the catalogue to the state of files, and does its tasks.

    Args:
        options: Of the one route.
        url: Of a database; None for SQLite in the home.
        credentials: What sources know us by.
        context: What the consumer offers.
        embedder: Makes vectors; None makes none.
        vectors: Keeps them.
    """

    name: str = NAME
    version: str = VERSION
    max_in_flight: int = 1
    fenced: bool = False

    def __init__(
        self,
        options: Options,
        url: str | None,
        credentials: Credentials,
        context: HandlerContext,
        *,
        embedder: Embedder | None,
        vectors: Vectors,
    ) -> None:
        self._options = options
        self._context = context
        self._stopping = threading.Event()
        self._seeded = asyncio.Event()
        home = Path(context.home)
        self.site = Site(
            database=Database(url, home / FILE),
            cache=home / "catalogue-cache",
            clock=context.clock,
            wait=self._stopping.wait,
            new_id=context.new_id,
            worker=context.new_id(),
            credentials=credentials,
            endpoints={**ENDPOINTS, **options.endpoints},
            pace_seconds=options.pace_seconds,
            timeout_seconds=options.timeout_seconds,
            max_uncompressed_bytes=options.max_uncompressed_bytes,
            embedder=embedder,
            vectors=vectors,
        )
        self.site.database.make()

    # Files

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        """All files of a source are one unit."""
        del options
        return ref.key.rpartition("/")[0] + "/"

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        """
        Seed the catalogue with the files of a source, all of them at once.

        Raises:
            Skip: Some of them are not there yet.
            PermanentError: They are not files of a source that is known.
            HandlerError: See the contract.
        """
        source = unit.name.removesuffix("/").rpartition("/")[2]
        if source not in FILES:
            raise PermanentError(f"No source {source!r} is read from files; there are: {', '.join(sorted(FILES))}.")
        seed = Seed(f"{unit.bucket}/{unit.name}", claim.fingerprint, takes_over=True)
        if not objects:
            if unit.options.on_delete == "remove":
                await self._remove(unit, source, seed, claim)
            return Receipt(ABSENT, VERSION, source, {"rows": 0})
        folder = self.site.cache / "dropped" / claim.token
        try:
            await dropped.copy(objects, folder, self._context, SEEDS, self.site.max_uncompressed_bytes)
            return await self._seed(unit, source, seed, folder, claim)
        finally:
            await self._context.run(SEEDS, partial(shutil.rmtree, folder, ignore_errors=True))

    async def _seed(self, unit: Unit, source: str, seed: Seed, folder: Path, claim: Claim) -> Receipt:
        run, site = self._context.run, self.site
        found = FILES[source](folder, BATCH)
        seeding = await run(SEEDS, Seeding, site.database, source, seed, found, site.now)
        try:
            while await run(SEEDS, seeding.step):
                pass
            claim.staged()
            await run(SEEDS, seeding.finish)
            counts = {"rows": seeding.processed, "new": seeding.inserted, "gone": seeding.gone}
            receipt = Receipt(claim.fingerprint, VERSION, source, {"rows": seeding.processed}, counts)
            await run(SEEDS, seeding.receive, unit.bucket, unit.name, receipt)
            await check_claim(self._context, claim.token)
            await run(SEEDS, seeding.commit)
        finally:
            await run(SEEDS, seeding.close)
        self._seeded.set()
        return receipt

    async def _remove(self, unit: Unit, source: str, seed: Seed, claim: Claim) -> None:
        run, site = self._context.run, self.site
        seeding = await run(SEEDS, Seeding, site.database, source, seed, iter(()), site.now)
        try:
            await run(SEEDS, seeding.deactivate)
            await run(SEEDS, seeding.receive, unit.bucket, unit.name, None)
            await check_claim(self._context, claim.token)
            await run(SEEDS, seeding.commit)
        finally:
            await run(SEEDS, seeding.close)

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """Count the datasets that files told of."""
        return {unit: await self._context.run(LOOKS, self._counted, bucket, unit, of) for unit, of in receipts.items()}

    def _counted(self, bucket: str, unit: str, receipt: Receipt) -> Verdict:
        expected = {"rows": receipt.counts.get("rows", 0)}
        told = (datasets.c.seed_unit == f"{bucket}/{unit}", datasets.c.seed_version == receipt.fingerprint)
        with self.site.database.read() as connection:
            count = connection.scalar(sa.select(sa.func.count()).select_from(datasets).where(*told)) or 0
        if count == expected["rows"]:
            return Verdict(True, expected, {"rows": count}, f"{self.site.database.place} has the datasets of the files")
        message = f"{self.site.database.place} has {count} datasets of the files, not {expected['rows']}"
        return Verdict(False, expected, {"rows": count}, message)

    async def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        """Tell what was noted of all units."""
        for noted in await self._context.run(LOOKS, self._noted):
            yield noted

    def _noted(self) -> list[tuple[str, str, Receipt | Failure]]:
        with self.site.database.read() as connection:
            return list(unit_notes.all_of(connection))

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Note failures; successes were noted with what they put in."""
        failures = [outcome for outcome in outcomes if outcome.status == "failed"]
        await self._context.run(SEEDS, self._record, failures)

    def _record(self, failures: Sequence[Outcome]) -> None:
        with self.site.database.begin() as connection:
            for outcome in failures:
                unit_notes.failed(connection, outcome)

    async def ping(self) -> None:
        """Ask the database, and what keeps the vectors."""
        await self._context.run("ping", self._ask)

    def _ask(self) -> None:
        with self.site.database.read() as connection:
            connection.execute(sa.select(1))
        self.site.vectors.mark("")

    async def aclose(self) -> None:
        """Have tasks under way end at their next request, and let go of the database."""
        self._stopping.set()
        for lane in (TASK_LANE, SEEDS, LOOKS):
            await self._context.run(lane, self.site.database.close)

    # Tasks

    def _every(self, task: NamedTask[..., Any]) -> float | None:
        return self._options.every.get(task.name, task.every) or None

    async def retargeted(self) -> Collection[str]:
        """Wait until a task is due by the clock, or for the sake of new datasets."""
        now = self.site.clock() / 1000
        intervals = [every for task in TASKS.values() if (every := self._every(task))]
        with suppress(TimeoutError):
            async with asyncio.timeout(min([LOOK_SECONDS, *(every - now % every for every in intervals)])):
                await self._seeded.wait()
        self._seeded.clear()
        return {SCHEDULED}

    async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        """Yield what is to be done once in every interval; what new datasets need, also when files were taken in."""
        if only and SCHEDULED not in only:
            return
        now = self.site.clock() / 1000
        seeds = await self._context.run(LOOKS, self._seeds)
        for task in TASKS.values():
            if every := self._every(task):
                version = str(int(now // every))
                yield Task(task.name, SCHEDULED, f"{version} {seeds}" if task.after_seeds else version)

    def _seeds(self) -> str:
        """Name the versions of all files that were taken in."""
        found = [of.fingerprint for _, _, of in self._noted() if isinstance(of, Receipt)]
        return sha256("\n".join(found).encode()).hexdigest()[:16]

    def task_kinds(self) -> Sequence[TaskKind]:
        """Tell what can be asked for."""
        return [TaskKind(task.name, task.summary, task.signature, self._every(task)) for task in TASKS.values()]

    def check_arguments(self, name: str, arguments: Mapping[str, str]) -> None:
        """Say no to a task that there is not, and to arguments that it does not take."""
        if name not in TASKS:
            raise BadArguments(f"There is no task {name!r}; there are: {', '.join(TASKS)}.")
        TASKS[name].arguments(arguments)

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        """
        Do a task on a thread.

        Raises:
            TransientError: It did not come to its end, and goes on later; or it could not be done.
        """
        named = TASKS[task.name]
        given = self._options.arguments.get(task.name, {}) if task.target == SCHEDULED else json.loads(task.target)
        work = partial(named.function, self.site, **named.arguments(given))
        result: dict[str, Any] = dict(await self._context.run(TASK_LANE, work))
        pause = result.pop("continues_in", None)
        if pause is not None:
            so_far = ", ".join(f"{name} {value}" for name, value in result.items())
            raise TransientError(f"{so_far}; the source wants a pause, and it goes on after that", retry_after=pause)
        return result


def create(
    options: Options, url: str | None, environment: Mapping[str, str], context: HandlerContext
) -> DatasetCatalogue:
    """
    Make the handler.

    Args:
        options: Of the route.
        url: Of a database; None for SQLite in the home.
        environment: Has credentials, by the names that the sources' own tools know them by.
        context: What the consumer offers.

    Raises:
        SinkAway: The database cannot be used.
    """
    credentials = Credentials(
        kaggle_username=environment.get("KAGGLE_USERNAME") or None,
        kaggle_key=environment.get("KAGGLE_KEY") or None,
        kaggle_token=environment.get("KAGGLE_API_TOKEN") or None,
        huggingface_token=environment.get("HF_TOKEN") or None,
    )
    embedder, vectors = embedder_of(options, environment), vectors_of(options, environment)
    return DatasetCatalogue(options, url, credentials, context, embedder=embedder, vectors=vectors)
