"""Which tables Superset is to be told of, and telling it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.table import Table

from handlers.contract import HandlerContext, TransientError
from handlers.csv_to_iceberg.lake.lake import RESERVED_PREFIX, Lake, owner_bucket
from handlers.tasks import Task

if TYPE_CHECKING:
    from handlers.csv_to_iceberg.superset import Superset

NAME: Final = "superset"


class SupersetTasks:
    """The tables of one lake as datasets: a task for each, to be done once for each shape that a table takes."""

    def __init__(self, superset: Superset, lake: Lake, context: HandlerContext) -> None:
        self._superset = superset
        self._lake = lake
        self._context = context
        self._reshaped: set[str] = set()
        self._changed = asyncio.Event()

    def notice(self, table: str) -> None:
        """Take note that a table may have other columns than before."""
        self._reshaped.add(table)
        self._changed.set()

    async def retargeted(self) -> Collection[str]:
        """Wait for `notice`; return what it was told."""
        await self._changed.wait()
        self._changed.clear()
        found, self._reshaped = self._reshaped, set()
        return found

    async def tasks(self, only: Collection[str]) -> list[Task]:
        """Return the tasks of some tables of ours, of all when none is named."""
        return await self._context.run("tasks", self._look, sorted(only))

    async def run(self, task: Task) -> Mapping[str, Any]:
        """
        Have a dataset of the table as it is now; raises as `Superset.register`.

        A table that is gone has no task any more: whatever is left of it in Superset is left alone.
        """
        table = await self._context.run("tasks", self._lake.load, task.target)
        if table is None or not _is_ours(task.target, table):
            raise TransientError(f"there is no table {task.target} of ours any more")
        schema, _, name = task.target.rpartition(".")
        columns = [field.name for field in table.schema().fields]
        dataset = await self._superset.register(schema, name, columns)
        return {"dataset": dataset.id, "columns": len(dataset.columns), "at": self._superset.place}

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._superset.aclose()

    def _look(self, only: Collection[str]) -> list[Task]:
        tasks = []
        for name in only or self._lake.table_names():
            table = self._lake.load(name)
            if table is not None and _is_ours(name, table):
                tasks.append(Task(NAME, name, f"{table.metadata.table_uuid}/{table.metadata.current_schema_id}"))
        return tasks


def _is_ours(name: str, table: Table) -> bool:
    return owner_bucket(table) is not None and not name.rpartition(".")[2].startswith(RESERVED_PREFIX)
