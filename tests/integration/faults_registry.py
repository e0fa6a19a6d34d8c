"""What the registry must say, as far as the ledger and the load know it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.integration.faults_claims import Claims
from tests.integration.faults_readers import Record

SETTLED = """
SELECT unit, etag, detail->>'status', (detail->'receipt'->'counts'->>'rows')::int, detail->>'error_class', token, at
FROM history WHERE bucket = $1 AND recorded IS NOT NULL
"""

GONE = "ObjectGone"
"""Of a version that was deleted while it was read: the one way to fail that is nobody's fault."""


async def settled(claims: Claims, bucket: str) -> Counter[Record]:
    """Return what the ledger says of every version that was processed."""
    return Counter(Record(*row) for row in await claims.query(SETTLED, bucket))


def wrong(
    outcomes: Counter[Record], records: Counter[Record], objects: Mapping[str, str], written: Mapping[str, str]
) -> str:
    """
    Say what is wrong with a registry; nothing when it is right.

    Args:
        outcomes: of the ledger.
        records: of the registry.
        objects: ETag of each object there is, by key.
        written: text of each version, by ETag.
    """
    if outcomes != records:
        lost, extra = outcomes - records, records - outcomes
        return f"{lost.total()} records are missing: {[*lost][:5]}, {extra.total()} are too many: {[*extra][:5]}"
    if failed := [record for record in records if record.status != "success" and record.error_class != GONE]:
        return f"{len(failed)} versions failed: {failed[:5]}"
    done = [record for record in records.elements() if record.status == "success"]
    versions = Counter((record.key, record.etag) for record in done)
    if again := [version for version, times in versions.items() if times > 1]:
        return f"{len(again)} versions were processed more than once: {again[:5]}"
    if missing := objects.items() - versions.keys():
        return f"{len(missing)} objects have no record: {sorted(missing)[:5]}"
    if false := [record for record in done if record.rows != len(written[record.etag].splitlines()) - 1]:
        return f"{len(false)} records count other rows than their versions have: {false[:5]}"
    return ""
