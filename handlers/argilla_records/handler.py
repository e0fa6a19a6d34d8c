"""The Argilla handler: folders of a bucket become datasets of Argilla, one for each folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from zlib import crc32

from handlers.argilla_records import NAME
from handlers.argilla_records.api import Api, NotThere, Refused
from handlers.argilla_records.dataset import Dataset, Datasets
from handlers.argilla_records.ingest import REINDEX, Ingest
from handlers.argilla_records.log import Entry, IngestLog, folder_uri
from handlers.argilla_records.mapping import FILE, MOST_BYTES, mapping_of
from handlers.argilla_records.options import ArgillaSettings, Options
from handlers.argilla_records.sending import MOST_DELETED, PAUSES
from handlers.argilla_records.source import Source
from handlers.contract import (
    ABSENT,
    Claim,
    ClaimLost,
    Failure,
    HandlerContext,
    ObjectRef,
    Outcome,
    PermanentError,
    Receipt,
    SinkAway,
    SinkRefuses,
    Skip,
    StoredObject,
    TransientError,
    Unit,
    Verdict,
    check_claim,
)

VERSION: Final = "1"
"""Of this handler; raised when files would become other records than before."""

MAX_DATASETS: Final = 4
"""At work at once. Argilla is one process and gains nothing from more callers; they are for files that are read."""


class ArgillaRecords:
    """
    Brings datasets to the state of folders.

    Args:
        settings: The server, and the ingest log.
        context: What the consumer offers.
        pauses: Seconds before a call that Argilla failed at is repeated.
    """

    name: str = NAME
    version: str = VERSION
    max_in_flight: int = MAX_DATASETS
    fenced: bool = False

    def __init__(self, settings: ArgillaSettings, context: HandlerContext, *, pauses: Sequence[float] = PAUSES) -> None:
        self._context = context
        self._pauses = pauses
        self._api = Api(settings)
        self._log = IngestLog(settings, context, VERSION)

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        """All objects of a folder are one unit."""
        del options
        return ref.key.rpartition("/")[0] + "/"

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        """
        Have the dataset of a folder show its records.

        Raises:
            PermanentError: The records, the mapping or the dataset are not as they must be.
            Skip: There are no records beside the mapping.
            TransientError: Argilla, or the ingest log, does not do what it should.
            HandlerError: See the contract.
        """
        if not objects:
            return await self._gone(unit, claim)
        beside = next((found for found in objects if found.key.endswith(f"/{FILE}")), None)
        records = [found for found in objects if found is not beside]
        if not records:
            raise Skip(f"There is only {FILE} in the folder: its records are still to come.")
        folder = unit.name.removesuffix("/").rpartition("/")[2]
        entries = [Entry(f"s3://{unit.bucket}/{found.key}", found.etag, found.size) for found in objects]
        if beside is not None and beside.size > MOST_BYTES:
            raise PermanentError(f"{FILE} has {beside.size:,} bytes; a mapping has {MOST_BYTES:,} at most")
        text = None if beside is None else await beside.read()
        places = tuple(entry.uri for entry in entries)
        mapping = await self._context.run(_lane(unit), mapping_of, folder, unit.options, text, places)
        source = Source(Path(self._context.home), f"{unit.bucket}/{unit.name}", claim.token)
        try:
            await check_claim(self._context, claim.token)
            doubts = await self._log.discovered(folder_uri(unit.bucket, unit.name), mapping.name, entries)
            await source.copy(records, self._context, _lane(unit))
            ingest = Ingest(
                api=self._api,
                log=self._log,
                context=self._context,
                lane=_lane(unit),
                unit=unit,
                claim=claim,
                mapping=mapping,
                entries=entries,
                doubts=doubts,
                pauses=self._pauses,
            )
            return await ingest.run(source, VERSION)
        except PermanentError as error:
            await self._note(mapping.name, entries, "failed", f"{type(error).__name__}: {error.message}", claim)
            raise
        except TransientError as error:
            await self._note(mapping.name, entries, "ingesting", f"to be tried again: {error.message}", claim)
            raise
        finally:
            await self._context.run(_lane(unit), source.remove)

    async def _note(self, dataset: str, entries: Sequence[Entry], status: str, message: str, claim: Claim) -> None:
        """Say in the log why a version is not in Argilla, as long as nobody else works on it."""
        with suppress(ClaimLost):
            await check_claim(self._context, claim.token)
            await self._log.mark(dataset, entries, status, message)

    async def _gone(self, unit: Unit, claim: Claim) -> Receipt:
        """Keep the dataset of a folder without objects, or remove it but for what people answered."""
        options: Options = unit.options
        previous = claim.previous
        target = previous.target if previous is not None else ""
        if options.on_delete == "keep":
            return Receipt(ABSENT, VERSION, target, {} if previous is None else previous.counts)
        dataset = await self._dataset(target, unit, options)
        left = 0
        if dataset is not None and options.on_vanished != "delete_annotated":
            left = await self._emptied(dataset, claim)
        if dataset is not None and not left:
            await Datasets(self._api, partial(check_claim, self._context, claim.token)).delete(dataset)
        await check_claim(self._context, claim.token)
        await self._log.removed(folder_uri(unit.bucket, unit.name))
        return Receipt(ABSENT, VERSION, target, {"rows": 0, "others": left})

    async def _dataset(self, target: str, unit: Unit, options: Options) -> Dataset | None:
        """Return the dataset of a unit, if it is the one that was made for it."""
        workspace, slash, name = target.rpartition("/")
        if not slash:  # the log knows the name alone of a folder whose version it cannot tell
            workspace, name = options.workspace, target or unit.name.removesuffix("/").rpartition("/")[2]
        found = await Datasets(self._api).find(workspace, name)
        return found if found is not None and found.tagged == f"{unit.bucket}/{unit.name}" else None

    async def _emptied(self, dataset: Dataset, claim: Claim) -> int:
        """Delete the records without responses, each directly after it was looked at; return how many are left."""
        records = f"datasets/{dataset.id}/records"
        while True:
            left = deleted = 0
            while True:
                query = {"offset": left, "limit": MOST_DELETED, "include": "responses"}
                page = (await self._api.get(records, query))["items"]
                ids = [str(one["id"]) for one in page if not one.get("responses")]
                if ids:
                    await check_claim(self._context, claim.token)
                    await self._api.send("DELETE", records, query={"ids": ",".join(ids)})
                deleted += len(ids)
                left += len(page) - len(ids)
                if len(page) < MOST_DELETED:
                    break
            if not deleted:  # others may have come while pages were counted
                return left

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """Count the records of datasets, in Argilla's database and in its search index."""
        del bucket
        return {unit: await self._counted(receipt) for unit, receipt in receipts.items()}

    async def _counted(self, receipt: Receipt) -> Verdict:
        """Others may have added records since; fewer than there were are wrong."""
        rows, others = receipt.counts.get("rows", 0), receipt.counts.get("others", 0)
        expected = {"rows": rows}
        datasets = Datasets(self._api)
        workspace, _, name = receipt.target.rpartition("/")
        dataset = await datasets.find(workspace, name)
        if dataset is None:
            return Verdict(rows == 0, expected, {"rows": 0}, f"there is no dataset {receipt.target}")
        stored = await datasets.stored(dataset)
        found = {"rows": min(max(stored - others, 0), rows)}
        if found != expected:
            return Verdict(
                False, expected, found, f"dataset {receipt.target} has {stored:,} records, not {rows + others:,}"
            )
        try:
            indexed = await datasets.indexed(dataset)
        except SinkAway:
            raise
        except TransientError as error:
            await self.ping()  # raises when the engine is away
            message = f"{stored:,} records stored but not indexed: the index is gone ({error.message}): {REINDEX}"
            return Verdict(False, expected, {"rows": 0}, message)
        if indexed < stored:
            found = {"rows": min(max(indexed - others, 0), rows)}
            message = f"{stored:,} records stored but {indexed:,} indexed: {REINDEX}"
            return Verdict(False, expected, found, message)
        if indexed > stored:  # a deletion that the engine did not hear of
            message = f"{stored:,} records stored but {indexed:,} indexed, some of which are gone: {REINDEX}"
            return Verdict(False, expected, found, message)
        return Verdict(True, expected, found, f"dataset {receipt.target} has {stored:,} records, all of them indexed")

    async def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        """Tell what the ingest log says of all folders."""
        for known in await self._log.known():
            yield known

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Log failures; successes are logged before they are told."""
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
        if failed:
            await self._log.failed(failed)

    async def ping(self) -> None:
        """Ask Argilla whether it knows the key, and its search engine whether it is there."""
        try:
            await self._api.get("me")
        except SinkAway:
            raise
        except TransientError as error:
            raise SinkAway(error.message) from error
        except PermanentError as error:
            raise SinkRefuses(error.message) from error
        except (NotThere, Refused) as error:
            raise SinkRefuses(f"{error.message}: is argilla_url right?") from error
        try:
            await self._api.get("status")
        except TransientError as error:
            raise SinkAway(f"{self._api.place} does not reach its search engine: {error.message}") from error
        await self._log.ping()

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._api.aclose()
        await self._log.aclose()


def _lane(unit: Unit) -> str:
    """Return one of a few threads, for there may be any number of datasets."""
    return f"argilla {crc32(f'{unit.bucket}/{unit.name}'.encode()) % MAX_DATASETS}"
