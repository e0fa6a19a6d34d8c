"""
Carries out what a comparison noted: records are sent in calls of at most 500, and deleted.

A call that is refused is divided until exactly the records are left that Argilla does not take. One that Argilla says
it failed at is repeated: it may have stored its records without the search index having them. One without an answer is
not, for it may do its work at any time yet: the unit waits until it cannot (docs/protocol.md, `suspect_until`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from handlers.argilla_records.api import Api, Broken, NotThere, Refused
from handlers.argilla_records.scratch import Step
from handlers.contract import OutcomeUnknown

log = structlog.get_logger("argilla.sending")

MOST: Final = 500
"""Records of a call (argilla-server 2.8, `RECORDS_BULK_UPSERT_MAX_ITEMS`)."""

MOST_BYTES: Final = 4 << 20
"""Of a call, unless one record alone is larger."""

MOST_DELETED: Final = 100
"""Records that one call deletes."""

PAUSES: Final = (1.0, 3.0)
"""Seconds before a call that Argilla failed at is repeated."""

LOOKS: Final = 8
"""Records that are looked at side by side."""

_POSITION: Final = re.compile(r"Record at position (\d+) |\bitems\.(\d+)\b")


class Annotated(Exception):
    """Somebody answered about a record since it was compared; compare again."""


class Sending:
    """
    Writes to one dataset.

    Args:
        api: Of the server.
        dataset: Its id.
        questions: Ids of questions by name.
        may_write: Asked before each call that writes; raises when the claim is lost.
        rejected: Told of each step that Argilla does not take, and why.
        doubtful: Told of records that the search index may not have as they are: before they are changed, and after a
            call that may have stored them; and of those for which that is over.
        pauses: Seconds between tries.
    """

    def __init__(
        self,
        api: Api,
        dataset: str,
        questions: Mapping[str, str],
        *,
        may_write: Callable[[], Awaitable[None]],
        rejected: Callable[[Step, str], Awaitable[None]],
        doubtful: Callable[[Sequence[str], Sequence[str]], Awaitable[None]],
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._api = api
        self._place = f"datasets/{dataset}"
        self._questions = questions
        self._may_write = may_write
        self._rejected = rejected
        self._doubtful = doubtful
        self._pauses = pauses
        self._over: Sequence[str] = ()
        """Records that were changed, and are indexed."""

    async def carry_out(self, steps: Sequence[Step]) -> None:
        """
        Do some steps, at most `MOST`.

        Raises:
            Annotated: A record that was to get another text, or to be deleted, has responses; it was left as it is.
            ClaimLost: See `may_write`.
            OutcomeUnknown: Argilla does not say whether it stored something, however often it is asked.
            HandlerError: See `Api.send`.
        """
        # Said before, for whoever dies with the server says nothing after: of new records the index lacks some in
        # number, but one that has an old state of a record cannot be told from one that has the new.
        changed = [step.external_id for step in steps if step.id is not None and not step.deletes]
        if changed:
            await self._may_write()
            await self._doubtful(changed, self._over)
            self._over = ()
        refused: set[str] = set()
        texts = [step for step in steps if step.fields is not None]
        if texts:
            await self._look(texts)
            refused |= await self._send(texts, lambda step: {"external_id": step.external_id, "fields": step.fields})
        items = [step for step in steps if step.item is not None and step.external_id not in refused]
        if items:
            refused |= await self._send(items, self._item)
        for step in steps:
            if step.suggestions and step.external_id not in refused:
                await self._delete_suggestions(step)
        gone = [step for step in steps if step.deletes]
        for begin in range(0, len(gone), MOST_DELETED):
            part = gone[begin : begin + MOST_DELETED]
            await self._look(part)
            await self._write("DELETE", f"{self._place}/records", query={"ids": ",".join(str(one.id) for one in part)})
        self._over = [*self._over, *changed]

    async def _look(self, steps: Sequence[Step]) -> None:
        """Look once more, directly before it is too late, whether records that are to be spared have responses."""
        turns = asyncio.Semaphore(LOOKS)

        async def annotated(step: Step) -> bool:
            async with turns:
                try:
                    answer = await self._api.get(f"records/{step.id}")
                except NotThere:
                    return False
                return bool(answer.get("responses"))

        if any(await asyncio.gather(*(annotated(step) for step in steps if step.spares))):
            raise Annotated

    async def _write(self, method: str, path: str, **more: Any) -> None:
        """Write as long as nobody else may: a call that is repeated would come long after the last look."""
        await self._may_write()
        await self._api.send(method, path, **more)

    def _item(self, step: Step) -> dict[str, Any]:
        item = dict(step.item or {})
        if "suggestions" in item:
            item["suggestions"] = [
                {"question_id": self._questions[one["question"]], **{k: v for k, v in one.items() if k != "question"}}
                for one in item["suggestions"]
            ]
        return item

    async def _delete_suggestions(self, step: Step) -> None:
        ids = ",".join(step.suggestions)
        try:
            await self._write("DELETE", f"records/{step.id}/suggestions", query={"ids": ids})
        except NotThere:  # the record went with them
            log.info("argilla.record_gone", external_id=step.external_id)

    async def _send(self, steps: Sequence[Step], item: Callable[[Step], dict[str, Any]]) -> set[str]:
        """Send one item for each step; return the identifiers of those that Argilla does not take."""
        refused: set[str] = set()
        waiting = [list(steps)]
        while waiting:
            part = waiting.pop()
            try:
                await self._put([item(step) for step in part])
            except Refused as error:
                if len(part) == 1:
                    refused.add(part[0].external_id)
                    await self._rejected(part[0], error.message)
                else:
                    waiting += reversed(_divided(part, error.message))
        return refused

    async def _put(self, items: Sequence[Mapping[str, Any]]) -> None:
        for number, pause in enumerate((*self._pauses, None)):
            try:
                await self._write("PUT", f"{self._place}/records/bulk", body={"items": items})
            except OutcomeUnknown as error:
                if number == 0:  # at once, for whoever is stopped while it waits could not say so any more
                    await self._doubtful([one["external_id"] for one in items], ())
                if pause is None or not isinstance(error, Broken):
                    raise
                log.warning("argilla.call_repeated", records=len(items), reason=error.message, next_try_in=pause)
                await asyncio.sleep(pause)
            else:
                return


def _divided(steps: list[Step], reason: str) -> list[list[Step]]:
    """Part the steps at the one that a refusal names, else in the middle."""
    named = _POSITION.search(reason)
    position = int(named[1] or named[2]) if named else len(steps)
    if position < len(steps):
        parts = [steps[:position], steps[position : position + 1], steps[position + 1 :]]
    else:
        middle = len(steps) // 2
        parts = [steps[:middle], steps[middle:]]
    return [part for part in parts if part]
