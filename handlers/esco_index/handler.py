"""The ESCO handler: folders of a bucket become classes of Weaviate, one release in one set of classes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from handlers.contract import (
    ABSENT,
    UNKNOWN,
    Claim,
    Failure,
    HandlerContext,
    ObjectRef,
    Outcome,
    PermanentError,
    Receipt,
    StoredObject,
    Unit,
    Verdict,
    check_claim,
)
from handlers.embedders import Embedder, make_embedder
from handlers.esco_index import NAME
from handlers.esco_index.books import Books, releases
from handlers.esco_index.index import Hit, Index, connected
from handlers.esco_index.joins import Joined, join
from handlers.esco_index.options import Options
from handlers.esco_index.placing import metadata_classes, place_of, refuse_busy, refuse_taken, target_of
from handlers.esco_index.release import LANE, Name, choose, copy
from handlers.esco_index.rest import Rest
from handlers.esco_index.schema import METADATA, Place
from handlers.esco_index.state import State, Status
from handlers.esco_index.work import VERSION, Aim, Work


class Where(NamedTuple):
    """What the handler knows of a route."""

    bucket: str
    prefix: str
    options: Options


class EscoIndex:
    """
    Brings classes of Weaviate to the state of folders.

    Args:
        routes: By their names.
        context: What the consumer offers.
    """

    name: str = NAME
    version: str = VERSION
    max_in_flight: int = 1
    """A release keeps Weaviate busy, and two of them may be of the same classes."""
    fenced: bool = False

    def __init__(self, routes: Mapping[str, Where], context: HandlerContext) -> None:
        self._routes = routes
        self.context = context
        self._embedders: dict[tuple[str, ...], Embedder | None] = {}
        self.on_state: Callable[[State], None] = lambda _state: None
        """Is told each state that this process sets."""

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        """All objects of a folder are one unit."""
        del options
        return ref.key.rpartition("/")[0] + "/"

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        """
        Bring the classes to a release; only what changed is written.

        Raises:
            Skip: The release is not complete, or its classes hold a newer one.
            PermanentError: A file is damaged, or the classes hold another language.
            Refused: Weaviate did not take some objects.
            HandlerError: See the contract.
        """
        options: Options = unit.options
        name = Name.of(unit)
        place = place_of(options, name)
        if not objects:
            return await self._remove(unit, place, claim)
        files, unused = await choose(objects, name, options.required)
        joined = await self._read(files)
        claim.staged()
        await check_claim(self.context, claim.token)
        async with self.connected(options) as index:
            before = await Books(index, place).state()
            refuse_taken(unit, name, before)
            refuse_busy(unit, before, self.context.clock())
            embedder = await self.embedder(options)
            work = Work(Aim(unit, name, place, claim), index, self.context, self.on_state)
            return await work.bring(joined, before, embedder, unused)

    async def _read(self, files: Mapping[str, StoredObject]) -> Joined:
        with tempfile.TemporaryDirectory(prefix="lakedrop-esco-") as folder:
            placed = await copy(files, Path(folder), self.context)
            return await self.context.run(LANE, join, placed)

    async def _remove(self, unit: Unit, place: Place, claim: Claim) -> Receipt:
        """Empty the classes of a release whose folder is gone, if the route says so and they are still its own."""
        receipt = Receipt(ABSENT, VERSION, target_of(unit.options, place), {"rows": 0})
        if unit.options.on_delete != "remove":
            return receipt
        async with self.connected(unit.options) as index:
            books = Books(index, place)
            state = await books.state()
            if state.status is Status.NOT_STARTED or not state.is_of(unit.bucket, unit.name):
                return receipt
            await index.drop(place, partial(check_claim, self.context, claim.token))
            await check_claim(self.context, claim.token)
            await books.removed(unit.bucket, unit.name, self.context.clock())
            await check_claim(self.context, claim.token)
            await books.set(State(Status.NOT_STARTED, self.context.clock()))
        return receipt

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """Count objects of every class and references of every property."""
        return {unit: await self._counted(bucket, unit, receipt) for unit, receipt in receipts.items()}

    async def _counted(self, bucket: str, unit: str, receipt: Receipt) -> Verdict:
        where = self._where(bucket, unit)
        if where is None:
            return Verdict(True, {}, {}, "no route has it any more, so nobody knows its Weaviate")
        place = place_of(where.options, Name.parse(unit.removeprefix(where.prefix)))
        if receipt.fingerprint == ABSENT:
            return Verdict(True, {}, {}, "its folder is gone, and so are its objects")
        async with self.connected(where.options) as index:
            state = await Books(index, place).state()
            if state.holder is not None and not state.is_of(bucket, unit):
                return Verdict(True, {}, {}, f"its classes hold {state.holder}, which took its place")
            found = await index.counts(place)
        expected = {name: receipt.counts.get(name, 0) for name in found}
        wrong = [
            f"{found[name]:,} {name} instead of {expected[name]:,}" for name in found if found[name] != expected[name]
        ]
        if not wrong:
            return Verdict(True, expected, found, f"{target_of(where.options, place)} holds what the receipt says")
        repair = "`esco-init --force-reingest` writes all again"
        return Verdict(False, expected, found, f"Weaviate counts {', '.join(wrong)}: {repair}")

    async def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        """Tell what is remembered of all releases."""
        noted: dict[tuple[bytes, bytes], tuple[str, str, Receipt | None, Failure | None]] = {}
        for where in self._routes.values():
            async with self.connected(where.options) as index:
                for metadata in metadata_classes(where.options, await index.places()):
                    state = await Books(index, Place(metadata.removesuffix(METADATA), "")).state()
                    for bucket, unit, receipt, failure in await releases(index, metadata):
                        if receipt is not None and state.is_of(bucket, unit) and state.status is not Status.COMPLETED:
                            receipt = replace(receipt, fingerprint=UNKNOWN)  # noqa: PLW2901 (what it says is not so)
                        noted[bucket.encode(), unit.encode()] = bucket, unit, receipt, failure
        for _, (bucket, unit, receipt, failure) in sorted(noted.items()):
            if receipt is not None:
                yield bucket, unit, receipt
            if failure is not None:
                yield bucket, unit, failure

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Note failures; successes were noted with their receipts."""
        for outcome in outcomes:
            where = self._routes.get(outcome.route)
            if outcome.status != "failed" or where is None:
                continue
            with suppress(PermanentError):  # it is no release, so no class could remember it
                place = place_of(where.options, Name.parse(outcome.unit.removeprefix(where.prefix)))
                async with self.connected(where.options) as index:
                    await Books(index, place).failed(outcome)

    async def ping(self) -> None:
        """Ask each Weaviate what it is; raises `TooOld` for one of an earlier version than is needed."""
        for url, variable in sorted(
            {(where.options.url, where.options.key_variable) for where in self._routes.values()}
        ):
            async with Rest(url, os.environ.get(variable)) as rest:
                await rest.check_version()

    async def aclose(self) -> None:
        """Nothing is held open."""

    # What commands ask beyond the contract.

    @property
    def routes(self) -> list[Options]:
        """The options of all routes."""
        return [where.options for where in self._routes.values()]

    async def states(self) -> list[tuple[Options, Place | None, State]]:
        """
        Return how far the ingestion of each set of classes is; of a route without any there is no place.

        Raises:
            TransientError: A Weaviate cannot be asked.
        """
        found: list[tuple[Options, Place | None, State]] = []
        for where in self._routes.values():
            async with self.connected(where.options) as index:
                names = metadata_classes(where.options, await index.places())
                for metadata in names:
                    place = Place(metadata.removesuffix(METADATA), "")
                    state = await Books(index, place).state()
                    found.append((where.options, replace(place, language=state.language), state))
            if not names:
                found.append((where.options, None, State(Status.NOT_STARTED)))
        return found

    async def set_state(
        self, options: Options, place: Place, state: State, token: str, *, seen: Mapping[str, Any] | None = None
    ) -> None:
        """
        Set a state from outside of an ingestion; who holds the classes stays known.

        Args:
            options: Of the route.
            place: The classes.
            state: Without the owner of the classes.
            token: Of a claim of the release that the classes hold.
            seen: The state that this one answers, as `State.json` returns it: nothing is set in the place of another.

        Raises:
            ClaimLost: Somebody else holds the release by now, and tells of it.
        """
        async with self.connected(options) as index:
            books = Books(index, place)
            before = await books.state()
            if seen is not None and before.json() != dict(seen):
                return
            await check_claim(self.context, token)
            await books.set(replace(state, details={**before.owner, **state.details}))

    async def validate(self, options: Options, place: Place) -> dict[str, Any]:
        """Compare what the classes hold with the receipt of their release; returns counts, and errors in words."""
        async with self.connected(options) as index:
            state = await Books(index, place).state()
            found = await index.counts(place)
            noted = await releases(index, place.collection(METADATA)) if state.holder is not None else []
        receipts = [receipt for bucket, unit, receipt, _ in noted if receipt is not None and state.is_of(bucket, unit)]
        errors = [] if state.status is Status.COMPLETED else [f"Ingestion not completed: {state.status.value}"]
        for receipt in receipts:
            errors += [
                f"{found[name]:,} {name} instead of {receipt.counts.get(name, 0):,}"
                for name in found
                if found[name] != receipt.counts.get(name, 0)
            ]
        return {
            "ingestion_status": state.status.value,
            "skills_indexed": found["Skill"] > 0,
            "occupations_indexed": found["Occupation"] > 0,
            "counts": found,
            "errors": errors,
        }

    async def search(self, options: Options, place: Place, name: str, text: str, limit: int) -> list[Hit]:
        """Return the objects of a class nearest to a text: by meaning where there are vectors, else by words."""
        embedder = await self.embedder(options)
        vector = None
        if embedder is not None:
            (vector,) = await self.context.run(LANE, embedder.embed, [text])
        async with self.connected(options) as index:
            by_meaning = options.embedder != "none"
            return await index.search(place.collection(name), text, vector, by_meaning=by_meaning, limit=limit)

    async def embedder(self, options: Options) -> Embedder | None:
        """Return who makes the vectors of a route; None: nobody, or Weaviate itself."""
        if options.embedder == "weaviate":
            return None
        known = (options.embedder, options.embedder_url, options.embedder_model, options.embedder_key_variable)
        if known not in self._embedders:
            key = os.environ.get(options.embedder_key_variable)
            kind, url, model = options.embedder, options.embedder_url, options.embedder_model
            self._embedders[known] = await self.context.run(
                LANE, lambda: make_embedder(kind, url=url, model=model, key=key)
            )
        return self._embedders[known]

    def connected(self, options: Options) -> AbstractAsyncContextManager[Index]:
        """Connect to the Weaviate of a route."""
        return connected(options.url, options.grpc_port, os.environ.get(options.key_variable))

    def _where(self, bucket: str, unit: str) -> Where | None:
        fitting = [one for one in self._routes.values() if one.bucket == bucket and unit.startswith(one.prefix)]
        return max(fitting, key=lambda one: len(one.prefix), default=None)
