"""Removal of files of tables that nothing refers to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from handlers.contract import HandlerContext
from handlers.csv_to_iceberg.kept import load_kept
from handlers.csv_to_iceberg.lake.commit_port import CommitConflict
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.snapshot import Change, commit_snapshot
from handlers.csv_to_iceberg.lake.unreferenced import (
    Listed,
    Marks,
    TableFolder,
    Unreferenced,
    find_unreferenced,
    manifests,
    of_another_table,
    references,
    why_shared,
)
from handlers.csv_to_iceberg.maintain_lane import MaintainLane

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """Unreferenced files of a table, and the state they were looked for in."""

    folder: TableFolder
    files: Unreferenced
    snapshot: int | None
    """The newest one before the folder was listed."""
    other: str | None
    """A file that says that another table has files in the folder, too."""


class Cleaning:
    """Looks for unreferenced files of one lake's tables, and deletes them."""

    def __init__(self, lake: Lake, context: HandlerContext, lane: MaintainLane) -> None:
        self._lake = lake
        self._context = context
        self._lane = lane
        self._manifests = manifests()
        self.grace = round(lake.settings.unreferenced_grace * 1000)
        """Milliseconds that a file is left alone for after it was first seen without a reference."""

    async def clean(
        self, name: str, locations: Mapping[str, str], counts: Counter[str], notes: list[str], *, dry_run: bool
    ) -> None:
        """
        Find the files nothing refers to, and delete those whose time has come.

        Args:
            name: Of the table.
            locations: Of all tables of the catalog, by name.
            counts: Gets what was found and done.
            notes: Gets why files stay.
            dry_run: Delete nothing, and do not remember what was seen.
        """
        others = {location: other for other, location in locations.items() if other != name}
        settings = self._lake.settings
        reason = why_shared(locations[name], others, None if settings.catalog else settings.home)
        if reason is not None:
            notes.append(f"unreferenced files stay: {reason}")
            return
        found = await self._lane.run(self._find, name, dry_run)
        if found is None:
            return
        counts["files_unreferenced"] = len(found.files.waiting) + len(found.files.due)
        counts["bytes_unreferenced"] = sum(file.bytes for file in (*found.files.waiting, *found.files.due))
        if found.other is not None:
            notes.append(f"unreferenced files stay: {found.other} is of another table, dropped or of another catalog")
            return
        if dry_run:
            counts["to_delete"] = len(found.files.due)
        if dry_run or not found.files.due:
            return
        await self._context.run("commit", self._fence, name, found.snapshot)
        gone = await self._lane.run(self._delete, name, found)
        counts["files_deleted"] = len(gone)
        counts["bytes_deleted"] = sum(file.bytes for file in gone)
        log.info("table.cleaned", table=name, files=len(gone), bytes=counts["bytes_deleted"])

    def _find(self, name: str, dry_run: bool) -> Found | None:
        """List a table's folder, compare it with what the table refers to, and remember what was seen."""
        now = self._context.clock()
        before = self._lake.load(name)
        if before is None:
            return None
        folder = TableFolder(before.io, before.location())
        files = list(folder.files())
        table = self._lake.load(name)
        if table is None or table.location() != before.location():
            return None
        referenced = references(table, folder, self._manifests)
        marks = Marks(Path(self._lake.settings.home), str(table.metadata.table_uuid))
        seen = marks.read()
        found = find_unreferenced(files, referenced, seen, now, self.grace)
        if not dry_run:
            marks.write({file.name: seen.get(file.name, now) for file in (*found.waiting, *found.due)})
        other = of_another_table(found, folder, str(table.metadata.table_uuid)) if found.due else None
        return Found(folder, found, before.metadata.current_snapshot_id, other)

    def _fence(self, name: str, snapshot: int | None) -> None:
        """
        See to it that a snapshot was committed after the folder was listed: commits loaded before it fail.

        A conflict says that somebody just did.
        """
        kept = load_kept(self._lake, name)
        if kept is None or kept.table.metadata.current_snapshot_id != snapshot:
            return
        table = self._lake.without_retries(name, kept.table)
        try:
            commit_snapshot(
                table, kept.live, Change(), new_id=self._context.new_id, now=self._context.clock(), summary={}
            )
        except CommitConflict:
            return

    def _delete(self, name: str, found: Found) -> list[Listed]:
        """Delete the files that are due and that the newest metadata does not refer to either."""
        table = self._lake.load(name)
        if table is None:
            return []
        referenced = references(table, found.folder, self._manifests)
        gone = []
        for file in found.files.due:
            if file.path not in referenced and found.folder.delete(file):
                log.debug("unreferenced.deleted", table=name, file=file.name, bytes=file.bytes)
                gone.append(file)
        found.folder.drop_empty(gone)
        return gone
