"""A table and all that serves it: what the handler keeps for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from handlers.contract import HandlerContext, Skip, Unit
from handlers.csv_to_iceberg.csv.columns import Pins
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.names import table_name
from handlers.csv_to_iceberg.csv.options import MIB, Options
from handlers.csv_to_iceberg.csv.results import Cooked, SmallFile
from handlers.csv_to_iceberg.lake.alone import AloneStager
from handlers.csv_to_iceberg.lake.committer import TableCommitter, WindowLimits
from handlers.csv_to_iceberg.lake.rejects_port import RejectsPort
from handlers.csv_to_iceberg.lake.staged import Staged
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded

WINDOW_BYTES: Final = 32 * MIB
"""Bytes of small files that close a commit window at once."""


def table_of(unit: Unit) -> str:
    """
    Return `namespace.table` of a unit.

    Raises:
        Skip: The object lies in no folder, so there is no table for it.
    """
    table = table_name(unit.name.removeprefix(unit.prefix))
    if table is None:
        raise Skip(f"{unit.name} lies in no folder: the first folder below {unit.prefix or 'the bucket'} is the table")
    return f"{unit.options.namespace}.{table}"


class Target:
    """The committer of one table, and what is remembered of its files for each set of options."""

    def __init__(self, table: IcebergTable, context: HandlerContext, rejects: RejectsPort) -> None:
        self.table = table
        self._context = context
        self._memories: dict[Options, Memory] = {}
        self.told_of = 0
        """Shapes of the table that others were told of; see `IcebergTable.shapes`."""
        settings = table.settings
        limits = WindowLimits(settings.max_commit_latency, settings.max_files_per_commit, WINDOW_BYTES)
        self.committer: TableCommitter[Loaded, Staged] = TableCommitter(table, self._cook, context, limits, rejects)

    def stager(self, options: Options) -> AloneStager:
        """Return what stages single objects."""
        return AloneStager(self.table, self._memory(options), options, self._context)

    def _memory(self, options: Options) -> Memory:
        return self._memories.setdefault(options, Memory())

    def _cook(self, files: Sequence[SmallFile], pins: Pins, options: Options) -> Cooked:
        return cook(files, pins, self._memory(options), options)
