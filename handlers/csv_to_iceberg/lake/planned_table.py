"""A table as it would be after what was planned so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.contract import PermanentError
from handlers.csv_to_iceberg.csv.columns import ColumnType, Pins
from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Cooked, SmallFile
from handlers.csv_to_iceberg.lake.refusals import UnsupportedColumn
from handlers.csv_to_iceberg.lake.table import IcebergTable, Loaded
from handlers.csv_to_iceberg.lake.target import WINDOW_BYTES


@dataclass
class PlannedTable:
    """A table as it would be after what was planned so far."""

    table: IcebergTable | None
    """None without a catalog."""
    name: str
    loaded: Loaded | None
    pins: Pins
    exists: bool
    refusal: PermanentError | None = None
    """Why it must not be written."""
    memories: dict[Options, Memory] = field(default_factory=dict)
    files: int = 0
    """In the commit window that is open."""
    bytes: int = 0

    def cook(self, files: Sequence[SmallFile], pins: Pins, options: Options) -> Cooked:
        """Turn small files into rows, as the committer has it done."""
        return cook(files, pins, self.memory(options), options)

    def memory(self, options: Options) -> Memory:
        """Return what is remembered of files read under these options."""
        return self.memories.setdefault(options, Memory())

    def refused(self, columns: Mapping[str, ColumnType]) -> PermanentError | None:
        """Return why these columns cannot be written."""
        column = None if self.loaded is None else self.loaded.shape.unsupported(columns)
        return None if column is None else UnsupportedColumn(self.name, column.name, str(column.field_type))

    def widened(self, columns: Mapping[str, ColumnType]) -> dict[str, str]:
        """Return the columns that would have to take larger numbers, with the types they would get."""
        return {name: kind.value for name, kind in columns.items() if name in self.pins and self.pins[name] is not kind}

    def grow(self, columns: Mapping[str, ColumnType]) -> dict[str, Any]:
        """Take in columns; return how that changes the table."""
        changes: dict[str, Any] = {
            "created": not self.exists,
            "new": {name: kind.value for name, kind in columns.items() if name not in self.pins},
            "widened": self.widened(columns),
        }
        self.exists = True
        self.pins |= columns
        return changes

    def commits(self, size: int, most_files: int) -> int:
        """Put an object with `size` bytes in memory into the open commit window; return 1 if it had to be opened."""
        opened = not self.files or self.files >= most_files or self.bytes >= WINDOW_BYTES
        self.files, self.bytes = (1, size) if opened else (self.files + 1, self.bytes + size)
        return int(opened)
