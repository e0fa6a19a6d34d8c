"""A bench whose tables are looked after, and readings of a table by three engines at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from handlers.csv_to_iceberg.lake.clustering import DATA
from handlers.csv_to_iceberg.lake.committer import WindowLimits
from handlers.csv_to_iceberg.lake.compaction import Compaction
from handlers.csv_to_iceberg.lake.compaction_plan import Thresholds, Work, plan_compaction
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from handlers.csv_to_iceberg.lake.live import LiveFiles, live_memory
from handlers.csv_to_iceberg.lake.query import query
from handlers.csv_to_iceberg.maintenance import Maintenance
from handlers.csv_to_iceberg.trino_client import TrinoClient, TrinoSettings
from handlers.csv_to_iceberg.trino_tables import TrinoTables
from handlers.csv_to_iceberg.trino_upkeep import TrinoUpkeep
from handlers.upkeep import Upkeep
from tests.unit.lake.bench import Bench, Context, Kitchen

COLUMNS = ("_source_file", "_source_etag", "n")

ALL = Thresholds(small_files=1, deleted_share=0.0, delete_files=0.0, bytes=1 << 30)
"""Everything is due."""

Rows = list[tuple[Any, ...]]


class WallContext(Context):
    """The machine's clock, set ahead by a test; ids as the service makes them."""

    ahead = 0
    """Milliseconds."""

    def clock(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead

    def new_id(self) -> str:
        return str(uuid.uuid4())


class KeptBench(Bench):
    """A process of its own to a lake, with its maintenance."""

    context: WallContext

    def __init__(self, home: Path, **settings: Any) -> None:
        lake = Lake(LakeSettings(home=home, **settings))
        super().__init__(lake, WallContext(str(home)), Kitchen(), WindowLimits(0.0, 2000, 1 << 25))
        self.maintenance = Maintenance(lake, self.context)

    def delegate(self, trino: TrinoSettings) -> None:
        """Have Trino compact tables from now on."""
        upkeep = TrinoUpkeep(TrinoTables(TrinoClient(trino)), compacts=trino.maintains)
        self.maintenance = Maintenance(self.lake, self.context, upkeep)

    async def maintain(self, only: Collection[str] = (), *, dry_run: bool = False) -> list[Upkeep]:
        done = [upkeep async for upkeep in self.maintenance.round(only, dry_run=dry_run)]
        errors = [upkeep.error for upkeep in done if upkeep.error]
        assert not errors, errors
        return done

    def due(self, thresholds: Thresholds = ALL, name: str = "lakehouse.t") -> Work:
        table = self.loaded(name)
        return plan_compaction(table, LiveFiles.of(table, live_memory()), thresholds).work

    def compaction(self, name: str = "lakehouse.t") -> Compaction:
        return Compaction(self.lake, name, DATA, clock=self.context.clock, new_id=self.context.new_id)

    def prepared(self, thresholds: Thresholds = ALL) -> Compaction:
        """Return a run that is ready to be swapped."""
        compaction = self.compaction()
        compaction.prepare(self.loaded(), self.due(thresholds))
        return compaction

    def files(self, name: str = "lakehouse.t") -> set[str]:
        """Return the live data files."""
        return {task.file.file_path for task in self.loaded(name).scan().plan_files()}

    def shown(self, *columns: str) -> Rows:
        """Return the rows that PyIceberg, DuckDB and polars agree on."""
        columns = columns or COLUMNS
        found = [
            self.loaded().scan(selected_fields=columns).to_arrow().select(columns).to_pylist(),
            query(self.lake, f"select {', '.join(columns)} from lakehouse.t").to_pylist(),
            pl.scan_iceberg(self.loaded(), reader_override="native").select(columns).collect().to_dicts(),
        ]
        by_engine = [sorted((tuple(row[name] for name in columns) for row in rows), key=repr) for rows in found]
        assert by_engine[0] == by_engine[1] == by_engine[2]
        return by_engine[0]

    def close(self) -> None:
        self.context.close()
        self.lake.close()
