"""`lakedrop verify`: every receipt of the ledger against what the sink counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from consumer.ledger_receipts import Receipts
from consumer.ledger_views import Told
from handlers.contract import Handler, Receipt, Verdict

if TYPE_CHECKING:
    from consumer.app import App

MOST_WRONG: Final = 1000
"""Units of a target that are kept by name; all are counted."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A unit that the sink holds otherwise than its receipt says."""

    unit: str
    expected: Mapping[str, int]
    found: Mapping[str, int]
    message: str


@dataclass(slots=True)
class Verified:
    """What was counted in one target, of the units of one bucket."""

    target: str
    bucket: str
    units: int = 0
    """Units with a receipt, without those under way."""
    expected: int = 0
    """Rows that their receipts say."""
    found: int = 0
    """Rows that the sink shows of them."""
    under_way: int = 0
    """Units that did not agree while they were being worked on: to be looked at again."""
    wrong: int = 0
    wrong_units: list[Wrong] = field(default_factory=list)
    """The first `MOST_WRONG`."""

    def add(self, unit: str, verdict: Verdict) -> None:
        """Take in what was counted of a unit."""
        self.units += 1
        self.expected += sum(verdict.expected.values())
        self.found += sum(verdict.found.values())
        if not verdict.ok:
            self.wrong += 1
            if len(self.wrong_units) < MOST_WRONG:
                self.wrong_units.append(Wrong(unit, verdict.expected, verdict.found, verdict.message))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is verified: empty conditions take everything."""

    bucket: str | None = None
    prefix: str = ""
    target: str | None = None


class Verification:
    """
    Counts back every unit that has a receipt.

    Workers may be busy meanwhile: a unit that does not agree is looked up again, and counts as `under_way` if its row
    is held, has a deadline, or tells of another version by now.

    Args:
        app: An open home.
        progress: Told how many units were counted so far.
    """

    def __init__(self, app: App, progress: Callable[[int], None] = lambda _units: None) -> None:
        self._handlers = app.handlers
        self._units = app.units
        self._receipts = Receipts(app.ledger)
        self._progress = progress
        self._counted = 0
        self._found: dict[tuple[str, str], Verified] = {}

    async def run(self, wanted: Wanted) -> Sequence[Verified]:
        """
        Count, in the order of targets and buckets.

        Raises:
            TransientError: A sink does not answer.
        """
        for name, handler in self._handlers.items():
            for bucket in await self._receipts.buckets(name):
                if wanted.bucket in (None, bucket):
                    async for page in self._receipts.pages(name, bucket, wanted.prefix, wanted.target):
                        await self._count(handler, bucket, page)
        return [self._found[place] for place in sorted(self._found)]

    async def _count(self, handler: Handler, bucket: str, page: Mapping[str, Receipt]) -> None:
        verdicts = await handler.verify(bucket, page)
        doubtful = [unit for unit, verdict in verdicts.items() if not verdict.ok]
        now = {row.unit: row for row in await self._units.told(handler.name, bucket, doubtful)} if doubtful else {}
        for unit, receipt in page.items():
            verdict = verdicts[unit]
            target = self._found.setdefault((receipt.target, bucket), Verified(receipt.target, bucket))
            if not verdict.ok and _under_way(receipt, now.get(unit)):
                target.under_way += 1
            else:
                target.add(unit, verdict)
        self._counted += len(page)
        self._progress(self._counted)


def _under_way(receipt: Receipt, row: Told | None) -> bool:
    """Tell whether a unit is, or was, worked on since its receipt was read."""
    if row is None or row.lease_token is not None or row.wake_at is not None:
        return True
    return row.applied_etag not in (None, receipt.fingerprint)
