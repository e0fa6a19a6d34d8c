"""Many small files at once: like files are joined, tokenised and cast as one."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.csv_to_iceberg.columns import Pins
from handlers.csv_to_iceberg.memory import Memory
from handlers.csv_to_iceberg.options import Options
from handlers.csv_to_iceberg.results import Cooked, SmallFile


def cook(files: Sequence[SmallFile], pins: Pins, memory: Memory, options: Options) -> Cooked:
    """
    Turn small files of one table into typed rows. `pins` is not changed; an empty one means a new table.

    A file that cannot be read is in `failures` and leaves no trace in the pins.
    """
    raise NotImplementedError
