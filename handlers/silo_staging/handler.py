"""The SILO handler: folders of a bucket, and releases of backends, become databases of SILO, one for each organism."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from handlers.contract import (
    ABSENT,
    Claim,
    Failure,
    HandlerContext,
    ObjectRef,
    Outcome,
    PermanentError,
    Receipt,
    SinkAway,
    SinkRefuses,
    StoredObject,
    TransientError,
    Unit,
    Verdict,
    check_claim,
)
from handlers.silo_staging import NAME, frames
from handlers.silo_staging import importer as imports
from handlers.silo_staging.config import Config, Lineages
from handlers.silo_staging.downloader import Backend, DownloadError
from handlers.silo_staging.dropped import Dropped
from handlers.silo_staging.frames import NotWhole
from handlers.silo_staging.importer import Importer, Run
from handlers.silo_staging.lineage import LineageError
from handlers.silo_staging.notes import Notes
from handlers.silo_staging.options import Options
from handlers.silo_staging.paths import Paths, discard, is_name, runs
from handlers.silo_staging.runner import DirectRunner
from handlers.silo_staging.sentinels import SentinelRunner, SiloFailed
from handlers.silo_staging.transform import TransformError
from handlers.tasks import Task

VERSION = "1"
"""Of this handler; raised when releases would become other records than before."""

TASK = "import"

MAX_ORGANISMS = 8
"""At work at once; each has a thread, which mostly waits for SILO."""


class Place(NamedTuple):
    """What the handler knows of a route."""

    bucket: str
    prefix: str
    options: Options


class SiloStaging:
    """
    Brings databases of SILO to the state of folders, and of backends.

    Args:
        routes: By their names.
        context: What the consumer offers.
    """

    name: str = NAME
    version: str = VERSION
    max_in_flight: int = MAX_ORGANISMS
    fenced: bool = False

    def __init__(self, routes: Mapping[str, Place], context: HandlerContext) -> None:
        self._routes = routes
        self._context = context
        self._polled: dict[str, Importer] = {}

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        """All objects of a folder are one unit."""
        del options
        return ref.key.rpartition("/")[0] + "/"

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        """
        Stage the release of an organism and have SILO preprocess it.

        Raises:
            PermanentError: The folder holds no release, or one that is damaged or not as it must be.
            TransientError: SILO failed, or what it needs besides cannot be had.
            HandlerError: See the contract.
        """
        options: Options = unit.options
        organism = unit.name.removesuffix("/").rpartition("/")[2]
        if not is_name(organism):
            raise PermanentError(f"{organism!r} is no name of an organism, whose folder would be outside the others.")
        if organism in options.backends:
            raise PermanentError(
                f"The releases of {organism} come from {options.backends[organism]}, as `backends` says."
            )
        place = self._root(options) / organism
        if not objects:
            await check_claim(self._context, claim.token)
            if options.on_delete == "keep" and claim.previous is not None:
                return Receipt(ABSENT, VERSION, organism, claim.previous.counts)
            await self._context.run(_lane(organism), self._remove, unit, place)
            return Receipt(ABSENT, VERSION, organism, {"rows": 0})
        dropped = Dropped(place / "dropped", claim)
        try:
            await dropped.copy(objects, self._context, _lane(organism))
            await check_claim(self._context, claim.token)
            run = await self._import(organism, place, options, dropped, claim)
        finally:
            await self._context.run(_lane(organism), dropped.remove)
        await check_claim(self._context, claim.token)
        counts = {"records": run.records or 0, "rows": run.records or 0}
        receipt = Receipt(claim.fingerprint, VERSION, organism, counts, {"silo": run.outcome.value, "at": str(place)})
        await self._context.run(_lane(organism), self._notes(options).received, unit.bucket, unit.name, receipt)
        return receipt

    async def _import(self, organism: str, place: Path, options: Options, dropped: Dropped, claim: Claim) -> Run:
        """Import what was dropped; which version of it SILO has the ledger knows, so no ETag is remembered."""
        lane = _lane(organism)
        importer = Importer(_config(place, options), dropped, _runner(place, options), clock=self._seconds)
        paths = Paths(place)
        await self._context.run(lane, paths.make)
        if await self._context.run(lane, dropped.differs_from, paths.input):
            await self._context.run(lane, paths.doubt)
        try:
            staged = await self._context.run(lane, importer.stage)
            if isinstance(staged, Run):
                if staged.outcome is not imports.Outcome.SAME:
                    raise PermanentError(staged.reason)
                return staged
            claim.staged()
            await check_claim(self._context, claim.token)
            await self._context.run(lane, dropped.put_beside, paths.input)
            return await self._context.run(lane, importer.finish, staged)
        except TransformError as error:
            raise PermanentError(str(error)) from error
        except (LineageError, SiloFailed, TimeoutError) as error:
            raise TransientError(str(error)) from error

    def _remove(self, unit: Unit, place: Path) -> None:
        if unit.options.on_delete != "remove":
            return
        try:
            discard(place)
        except OSError as error:
            raise TransientError(f"{place} cannot be removed: {error.strerror}: let this user write it") from error
        self._notes(unit.options).forget(unit.bucket, unit.name)

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """Count the records that SILO was given, if it made something of them."""
        return {unit: await self._counted(bucket, unit, receipt) for unit, receipt in receipts.items()}

    async def _counted(self, bucket: str, unit: str, receipt: Receipt) -> Verdict:
        expected = {"rows": receipt.counts.get("rows", 0)}
        places = [place for place in self._routes.values() if place.bucket == bucket and unit.startswith(place.prefix)]
        place = max(places, key=lambda place: len(place.prefix), default=None)
        if place is None:
            return Verdict(True, {}, {}, "no route has it any more, so nobody knows its staging area")
        paths = Paths(self._root(place.options) / receipt.target)
        found = {"rows": await self._context.run(_lane(receipt.target), _count, paths)}
        if found == expected:
            return Verdict(True, expected, found, f"SILO was given the records of the receipt, in {paths.data}")
        return Verdict(False, expected, found, f"{paths.data} has {found['rows']} records, not {expected['rows']}")

    async def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        """Tell what was noted of all units."""
        for root in sorted({self._root(place.options) for place in self._routes.values()}):
            for noted in await self._context.run("silo", lambda root=root: list(Notes(root).all())):
                yield noted

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Note failures; successes were noted with their receipts."""
        for outcome in outcomes:
            if outcome.status == "failed" and outcome.route in self._routes:
                notes = self._notes(self._routes[outcome.route].options)
                await self._context.run("silo", notes.failed, outcome)

    async def ping(self) -> None:
        """
        Ask whether the staging areas can be written.

        Raises:
            SinkAway: A folder is not there, nor can it be made.
            SinkRefuses: It cannot be written.
        """
        for place in self._routes.values():
            root = self._root(place.options)
            try:
                await self._context.run("ping", lambda root=root: root.mkdir(parents=True, exist_ok=True))
            except OSError as error:
                raise SinkAway(f"{root}: {error.strerror}: mount it, and let this user write it") from error
            if not await self._context.run("ping", os.access, root, os.W_OK | os.X_OK):
                raise SinkRefuses(f"{root} cannot be written: let this user write it, or mount it for writing")

    async def aclose(self) -> None:
        """Nothing is held open."""

    async def retargeted(self) -> Collection[str]:
        """Wait until backends are to be polled again."""
        polled = [place.options for place in self._routes.values() if place.options.backends]
        if not polled:
            await asyncio.Event().wait()
        await asyncio.sleep(min(options.poll_seconds for options in polled))
        return {organism for options in polled for organism in options.backends}

    async def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        """Yield a poll of each backend; it is to be done once in `poll_seconds`."""
        for _, _, options in self._routes.values():
            slot = str(int(self._seconds() // options.poll_seconds))
            for organism in options.backends:
                if not only or organism in only:
                    yield Task(TASK, organism, slot)

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        """
        Import the newest release of a backend; one that is damaged, or being changed, is left to the next poll.

        Raises:
            TransientError: It could not be imported.
        """
        options = next(options for _, _, options in self._routes.values() if task.target in options.backends)
        try:
            run = await self._context.run(_lane(task.target), self._poll, task.target, options)
        except (DownloadError, TransformError, LineageError, SiloFailed, TimeoutError) as error:
            raise TransientError(str(error)) from error
        return {"silo": run.outcome.value, "records": run.records, "reason": run.reason}

    def _poll(self, organism: str, options: Options) -> Run:
        importer = self._polled.get(organism)
        if importer is None:
            place = self._root(options) / organism
            source = Backend(options.backends[organism].rstrip("/"))
            importer = Importer(_config(place, options), source, _runner(place, options), clock=self._seconds)
            importer.prepare()
            self._polled[organism] = importer
        return importer.run()

    def _root(self, options: Options) -> Path:
        return options.root or Path(self._context.home) / "silo"

    def _notes(self, options: Options) -> Notes:
        return Notes(self._root(options))

    def _seconds(self) -> float:
        return self._context.clock() / 1000


def _lane(organism: str) -> str:
    """Organisms do not wait for each other."""
    return f"silo {organism}"


def _config(place: Path, options: Options) -> Config:
    return Config(
        backend="",
        root=place,
        lineages=Lineages(systems=options.lineages),
        hierarchical_filters=options.hierarchical_filters,
        hard_refresh_seconds=options.hard_refresh_seconds,
    )


def _runner(place: Path, options: Options) -> Callable[[], None]:
    paths = Paths(place)
    if options.coordination == "sentinels":
        return SentinelRunner(paths.input, options.silo_timeout_seconds)
    config = paths.input / options.preprocessing_config  # a path stays as it is
    settings = {"SILO_INPUT_DIRECTORY": str(paths.input), "SILO_OUTPUT_DIRECTORY": str(paths.output)}
    return DirectRunner(options.silo, config, options.silo_timeout_seconds, settings)


def _count(paths: Paths) -> int:
    """Return the number of records in SILO's input; 0 when there is none, or SILO made nothing of it."""
    if not runs(paths.output):
        return 0
    try:
        return sum(1 for line in frames.lines(paths.data) if line)
    except (FileNotFoundError, NotWhole):
        return 0
