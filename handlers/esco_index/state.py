"""How far the ingestion of a release is, as the object of class `Metadata` tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

META_TYPE: Final = "ingestion_status"

VERSION: Final = "1.0"
"""Of what `details` holds."""

OWNER: Final = ("bucket", "unit", "version", "language", "model")
"""Details of whose the classes are."""

REWRITE: Final = "rewrite"
"""Detail: what the classes hold is not to be trusted, and all is written again."""

HEARTBEAT: Final = "last_heartbeat"


class Status(StrEnum):
    """Where an ingestion stands."""

    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Weaviate could not be asked."""


@dataclass(frozen=True, slots=True)
class State:
    """What was last told of an ingestion."""

    status: Status
    at: int = 0
    """When it was told, epoch milliseconds; 0: never."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Step, progress, totals, reasons: whatever belongs to the status."""

    @property
    def owner(self) -> dict[str, Any]:
        """The details that say whose the classes are; nothing while they are nobody's."""
        return {name: self.details[name] for name in OWNER if name in self.details}

    @property
    def holder(self) -> str | None:
        """Bucket and folder of the release that the classes hold, or are being brought to."""
        return f"{self.details['bucket']}/{self.details['unit']}" if "unit" in self.details else None

    @property
    def language(self) -> str:
        """Of the release, fit for the names of properties; empty while there is none."""
        return str(self.details.get("language", "")).lower().replace("-", "_")

    def is_of(self, bucket: str, unit: str) -> bool:
        """Tell whether the classes hold this release, or are being brought to it."""
        return self.holder == f"{bucket}/{unit}"

    def is_alive(self, now: int, stale_seconds: float) -> bool:
        """Tell whether somebody works at it, by its last sign of life."""
        return self.status is Status.IN_PROGRESS and now - self.at < stale_seconds * 1000

    def properties(self) -> dict[str, Any]:
        """Return the properties of its object."""
        return {
            "metaType": META_TYPE,
            "status": self.status.value,
            "timestamp": moment(self.at),
            "version": VERSION,
            "details": json.dumps(self.details, ensure_ascii=False),
        }

    @classmethod
    def read(cls, properties: Mapping[str, Any]) -> Self:
        """Read the properties of its object; what nobody of us wrote is unknown."""
        try:
            status = Status(properties["status"])
            given = properties["timestamp"]
            told = given if isinstance(given, datetime) else datetime.fromisoformat(given)
            details = json.loads(properties["details"])
        except (KeyError, TypeError, ValueError) as error:
            return cls(Status.UNKNOWN, details={"error": f"its Metadata object cannot be read: {error!r}"})
        return cls(status, round(told.timestamp() * 1000), details)

    def json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"status": self.status.value, "timestamp": moment(self.at) if self.at else None, **self.details}


def moment(milliseconds: int) -> str:
    """Return a time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
