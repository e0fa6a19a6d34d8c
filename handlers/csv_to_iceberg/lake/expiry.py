"""Forgetting old snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from pyiceberg.table import Table
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate

from handlers.csv_to_iceberg.lake.lake import LakeSettings
from handlers.csv_to_iceberg.lake.swap import newest, swap

log = structlog.get_logger(__name__)

CLOCKS_APART: Final = 60_000
"""
Milliseconds that the last change of a table may seem older than its newest snapshot. Iceberg in Java, which REST
catalogs and Trino run, refuses to commit or even to read more than that (`TableMetadata`, "Invalid update timestamp").
"""


class Expiry:
    """Expires snapshots of one table after every so many commits of this process (`expire_every`)."""

    def __init__(self, settings: LakeSettings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._commits = 0

    def committed(self, table: Table) -> None:
        """Count a commit. It never fails, because the commit has succeeded."""
        self._commits += 1
        if self._commits % self._settings.expire_every == 0:
            expire_snapshots(table, self._settings.snapshots_kept, now=self._clock())


def expire_snapshots(table: Table, keep: int, *, now: int) -> None:
    """
    Forget all but the newest `keep` snapshots: commits slow down with each one retained.

    Files are left alone. It never fails, because the commit it follows has succeeded. Nothing is forgotten while the
    newest snapshot is of a clock that is too far ahead of `now` (epoch milliseconds): whoever commits less than a
    snapshot takes the time himself.
    """
    metadata = table.metadata
    ahead = newest(metadata) - now
    if ahead > CLOCKS_APART:
        log.warning("snapshots.not_expired", table=".".join(table.name()), reason=f"the newest is {ahead} ms ahead")
        return
    named = {reference.snapshot_id for reference in metadata.refs.values()}
    newest_first = sorted(metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0, reverse=True)
    expired = [snapshot.snapshot_id for snapshot in newest_first[keep:] if snapshot.snapshot_id not in named]
    if not expired:
        return
    # Somebody may have rolled the table back since it was loaded: what was old is what the table shows now.
    unmoved = [AssertRefSnapshotId(ref=name, snapshot_id=ref.snapshot_id) for name, ref in metadata.refs.items()]
    try:
        swap(table, [RemoveSnapshotsUpdate(snapshot_ids=expired)], unmoved)
    except Exception:
        log.warning("snapshots.not_expired", table=".".join(table.name()), snapshots=len(expired), exc_info=True)
