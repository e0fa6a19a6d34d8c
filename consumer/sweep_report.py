"""What a sweep saw and did, and the digests that tell whether bucket and ledger agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final

MODULUS: Final = 1 << 256


def number_of(bucket: str, unit: str, version: str) -> int:
    """Return the number of a unit's line: SHA-256 of `bucket NUL unit NUL version LF`, big-endian."""
    return int.from_bytes(sha256(f"{bucket}\0{unit}\0{version}\n".encode()).digest(), "big")


def sum_of(bucket: str, rows: Iterable[Sequence[Any]]) -> int:
    """Return the sum of the numbers of units; a row begins with unit and version. Written out: it runs for millions."""
    return sum(
        [
            int.from_bytes(sha256(f"{bucket}\0{unit}\0{version}\n".encode()).digest(), "big")
            for unit, version, *_ in rows
        ]
    )


class Digest:
    """
    A sum over units, whatever their order: the numbers of their lines, modulo 2**256.

    A sum can be made in parts, by several key ranges at once or before and after a crash, and comes out the same.
    """

    __slots__ = ("total",)

    def __init__(self, total: int = 0) -> None:
        self.total = total

    def add(self, bucket: str, unit: str, version: str) -> None:
        """Add the line of a unit."""
        self.total += number_of(bucket, unit, version)

    @property
    def hex(self) -> str:
        """The sum as 64 hexadecimal digits."""
        return f"{self.total % MODULUS:064x}"


@dataclass(slots=True)
class Report:
    """What a sweep saw and did. All numbers are of units, but `listed` and `unrouted`, which are of listed objects."""

    id: str
    started_at: int
    """Epoch milliseconds."""
    finished_at: int | None = None
    areas: list[str] = field(default_factory=list)
    """What was compared: each a bucket, or a bucket and a prefix."""
    resumed: list[str] = field(default_factory=list)
    """Those of them that an earlier sweep had begun, and that this one finished; counts are of both."""
    listed: int = 0
    unrouted: int = 0
    """Objects that no route takes."""
    unrouted_units: int = 0
    """Units of the swept handlers that the ledger knows and no route takes any more; they are in neither digest."""
    matched: int = 0
    """The ledger knows this version: it is in the sink, or failed, or skipped; or it knows that there is none."""
    gone: int = 0
    """Those of the matched that there is no object of."""
    new: int = 0
    changed: int = 0
    vanished: int = 0
    """Known to the ledger, not listed, and the store confirmed it."""
    withheld: int = 0
    """
    Units that the brake held back, or that were too many to remember; `--accept-vanished` lets them go. Of the latter
    each sweep lets some go.
    """
    unanswered: int = 0
    """Known to the ledger, not listed, and the store did not tell about them; treated like vanished ones."""
    held: int = 0
    """Being worked on; hinted all the same, so that they are looked at again."""
    waiting: int = 0
    """Due for another attempt later."""
    failed: dict[str, int] = field(default_factory=dict)
    """Matched units that cannot be ingested, by error class."""
    errors: list[str] = field(default_factory=list)
    """What could not be swept, and why."""
    unswept: list[str] = field(default_factory=list)
    """Buckets that were not seen whole."""
    digest: str = ""
    """Over the listed units and their versions; see `Digest`."""
    ledger_digest: str = ""
    """The same over the rows of routed units; equal digests: the ledger accounts for exactly what the buckets hold."""

    @property
    def agrees(self) -> bool:
        """Whether the ledger accounts for exactly what the buckets hold."""
        return self.digest == self.ledger_digest and not self.errors

    def json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {**asdict(self), "agrees": self.agrees}


COUNTS: Final = (
    "listed",
    "unrouted",
    "unrouted_units",
    "matched",
    "gone",
    "new",
    "changed",
    "vanished",
    "withheld",
    "unanswered",
    "held",
    "waiting",
)


@dataclass(slots=True)
class Tally:
    """One key range's part of a report. Counts are by name, see `Report`."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    listed: Digest = field(default_factory=Digest)
    known: Digest = field(default_factory=Digest)

    def json(self) -> dict[str, Any]:
        """Return it for a checkpoint."""
        return {"counts": dict(self.counts), "listed": self.listed.hex, "known": self.known.hex}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Tally:
        """Return what `json` wrote."""
        return cls(dict(kept["counts"]), Digest(int(kept["listed"], 16)), Digest(int(kept["known"], 16)))


def add_up(report: Report, tallies: Iterable[Tally]) -> None:
    """Put the parts into a report."""
    listed, known = Digest(), Digest()
    for tally in tallies:
        for name, number in tally.counts.items():
            setattr(report, name, getattr(report, name) + number)
        listed.total += tally.listed.total
        known.total += tally.known.total
    report.digest, report.ledger_digest = listed.hex, known.hex
