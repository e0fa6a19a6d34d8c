"""Staging of windows: from entries to rows that lie ready for the shape the table is going to have."""

from __future__ import annotations

from typing import Final, Generic

import structlog

from handlers.contract import ClaimLost, HandlerContext, TransientError
from handlers.csv_to_iceberg.csv.results import Part
from handlers.csv_to_iceberg.lake.commit_port import Entry, L, S, TablePort
from handlers.csv_to_iceberg.lake.cooking import Cook, cook_entries
from handlers.csv_to_iceberg.lake.refusals import UnsupportedColumn
from handlers.csv_to_iceberg.lake.shape import Shape, ShapeChanged, merged
from handlers.csv_to_iceberg.lake.window import Group, Window, fail_all

log = structlog.get_logger(__name__)

MAX_STAGES: Final = 20
"""Times one window is cooked because the table changed meanwhile; then its files are tried again later."""


class WindowStager(Generic[L, S]):
    """Stages the windows of one table, one after the other, ahead of their commits."""

    def __init__(self, table: TablePort[L, S], cook: Cook, context: HandlerContext) -> None:
        self._table = table
        self._cook = cook
        self._context = context
        self._loaded: L | None = None
        """The table at any moment: says where files go."""
        self._shape: Shape | None = None
        """What the table will look like after all windows staged so far; None: ask the table."""

    def forget(self) -> None:
        """Ask the table before anything is staged: it was dropped."""
        self._loaded = self._shape = None

    async def drop_doubles(self, window: Window[S]) -> None:
        """
        Leave one entry per source: the one whose claim holds.

        Two claims of one unit never hold at once, so of two entries at most one survives the check; were it otherwise,
        the later one wins.
        """
        seen: dict[str, list[Entry[S]]] = {}
        for entry in window.waiting():
            seen.setdefault(entry.key, []).append(entry)
        doubles = [entries for entries in seen.values() if len(entries) > 1]
        if not doubles:
            return
        alive = await self._context.alive({entry.token for entries in doubles for entry in entries})
        for entries in doubles:
            holders = [entry for entry in entries if entry.token in alive]
            for entry in entries:
                if entry not in holders[-1:]:
                    entry.fail(ClaimLost())

    async def stage(self, window: Window[S]) -> None:
        """Cook and write the small files of a window, for the shape the table is going to have."""
        small = [entry for entry in window.waiting() if entry.file]
        window.cooked, window.staged = [], None
        for _ in range(MAX_STAGES):
            if not small:
                return
            if self._shape is None:
                self._loaded = await self._context.run("commit", self._table.load)
                self._shape = self._loaded.shape if self._loaded else None
            shape = self._shape
            cooked, parts = await cook_entries(small, shape.pins if shape else {}, self._cook, self._context)
            cooked, parts = self._without_unsupported(cooked, parts, shape)
            if not parts:
                return
            try:
                columns = merged(part.columns for part in parts)
                if self._loaded is None:
                    self._loaded = await self._context.run("commit", self._table.create, columns)
                staged = await self._context.run(
                    "commit", self._table.stage, self._loaded, shape or self._loaded.shape, parts, self._context.clock()
                )
            except ShapeChanged as change:
                log.info("csv.cooked_again", table=self._table.name, reason=str(change))
                self._shape = None
                small = [entry for entry in cooked if entry.waiting]
                continue
            window.cooked, window.staged = cooked, staged
            for entry, part in zip(cooked, parts, strict=True):
                entry.report = part.report
            self._shape = staged.shape
            return
        fail_all(small, TransientError(f"table {self._table.name} kept changing; the object will be read again later"))

    def _without_unsupported(
        self, cooked: list[Entry[S]], parts: list[Part], shape: Shape | None
    ) -> tuple[list[Entry[S]], list[Part]]:
        if shape is None:
            return cooked, parts
        kept: list[tuple[Entry[S], Part]] = []
        # Files read together share one mapping of columns.
        distinct = {id(part.columns): part.columns for part in parts}
        refused = {key: shape.unsupported(columns) for key, columns in distinct.items()}
        for entry, part in zip(cooked, parts, strict=True):
            field = refused[id(part.columns)]
            if field is None:
                kept.append((entry, part))
            else:
                entry.fail(UnsupportedColumn(self._table.name, field.name, str(field.field_type)))
        return [entry for entry, _ in kept], [part for _, part in kept]

    async def fresh(self, group: Group[S], loaded: L) -> bool:
        """Tell whether all staged rows can be committed to the table as loaded; stage again those that cannot."""
        self._loaded = loaded
        if group.used:
            await self._rename(group, loaded)
        fitting: list[S] = []
        for window in group.windows:
            if window.staged is not None:
                if not self._table.fits(loaded, window.staged, fitting):
                    log.info("csv.staged_again", table=self._table.name, sources=len(window.cooked))
                    self._shape = loaded.shape
                    for each in group.windows:  # the columns of one decide the field ids of the next
                        if each.staged is not None:
                            await self.stage(each)
                    return False
                fitting.append(window.staged)
        for entry in group.waiting():
            if entry.own is not None:
                if self._table.fits(loaded, entry.own, fitting):
                    fitting.append(entry.own)
                else:
                    entry.fail(ShapeChanged(f"table {self._table.name} changed while the object was being read"))
        return True

    async def _rename(self, group: Group[S], loaded: L) -> None:
        """Copy staged files: the last try may have landed, and a file must not enter the table twice."""
        for entry in group.waiting():
            if entry.own is not None:
                try:
                    entry.own = await self._context.run("commit", self._table.again, loaded, entry.own)
                except FileNotFoundError:
                    entry.fail(ShapeChanged("the staged file is gone: it landed, was compacted away and removed"))
        for window in group.windows:
            if window.staged is not None:
                try:
                    window.staged = await self._context.run("commit", self._table.again, loaded, window.staged)
                except FileNotFoundError:
                    await self.stage(window)
        group.used = False
