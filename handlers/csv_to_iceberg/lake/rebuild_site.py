"""Where a rebuild works: the table, the bucket its sources come from, and the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from handlers.contract import HandlerContext, PermanentError, StoredObject
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.rebuild_files import Key
from handlers.csv_to_iceberg.lake.rebuild_plan import State
from handlers.csv_to_iceberg.lake.shape import OURS
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded

Find = Callable[[str], Awaitable[tuple[StoredObject, Options] | None]]
"""Returns the object of a key as it is now and the options of its route; None when it is gone or no route takes it."""

FindIn = Callable[[str, str], Awaitable[tuple[StoredObject, Options] | None]]
"""The same, given bucket and key."""

Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how many rows of how many are through."""


class NoSuchTable(PermanentError):
    """There is no table of that name with rows of ours."""


@dataclass(frozen=True, slots=True)
class Site:
    """The surroundings of one rebuild."""

    lake: Lake
    table: IcebergTable
    find: Find
    context: HandlerContext
    progress: Progress

    async def load(self) -> Loaded:
        """
        Load the table.

        Raises:
            PermanentError: There is none, or it is not ours.
        """
        loaded = await self.context.run("commit", self.table.load)
        if loaded is None or not loaded.shape.fields.keys() >= OURS.keys():
            raise NoSuchTable(f"there is no table {self.table.name} with rows of ours")
        return loaded

    async def object_of(self, key: Key, state: State) -> tuple[StoredObject, Options] | None:
        """Return the object of a source if it is the version that the table shows."""
        if key is None or state.etag is None or state.at is None:
            return None
        found = await self.find(key)
        return found if found is not None and found[0].etag == state.etag else None
