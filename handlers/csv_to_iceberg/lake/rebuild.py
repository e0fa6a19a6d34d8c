"""
Rebuilding a table: its columns get the types that suit all sources, in one commit.

New files are prepared aside: from the objects where the bucket still has the version that the table shows, else from
the rows of the table. Preparing takes its time and the table goes on changing, so every try at the commit loads the
table anew, prepares what has changed since, and swaps exactly that metadata. No claim is needed: a rebuild changes the
types of rows that the table shows, never which rows those are. Whoever has staged files for the old columns finds that
they do not fit any more, and stages them again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from handlers.contract import HandlerError, TransientError
from handlers.csv_to_iceberg.csv.columns import Pins
from handlers.csv_to_iceberg.csv.reading import Reading, on_its_lane
from handlers.csv_to_iceberg.csv.results import Source
from handlers.csv_to_iceberg.csv.stream import Lessons, StartAgain
from handlers.csv_to_iceberg.lake.rebuild_files import Key
from handlers.csv_to_iceberg.lake.rebuild_plan import RebuildPlan, State, Survey, rescued_cells, sources_of
from handlers.csv_to_iceberg.lake.rebuild_run import BeginAgain, Run
from handlers.csv_to_iceberg.lake.rebuild_site import Site
from handlers.csv_to_iceberg.lake.refusals import UnsupportedTable
from handlers.csv_to_iceberg.lake.shape import COLUMN_TYPES
from handlers.csv_to_iceberg.lake.table import Loaded

log = structlog.get_logger(__name__)

MAX_RUNS: Final = 20
"""Preparations that are begun. Each corrects a type, unless somebody gives the table new columns every time."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did; the plan now has the types it came to."""

    snapshot: int
    rescued: int
    """Rows with a rescued cell afterwards."""


class Rebuild:
    """One rebuild of one table."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def plan(self) -> RebuildPlan:
        """
        Look at all values of all sources; nothing is written.

        Raises:
            PermanentError: There is no such table, or it cannot be rebuilt.
            HandlerError: The store or the catalog did not answer.
        """
        site = self._site
        run = site.context.run
        loaded = await site.load()
        states = await run("stream", sources_of, loaded.table)
        plan = RebuildPlan(site.table.name, len(states), rows=sum(state.rows for state in states.values()))
        survey = Survey(loaded.shape)
        old: list[Key] = []
        through = 0
        for key, state in states.items():
            site.progress("looking at the sources", through, plan.rows)
            through += state.rows
            if not await self._survey(survey, plan, key, state):
                old.append(key)
        await run("stream", survey.read_old, loaded.table, old)
        plan.read_again, plan.kept = len(states) - len(old), len(old)
        plan.delimiter = survey.delimiter
        plan.pins, plan.reasons = await run("cpu", survey.types, plan.options)
        _refuse_unsupported(loaded, plan.pins)
        plan.describe(loaded.shape, await run("cpu", rescued_cells, loaded.table, plan))
        return plan

    async def carry_out(self, plan: RebuildPlan) -> Rebuilt:
        """
        Do it; the plan is corrected where a type turns out wrong, and the preparation begins again.

        Raises:
            PermanentError: The table cannot be rebuilt.
            HandlerError: It kept changing, or something did not answer; nothing has changed.
        """
        for _ in range(MAX_RUNS):
            loaded = await self._site.load()
            _refuse_unsupported(loaded, plan.pins)
            run = Run(self._site, loaded, plan)
            with suppress(BeginAgain):
                await run.swap()
                plan.describe(loaded.shape, {column.column: (column.rescued, column.fit) for column in plan.columns})
                return Rebuilt(run.snapshot, run.rescued)
        raise TransientError(f"table {plan.table} got new columns again and again: do it when it is at rest")

    async def _survey(self, survey: Survey, plan: RebuildPlan, key: Key, state: State) -> bool:
        """Look at the object of a source; False when only the table has its rows."""
        found = await self._site.object_of(key, state)
        if found is None or key is None:
            return False
        stored, plan.options = found
        lessons = Lessons()
        while True:
            source = Source(key, stored.etag)
            try:
                reading = Reading(await stored.open())
                await on_its_lane(self._site.context, reading, survey.read, reading, source, plan.options, lessons)
            except StartAgain as again:
                lessons = again.lessons
            except TransientError:
                raise
            except HandlerError as error:
                log.info("rebuild.not_read_again", key=key, reason=error.message)
                return False
            else:
                return True


def _refuse_unsupported(loaded: Loaded, pins: Pins) -> None:
    """
    Refuse tables that others have given features to which a new column would break.

    Raises:
        UnsupportedTable: Names the feature.
    """
    metadata = loaded.table.metadata
    for field in loaded.shape.schema.fields:
        if field.field_type not in COLUMN_TYPES:
            raise UnsupportedTable(f"column {field.name} has the type {field.field_type}, which no CSV file has")
        used = {
            *metadata.schema().identifier_field_ids,
            *(part.source_id for spec in metadata.partition_specs for part in spec.fields),
            *(part.source_id for order in metadata.sort_orders for part in order.fields),
        }
        if field.field_id in used and field.name.lower() in pins:
            raise UnsupportedTable(f"column {field.name} is one that the table is partitioned, sorted or identified by")
