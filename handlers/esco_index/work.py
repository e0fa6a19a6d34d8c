"""One release on its way into its classes, and what is told of it meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from handlers.contract import Claim, ClaimLost, HandlerContext, HandlerError, Receipt, Unit, check_claim
from handlers.embedders import Embedder
from handlers.esco_index.books import Books
from handlers.esco_index.index import Index
from handlers.esco_index.ingestion import STEPS, Ingested, Ingestion, Miscounted, Refused
from handlers.esco_index.joins import Joined
from handlers.esco_index.options import Options
from handlers.esco_index.placing import Busy, model_of, refuse_busy, target_of
from handlers.esco_index.release import Name
from handlers.esco_index.schema import Place
from handlers.esco_index.state import HEARTBEAT, REWRITE, State, Status, moment

VERSION: Final = "1"
"""Of this handler; raised when a release would become other objects than before."""

HEARTBEAT_MS: Final = 5_000
"""Between two signs of life, if nothing else is to be told."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Which release goes where, and by which claim."""

    unit: Unit
    name: Name
    place: Place
    claim: Claim


class Work:
    """
    Brings one release into its classes.

    Args:
        aim: Which, and where.
        index: Connected.
        context: What the consumer offers.
        on_state: Is told each state that is set.
    """

    def __init__(self, aim: Aim, index: Index, context: HandlerContext, on_state: Callable[[State], None]) -> None:
        self._aim = aim
        self._check = partial(check_claim, context, aim.claim.token)
        self._index = index
        self._books = Books(index, aim.place)
        self._context = context
        self._on_state = on_state
        self._options: Options = aim.unit.options
        self._model = model_of(self._options)
        self._owner = {
            "bucket": aim.unit.bucket,
            "unit": aim.unit.name,
            "version": aim.name.version,
            "language": aim.name.language,
            "model": self._model,
        }
        self._step = ""
        self._told_at = 0
        self._rewrite = False

    async def bring(self, joined: Joined, before: State, embedder: Embedder | None, unused: Sequence[str]) -> Receipt:
        """Bring the classes to the release, and tell how it goes; raises as `Ingestion` does."""
        self._rewrite = bool(before.details.get(REWRITE))
        if before.details.get("model", self._model) != self._model:
            await self._drop(before.details["model"])
        await self._index.ensure(self._aim.place)
        ingestion = Ingestion(
            self._index,
            joined,
            self._aim.place,
            self._context,
            embedder=embedder,
            model=self._model,
            keep=self._options.vanished == "keep",
            rewrite=self._rewrite,
            token=self._aim.claim.token,
        )
        await ingestion.compare()
        if ingestion.has_work or before.status is not Status.COMPLETED:
            await self._tell(STEPS[0], 1, 1)
        try:
            done = await ingestion.carry_out(self._tell)
            receipt = self._receipt(done, joined, unused)
            await self._check()
            await self._books.received(self._aim.unit.bucket, self._aim.unit.name, receipt, self._context.clock())
        except (ClaimLost, Busy):  # the state is somebody else's
            raise
        except HandlerError as error:
            await self._failed(error)
            raise
        await self._set(Status.COMPLETED, self._totals(done, joined))
        return receipt

    async def _drop(self, model: str) -> None:
        """Remove the classes of another model: vectors of two do not compare, nor fit into one class."""
        # Whoever takes this up in the middle has to find whose vectors are left.
        self._owner["model"] = model
        await self._tell(STEPS[0], 1, 1)
        await self._index.drop(self._aim.place, self._check)
        self._owner["model"] = self._model

    async def _tell(self, step: str, done: int, total: int) -> None:
        """Give a sign of life, if it is time for one."""
        now = self._context.clock()
        if step == self._step and now - self._told_at < HEARTBEAT_MS:
            return
        refuse_busy(self._aim.unit, await self._books.state(), now)
        self._step, self._told_at = step, now
        progress = f"{STEPS.index(step) + 1}/{len(STEPS)}"
        await self._set(
            Status.IN_PROGRESS,
            {"step": step, "progress": progress, "objects": f"{done}/{total}", HEARTBEAT: moment(now)},
        )

    async def _failed(self, error: HandlerError) -> None:
        details: dict[str, Any] = {"error": error.message, "step": self._step}
        if isinstance(error, Refused):
            details["refused"] = [refusal._asdict() for refusal in error.refusals]
        # What was counted is not what was written, so what seems to be the same may not be.
        self._rewrite = self._rewrite or isinstance(error, Miscounted)
        with suppress(HandlerError):  # a Weaviate that is away is told of by the error itself
            await self._set(Status.FAILED, details)

    async def _set(self, status: Status, details: Mapping[str, Any]) -> None:
        kept = {REWRITE: True} if self._rewrite and status is not Status.COMPLETED else {}
        state = State(status, self._context.clock(), {**self._owner, **kept, **details})
        await self._check()  # whoever holds the release by now has set its state since, and nobody would set it again
        await self._books.set(state)
        self._on_state(state)

    def _totals(self, done: Ingested, joined: Joined) -> dict[str, Any]:
        return {
            "total_skills": done.counts["Skill"],
            "total_occupations": done.counts["Occupation"],
            "total_relations": joined.relations,
            "objects": _objects(done.counts),
            "written": done.written,
            "removed": done.removed,
            "completion_time": moment(self._context.clock()),
        }

    def _receipt(self, done: Ingested, joined: Joined, unused: Sequence[str]) -> Receipt:
        rows = _objects(done.counts)
        counts = {
            "rows": rows,
            "references": sum(done.counts.values()) - rows,
            "rejected": sum(joined.rejected.values()) + sum(joined.unknown.values()),
            "outside": sum(joined.outside.values()),
            **done.counts,
        }
        detail = {
            "written": done.written,
            "unchanged": done.unchanged,
            "removed": done.removed,
            "relations": joined.relations,
            "outside": joined.outside,
            "unknown_relations": joined.unknown,
            "rejected_rows": joined.rejected,
            "unused_files": list(unused),
            "vectors": self._model,
        }
        return Receipt(self._aim.claim.fingerprint, VERSION, target_of(self._options, self._aim.place), counts, detail)


def _objects(counts: Mapping[str, int]) -> int:
    return sum(number for name, number in counts.items() if "." not in name)
