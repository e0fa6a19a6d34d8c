"""Rows put aside on disk, and the order they are read back in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RANGES: Final = pa.schema([("key", pa.string()), ("start", pa.int64()), ("stop", pa.int64())])
"""Rows of one key below each other; null for rows without a source."""


class Spill:
    """Rows on disk, to be read in another order than they came in; mapped into memory, so little is copied."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._writer = pa.ipc.new_file(str(path), schema)
        self._starts = [0]
        """First row of each batch, and the number of rows at the end."""
        self._source: pa.MemoryMappedFile | None = None
        self._reader: Any = None

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._starts[-1]

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._writer.write_batch(batch)
        self._starts.append(self.rows + batch.num_rows)

    def finish(self) -> None:
        """Write no more."""
        self._writer.close()

    def read(self, start: int, stop: int, most: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` to `stop` in pieces of at most `most`."""
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            if self._reader is None:
                self._source = pa.memory_map(str(self._path))
                self._reader = pa.ipc.open_file(self._source)
            end = min(stop, self._starts[index + 1], start + most)
            yield self._reader.get_batch(index).slice(start - self._starts[index], end - start)
            index += end == self._starts[index + 1]
            start = end

    def let_go(self) -> None:
        """Unmap what was read, so that it counts as this process' memory no longer."""
        self._reader = self._source = None


def ordered(ranges: Sequence[pa.Table]) -> Iterator[tuple[int, int]]:
    """Yield the ranges by their key, in the order given where it is the same; those that touch become one."""
    table = pa.concat_tables(ranges)
    order = pc.sort_indices(table["key"])  # stable, nulls last
    starts, stops = (table[name].to_numpy()[order.to_numpy()] for name in ("start", "stop"))
    filled = starts < stops
    starts, stops = starts[filled], stops[filled]
    first = np.flatnonzero(np.concatenate(([True], starts[1:] != stops[:-1]))) if len(starts) else starts
    last = np.concatenate((first[1:] - 1, [len(starts) - 1])) if len(starts) else starts
    yield from zip(starts[first].tolist(), stops[last].tolist(), strict=True)
