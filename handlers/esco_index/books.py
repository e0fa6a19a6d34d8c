"""What the class `Metadata` remembers: the state of the ingestion, and of each release its receipt or failure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from handlers.contract import Failure, Outcome, Receipt
from handlers.esco_index.index import Index
from handlers.esco_index.objects import uuid_of
from handlers.esco_index.schema import METADATA, Place
from handlers.esco_index.state import META_TYPE, State, Status, moment

RELEASE: Final = "release"
"""`metaType` of what is remembered of a release."""

_STATE: Final = uuid_of(META_TYPE)


class Books:
    """The `Metadata` objects of a place."""

    def __init__(self, index: Index, place: Place) -> None:
        self._index = index
        self._place = place

    async def state(self) -> State:
        """Return how far the ingestion is."""
        told = await self._index.told(self._place, _STATE)
        return State(Status.NOT_STARTED) if told is None else State.read(told)

    async def set(self, state: State) -> None:
        """Tell how far it is; the class is there."""
        await self._index.tell(self._place, _STATE, state.properties())

    async def received(self, bucket: str, unit: str, receipt: Receipt, at: int) -> None:
        """Note what the classes hold of a release; earlier failures are over."""
        await self._note(bucket, unit, {"receipt": asdict(receipt), "at": at})

    async def failed(self, outcome: Outcome) -> None:
        """Note why a version of a release failed, unless something happened since."""
        await self._index.ensure(self._place, (METADATA,))
        told = await self._index.told(self._place, _uuid(outcome.bucket, outcome.unit))
        noted = {} if told is None else _details(told)
        if noted.get("at", 0) >= outcome.at:
            return
        failure = Failure(outcome.fingerprint, outcome.error_class or "", outcome.error or "")
        await self._note(outcome.bucket, outcome.unit, {**noted, "failure": asdict(failure), "at": outcome.at})
        state = await self.state()
        if (
            state.status is Status.IN_PROGRESS
            and state.is_of(outcome.bucket, outcome.unit)
            and state.at <= outcome.at  # who works since is not to be told of as failed
        ):
            # Its process died, or could not say so itself.
            await self.set(State(Status.FAILED, outcome.at, {**state.details, "error": failure.message}))

    async def removed(self, bucket: str, unit: str, at: int) -> None:
        """Note that there is nothing of a release since; earlier failures are over, also those that are told later."""
        await self._note(bucket, unit, {"at": at})

    async def _note(self, bucket: str, unit: str, noted: Mapping[str, Any]) -> None:
        details = json.dumps({**noted, "bucket": bucket, "unit": unit}, ensure_ascii=False)
        status = "failed" if "failure" in noted else "received" if "receipt" in noted else "removed"
        properties = {"metaType": RELEASE, "status": status, "timestamp": moment(noted["at"]), "details": details}
        await self._index.tell(self._place, _uuid(bucket, unit), properties)


async def releases(index: Index, metadata: str) -> list[tuple[str, str, Receipt | None, Failure | None]]:
    """Return bucket, unit and what is known of each release of a class `Metadata`, by the full name of that."""
    found = []
    for properties in await index.notes(metadata, RELEASE):
        noted = _details(properties)
        receipt = Receipt(**noted["receipt"]) if "receipt" in noted else None
        failure = Failure(**noted["failure"]) if "failure" in noted else None
        if receipt is not None or failure is not None:
            found.append((noted["bucket"], noted["unit"], receipt, failure))
    return found


def _details(properties: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = json.loads(properties["details"])
    return details


def _uuid(bucket: str, unit: str) -> str:
    return uuid_of(f"{RELEASE} {bucket}/{unit}")
