"""
One release into one set of classes.

Two passes: an object must be there before another may refer to it, and everything refers to everything. So objects that
are new are first written bare, and then all that are new or changed are written whole, references inside. Both passes
write what is to be, whatever was there, so one that was cut off is simply done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from handlers.contract import HandlerContext, OutcomeUnknown, TransientError, check_claim
from handlers.embedders import Embedder
from handlers.esco_index.index import MOST_REMOVED, Index, Known, Refusal
from handlers.esco_index.joins import URI, Joined
from handlers.esco_index.objects import Objects, Prepared
from handlers.esco_index.release import LANE
from handlers.esco_index.schema import CLASSES, HASHES, Place

T = TypeVar("T")

BATCH: Final = 250
"""Objects of one request."""

REQUESTS: Final = 3
"""Under way at once: Weaviate is busy while this process prepares the next ones."""

SHOWN: Final = 20
"""Refused objects that are kept with their reasons; all are counted."""

STEPS: Final = ("comparing", "creating", "writing", "removing", "verifying")

Tell = Callable[[str, int, int], Awaitable[None]]
"""Is told the step, how many of its objects are done, and of how many."""


@dataclass(slots=True)
class Plan:
    """What is to be done with the objects of a class; rows by their numbers."""

    new: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    """With those that are new."""
    vanished: list[str] = field(default_factory=list)
    """UUIDs."""
    vectors: dict[int, str] = field(default_factory=dict)
    """Rows whose vector Weaviate has: UUIDs."""
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was done."""

    counts: Mapping[str, int]
    """As Weaviate counts them afterwards: objects by class, references by `class.property`."""
    written: int
    unchanged: int
    removed: int


class Refused(TransientError):
    """Weaviate did not take some objects."""

    def __init__(self, refusals: Sequence[Refusal], total: int) -> None:
        first = refusals[0]
        super().__init__(
            f"Weaviate refused {len(refusals):,} of {total:,} objects, such as {first.uuid}: {first.reason}"
        )
        self.refusals = refusals[:SHOWN]


class Miscounted(TransientError):
    """Weaviate holds something else than was written."""


class Ingestion:
    """
    Brings the classes of a place to a release.

    Args:
        index: Connected.
        joined: The release.
        place: The classes, which are there.
        embedder: Makes the vectors; None: nobody, or Weaviate itself.
        model: Says who makes them.
        keep: Objects that the release does not have stay.
        rewrite: Everything is written, also what seems to be the same.
        token: Of the claim, which is asked for before each write.
    """

    def __init__(
        self,
        index: Index,
        joined: Joined,
        place: Place,
        context: HandlerContext,
        *,
        embedder: Embedder | None,
        model: str,
        keep: bool,
        rewrite: bool,
        token: str,
    ) -> None:
        self._index = index
        self._joined = joined
        self._place = place
        self._context = context
        self._embedder = embedder
        self._objects = Objects(joined, place, model)
        self._keep = keep
        self._rewrite = rewrite
        self._token = token
        self._refusals: list[Refusal] = []
        self._plans: dict[str, Plan] = {}

    @property
    def has_work(self) -> bool:
        """Tell whether anything is to be written or removed, once compared."""
        return any(plan.changed or (plan.vanished and not self._keep) for plan in self._plans.values())

    async def compare(self) -> None:
        """Find out what is to be done."""
        known = {name: await self._index.known(self._place.collection(name)) for name in CLASSES}
        self._plans = await self._run(lambda: {name: self._compared(name, known[name]) for name in CLASSES})

    def _compared(self, name: str, known: dict[str, Known]) -> Plan:
        if not known:
            rows = range(len(self._objects.uuids(name)))
            return Plan(list(rows), list(rows))
        plan = Plan()
        row = 0
        for some in self._objects.of(name, range(len(self._objects.uuids(name)))):
            for one in some:
                self._sort(plan, row, one, known.pop(one.uuid, None))
                row += 1
        plan.vanished = list(known)
        return plan

    def _sort(self, plan: Plan, row: int, one: Prepared, there: Known | None) -> None:
        content, vector = one.hashes
        if there is None:
            plan.new.append(row)
        elif there.content == content and not self._rewrite:
            plan.unchanged += 1
            return
        elif there.vector == vector and self._embedder is not None and not self._rewrite:
            plan.vectors[row] = one.uuid
        plan.changed.append(row)

    async def carry_out(self, tell: Tell) -> Ingested:
        """
        Write, remove and count.

        Raises:
            Refused: Objects were; the others are written.
            Miscounted: Weaviate holds something else afterwards.
            ClaimLost: The claim ended.
            HandlerError: Weaviate or the embedder cannot be used.
        """
        new = sum(len(self._bare_rows(name)) for name in self._plans)
        changed = sum(len(plan.changed) for plan in self._plans.values())
        await self._pass("creating", new, tell, self._bare_rows, self._bare)
        await self._pass("writing", changed, tell, lambda name: self._plans[name].changed, self._whole)
        if self._refusals:
            raise Refused(self._refusals, changed)
        removed = 0 if self._keep else await self._remove(tell)
        await tell("verifying", 0, 1)
        counts = await self._index.counts(self._place)
        self._check(counts)
        unchanged = sum(plan.unchanged for plan in self._plans.values())
        return Ingested(counts, changed, unchanged, removed)

    async def _pass(
        self,
        step: str,
        total: int,
        tell: Tell,
        rows: Callable[[str], Sequence[int]],
        make: Callable[[str, Sequence[int]], Awaitable[list[Any]]],
    ) -> None:
        requests: set[asyncio.Task[list[Refusal]]] = set()
        done = 0
        try:
            for name in self._plans:
                numbers = rows(name)
                for begin in range(0, len(numbers), BATCH):
                    await tell(step, done, total)
                    batch = await make(name, numbers[begin : begin + BATCH])
                    if len(requests) == REQUESTS:
                        requests = self._taken(*await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED))
                    await check_claim(self._context, self._token)
                    requests.add(asyncio.create_task(self._index.insert(self._place.collection(name), batch)))
                    done += len(batch)
            if requests:
                self._taken(*await asyncio.wait(requests))
        except BaseException as error:
            # Nothing may land later than the ledger hears of: they are waited for, or nobody knows what became of them.
            if isinstance(error, asyncio.CancelledError):
                for request in requests:
                    request.cancel()
            left = await asyncio.gather(*requests, return_exceptions=True)
            unknown = next((one for one in left if isinstance(one, OutcomeUnknown)), None)
            if unknown is not None and isinstance(error, TransientError):
                raise unknown from error
            raise

    def _taken(
        self, done: set[asyncio.Task[list[Refusal]]], pending: set[asyncio.Task[list[Refusal]]]
    ) -> set[asyncio.Task[list[Refusal]]]:
        """Take note of answers; return the requests still under way. Raises what a request raised."""
        for request in done:
            self._refusals += request.result()
        return pending

    def _bare_rows(self, name: str) -> Sequence[int]:
        """Return the rows that must be there before others refer to them."""
        return self._plans[name].new if self._joined.is_referred_to(name) else ()

    async def _bare(self, name: str, rows: Sequence[int]) -> list[Any]:
        """Return objects without references and hashes: whoever finds one so knows that it was not finished."""
        if self._place.vectorizer is None:
            return [(uuid, {URI: uri}, {}, None) for uuid, uri in self._objects.named(name, rows)]
        # A module of Weaviate gets its text at once: the second time it sees that nothing changed.
        return [
            (one.uuid, {name: value for name, value in one.properties.items() if name not in HASHES}, {}, None)
            for one in await self._prepared(name, rows)
        ]

    async def _whole(self, name: str, rows: Sequence[int]) -> list[Any]:
        made = await self._prepared(name, rows)
        vectors = await self._vectors(name, rows, made)
        return [(one.uuid, one.properties, one.references, vectors.get(one.uuid)) for one in made]

    async def _prepared(self, name: str, rows: Sequence[int]) -> list[Prepared]:
        return await self._run(lambda: [one for some in self._objects.of(name, rows) for one in some])

    async def _vectors(self, name: str, rows: Sequence[int], made: Sequence[Prepared]) -> Mapping[str, Sequence[float]]:
        """Return vectors by UUID: those that Weaviate has where the text is the same, else new ones."""
        embedder = self._embedder
        if embedder is None:
            return {}
        had = [uuid for row in rows if (uuid := self._plans[name].vectors.get(row)) is not None]
        found = await self._index.vectors(self._place.collection(name), had) if had else {}
        lacking = [one for one in made if one.uuid not in found]
        vectors = await self._run(lambda: embedder.embed([one.text for one in lacking]))
        return {**found, **{one.uuid: vector for one, vector in zip(lacking, vectors, strict=True)}}

    async def _remove(self, tell: Tell) -> int:
        total = sum(len(plan.vanished) for plan in self._plans.values())
        if not total:
            return 0
        await tell("removing", 0, total)
        for name, plan in self._plans.items():
            for begin in range(0, len(plan.vanished), MOST_REMOVED):
                await check_claim(self._context, self._token)
                await self._index.remove(self._place.collection(name), plan.vanished[begin : begin + MOST_REMOVED])
        return total

    def _check(self, counts: Mapping[str, int]) -> None:
        for name, expected in self._joined.counts.items():
            found = counts[name]
            # What stays of earlier releases is counted too.
            if found != expected if not self._keep else found < expected:
                raise Miscounted(
                    f"Weaviate counts {found:,} {name}, the release has {expected:,}: all is written again"
                )

    def _run(self, function: Callable[[], T]) -> Awaitable[T]:
        return self._context.run(LANE, function)
